"""Files of turns, words, ratings and schemes with anything in them: read, or refused with a word of ours and none of
theirs.
"""

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders.elan_text import elan_text
from subtext.annotation.codebook_file import read_codebook
from subtext.annotation.rater_files import read_rater_files
from subtext.annotation.turn_table import read_turn_table
from subtext.errors import SubtextError
from subtext.sessions.session import read_session
from subtext.sessions.turns import read_session_turns
from subtext.sessions.words import read_words

CANARY = "zanzibar"

SRT = f"1\n00:00:01,000 --> 00:00:02,000\n{CANARY}: <i>yes</i>\n\n2\n00:00:03,000 --> 00:00:04,000\n{CANARY}: no\n"
VTT = (
    f"WEBVTT\n\nNOTE {CANARY}\n\n00:01.000 --> 00:02.000 align:start\n<v {CANARY}>yes\n\n00:03.000 --> 00:04.000\nno\n"
)
TABLE = f'start,end,transcript,speaker,role,turn\n0,1.5,"{CANARY}, yes",{CANARY},client,a\n0:02,0:03,no,Bob,client,b\n'
RTTM = f"SPEAKER {CANARY} 1 0.5 1.5 <NA> <NA> {CANARY} <NA> <NA>\nSPEAKER {CANARY} 1 3 1 <NA> <NA> B <NA> <NA>\n"
CTM = f"{CANARY} A 0.1 0.2 {CANARY} 0.9\n{CANARY} A 0.5 0.2 no 0.9\n"
WORDS = f"word,start,end\n{CANARY},0.1,0.3\nno,,\n"
RATINGS = f"session,turn,start,end,rater,incongruent,visual_emotion\ns,{CANARY},0,1,{CANARY},1,sadness\ns,2,1,2,a,0,\n"
LONG = f"session,turn,rater,label,value\ns,{CANARY},{CANARY},incongruent,1\ns,2,a,visual_emotion,fear\n"
YAML = (
    f"name: {CANARY}\ntitle: T\nlabels:\n  mood:\n    scale: ordinal\n    definition: {CANARY}\n"
    f"    values: [low, {CANARY}, high]\n  tone:\n    scale: binary\n    definition: x\n    rules: [{CANARY}]\n"
)
SESSION = (
    f"session: S01\nspeakers: {{client: {CANARY}}}\nroles: {{{CANARY}: client}}\noffsets: {{client.wav: 1.5}}\n"
    "faces: {client: left}\nsplit: train\nframe_rate: 24\ntiers: [client]\nturns: turns.csv\nencoding: utf-8\n"
)
EAF = elan_text(("client", CANARY, CANARY), rating="1")

PIECES = st.sampled_from(
    [
        *(
            "\n",
            "\n\n",
            " ",
            "\t",
            ",",
            ";",
            ":",
            '"',
            "'",
            "\\",
            "{",
            "}",
            "[",
            "]",
            "<",
            ">",
            "-->",
            "&lt;",
            "@",
            "|",
        ),
        *("0", "-1", "1e999", "nan", "9" * 4400, "1_0", "0:61", "99:99:99,999", "null", "true", "~", "!!python/x y"),
        *(
            "\ufeff",
            "\x00",
            "\x1b",
            "\u2028",
            "\ud83d".encode("utf-8", "replace").decode(),
            "שלום",
            "&a",
            "*a",
            "<<: x",
        ),
        *(CANARY, f"{CANARY} --> {CANARY}", f"{CANARY}:", f"[{CANARY}]", f"<{CANARY}>", f"'{CANARY}", f'"{CANARY}"'),
        *("start", "transcrpt", "<NA>", "SPEAKER", "WEBVTT", "(", "*", "♪", "2001-99-99", "{" * 50, "? - - -"),
    ]
)


@st.composite
def spoilt(draw: st.DrawFn, text: str) -> bytes:
    """A good file with pieces put in, left out, doubled and moved, and with bytes changed."""
    for _ in range(draw(st.integers(1, 4))):
        at, length = draw(st.integers(0, len(text))), draw(st.integers(0, 30))
        middle = draw(st.one_of(PIECES, st.text(max_size=8), st.just(text[at : at + length] * 2)))
        text = text[:at] + middle + text[at + length :]
    content = bytearray(text.encode("utf-8", "replace"))
    if content and draw(st.integers(0, 9)) == 0:
        content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    return bytes(content)


