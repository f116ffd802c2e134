"""Words, sentences and phrases of replies: what every measure reads."""

import functools
import re
from collections.abc import Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Final

from subtext.core.yaml_file import read_yaml
from subtext.errors import ConfigError

LONGEST: Final = 10_000
"""Characters beyond which a reply is not scored: no reply in a conversation, and every measure would be its length."""
ENGLISH: Final = "en"
_SURE: Final = 8
"""Different words from which on a text's language can be told: of AnnoMI's shorter ones one in five looks foreign."""
_WORD: Final = re.compile(r"[^\W_]+(?:['-][^\W_]+)*")
_SENTENCE_END: Final = re.compile(r"(?<=[.!?\u2026])\s+")
_VOWELS: Final = re.compile(r"[aeiouy]+")


def plain(text: str) -> str:
    """Lower case, with straight apostrophes."""
    return text.lower().replace("\u2019", "'").replace("\u2018", "'")


def words_of(text: str) -> list[str]:
    """Words in lower case; apostrophes and hyphens inside them stay.

    >>> words_of("It\u2019s just work.")
    ["it's", 'just', 'work']
    """
    return _WORD.findall(plain(text))


def sentences_of(text: str) -> list[str]:
    """What stands between ends of sentences, without what holds no word."""
    return [part for part in _SENTENCE_END.split(text.strip()) if _WORD.search(part)]


def ngrams(words: Sequence[str], size: int) -> list[tuple[str, ...]]:
    """Every run of `size` words, in order."""
    return [tuple(words[first : first + size]) for first in range(len(words) - size + 1)]


def syllables(word: str) -> int:
    """Groups of vowels, without a silent e at the end; at least 1."""
    found = len(_VOWELS.findall(word))
    if word.endswith("e") and not word.endswith(("le", "ee")) and found > 1:
        found -= 1
    return max(1, found)


@functools.cache
def phrases(group: str) -> re.Pattern[str]:
    """A pattern for any phrase of a group of `lexicon.yaml`, for text that `plain` made."""
    spelled = "|".join(re.escape(phrase).replace(r"\ \*\ ", r"\ \w{3,}") for phrase in _ordered(phrase_list(group)))
    return re.compile(rf"(?<![\w'])(?:{spelled})(?![\w'])")


def phrase_list(group: str) -> list[str]:
    """The phrases of a group of `lexicon.yaml`."""
    return [phrase for line in _lexicon()[group] for phrase in line]


@functools.cache
def _lexicon() -> dict[str, list[list[str]]]:
    lexicon: dict[str, list[list[str]]] = read_yaml(Path(str(files("subtext.replies") / "lexicon.yaml")), ConfigError)
    return lexicon


def _ordered(found: Iterable[str]) -> list[str]:
    return sorted(found, key=len, reverse=True)


def language(text: str) -> str:
    """The language's code (ISO 639-1) by py3langid; English where too few different words tell.

    Raises:
        ConfigError: py3langid is not installed.
    """
    if len(set(words_of(text))) < _SURE:
        # Letters of other scripts tell a language even in a few words.
        letters = [letter for letter in text if letter.isalpha()]
        if sum(letter.isascii() for letter in letters) >= len(letters) / 2:
            return ENGLISH
    try:
        import py3langid
    except ImportError as error:
        raise ConfigError("py3langid is missing; run: pip install 'subtext[replies]'") from error
    code, _ = py3langid.classify(text)
    return ENGLISH if code in _TAKEN_FOR_ENGLISH else str(code)


_TAKEN_FOR_ENGLISH: Final = ("en", "pcm")
"""Of AnnoMI's utterances from eight words on, py3langid takes a few for Nigerian Pidgin."""
