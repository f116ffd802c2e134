"""Turns from ELAN's annotation files (.eaf).

An annotation of a tier is a turn, its value the words, and the tier's participant (else the tier's name) the speaker.
Templates of ours (`subtext.annotation.elan`) hold names of turns too, and a tier of the session, which is no turn.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from subtext.errors import TranscriptError
from subtext.sessions.eaf import SESSION_TIER, is_template, parse_eaf, slots_of, turn_names
from subtext.sessions.transcripts import Turn, checked_turn

log = logging.getLogger(__name__)


def read_elan_turns(path: Path, tiers: Sequence[str] = ()) -> list[Turn]:
    """The annotations of tiers as turns, in order of time.

    Args:
        path: the .eaf file.
        tiers: names of the tiers that hold turns; by default all that depend on no other and have annotations.

    Raises:
        TranscriptError: the file cannot be read, has no such tier, or nothing is annotated in them.
    """
    document = parse_eaf(path)
    for media in document.media_descriptors:
        if media.get("TIME_ORIGIN") not in (None, "", "0"):
            log.warning(
                "%s: ELAN shifts %s by TIME_ORIGIN=%s ms; times are taken as ELAN shows them, so give that file's "
                "offset in session.yaml (offsets)",
                path,
                Path(media.get("MEDIA_URL", "")).name,
                media["TIME_ORIGIN"],
            )
    unknown = [name for name in tiers if name not in document.tiers]
    if unknown:
        raise TranscriptError(
            f"{path}: no tier '{unknown[0]}'; it has {', '.join(document.tiers)}: name tiers of the file"
        )
    top = [name for name, tier in document.tiers.items() if tier[0] and "PARENT_REF" not in tier[2]]
    chosen = list(tiers) or [name for name in top if name != SESSION_TIER or not is_template(document)]
    names = turn_names(document)
    turns = [turn for name in chosen for turn in _tier(document, name, names)]
    if not turns:
        raise TranscriptError(
            f"{path}: no turn in it; expected a tier a speaker (a top tier, or one named in tiers) with an "
            "annotation a turn"
        )
    return turns


def _tier(document: Any, name: str, names: Mapping[str, str]) -> list[Turn]:
    aligned, referring, attributes, _ = document.tiers[name]
    speaker = (attributes.get("PARTICIPANT") or "").strip() or name
    turns = [
        _turn(document, begin, end, value, speaker, names.get(annotation))
        for annotation, (begin, end, value, _) in aligned.items()
    ]
    for parent, value, *_ in referring.values():
        found = slots_of(document, parent)
        if found is not None:
            turns.append(_turn(document, *found, value, speaker, names.get(parent)))
    return turns


def _turn(document: Any, begin: str, end: str, value: str | None, speaker: str, id: str | None) -> Turn:
    times = [document.timeslots.get(slot) for slot in (begin, end)]
    words = (value or "").strip() or None
    if None in times:
        problem = "its annotation is not aligned to the recording at both ends; give it times in ELAN"
        return Turn(None, None, words, speaker, problem=problem, id=id)
    return checked_turn(times[0] / 1000, times[1] / 1000, words, speaker, id=id)
