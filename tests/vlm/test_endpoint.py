"""A server in place of the model: only on this machine by default, patient with what goes wrong, nothing is lost."""

import json
import logging
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import builders
from builders.scored_runs import SIZES, vlm_settings, write_talking_corpus
from subtext.corpora.bah import Bah
from subtext.corpora.ether import Ether
from subtext.corpora.files import ManifestCorpus
from subtext.corpora.ravdess import Ravdess
from subtext.errors import ConfigError, RunError
from subtext.manifest.description import Description, joined
from subtext.vlm import endpoint as endpoint_module
from subtext.vlm.endpoint import Endpoint, EndpointSpec, Refused, _asked_to_wait
from subtext.vlm.score import dry_run, score
from subtext.vlm.settings import VlmSettings
from subtext.vlm.tune import tune

pytestmark = pytest.mark.usefixtures("undrawn")
PICTURE = np.zeros((8, 8, 3), np.uint8)


def start(*arguments: str) -> tuple[subprocess.Popen[str], str]:
    program = str(Path(builders.__file__).with_name("fake_server.py"))
    process = subprocess.Popen([sys.executable, program, *arguments], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, f"http://127.0.0.1:{int(process.stdout.readline())}"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    process, address = start()
    yield address
    process.kill()
    process.wait()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_talking_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_module, "LONGEST_WAIT", 0.02)


def asking(url: str, **more: Any) -> Endpoint:
    return Endpoint(EndpointSpec(url=url, model="m", **{"timeout": 10.0, "retries": 3, **more}))


def seen(server: str) -> dict[str, int]:
    with urllib.request.urlopen(server) as response:
        found: dict[str, int] = json.load(response)
    return found


def scored(corpus: Path, url: str, folder: Path, *more: str) -> pd.DataFrame:
    settings = vlm_settings(corpus, Path("nowhere"), folder, f"endpoint.url={url}", "endpoint.model=m", *more)
    return pd.read_parquet(score(settings, folder).path / "predictions.parquet")


def test_an_answer_has_its_words_and_log_probabilities(server: str) -> None:
    written = asking(f"{server}/one/v1").ask("Is it so?", [PICTURE, PICTURE], 1)
    assert written.text == "Yes."
    assert written.tokens == 10 + 5 * 3
    assert dict(written.listed)["yes"] == -4.0
    assert seen(server)["one images"] == 2


def test_the_key_is_sent_and_never_told(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVER_KEY", "secret")
    keyed = asking(f"{server}/keyed/v1", key_variable="SERVER_KEY")
    keyed.ask("?", [], 1)
    assert seen(server)["keyed key"] == 1
    assert "secret" not in repr(keyed.spec)
    monkeypatch.setenv("SERVER_KEY", "")
    with pytest.raises(ConfigError, match="no such environment variable"):
        asking(f"{server}/keyed/v1", key_variable="SERVER_KEY")


def test_a_busy_server_is_asked_again_within_bounds(server: str) -> None:
    assert asking(f"{server}/busy/v1").ask("?", [], 1).text == "Yes."
    assert seen(server)["busy"] == 3
    with pytest.raises(RunError, match=r"no answer after 4 tries .*429"):
        asking(f"{server}/alwaysbusy/v1").ask("?", [], 1)
    assert seen(server)["alwaysbusy"] == 4


def test_waiting_goes_by_the_servers_wish(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_module, "LONGEST_WAIT", 60.0)
    assert _asked_to_wait("7", 0) == 7
    assert _asked_to_wait("100000", 0) == 60
    assert _asked_to_wait("nan", 0) == 60
    assert _asked_to_wait("-5", 0) == 0
    assert _asked_to_wait("soon", 1) == 1.0
    later = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 30))
    assert 25 < _asked_to_wait(later, 0) <= 30
    assert _asked_to_wait(None, 20) == 60


@pytest.mark.parametrize("kind", ["invalid", "wrong", "infinite", "huge"])
def test_broken_answers_end_in_one_line(server: str, kind: str) -> None:
    with pytest.raises(RunError, match=r"gives no answer after 4 tries \(Broken.*same command goes on") as caught:
        asking(f"{server}/{kind}/v1").ask("?", [], 1)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_a_half_answer_is_asked_for_again(server: str) -> None:
    assert asking(f"{server}/flaky/v1").ask("?", [], 1).text == "Yes."


