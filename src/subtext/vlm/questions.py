"""Questions in many equivalent wordings, made from a versioned file of templates; none of them is ever chosen.

Formatting alone moves a model's accuracy by up to 76 points (arXiv 2310.11324), and averaging equivalent prompts
improves probabilities (arXiv 2605.00326): so every clip is asked in all wordings, the mean counts, the spread is told.
"""

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from subtext.errors import ConfigError
from subtext.evaluation.prompted import classes_of
from subtext.evaluation.tables import BINARY_HEADS, CHOICES

OF_THE_VOICE: Final = ("vocal_incongruent", "vocal_polarity")
"""Heads that ask for the voice, which a vision-language model knows as words only."""
LEAST_WORDINGS: Final = 5


@dataclass(frozen=True)
class Wording:
    """One way of asking one question.

    Attributes:
        head: the question.
        name: which wording, such as `3-match-no_first`.
        text: the question, with how it is to be answered.
        options: answer -> class of the head; both options of a yes-no question are swapped where it asks for the match.
    """

    head: str
    name: str
    text: str
    options: Mapping[str, str]


@dataclass(frozen=True)
class Told:
    """What a model is told of a clip besides its pictures.

    Attributes:
        transcript: what the person says.
        context: what was said before.
        voice: measured prosody in words.
    """

    transcript: str | None = None
    context: str | None = None
    voice: str | None = None


class Questions:
    """The wordings of the heads that are asked.

    Args:
        prompts: a file of `conf/vlm/prompts`.
        heads: what is asked.

    Raises:
        ConfigError: the file lacks a head or a part, has too few wordings of it, or other classes than the head.
    """

    def __init__(self, prompts: Mapping[str, Any], heads: Sequence[str]) -> None:
        self.version = str(prompts.get("version"))
        self._prompts = prompts
        try:
            self.wordings = {head: self._made(head) for head in heads}
            self._parts: Mapping[str, str] = prompts["parts"]
            self.content_free = str(prompts["content_free"])
        except (KeyError, TypeError, AttributeError) as error:
            raise ConfigError(f"prompts {self.version}: '{error}' is missing or of another form than in v1") from error

    def text(self, wording: Wording, told: Told, mode: str, pictures: int) -> str:
        """What the user's turn says.

        Args:
            wording: the question.
            told: of the clip.
            mode: how frames are given, `images`, `video` or `tiled`.
            pictures: how many; 0 = none.
        """
        parts = [self._parts[mode].format(n=pictures)] if pictures else []
        for name in ("context", "transcript", "voice"):
            value = getattr(told, name)
            if value is not None:
                # Not format: what somebody said may hold braces.
                parts.append(self._parts[name].replace(f"{{{name}}}", " ".join(value.split())))
        return "\n".join([*parts, wording.text])

    def polarity(self) -> list[Wording]:
        """Yes-no questions about the polarity of words and face, as many as about incongruence.

        Each wording's `head` is the column of the label; an answer stands for `negative` or `other`.

        Raises:
            ConfigError: the prompts' file lacks them, or has another number.
        """
        try:
            made = [
                Wording(
                    f"{'verbal' if channel == 'words' else 'visual'}_polarity",
                    f"{n}-{channel}-{first}_first",
                    f"{wording[channel]} {how}",
                    {"yes": wording["asks"], "no": "other" if wording["asks"] == "negative" else "negative"},
                )
                for n, wording in enumerate(self._prompts["polarity_yes_no"], 1)
                for channel in ("words", "face")
                for first, how in zip(("yes", "no"), self._prompts["orders"], strict=True)
            ]
        except (KeyError, TypeError) as error:
            raise ConfigError(f"prompts {self.version}: '{error}' is missing or of another form than in v1") from error
        if len(made) != len(self._made("incongruent")):
            raise ConfigError(f"prompts {self.version}: as many questions must ask for polarity as for incongruence")
        return made

    def _made(self, head: str) -> list[Wording]:
        if head in BINARY_HEADS:
            made = self._yes_no(head)
        elif head in CHOICES:
            made = self._choice(head)
        else:
            raise ConfigError(f"heads: there is no question '{head}'; there are {', '.join((*BINARY_HEADS, *CHOICES))}")
        if len({wording.name.partition("-")[0] for wording in made}) < LEAST_WORDINGS:
            raise ConfigError(f"prompts {self.version}: '{head}' has fewer than {LEAST_WORDINGS} wordings; write more")
        return made

    def _yes_no(self, head: str) -> list[Wording]:
        return [
            Wording(head, f"{n}-{asks}-{first}_first", f"{wording[asks]} {how}", options)
            for n, wording in enumerate(self._prompts["yes_no"][head], 1)
            for asks, options in (("mismatch", {"yes": "yes", "no": "no"}), ("match", {"yes": "no", "no": "yes"}))
            for first, how in zip(("yes", "no"), self._prompts["orders"], strict=True)
        ]

    def _choice(self, head: str) -> list[Wording]:
        choice = self._prompts["choices"][head]
        names = tuple(choice["options"])
        if sorted(names) != sorted(classes_of(head)):
            raise ConfigError(f"prompts {self.version}: the options of '{head}' must be {', '.join(classes_of(head))}")
        made = []
        for n, wording in enumerate(choice["wordings"], 1):
            for order, given in (("forward", names), ("reverse", names[::-1])):
                letters = dict(zip(string.ascii_uppercase, given, strict=False))
                listed = [f"{letter}: {choice['options'][name]}" for letter, name in letters.items()]
                text = "\n".join([wording, *listed, self._prompts["choose"]])
                made.append(Wording(head, f"{n}-{order}", text, letters))
        return made
