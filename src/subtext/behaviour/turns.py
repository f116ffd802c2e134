"""Turn-taking from who speaks when: talk share, latency, overlap, backchannels.

Every function takes a table of the turns of one session with the columns `person` (a role or a name), `start` and `end`
(s, on one clock), and where words matter `transcript`. Rows without times take part in nothing.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from subtext.core.natural_order import natural
from subtext.sessions.session import union

BACKCHANNEL_WORDS: Final = (
    "absolutely",
    "ah",
    "aha",
    "alright",
    "exactly",
    "good",
    "great",
    "hm",
    "hmm",
    "huh",
    "i see",
    "mhm",
    "mm",
    "mmm",
    "mm hm",
    "mm hmm",
    "mm-hm",
    "mm-hmm",
    "of course",
    "oh",
    "ok",
    "okay",
    "really",
    "right",
    "sure",
    "uh huh",
    "uh-huh",
    "um hm",
    "wow",
    "yeah",
    "yep",
    "yes",
)
"""English; "no" is left out, because it mostly answers."""

Spans = npt.NDArray[np.float64]
"""Start and end in s, `[n, 2]`."""


@dataclass(frozen=True)
class BackchannelRule:
    """What counts as a backchannel; see `backchannels`.

    Attributes:
        longest: s; a longer turn is none.
        resume: s within which the other must speak on after it.
        words: what it may consist of, in any order and number; None = length and place alone decide, for other
            languages than English. A turn without a transcript is judged by length and place too.
    """

    longest: float = 1.0
    resume: float = 2.0
    words: Collection[str] | None = BACKCHANNEL_WORDS


def merged(spans: Spans) -> Spans:
    """The same stretches without overlap, in order of time."""
    return np.array(union(spans.tolist()), dtype=np.float64).reshape(-1, 2)


def shared_seconds(start: float, end: float, spans: Spans) -> float:
    """Seconds of a stretch that lie in `spans`, which must not overlap each other."""
    return float(np.clip(np.minimum(spans[:, 1], end) - np.maximum(spans[:, 0], start), 0, None).sum())


def speaking_time(turns: pd.DataFrame) -> pd.Series:
    """Seconds that each person speaks; a person's turns that overlap each other count once.

    Formula: length of the union of the person's turns. Range: 0 to the length of the session. Backchannels and pauses
    inside a turn are in it, so it depends on how finely the turns were cut.
    """
    timed = _timed(turns)
    return pd.Series(
        {
            person: float(np.diff(merged(_spans(own)), axis=1).sum())
            for person, own in sorted(timed.groupby("person"), key=lambda part: natural(part[0]))
        },
        dtype="float64",
    )


def talk_share(turns: pd.DataFrame) -> pd.Series:
    """Each person's share of the speaking time.

    Formula: `speaking_time` of the person / sum of it over all persons, so that the shares sum to 1; silence does not
    count and overlap counts for both. Range 0 to 1; missing where nobody speaks. It tells nothing of what is said:
    a client who talks a lot may be engaged or evading.
    """
    seconds = speaking_time(turns)
    total = seconds.sum()
    return seconds / total if total > 0 else seconds * np.nan


def overlap_share(turns: pd.DataFrame) -> float:
    """Share of the time with speech in which two or more persons speak.

    Formula: seconds in which at least two persons speak / seconds in which at least one does. Range 0 to 1; missing
    where nobody speaks. Backchannels are in it: overlap is not interruption.
    """
    timed = _timed(turns)
    spans = [merged(_spans(own)) for _, own in timed.groupby("person")]
    if not spans:
        return float("nan")
    times = np.concatenate([np.concatenate([own[:, 0], own[:, 1]]) for own in spans])
    steps = np.concatenate([np.repeat([1, -1], len(own)) for own in spans])
    order = np.argsort(times, kind="stable")
    speakers, seconds = np.cumsum(steps[order])[:-1], np.diff(times[order])
    return float(seconds[speakers >= 2].sum() / seconds[speakers >= 1].sum())


def overlap_shares(turns: pd.DataFrame) -> pd.Series:
    """For each turn the share of it in which somebody else speaks too, 0 to 1; missing without times."""
    timed = _timed(turns)
    others = {person: merged(_spans(timed[timed["person"] != person])) for person in timed["person"].unique()}
    shares = [
        shared_seconds(start, end, others[person]) / (end - start)
        for person, start, end in zip(timed["person"], timed["start"], timed["end"], strict=True)
    ]
    return pd.Series(shares, index=timed.index, dtype="float64").reindex(turns.index)


def backchannels(turns: pd.DataFrame, rule: BackchannelRule | None = None) -> pd.Series:
    """For each turn whether it is a backchannel: a short message of the listener who does not take the floor.

    The concept: Yngve 1970, "On getting a word in edgewise"; Ward & Tsukahara 2000, "Prosodic features which cue
    back-channel responses in English and Japanese". Our rule: the turn lasts at most `rule.longest`, consists of
    `rule.words` where its words are known, and either lies within a turn of somebody else or stands between two turns
    of the same other person who speaks on within `rule.resume` s of its end. A short answer ("Yes.") after which the
    other goes on at once passes too, and nods are not seen.

    Returns:
        nullable boolean; missing without times.
    """
    rule = rule or BackchannelRule()
    timed = _timed(turns)
    person = timed["person"].to_numpy()
    start, end = timed["start"].to_numpy(float), timed["end"].to_numpy(float)
    short = end - start <= rule.longest + 1e-9
    if rule.words is not None and "transcript" in timed:
        pattern = _only(rule.words)
        spoken = timed["transcript"].astype("string").str.lower().str.strip()
        short &= (spoken.isna() | (spoken == "") | spoken.str.fullmatch(pattern).fillna(False)).to_numpy(bool)
    found = np.zeros(len(timed), dtype=bool)
    floor = np.flatnonzero(~short)  # in order of time; the turns that backchannels can belong to
    for place in np.flatnonzero(short):
        other = person[floor] != person[place]
        if np.any(other & (start[floor] <= start[place]) & (end[floor] >= end[place])):
            found[place] = True
            continue
        before = floor[start[floor] <= start[place]]
        after = floor[start[floor] > start[place]]
        if len(before) and len(after):
            speaker = person[before[-1]]
            found[place] = (
                speaker != person[place] and person[after[0]] == speaker and start[after[0]] - end[place] <= rule.resume
            )
    return pd.Series(found, index=timed.index, dtype="boolean").reindex(turns.index)


@dataclass(frozen=True)
class Exchange:
    """The floor passes from one person to another.

    Attributes:
        before: index label of the last turn of the person who had it.
        after: of the turn that takes it.
        offset: s from the end of the one's speech to the start of the other's; negative = overlap.
    """

    before: Any
    after: Any
    offset: float


def exchanges(turns: pd.DataFrame, backchannel: pd.Series | None = None) -> list[Exchange]:
    """Where the floor passes from one person to another, in order of time.

    Backchannels, and turns that begin and end while somebody else's goes on, transfer no floor.

    Args:
        turns: of one session.
        backchannel: which turns to pass over; as `backchannels` gives it where None.
    """
    timed = _timed(turns)
    passed = (backchannels(timed) if backchannel is None else backchannel.reindex(timed.index)).fillna(False)
    found = []
    holder: Any = None
    last: Any = None
    until = -np.inf
    for label, person, start, end in zip(timed.index, timed["person"], timed["start"], timed["end"], strict=True):
        if passed[label] or (person != holder and end <= until):
            continue
        if last is not None and person != holder:
            found.append(Exchange(last, label, float(start - until)))
            until = end
        until = max(until, end)
        holder, last = person, label
    return found


def latencies(turns: pd.DataFrame, backchannel: pd.Series | None = None) -> pd.Series:
    """For each turn that takes the floor from somebody else the floor transfer offset in s.

    Formula: start of the turn - end of the speech of the person who had the floor; see `exchanges`. Negative = overlap,
    positive = gap; other turns have none. Source: Levinson & Torreira 2015, "Timing in turn-taking and its implications
    for processing models of language". It is as exact as the turns' times, and a long one may be thought, hesitation or
    a pause of the other who then said no more.
    """
    offsets = {exchange.after: exchange.offset for exchange in exchanges(turns, backchannel)}
    return pd.Series(offsets, dtype="float64").reindex(turns.index)


def _timed(turns: pd.DataFrame) -> pd.DataFrame:
    """The turns that have a person and last, in order of time."""
    lasting = turns["person"].notna() & (turns["end"] > turns["start"])
    return turns[lasting.to_numpy(bool)].sort_values(["start", "end"], kind="stable")


def _spans(turns: pd.DataFrame) -> Spans:
    return turns[["start", "end"]].to_numpy(dtype=np.float64)


def _only(words: Collection[str]) -> str:
    """Matches a text that consists of nothing but the words, whatever stands between them."""
    longest_first = sorted({word.lower() for word in words}, key=len, reverse=True)
    anyone = "|".join(re.escape(word) for word in longest_first)
    return rf"\W*(?:(?:{anyone})(?:\W+|$))+"