@pytest.mark.parametrize("kind", ["slow", "drip"])
def test_a_server_that_takes_too_long_is_left(server: str, kind: str) -> None:
    began = time.monotonic()
    with pytest.raises(RunError, match=r"TimeoutError"):
        asking(f"{server}/{kind}/v1", timeout=0.5, retries=1).ask("?", [], 1)
    assert time.monotonic() - began < 5


def test_a_redirect_is_not_followed(server: str) -> None:
    with pytest.raises(RunError, match="redirects elsewhere, which is not followed"):
        asking(f"{server}/redirect/v1").ask("?", [PICTURE], 1)
    assert seen(server)["redirect"] == 1
    assert "elsewhere" not in seen(server)


def test_a_proxy_of_the_environment_is_not_used(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert asking(f"{server}/proxied/v1").ask("?", [], 1).text == "Yes."


def test_a_wrong_model_stops_at_once_and_a_long_prompt_is_one_prompts_affair(server: str) -> None:
    with pytest.raises(RunError, match="status 404; see the server's log"):
        asking(f"{server}/nosuch/v1").ask("?", [], 1)
    assert seen(server)["nosuch"] == 1
    with pytest.raises(Refused, match=r"^the server cannot take the prompt \(status 400\)$"):
        asking(f"{server}/long/v1").ask("?", [], 1)


@pytest.mark.parametrize(
    "url",
    [
        "http://192.0.2.1:8000/v1",
        "http://127.0.0.1.example.invalid/v1",
        "http://0.0.0.0:8000/v1",
        "http://[::ffff:192.0.2.1]/v1",
    ],
)
def test_another_machine_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="is not on this machine, so that clips would leave it"):
        asking(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:8000",
        "file:///etc/passwd",
        "ftp://127.0.0.1",
        "http://",
        "http://a:b@127.0.0.1/v1",
        "http://127.0.0.1:99999/",
        "http://[::1/v1",
        "http://127.0.0.1/v1 x",
        "http://127.0.0.1/ü",
    ],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match=r"endpoint\.url="):
        asking(url)


