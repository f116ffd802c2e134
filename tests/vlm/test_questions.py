"""Wordings: enough of them, crossed as they should be, and what is told of a clip."""

import itertools
from typing import Any

import pytest
from omegaconf import OmegaConf

from subtext.core.composition import conf_folder
from subtext.errors import ConfigError
from subtext.evaluation.prompted import CHOICES, classes_of
from subtext.evaluation.tables import BINARY_HEADS
from subtext.labels import ETHER_OF_TYPE, ETHER_TYPES, INCONGRUENCE_TYPES, IncongruenceRule, incongruence_type
from subtext.vlm.questions import Questions, Told

HEADS = (*BINARY_HEADS, *CHOICES)
FILES = sorted((conf_folder() / "vlm" / "prompts").glob("*.yaml"))


def prompts(path: Any = FILES[0]) -> dict[str, Any]:
    content = OmegaConf.to_container(OmegaConf.load(path))
    assert isinstance(content, dict)
    return {str(key): value for key, value in content.items()}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_version_asks_every_head_in_five_wordings_and_more(path: Any) -> None:
    questions = Questions(prompts(path), HEADS)
    assert questions.version == path.stem
    for head, wordings in questions.wordings.items():
        assert len({wording.text for wording in wordings}) == len(wordings), "no wording twice"
        assert all(set(wording.options.values()) == set(classes_of(head)) for wording in wordings)
        per_wording = 4 if head in BINARY_HEADS else 2
        assert len(wordings) >= 5 * per_wording
        assert len(wordings) % per_wording == 0
    for wording in questions.wordings["incongruent"]:
        assert wording.options["yes"] == ("no" if "-match-" in wording.name else "yes")
        assert wording.text.endswith("yes or no." if wording.name.endswith("yes_first") else "no or yes.")
    halves = [w.options["yes"] for w in questions.wordings["incongruent"]]
    assert halves.count("yes") == halves.count("no"), "a model that always says yes is at 0.5"


def test_letters_stand_for_classes_in_both_orders() -> None:
    forward, reverse = Questions(prompts(), ["type"]).wordings["type"][:2]
    assert tuple(forward.options) == tuple(reverse.options) == tuple("ABCDEF")
    assert list(forward.options.values()) == list(reverse.options.values())[::-1]
    assert "A: words and face agree" in forward.text
    assert "F: words and face agree" in reverse.text


def test_what_is_told_comes_before_the_question() -> None:
    questions = Questions(prompts(), ["incongruent"])
    wording = questions.wordings["incongruent"][0]
    told = Told("I {n} am\nfine {transcript}", "How are you?", "pitch high")
    text = questions.text(wording, told, "video", 4)
    lines = text.splitlines()
    assert "as 4 pictures" in lines[0]
    assert "How are you?" in lines[1]
    assert 'The person says: "I {n} am fine {transcript}"' in lines[2]
    assert "pitch high" in lines[3]
    assert text.endswith(wording.text)
    assert questions.text(wording, Told(), "video", 0) == wording.text


def test_prompts_that_cannot_be_used_say_why() -> None:
    with pytest.raises(ConfigError, match="there is no question 'mood'"):
        Questions(prompts(), ["mood"])
    few = prompts()
    few["yes_no"]["incongruent"] = few["yes_no"]["incongruent"][:4]
    with pytest.raises(ConfigError, match="'incongruent' has fewer than 5 wordings"):
        Questions(few, ["incongruent"])
    other = prompts()
    other["choices"]["type"]["options"] = {"a": "b"}
    with pytest.raises(ConfigError, match="the options of 'type' must be congruent"):
        Questions(other, ["type"])
    for part in ("yes_no", "parts", "orders", "content_free"):
        with pytest.raises(ConfigError, match="is missing or of another form"):
            Questions({k: v for k, v in prompts().items() if k != part}, ["incongruent"])


def test_ether_s_view_is_made_of_ours() -> None:
    assert set(ETHER_OF_TYPE) == set(INCONGRUENCE_TYPES)
    assert set(ETHER_OF_TYPE.values()) == set(ETHER_TYPES)
    for said, shown in itertools.product((-1, 0, 1), repeat=2):
        theirs = ETHER_OF_TYPE[incongruence_type(said, shown)]
        assert (theirs == "minimizing") == ((said, shown) == (-1, 0)), "distress in words, a face that stays neutral"
        assert (theirs != "none") == IncongruenceRule().is_incongruent(said, shown)
