"""Files of turns, ratings and schemes that are read wrongly: refused in one line that says where, or read as meant.

Every file holds a canary in place of words, names and ids; no stream and no log shows it.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from builders.commands import Done, command_here
from builders.elan_text import elan_text
from builders.talking_face import write_talking_face

CANARY = "zanzibar"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_talking_face(tmp_path_factory.mktemp("clip") / "clip.mp4", seconds=2.0, width=160, height=120, fps=5)


RTTM = f"SPEAKER {CANARY} 1 {{}} 1 <NA> <NA> {{}} <NA> <NA>\n"
UNUSABLE = {
    "no header": (
        "t.csv",
        f"0,1,{CANARY}\n1,2,{CANARY}\n",
        ["turn 1 has no start, end, transcript", "name the columns"],
    ),
    "a slip in the header": (
        "t.csv",
        f"start,end,transcrpt\n0,1,{CANARY}\n",
        ["did you mean transcript? (header cell 3)"],
    ),
    "a slip in a key": (
        "t.json",
        f'[{{"start": 0, "end": 1, "trnscript": "{CANARY}"}}]',
        ["did you mean transcript?", " 3)"],
    ),
    "words among times": ("t.csv", f"start,end,transcript\n0,1,a\n1,{CANARY},b\n", ["turn 2, end: not a time"]),
    "an underscore": ("t.csv", "start,end,transcript\n0,1_0,a\n", ["turn 1, end: not a time"]),
    "a column twice": ("t.csv", f"{CANARY},start,end,transcript,{CANARY}\nx,0,1,a,b\n", ["header cells 1 and 5"]),
    "an open quote": ("t.csv", f'start,end,transcript\n0,1,"{CANARY}\n', ["line 2", "check its quotes"]),
    "a cell too many": ("t.csv", f"start,end,transcript\n0,1,{CANARY},{CANARY}\n", ["line 2 has more cells"]),
    "a time in words": (
        "t.json",
        f'{{"segments": [{{"start": "{CANARY}", "end": 1, "text": "{CANARY}"}}]}}',
        ["segments, entry 1, start: not a time"],
    ),
    "nobody speaks": ("t.rttm", RTTM.format(0, "<NA>"), ["line 1 names no speaker"]),
    "an onset in words": ("t.rttm", RTTM.format(CANARY, "A"), ["line 1: onset and duration must be numbers"]),
    "two recordings": (
        "t.rttm",
        RTTM.format(0, "A") + RTTM.format(0, "A").replace(CANARY, f"{CANARY}2"),
        ["line 2: of a second recording"],
    ),
    "a blank in the words of RTTM": ("t.rttm", f"SPEAKER s 1 0 1 {CANARY} a b <NA> A <NA>\n", ["line 1 has 11 fields"]),
    "no cue": ("t.srt", f"{CANARY} --> {CANARY}\n", ["no turn in it", "-->"]),
    "another encoding": ("t.srt", f"1\n00:00:00,000 --> 00:00:01,000\n{CANARY} é\n".encode("latin-1"), ["byte 41"]),
    "lists in lists": ("t.json", "[" * 100_000, ["line 1"]),
    "thousands of digits": ("t.jsonl", f'{{"start": {"1" * 5000}, "end": 1, "transcript": "{CANARY}"}}', ["line 1"]),
    "two tiers of one": (
        "t.eaf",
        elan_text((f"{CANARY}1", "P1", CANARY), ("x", "P2", "no"), (f"{CANARY}2", "P1", CANARY)),
        ["tiers 1, 3", "tiers: "],
    ),
    "a DOCTYPE": ("t.eaf", f'<!DOCTYPE a [<!ENTITY b "{CANARY}">]><a>&b;</a>', ["has a DOCTYPE"]),
    "half of a file": ("t.eaf", elan_text((CANARY, CANARY, CANARY))[:700], ["not readable as an ELAN file"]),
}


@pytest.mark.parametrize("fault", UNUSABLE)
def test_a_file_of_turns_that_cannot_be_used_is_refused_with_its_place(
    fault: str, untrained_run: Path, clip: Path, tmp_path: Path
) -> None:
    name, content, named = UNUSABLE[fault]
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    done = command_here("predict", str(untrained_run), str(clip), "--turns", name, folder=tmp_path)
    done.refused(name, *named)
    assert CANARY not in done.said


def cue(start: str, end: str, words: str) -> str:
    return f"00:00:{start} --> 00:00:{end}\n{words}\n"


FIRST, SECOND = ("00.000", "01.000"), ("01.000", "02.000")
READ: dict[str, tuple[str, str, list[dict[str, Any]]]] = {
    "a label": (
        "clip.srt",
        f"1\n{cue(*FIRST, f'[{CANARY}]: Fine.')}\n2\n{cue(*SECOND, '(speaker 1) No.')}",
        [{"transcript": "Fine.", "speaker": CANARY}, {"transcript": "No.", "speaker": "speaker 1"}],
    ),
    "names": (
        "clip.srt",
        f"1\n{cue(*FIRST, f'{CANARY}: Fine.')}\n2\n{cue(*SECOND, 'Ann: No.')}",
        [{"transcript": "Fine.", "speaker": CANARY}, {"transcript": "No.", "speaker": "Ann"}],
    ),
    "an event": (
        "clip.mp4.srt",
        f"1\n{cue(*FIRST, f'[{CANARY}]')}\n2\n{cue(*SECOND, '(laughs) No.')}",
        [{"transcript": None, "events": f"[{CANARY}]", "abstain": True}, {"transcript": "No.", "events": "(laughs)"}],
    ),
    "layout": ("clip.srt", "1\n" + cue(*FIRST, r"{\an8}{\i1}Fine{\i0}, {really}"), [{"transcript": "Fine, {really}"}]),
    "joined files": (
        "clip.srt",
        f"\ufeff\ufeff1\n{cue(*FIRST, 'Fine.')}\n\ufeff2\n{cue(*SECOND, 'No.')}\n3\n",
        [{"transcript": "Fine."}, {"transcript": "No."}],
    ),
    "a line of one blank": ("clip.vtt", "WEBVTT\n\n" + cue(*FIRST, " \nFine."), [{"transcript": "Fine."}]),
    "captions that roll": (
        "clip.vtt",
        "WEBVTT\n\n"
        + "\n".join(
            [
                cue("00.000", "00.800", " \nI am"),
                cue("00.800", "00.810", "I am\n "),
                cue("00.810", "01.500", "I am\nso tired"),
                cue("01.500", "01.510", "so tired\n "),
            ]
        ),
        [{"transcript": "I am"}, {"transcript": "so tired"}],
    ),
    "no end": (
        "clip.csv",
        f"start,end,transcript\n0,,{CANARY}\n1,2,No.\n",
        [{"error": "the turn has no end, and another one begins after it; give it an end"}, {"transcript": "No."}],
    ),
    "a time of thousands of digits": (
        "clip.srt",
        f"1\n{'9' * 5000}:{cue(*FIRST, CANARY)}\n2\n{cue(*SECOND, 'No.')}",
        [{"error": "line 2 is not a timing; write 00:00:01.000 --> 00:00:02.500"}, {"transcript": "No."}],
    ),
    "a short turn": (
        "clip.csv",
        "start,end,transcript\n0,0.5,Fine.\n1,1.02,No.\n",
        [{"warnings": []}, {"warnings": ["the turn lasts less than 0.1 s, too short for a word; check the times"]}],
    ),
}


@pytest.fixture(scope="module")
def predicted(
    untrained_run: Path, clip: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Done, dict[str, list]]:
    """One command over a recording for each fault."""
    folder = tmp_path_factory.mktemp("read")
    for fault, (name, text, _) in READ.items():
        (folder / "in" / fault).mkdir(parents=True)
        shutil.copy(clip, folder / "in" / fault / "clip.mp4")
        (folder / "in" / fault / name).write_text(text, encoding="utf-8")
    done = command_here("predict", str(untrained_run), "in", folder=folder)
    lines: dict[str, list] = {}
    for line in map(json.loads, done.out.splitlines()):
        lines.setdefault(Path(line["input"]).parent.name, []).append(line)
    return done, lines


@pytest.mark.parametrize("fault", READ)
def test_a_file_of_turns_is_read_as_it_is_meant(fault: str, predicted: tuple[Done, dict[str, list]]) -> None:
    _, lines = predicted
    for line, expected in zip(lines[fault], READ[fault][2], strict=True):
        assert {key: line.get(key) for key in expected} == expected


def test_what_was_odd_is_said_and_not_what_was_said(predicted: tuple[Done, dict[str, list]]) -> None:
    done, _ = predicted
    assert done.code == 1  # some turns could not be done
    assert CANARY not in done.err
    for notice in (
        "names/clip.srt: every turn's words begin with a name and a colon",
        "captions that roll/clip.vtt: its captions roll; lines that 3 cues show again were left out",
        "a short turn/clip.csv: turn 2 lasts less than 0.1 s",
    ):
        assert notice in done.err


LONG = "session,turn,rater,label,value\n"
RATED = {
    "no such value": (
        LONG + f"s,1,a,incongruent,{CANARY}\n",
        ["row 1, column 'value': label 'incongruent': unknown value"],
    ),
    "no such label": (LONG + f"s,1,a,{CANARY},1\n", ["row 1, column 'label': unknown label"]),
    "a slip in a label": (LONG + "s,1,a,incongruant,1\n", ["did you mean 'incongruent'?"]),
    "a slip in the header": (
        f"session,turn,rater,verbl_emotion\ns,1,{CANARY},fear\n",
        ["header cell 4", "verbal_emotion"],
    ),
    "no header": (f"{CANARY},1,a,fear\n{CANARY},2,a,fear\n", ["none of its 4 columns holds a label"]),
    "a time in words": (
        f"session,start,rater,label,value\ns,{CANARY},a,incongruent,1\n",
        ["row 1, column 'start': no time"],
    ),
    "nobody rated": (LONG + f"s,{CANARY},,incongruent,1\n", ["row 1, column 'rater': empty"]),
    "twice": (LONG + f"s,{CANARY},{CANARY},incongruent,1\n" * 2, ["row 1, column 'value': this rater judges"]),
    "backwards": (
        f"session,turn,start,end,rater,incongruent\ns,{CANARY},6,5,a,1\n",
        ["row 1, column 'end': 5 s is before"],
    ),
}


@pytest.mark.parametrize("fault", RATED)
def test_a_rating_that_cannot_be_used_is_refused_with_its_place(fault: str, tmp_path: Path) -> None:
    text, named = RATED[fault]
    (tmp_path / "r.csv").write_text(text)
    done = command_here("data", "agreement", "r.csv", folder=tmp_path)
    done.refused("r.csv", *named)
    assert CANARY not in done.said


SCHEME = (
    f"name: own\nlabels:\n  mood:\n    scale: ordinal\n    definition: {CANARY}\n    values: [low, {CANARY}, high]\n"
)
SCHEMES = {
    "a slip in a key": (
        SCHEME.replace("    values", "    vales"),
        ["label 1: key 3 is unknown", "did you mean 'values'?"],
    ),
    "a key of theirs": (f"{CANARY}: 1\n{SCHEME}", ["key 1 is unknown"]),
    "a key twice": (f"{SCHEME}    {CANARY}: 1\n    {CANARY}: 2\n", ["line 8", "a key stands twice"]),
    "no such scale": (SCHEME.replace("ordinal", CANARY), ["'label 1.scale': unknown value; use one of"]),
    "a name of theirs": (SCHEME.replace("mood", f"{CANARY} x"), ["label 1 cannot be called so"]),
    "one value": (SCHEME.replace(f"low, {CANARY}, high", CANARY), ["'label 1.values': fewer than two"]),
    "a value twice": (SCHEME.replace("high", CANARY.upper()), ["'label 1.values': entry 3 stands twice"]),
    "no such anchor": (f"{SCHEME}    rules: *{CANARY}\n", ["line 7", "undefined alias"]),
    "a tag": (f"{SCHEME}    rules: !{CANARY} x\n", ["line 7", "constructor for the tag"]),
    "thousands of digits": (f"{SCHEME}    minimum: {'9' * 5000}\n", ["not readable as YAML"]),
}


@pytest.mark.parametrize("fault", SCHEMES)
def test_a_codebook_that_cannot_be_used_is_refused_with_its_place(fault: str, tmp_path: Path) -> None:
    text, named = SCHEMES[fault]
    (tmp_path / "own.yaml").write_text(text)
    done = command_here("data", "codebook", "own.yaml", folder=tmp_path)
    done.refused("own.yaml", *named)
    assert CANARY not in done.said


SETTINGS = {
    "a slip in a key": (f"speker: {{client: {CANARY}}}", ["key 1 is unknown; did you mean 'speakers'?"]),
    "no such file": (f"recordings: {{{CANARY}: {CANARY}.mp4}}", ["recordings: entry 1: no such file"]),
    "no number": (f"offsets: {{client.mp4: {CANARY}}}", ["offsets: entry 1: its value is no number"]),
    "no side": (f"faces: {{client: {CANARY}}}", ["faces: entry 1 is no side"]),
    "no split": (f"split: {CANARY}", ["split: no such split"]),
    "no tier": (f"turns: t.eaf\ntiers: [client, {CANARY}]", ["t.eaf: entry 2 of tiers is none of its 1 tiers"]),
    "a role of theirs": ("turns: t.csv", ["turn 1, role: is no role; name client, counsellor"]),
    "no such speaker": ("turns: u.csv", ["turn 2, speaker: has no role"]),
}


@pytest.mark.parametrize("fault", SETTINGS)
def test_a_session_that_cannot_be_used_is_refused_with_its_place(fault: str, clip: Path, tmp_path: Path) -> None:
    text, named = SETTINGS[fault]
    folder = tmp_path / "ether" / "S01"
    folder.mkdir(parents=True)
    shutil.copy(clip, folder / "client.mp4")
    (folder / "session.yaml").write_text(text)
    if "turns" not in text:
        (folder / "turns.csv").write_text(f"start,end,role,transcript\n0,1,client,{CANARY}\n")
    (folder / "t.eaf").write_text(elan_text(("client", "P1", CANARY)))
    (folder / "t.csv").write_text(f"start,end,role,transcript\n0,1,{CANARY},{CANARY}\n")
    (folder / "u.csv").write_text(f"start,end,speaker,transcript\n0,1,client,yes\n1,2,{CANARY},{CANARY}\n")
    done = command_here("data", "build", "ether", f"paths.data={tmp_path}", "--out", "m.parquet", folder=tmp_path)
    done.refused(*named)
    assert CANARY not in done.said
