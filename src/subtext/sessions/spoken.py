r"""What of a written line is spoken: words apart from labels of speakers, events in brackets, marks of layout.

Recognisers and subtitle editors write beside the words who speaks (`[SPEAKER_00]: `), what else is heard (`[Music]`,
`(laughs)`) and where it is shown (`{\an8}`, `>>`). A model of words must not read them.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_MARKS: Final = re.compile(r"\{\\[^{}]*\}|(?m:^[ \t]*>{2,}[ \t]*)")
"""Overrides of SubStation Alpha, and the mark of teletext for another speaker: no speech, unlike other braces."""

_ANY: Final = r"(?:speaker|spk|spkr)[ _-]?(?:\d{1,3}|[A-Za-z]\b|\?)"
_LABEL: Final = re.compile(
    rf"^[ \t]*(?:\[[ \t]*(?P<a>{_ANY})[ \t]*\]:?|\([ \t]*(?P<b>{_ANY})[ \t]*\):?|(?P<c>{_ANY}):(?=\s|$)"
    r"|\[(?P<d>[^\[\]\n]{0,40}[^\W\d_][^\[\]\n]{0,40})\]:(?=\s|$))[ \t]*",
    re.IGNORECASE | re.MULTILINE,
)
"""A label that only a machine writes, or a name in square brackets with a colon behind it."""
_NAME: Final = re.compile(r"^[ \t]*(?P<a>[^\W\d_][\w.'’-]{0,29}(?: [\w.'’-]{1,30}){0,2}):[ \t]+(?=\S)")

_GROUP: Final = re.compile(r"\[[^\[\]]*\]|\(\([^()]*\)\)|\([^()]*\)|\*[^*\n]*\*")
_HEARD: Final = re.compile(
    r"\b(?:(?:laugh|chuckl|giggl|snicker|sigh|cough|sneez|sniff|groan|gasp|moan|inhal|exhal|breath|yawn|mumbl|whisper"
    r"|applau|unintelligib|inaudib|indistinct)\w*|(?:cry|weep|scream|clap|hum|sob)(?:s|ing|ming|bing|ping)?|cries"
    r"|clear\w* throat|throat clear\w*|music|silence|pause|crosstalk|blank.?audio|speaker.turn|noise)\b",
    re.IGNORECASE,
)
_PERSON: Final = re.compile(r"\b(?:i|me|my|you|your|we|us|our|he|him|she|her|they|them)\b", re.IGNORECASE)
_SENTENCE: Final = re.compile(r"[.?!]\W?$")
_MOST_WORDS: Final = 4


@dataclass(frozen=True)
class Spoken:
    """A line taken apart.

    Attributes:
        words: what is said, empty where nobody speaks.
        events: what else is heard, as written: `("[Music]",)`.
        speaker: whom a label names, None without one or where several people speak.
    """

    words: str
    events: tuple[str, ...] = ()
    speaker: str | None = None


def spoken(text: str, names: bool = False) -> Spoken:
    """Take a text apart.

    Args:
        text: as a file has it.
        names: whether any name with a colon before a line is a label, see `begin_with_names`.

    Example:
        >>> spoken("[SPEAKER_00]: Fine. (laughs)")
        Spoken(words='Fine.', events=('(laughs)',), speaker='SPEAKER_00')
    """
    labels: list[str] = []

    def labelled(found: re.Match[str]) -> str:
        label = next(part for part in found.groups() if part is not None).strip()
        if found.lastgroup == "d" and _HEARD.search(label):
            return found.group()
        labels.append(label)
        return ""

    text = _LABEL.sub(labelled, _MARKS.sub("", text))
    if names:
        text = "\n".join(_NAME.sub(labelled, line) for line in text.split("\n"))
    words, events = _without_events(text)
    speakers = dict.fromkeys(label for label in labels if not label.endswith("?"))
    return Spoken(words, events, next(iter(speakers)) if len(speakers) == 1 else None)


def begin_with_names(texts: Sequence[str]) -> bool:
    """Whether every one of several texts begins with a name and a colon: then these are labels; in one they are words.

    Texts in which nobody speaks do not count.
    """
    words = [found.words for found in map(spoken, texts) if found.words and found.speaker is None]
    return len(words) > 1 and all(map(_NAME.match, words))


def _without_events(text: str) -> tuple[str, tuple[str, ...]]:
    groups = _GROUP.findall(text)
    if not any(map(str.isalnum, _GROUP.sub("", text))):  # nothing but brackets, notes of music, dashes
        if not any(map(_is_speech, groups)):
            rest = text.strip()
            return "", tuple(groups) or ((rest,) if rest else ())
        return text.strip(), ()
    events: list[str] = []

    def heard(found: re.Match[str]) -> str:
        inside = found.group()
        if inside[0] == "*" or not _HEARD.search(inside) or _is_speech(inside) or len(inside.split()) > _MOST_WORDS:
            return inside
        events.append(inside)
        return ""

    without = _GROUP.sub(heard, text)
    if not events:
        return text.strip(), ()
    lines = (" ".join(line.split()) for line in without.split("\n"))
    return "\n".join(line for line in lines if line).strip(), tuple(events)


def _is_speech(group: str) -> bool:
    """Whether brackets hold words that somebody says, which round ones may: an aside, or what was hard to hear."""
    if group[0] != "(" or group.startswith("(("):
        return False
    return bool(_PERSON.search(group) or (_SENTENCE.search(group) and not _HEARD.search(group)))
