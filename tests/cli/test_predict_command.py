"""`subtext-predict` as a person meets it: words and names verbatim, exit codes, one-line errors, nothing lost."""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from builders.talking_face import write_talking_face
from subtext.cli.outcome import finish
from subtext.cli.predict import _OneLine, main
from subtext.errors import SubtextError

ODD_NAME = 'it\'s "a" (test), x=1 {y} é🙃.mp4'
ODD_WORDS = '- Well, I\'m "fine" (really) = {100%}, $HOME; שלום 🙃'


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_talking_face(tmp_path_factory.mktemp("clip") / "clip.mp4", seconds=2.0)


def parsed(text: str) -> list[dict[str, Any]]:
    return [json.loads(line, parse_constant=pytest.fail) for line in text.splitlines()]


def environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "subtext.cli.predict", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment())


def test_names_and_words_pass_verbatim(
    untrained_run: Path, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = tmp_path / ODD_NAME
    shutil.copy(clip, odd)
    assert main([str(untrained_run), str(odd), f"--transcript={ODD_WORDS}"]) == 0
    (line,) = parsed(capsys.readouterr().out)
    assert line["input"] == str(odd)
    assert line["transcript"] == ODD_WORDS
    assert line["missing"] == {}


def test_options_may_stand_anywhere_and_dashes_begin_words(
    untrained_run: Path, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(clip, "-dash.mp4")
    assert main(["--transcript=-no", str(untrained_run), str(clip), "--", "-dash.mp4"]) == 0
    assert [line["transcript"] for line in parsed(capsys.readouterr().out)] == ["-no", "-no"]
    assert main([str(untrained_run), str(clip), "--transcript", "- no, no", str(clip)]) == 0
    assert [line["transcript"] for line in parsed(capsys.readouterr().out)] == ["- no, no", "- no, no"]


def test_a_folder_of_recordings_with_words_beside_them(
    untrained_run: Path, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        shutil.copy(clip, folder / name)
    (folder / "a.srt").write_text(
        "1\n00:00:01,000 --> 00:00:02,000\n- late\n\n2\n00:00:00,000 --> 00:00:01,000\nearly\n"
    )
    (folder / "b.txt").write_text("one turn")
    out = tmp_path / "out.jsonl"
    assert main([str(untrained_run), str(folder), "--out", str(out)]) == 0
    lines = parsed(out.read_text(encoding="utf-8"))
    assert [(line["id"].removeprefix(f"{folder}/"), line["transcript"]) for line in lines] == [
        ("a.mp4#2", "early"),
        ("a.mp4#1", "- late"),
        ("b.mp4", "one turn"),
        ("c.mp4", None),
    ]
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == 4
    assert shown[0].startswith(f"{folder}/a.mp4#2 0:00.00-0:01.00: words-face ")
    assert "abstains: no words" in shown[3]


def test_sorted_by_probability(untrained_run: Path, clip: Path, capsys: pytest.CaptureFixture[str]) -> None:
    turns = clip.parent / "turns.csv"
    turns.write_text("start,end,transcript\n0,0.7,awful\n0.7,1.4,wonderful\n1.4,2,the bus\n")
    assert main([str(untrained_run), str(clip), "--turns", str(turns), "--sort", "probability"]) == 0
    values = [line["prob_incongruent"] for line in parsed(capsys.readouterr().out)]
    assert len(values) == 3
    assert values == sorted(values, reverse=True)


def test_sorted_lines_are_in_the_file_as_they_come(
    untrained_run: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from subtext.prediction.predictor import Predictor

    out = tmp_path / "out.jsonl"
    out.write_text("earlier results, longer than any line that is written now\n" * 99)
    seen: list[int] = []
    predict = Predictor.predict

    def watched(self: Predictor, *arguments: Any) -> Iterator[dict[str, Any]]:
        for line in predict(self, *arguments):
            yield line
            seen.append(len(parsed(out.read_text(encoding="utf-8"))))

    monkeypatch.setattr(Predictor, "predict", watched)
    turns = tmp_path / "turns.csv"
    turns.write_text("start,end,transcript\n0,0.7,awful\n0.7,1.4,wonderful\n1.4,2,the bus é🙃\n")
    assert main([str(untrained_run), str(clip), "--turns", str(turns), "--sort", "probability", "--out", str(out)]) == 0
    assert seen == [1, 2, 3]
    values = [line["prob_incongruent"] for line in parsed(out.read_text(encoding="utf-8"))]
    assert len(values) == 3
    assert values == sorted(values, reverse=True)


def test_names_with_line_breaks_stay_on_one_line(
    untrained_run: Path, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = logging.LogRecord("subtext", logging.WARNING, "", 0, "%s: odd", ("a\nb\x1b[31m.mp4",), None)
    assert _OneLine("%(message)s").format(record) == "a\\nb\\x1b[31m.mp4: odd"
    assert main([str(untrained_run), "gone\n.mp4"]) == 2
    assert capsys.readouterr().err.startswith("ConfigError: INPUT gone\\n.mp4: there is no such file or folder; name a")


def test_what_nothing_foresaw_about_a_file_is_one_line_too(capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> None:
        raise PermissionError(13, "Permission denied", "a\nb")

    assert finish(command) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("PermissionError: a\\nb: Permission denied; check the path")
    with pytest.raises(PermissionError):
        finish(command, debug=True)


def test_a_terminal_gets_readable_lines(
    untrained_run: Path, clip: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main([str(untrained_run), str(clip), "--transcript", "fine"]) == 0
    assert "words-face" in capsys.readouterr().out
    assert main([str(untrained_run), str(clip), "--transcript", "fine", "--json"]) == 0
    assert parsed(capsys.readouterr().out)[0]["transcript"] == "fine"


def test_a_recording_that_fails_is_reported_and_the_others_are_done(
    untrained_run: Path, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty, words = tmp_path / "empty.mp4", tmp_path / "words.mp4"
    empty.touch()
    words.write_text("this is no film")
    assert main([str(untrained_run), str(empty), str(words), str(clip), "--transcript", "fine"]) == 1
    told = capsys.readouterr()
    lines = parsed(told.out)
    assert ["error" in line for line in lines] == [True, True, False]
    assert "0 bytes" in lines[0]["error"]
    assert len([line for line in told.err.splitlines() if "not done" in line]) == 2
    assert "Traceback" not in told.err


def contents(*folders: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for folder in folders for path in folder.iterdir() if path.is_file()}


def latin(folder: Path) -> Path:
    (folder / "latin.txt").write_bytes("caf\xe9".encode("latin-1"))
    return folder / "latin.txt"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["RUN", "what was said, in place of a file " * 9], "words are given with --transcript"),
        (["x" * 300, "CLIP"], "no run folder x"),
        (["RUN", "CLIP", "--out", "x" * 300], "(File name too long); write to another place"),
        (["RUN", "CLIP", "--out", "RUN/model.json"], "is a file of the run"),
        (["RUN", "BESIDE", "--out", "BESIDE.srt"], "is one of the inputs"),
        (["RUN", "LISTED", "--out", "BESIDE"], "is one of the inputs"),
        (["RUN", "LISTED", "--out", "OLD", "--transcript", "x"], "brings its own words"),
        (["RUN", "TWICE", "--out", "OLD"], "'a'"),
        (["RUN", "gone.mp4"], "INPUT gone.mp4: there is no such file or folder"),
        (["gone", "CLIP"], "no run folder gone"),
        (["RUN", "CLIP", "--transcript-file", "gone.txt"], "--transcript-file gone.txt: it cannot be opened"),
        (["RUN", "CLIP", "--transcript-file", "LATIN"], "latin.txt: not valid utf-8 at byte 3"),
        (["RUN", "CLIP", "--encoding", "klingon", "--transcript-file", "LATIN"], "unknown text encoding 'klingon'"),
        (["RUN", "CLIP", "--turns", "LATIN"], "latin.txt: not valid utf-8 at byte 3"),
        (["RUN", "CLIP", "CLIP", "--turns", "TURNS"], "belongs to one recording, but 2 are named"),
        (["RUN", "CLIP", "--out", "no/such/folder.jsonl"], "there is no folder"),
        (["RUN", "CLIP", "--out", "CLIP"], "is one of the inputs"),
        (["RUN", "CLIP", "--turns", "TURNS", "--out", "TURNS"], "is one of the inputs"),
        (["RUN", "CLIP", "--device", "warp"], "--device warp cannot be used"),
        (["RUN", "EMPTY"], "no recording in the folder"),
        (["RUN", "MANIFEST"], "id"),
        (["RUN", "CLIP", "--out", "/dev/full"], "No space left on device"),
    ],
)
def test_what_cannot_be_done_ends_in_one_line_and_code_2(
    arguments: list[str],
    says: str,
    untrained_run: Path,
    clip: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "empty").mkdir()
    latin(tmp_path)
    (tmp_path / "m.csv").write_text("video,transcript\na.mp4,b\n")
    (tmp_path / "t.csv").write_text("start,end,transcript\n0,1,a\n")
    shutil.copy(clip, tmp_path / "beside.mp4")
    (tmp_path / "beside.srt").write_text("1\n00:00:00,000 --> 00:00:01,000\nhi\n")
    (tmp_path / "listed.csv").write_text("id,video,transcript\na,beside.mp4,b\n")
    (tmp_path / "twice.csv").write_text("id,transcript\na,b\na,c\n")
    (tmp_path / "old.jsonl").write_text("earlier results\n")
    before = contents(tmp_path, untrained_run, clip.parent)
    names = {
        "RUN": untrained_run,
        "RUN/model.json": untrained_run / "model.json",
        "BESIDE": tmp_path / "beside.mp4",
        "BESIDE.srt": tmp_path / "beside.srt",
        "LISTED": tmp_path / "listed.csv",
        "TWICE": tmp_path / "twice.csv",
        "OLD": tmp_path / "old.jsonl",
        "CLIP": clip,
        "LATIN": tmp_path / "latin.txt",
        "TURNS": tmp_path / "t.csv",
        "EMPTY": tmp_path / "empty",
        "MANIFEST": tmp_path / "m.csv",
    }
    assert main([str(names.get(a, a)) for a in arguments]) == 2
    told = capsys.readouterr()
    (line,) = told.err.splitlines()
    assert says in line
    with pytest.raises(SubtextError):
        main([*[str(names.get(a, a)) for a in arguments], "--debug"])
    assert contents(tmp_path, untrained_run, clip.parent) == before


@pytest.mark.parametrize("arguments", [[], ["RUN"], ["RUN", "x", "--sort", "size"], ["RUN", "x", "--trans", "y"]])
def test_misuse_shows_the_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert "usage: subtext-predict" in capsys.readouterr().err


def test_help_is_quick_and_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom subtext.cli.predict import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print(sorted({'torch', 'pandas', 'numpy', 'av', 'cv2'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Subtext does not transcribe" in done.stdout
    assert done.stderr.strip() == "[]"


@pytest.mark.slow
def test_prediction_imports_no_training_code(untrained_run: Path, clip: Path) -> None:
    code = (
        "import sys\nfrom subtext.cli.predict import main\ncode = main(sys.argv[1:])\n"
        "heavy = {'pytorch_lightning', 'torchmetrics', 'hydra', 'omegaconf', 'optuna', 'matplotlib', 'sklearn',"
        " 'scipy', 'transformers', 'sentence_transformers', 'tensorboard'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\nsys.exit(code)"
    )
    arguments = [sys.executable, "-c", code, str(untrained_run), str(clip), "--transcript", "fine"]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True, env=environment())
    assert parsed(done.stdout)[0]["missing"] == {}
    assert done.stderr.strip().splitlines()[-1] == "[]"


@pytest.mark.slow
def test_ctrl_c_keeps_what_was_done(untrained_run: Path, clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    for number in range(200):
        (tmp_path / f"{number:03}.mp4").symlink_to(clip)
    with start(untrained_run, *sorted(tmp_path.glob("*.mp4")), "--out", out) as run:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not (out.exists() and out.read_text().count("\n") >= 2):
            time.sleep(0.05)
        run.send_signal(signal.SIGINT)
        shown, told = run.communicate(timeout=60)
    assert run.returncode == 130
    assert "Traceback" not in told
    lines = parsed(out.read_text())
    assert 2 <= len(lines) < 200
    assert len(shown.splitlines()) == len(lines)


@pytest.mark.slow
def test_a_reader_that_goes_away_is_no_error(untrained_run: Path, clip: Path) -> None:
    with start(untrained_run, *[clip] * 20, "--transcript", "fine") as run:
        assert run.stdout is not None
        assert run.stderr is not None
        run.stdout.readline()
        run.stdout.close()
        told = run.stderr.read()
    assert run.returncode == 0
    assert told == ""