NAMES = ("start", "end", "transcript", "text", "speaker", "words", "word", "segments", "role", "turn", "diarization")
MORE = ("wordLevelTranscription", "word_segments", "output", "annotations", "result", "data", "value", "labels", "id")
VALUES = st.recursive(
    st.one_of(
        *(
            st.none(),
            st.booleans(),
            st.integers(-3, 9),
            st.just(10**400),
            st.floats(),
            st.just(CANARY),
            st.just("0:01"),
        ),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from([*NAMES, *MORE, CANARY]), inner, max_size=5),
    ),
    max_leaves=12,
)


def check(read: Callable[[Path], object], path: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """Read it, or fail for a reason that a person can act on, in one line, without what stands in it."""
    path.write_bytes(content)
    caplog.clear()
    told = ""
    try:
        read(path)
    except SubtextError as error:
        told = str(error)
    assert CANARY not in told, told
    assert "\n" not in told
    assert CANARY not in caplog.text


def rater_files(path: Path) -> object:
    return read_rater_files([path], read_codebook(), session="s")


def session(path: Path) -> object:
    (path.parent / "turns.csv").write_text("start,end,role,transcript\n0,1,client,yes\n")
    (path.parent / "client.wav").touch()
    return read_session(path.parent)


READERS = {
    "turns.srt": (read_session_turns, SRT, 150),
    "turns.vtt": (read_session_turns, VTT, 150),
    "turns.csv": (read_session_turns, TABLE, 150),
    "turns.tsv": (read_session_turns, TABLE.replace(",", "\t"), 50),
    "turns.txt": (read_session_turns, SRT, 50),
    "turns.rttm": (read_session_turns, RTTM, 100),
    "turns.eaf": (read_session_turns, EAF, 80),
    "words.ctm": (read_words, CTM, 100),
    "words.csv": (read_words, WORDS, 100),
    "ratings.csv": (rater_files, RATINGS, 40),
    "long.csv": (rater_files, LONG, 40),
    "ratings.eaf": (rater_files, EAF, 40),
    "table.csv": (read_turn_table, TABLE, 40),
    "codebook.yaml": (read_codebook, YAML, 100),
    "session.yaml": (session, SESSION, 80),
}


@pytest.mark.parametrize("name", READERS)
def test_a_spoilt_file_is_read_or_refused(
    name: str, tmp_path_factory: pytest.TempPathFactory, caplog: pytest.LogCaptureFixture
) -> None:
    read, text, examples = READERS[name]
    folder = tmp_path_factory.mktemp("fuzzed")
    caplog.set_level(logging.INFO)

    @settings(max_examples=examples, deadline=None, derandomize=True, database=None)
    @given(spoilt(text))
    def every(content: bytes) -> None:
        check(read, folder / name, content, caplog)

    (folder / name).write_text(text)
    read(folder / name)  # what is spoilt below is good here
    every()


@pytest.mark.parametrize("name", ["turns.json", "turns.jsonl", "words.json"])
def test_json_of_any_kind_is_read_or_refused(
    name: str, tmp_path_factory: pytest.TempPathFactory, caplog: pytest.LogCaptureFixture
) -> None:
    read = read_words if name.startswith("words") else read_session_turns
    folder = tmp_path_factory.mktemp("fuzzed")
    caplog.set_level(logging.INFO)
    turn = st.fixed_dictionaries({"start": VALUES, "end": VALUES, "transcript": VALUES}, optional={"speaker": VALUES})
    word = st.fixed_dictionaries({"word": VALUES, "start": VALUES, "end": VALUES})
    segments = st.lists(
        st.fixed_dictionaries({"start": VALUES, "end": VALUES}, optional={"words": st.one_of(VALUES, st.lists(word))}),
        max_size=3,
    )
    kinds = [VALUES, st.lists(turn, max_size=3), st.fixed_dictionaries({"segments": st.one_of(segments, VALUES)})]
    more = [st.fixed_dictionaries({key: VALUES}, optional={"end": VALUES}) for key in (*NAMES, *MORE) if key != "end"]
    more.append(
        st.fixed_dictionaries({"diarization": segments, "wordLevelTranscription": st.one_of(VALUES, st.lists(word))})
    )

    @settings(max_examples=250, deadline=None, derandomize=True, database=None)
    @given(st.one_of(*kinds, *more))
    def every(content: object) -> None:
        lines = content if name.endswith("l") and isinstance(content, list) else [content]
        check(read, folder / name, "\n".join(map(json.dumps, lines)).encode(), caplog)

    every()


@pytest.mark.parametrize("name", [name for name in READERS if name != "session.yaml"])
def test_a_large_file_of_one_sign_is_done_at_once(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    read, text, _ = READERS[name]
    for sign in (" ", "(", "[", "{\\", "<", "-->", "*", '"'):
        check(read, tmp_path / name, text.encode() + (sign * 20_000).encode(), caplog)
