"""Every behavioural measure with its formula, unit, range and source: what the tables' columns mean."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import pandas as pd

from subtext.core.templates import table_of

Level = Literal["session", "person", "turn"]


@dataclass(frozen=True)
class Measure:
    """One column of the tables of `subtext.behaviour.session`.

    Attributes:
        name: the column.
        level: one value a session, a person of a session, or a turn.
        unit: s, dB ...; "1" for a share or a correlation.
        range: from least to largest possible value.
        formula: in words.
        source: paper of the measure or of the idea; "own definition" where there is none.
        caution: what it does not mean.
    """

    name: str
    level: Level
    unit: str
    range: str
    formula: str
    source: str
    caution: str


_TURN_TAKING: Final = "Levinson & Torreira 2015, Timing in turn-taking and its implications for processing models"
_BACKCHANNEL: Final = "Yngve 1970, On getting a word in edgewise; Ward & Tsukahara 2000, J. Pragmatics 32; our rule"
_GAZE: Final = "proxy after Stiefelhagen & Zhu 2002, Head orientation and gaze direction in meetings; our thresholds"
_MOTION: Final = (
    "Ramseyer & Tschacher 2014, Front. Psychol. 5:979 (head movement); displacement as OpenDBM's mov_headvel"
)
_PITCH: Final = "Boersma 1993 (F0), as in subtext.media.prosody"
_WINDOWED: Final = (
    "Boker et al. 2002, Psychol. Methods 7; Ramseyer & Tschacher 2011; Tschacher & Meier 2020; windows after Kousidis "
    "et al. 2008"
)
_LOCAL: Final = "Levitan & Hirschberg 2011 (local synchrony), here of whole turns; chance after Moulder et al. 2018"
_OWN: Final = "own definition"
_SOUND: Final = "depends on microphone, distance and gain; compare within a recording only"
_RATES: Final = "depends on how finely the turns were cut"
_PROXY: Final = "not gaze: the eyes may look elsewhere, and the camera is not the other person"
_STILL: Final = "a still head is not 0: the detector's box trembles; a moving camera counts"


def _synchrony(signal: str, what: str) -> list[Measure]:
    """The columns of vocal synchrony in one signal."""
    caution = "not sympathy: see subtext.behaviour.synchrony; meaningless without the chance level beside it"
    windowed = f"of {what}, moving average over each one's own speech"
    return [
        Measure(
            f"{signal}_synchrony",
            "session",
            "1",
            "0 to 9.9",
            f"mean |Fisher z| over lags and segments {windowed}",
            _WINDOWED,
            caution,
        ),
        Measure(
            f"{signal}_synchrony_chance",
            "session",
            "1",
            "0 to 9.9",
            f"{signal}_synchrony over the pairs of segments that do not belong together",
            _WINDOWED,
            "above 0 also where there is no synchrony",
        ),
        Measure(
            f"{signal}_synchrony_effect",
            "session",
            "1",
            "any",
            f"({signal}_synchrony - chance) / standard deviation of the pseudo-interactions",
            _WINDOWED,
            caution,
        ),
        Measure(
            f"{signal}_synchrony_p",
            "session",
            "1",
            "0 to 1",
            "(1 + pseudo-interactions with at least this value) / (1 + pseudo-interactions)",
            _WINDOWED,
            "of one session: correct for many sessions",
        ),
        Measure(
            f"{signal}_synchrony_peak",
            "session",
            "1",
            "-1 to 1",
            "highest mean correlation over the lags",
            _WINDOWED,
            "best of several lags, so above 0 by chance",
        ),
        Measure(
            f"{signal}_synchrony_lag",
            "session",
            "s",
            "-20 to 20 by default",
            "lag of that peak; positive = the second in alphabetical order (counsellor) follows the first (client)",
            _WINDOWED,
            "no cause; meaningless where the effect is small, and no finer than the step between points",
        ),
        Measure(
            f"{signal}_turn_synchrony",
            "session",
            "1",
            "-1 to 1",
            f"Pearson's r of {what} of adjacent turns by different persons",
            _LOCAL,
            caution,
        ),
        Measure(
            f"{signal}_turn_synchrony_chance",
            "session",
            "1",
            "-1 to 1",
            f"mean of {signal}_turn_synchrony over shifted exchanges",
            _LOCAL,
            "its spread is in p",
        ),
        Measure(
            f"{signal}_turn_synchrony_p",
            "session",
            "1",
            "0 to 1",
            "(1 + shifts with at least this r) / (1 + shifts)",
            _LOCAL,
            "near 1 where the voices go against each other; of one session",
        ),
    ]


MEASURES: Final[Sequence[Measure]] = (
    Measure(
        "duration", "session", "s", "above 0", "end of the last turn - start of the first", _OWN, "not the recording's"
    ),
    Measure(
        "turn_count", "session", "turns", "from 0", "turns with a person and times, backchannels too", _OWN, _RATES
    ),
    Measure(
        "overlap_share",
        "session",
        "1",
        "0 to 1",
        "seconds with two or more speakers / seconds with one or more",
        _TURN_TAKING,
        "not interruption: backchannels are in it",
    ),
    *_synchrony("f0", "log F0"),
    *_synchrony("energy", "level in dB"),
    Measure(
        "speaking_time",
        "person",
        "s",
        "from 0",
        "length of the union of the person's turns",
        _OWN,
        "pauses inside a turn are in it",
    ),
    Measure(
        "talk_share",
        "person",
        "1",
        "0 to 1, sum 1",
        "speaking_time / sum over all persons, of whom there must be two",
        _OWN,
        "tells nothing of what is said; much talk may be engagement or evasion",
    ),
    Measure("turn_rate", "person", "1/min", "from 0", "turns that are no backchannels / duration in min", _OWN, _RATES),
    Measure("turn_duration", "person", "s", "above 0", "median length of turns that are no backchannels", _OWN, _RATES),
    Measure(
        "latency",
        "person",
        "s",
        "any",
        "median of the turns' latency",
        _TURN_TAKING,
        "as exact as the turns' times; needs no reason to be the same for question and statement",
    ),
    Measure(
        "backchannel_rate",
        "person",
        "1/min",
        "from 0",
        "backchannels / minutes that others speak",
        _BACKCHANNEL,
        "short answers can pass for them; nods are not seen",
    ),
    Measure(
        "facing_share",
        "person",
        "1",
        "0 to 1",
        "pictures with the face turned to the camera / pictures with landmarks, speaking and listening",
        _GAZE,
        _PROXY,
    ),
    Measure(
        "head_speed",
        "person",
        "face widths/s",
        "from 0",
        "median over pictures of the face's displacement / face width / time, speaking and listening",
        _MOTION,
        _STILL,
    ),
    Measure(
        "face_share",
        "person",
        "1",
        "0 to 1",
        "pictures with a face / pictures",
        _OWN,
        "low = the two measures above rest on a selection",
    ),
    Measure("duration", "turn", "s", "above 0", "end - start", _OWN, _RATES),
    Measure(
        "latency",
        "turn",
        "s",
        "any",
        "start - end of the speech of the person who had the floor; negative = overlap",
        _TURN_TAKING,
        "missing where the floor does not pass from another person",
    ),
    Measure(
        "overlap_share",
        "turn",
        "1",
        "0 to 1",
        "seconds in which others speak too / duration",
        _TURN_TAKING,
        "not interruption",
    ),
    Measure(
        "backchannel",
        "turn",
        "",
        "true, false",
        "short, of listeners' words, inside or between another's turns",
        _BACKCHANNEL,
        "short answers can pass for it",
    ),
    Measure(
        "f0",
        "turn",
        "Hz",
        "60 to 500",
        "geometric mean of F0 over voiced frames without overlap",
        _PITCH,
        "octave errors happen; differs with sex and age: compare within a speaker",
    ),
    Measure("energy", "turn", "dB", "-100 to 0", "mean level of the same frames, full scale = 0", _OWN, _SOUND),
    Measure(
        "voiced_share",
        "turn",
        "1",
        "0 to 1",
        "voiced frames / frames, without overlap",
        _PITCH,
        "low also for whisper, noise and long pauses",
    ),
    Measure(
        "facing_share",
        "turn",
        "1",
        "0 to 1",
        "pictures with the speaker's face turned to the camera / pictures with landmarks",
        _GAZE,
        _PROXY,
    ),
    Measure(
        "head_speed",
        "turn",
        "face widths/s",
        "from 0",
        "median of the speaker's head speed during the turn",
        _MOTION,
        _STILL,
    ),
    Measure("face_share", "turn", "1", "0 to 1", "pictures with the speaker's face / pictures", _OWN, "as above"),
)
"""In the order of the tables' columns."""


def names(level: Level) -> list[str]:
    """The measures of a level, in order."""
    return [measure.name for measure in MEASURES if measure.level == level]


def measures_table() -> pd.DataFrame:
    """All measures, one a row."""
    return pd.DataFrame([vars(measure) for measure in MEASURES])


def measures_markdown() -> str:
    """All measures as a Markdown table."""
    found = measures_table()
    return table_of(found.columns, found.to_numpy(dtype=str))