def test_a_name_that_leads_elsewhere_later_is_not_asked(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = asking(f"{server}/rebound/v1")
    monkeypatch.setattr(endpoint_module.socket, "getaddrinfo", lambda *_, **__: [(2, 1, 6, "", ("192.0.2.1", 80))])
    with pytest.raises(RunError, match="not on this machine any more; nothing was sent"):
        asked.ask("?", [PICTURE], 1)


def test_corpora_whose_card_forbids_it_do_not_leave(caplog: pytest.LogCaptureFixture) -> None:
    remote = asking("http://192.0.2.1:8000/v1", allow_remote=True)
    for forbidden in (Bah, Ether, ManifestCorpus):
        with pytest.raises(ConfigError, match="does not allow sending it to another machine"):
            remote.check(forbidden.description)
    with pytest.raises(ConfigError, match="does not allow"):
        remote.check(joined({"a": Ravdess.description, "b": Ether.description}))
    with caplog.at_level(logging.WARNING):
        remote.check(Ravdess.description)
    assert "leave this machine for 192.0.2.1" in caplog.text
    assert "without encryption" in caplog.text
    asking("http://127.0.0.1:9/v1").check(Ether.description)


def test_a_description_keeps_what_it_says_of_leaving() -> None:
    again = Description.from_json(json.loads(json.dumps(Ether.description.as_json())))
    assert not again.may_leave_machine
    # A description that was written before this was asked says nothing, which is no leave.
    silent = {key: value for key, value in Ravdess.description.as_json().items() if key != "may_leave_machine"}
    assert Ravdess.description.may_leave_machine
    assert not Description.from_json(silent).may_leave_machine
    with pytest.raises(ValueError, match="may_leave_machine is neither true nor false"):
        Description.from_json(Ether.description.as_json() | {"may_leave_machine": "yes"})


def test_a_server_scores_like_a_model(server: str, corpus: Path, tmp_path: Path) -> None:
    predictions = scored(corpus, f"{server}/score/v1", tmp_path / "run", "controls=[words_only]", "floor=0.05")
    assert len(predictions) == SIZES[1] + SIZES[2]
    assert predictions["prob_incongruent"].between(0, 1).all()
    assert predictions["mass_incongruent"].gt(0.1).all()
    answers = pd.read_parquet(tmp_path / "run" / "answers.parquet")
    first = json.loads(answers["log_probs"].iloc[0])
    assert set(first) == {"yes", "no"}
    assert (answers["parsed"].notna()).all()
    assert answers["tokens"].gt(10).all()
    facts = json.loads((tmp_path / "run" / "run.json").read_text())["vlm"]
    assert facts["parameters"] is None
    assert facts["device"] == "endpoint"
    assert seen(server)["score images"] == 2 * 20 * len(predictions), "two frames each, none for words only"
    asked = seen(server)["score"]
    scored(corpus, f"{server}/score/v1", tmp_path / "again", "controls=[words_only]")  # in the same paths.work
    assert seen(server)["score"] == asked, "a second run is free"
    text, _ = dry_run(
        vlm_settings(corpus, Path("no"), tmp_path, f"endpoint.url={server}/dry/v1", "endpoint.model=m"), tmp_path
    )
    assert "[2 pictures]" in text
    assert "dry" not in seen(server)


def test_generation_needs_no_log_probabilities_and_likelihood_does(server: str, corpus: Path, tmp_path: Path) -> None:
    written = scored(corpus, f"{server}/plain/v1", tmp_path / "run", "answer=generation")
    assert written["logit_incongruent"].notna().all()
    with pytest.raises(RunError, match="gives no log-probabilities; use answer=generation"):
        scored(corpus, f"{server}/plain/v1", tmp_path / "other", "answer=likelihood")


def test_answers_that_are_not_listed_are_no_score(server: str, corpus: Path, tmp_path: Path) -> None:
    predictions = scored(corpus, f"{server}/unlisted/v1", tmp_path / "run", "floor=0.05")
    assert predictions["logit_incongruent"].isna().all()
    assert predictions["reason_incongruent"].str.contains("mass").all()


def test_a_prompt_that_is_too_long_is_told(server: str, corpus: Path, tmp_path: Path) -> None:
    said = r"^no clip can be asked about: the server cannot take the prompt \(status 400\)$"
    with pytest.raises(ConfigError, match=said):
        scored(corpus, f"{server}/long/v1", tmp_path / "run")


def test_a_server_that_dies_midway_loses_nothing(corpus: Path, tmp_path: Path) -> None:
    process, address = start()
    settings = [corpus, f"{address}/dying/v1", tmp_path / "run", "endpoint.retries=1", "vlm.batch_size=4"]
    with pytest.raises(RunError, match=r"gives no answer after 2 tries.*the same command goes on"):
        scored(*settings)  # type: ignore[arg-type]
    process.wait(timeout=20)
    kept = [json.loads(line) for path in (tmp_path / "work").rglob("*.jsonl") for line in path.read_text().splitlines()]
    assert 20 <= len(kept) <= 25
    process, _ = start(address.rpartition(":")[2], "1000000")
    try:
        predictions = scored(*settings)  # type: ignore[arg-type]
    finally:
        process.kill()
        process.wait()
    assert predictions["logit_incongruent"].notna().all()
    lines = [
        json.loads(line) for path in (tmp_path / "work").rglob("*.jsonl") for line in path.read_text().splitlines()
    ]
    assert len({line["key"] for line in lines}) == len(lines), "nothing was asked twice"


def test_an_adapter_is_the_servers_affair(server: str, corpus: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a server puts adapters on its model itself"):
        scored(corpus, f"{server}/v1", tmp_path / "run", "vlm.adapter=somewhere")


def test_a_model_behind_a_server_is_not_tuned(server: str, corpus: Path, tmp_path: Path) -> None:
    settings = vlm_settings(corpus, Path("no"), tmp_path, f"endpoint.url={server}/v1", "endpoint.model=m")
    with pytest.raises(ConfigError, match="cannot be tuned"):
        tune(settings, tmp_path / "run")


@pytest.mark.parametrize(
    "setting",
    [
        *("timeout=0", "timeout=soon", "retries=-1", "retries=1.5", "model=null", "key_variable=[]"),
        *("url=7", "url=nowhere", "key_variable=7", "key_variable=SUBTEXT_NO_SUCH_VARIABLE"),
    ],
)
def test_settings_of_a_server_that_cannot_be_used_are_one_line(setting: str, corpus: Path, tmp_path: Path) -> None:
    own = ["endpoint.url=http://127.0.0.1:9/v1", "endpoint.model=m", f"endpoint.{setting}"]
    with pytest.raises(ConfigError) as caught:
        VlmSettings.check(vlm_settings(corpus, Path("no"), tmp_path, *own))
    assert str(caught.value).startswith(f"endpoint.{setting.split('=')[0]}"), caught.value
    assert "\n" not in str(caught.value)
