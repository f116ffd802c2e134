"""`subtext-data behaviour`."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from builders.talking_face import write_talking_face
from subtext.behaviour.measures import MEASURES
from subtext.cli.data import main


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A session of a client on camera and a counsellor of whom there is nothing but turns."""
    write_talking_face(tmp_path / "client.mp4", 5.0)
    rows = pd.DataFrame(
        {
            "id": ["a", "b", "c", "d"],
            "session": "s1",
            "role": ["client", "counsellor", "client", "counsellor"],
            "start": [0.0, 2.1, 2.5, 4.75],
            "end": [2.0, 2.4, 5.0, 6.0],
            "transcript": ["I could not sleep.", "Mm-hm.", "It was the noise.", "The noise?"],
            "video": ["client.mp4", None, "client.mp4", None],
        }
    )
    path = tmp_path / "mine.csv"
    rows.to_csv(path, index=False)
    return path


def test_three_tables_are_written(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = table.parent / "made" / "behaviour.parquet"
    assert main(["behaviour", str(table), "--detector", "haar", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert f"Written: {out} (1 rows" in printed
    (session,) = pd.read_parquet(out).to_dict("records")
    turns = pd.read_parquet(out.with_name("behaviour_turns.parquet"))
    people = pd.read_parquet(out.with_name("behaviour_people.parquet")).set_index("role")
    assert session["duration"] == 6.0
    assert people.loc["client", "talk_share"] == pytest.approx(4.5 / 6.05)
    assert people.loc["counsellor", "backchannel_rate"] == pytest.approx(1 / (4.5 / 60))
    assert turns["latency"].tolist() == pytest.approx([np.nan, np.nan, np.nan, -0.25], nan_ok=True)
    assert turns["f0"].notna().tolist() == [True, False, True, False]
    assert turns["head_speed"].notna().tolist() == [True, False, True, False]
    assert "transcript" not in turns
    assert "sleep" not in turns.to_csv()


def test_weights_are_looked_for_where_the_settings_say(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["behaviour", str(table), f"paths.models={table.parent / 'elsewhere'}"]) != 0
    assert str(table.parent / "elsewhere") in capsys.readouterr().err


def test_without_a_detector_and_sound_only_turns_are_measured(table: Path) -> None:
    out = table.parent / "behaviour.parquet"
    assert main(["behaviour", str(table), "--detector", "none", "--no-sound", "--out", str(out)]) == 0
    turns = pd.read_parquet(out.with_name("behaviour_turns.parquet"))
    assert turns[["f0", "head_speed"]].isna().all().all()
    assert turns["duration"].notna().all()


def test_the_list_names_every_measure_and_needs_no_corpus(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["behaviour", "--list"])
    assert ended.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[0].removeprefix("| ") for line in lines[2:]] == [measure.name for measure in MEASURES]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--by", "speaker", "--detector", "none"], "--by speaker"),
        (["--left", "client", "--right", "client"], "name two people"),
        (["--models", "nowhere"], "--models nowhere: it cannot be opened (No such file or directory); name the folder"),
    ],
)
def test_errors_are_one_line_and_exit_code_2(
    table: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["behaviour", str(table), *arguments]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert message in error


def test_nothing_to_measure_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "words.csv"
    path.write_text("id,session,role,start,transcript\na,s,client,0,Well.\n", encoding="utf-8")
    assert main(["behaviour", str(path), "--detector", "none", "--out", str(tmp_path / "made.parquet")]) == 2
    assert "no turn has both start and end" in capsys.readouterr().err
    assert not (tmp_path / "made.parquet").exists()
