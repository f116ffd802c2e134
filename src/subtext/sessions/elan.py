"""Turns from ELAN's annotation files (.eaf).

An annotation of a tier is a turn, its value the words, and the tier's participant (else the tier's name) the speaker.
EAF is XML (EAFv3.0.xsd of the Max Planck Institute for Psycholinguistics): annotations of a top tier refer to time
slots in milliseconds, annotations of dependent tiers to their parents. pympi-ling reads it.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from subtext.errors import TranscriptError
from subtext.transcripts import Turn, checked_turn

log = logging.getLogger(__name__)


def read_elan_turns(path: Path, tiers: Sequence[str] = ()) -> list[Turn]:
    """The annotations of tiers as turns, in order of time.

    Args:
        path: the .eaf file.
        tiers: names of the tiers that hold turns; by default all that depend on no other and have annotations.

    Raises:
        TranscriptError: the file cannot be read, has no such tier, or nothing is annotated in them.
    """
    document = _parse(path)
    for media in document.media_descriptors:
        if media.get("TIME_ORIGIN") not in (None, "", "0"):
            log.warning(
                "%s: ELAN shifts %s by TIME_ORIGIN=%s ms; times are taken as ELAN shows them, so give "
                "that file's offset "
                "in session.yaml (offsets)",
                path,
                Path(media.get("MEDIA_URL", "")).name,
                media["TIME_ORIGIN"],
            )
    unknown = [name for name in tiers if name not in document.tiers]
    if unknown:
        raise TranscriptError(
            f"{path}: no tier '{unknown[0]}'; it has {', '.join(document.tiers)}: name tiers of the file"
        )
    chosen = list(tiers) or [name for name, tier in document.tiers.items() if tier[0] and "PARENT_REF" not in tier[2]]
    turns = [turn for name in chosen for turn in _tier(document, name)]
    if not turns:
        raise TranscriptError(
            f"{path}: no turn in it; expected a tier a speaker (a top tier, or one named in tiers) with an "
            "annotation a turn"
        )
    return turns


def _parse(path: Path) -> Any:
    from pympi.Elan import Eaf

    try:
        path.open("rb").close()
        return Eaf(str(path), suppress_version_warning=True)
    except OSError as error:
        raise TranscriptError(f"{path}: cannot read the ELAN file ({error.strerror}); check the path") from error
    except Exception as error:  # pympi raises bare Exception, and KeyError for what an EAF file must have
        raise TranscriptError(
            f"{path}: not readable as an ELAN file ({type(error).__name__}: {' '.join(str(error).split())[:120]}); "
            "open it in ELAN and save it again"
        ) from error


def _tier(document: Any, name: str) -> list[Turn]:
    aligned, referring, attributes, _ = document.tiers[name]
    speaker = (attributes.get("PARTICIPANT") or "").strip() or name
    turns = [_turn(document, begin, end, value, speaker) for begin, end, value, _ in aligned.values()]
    for parent, value, *_ in referring.values():
        found = _times(document, parent)
        if found is not None:
            turns.append(_turn(document, *found, value, speaker))
    return turns


def _times(document: Any, annotation: str) -> tuple[str, str] | None:
    """The time slots of the annotation that an annotation of a dependent tier stands under."""
    for _ in range(len(document.tiers) + 1):
        aligned, referring, *_ = document.tiers[document.annotations[annotation]]
        if annotation in aligned:
            return aligned[annotation][0], aligned[annotation][1]
        annotation = referring[annotation][0]
    return None


def _turn(document: Any, begin: str, end: str, value: str, speaker: str) -> Turn:
    times = [document.timeslots.get(slot) for slot in (begin, end)]
    words = value.strip() or None
    if None in times:
        problem = "its annotation is not aligned to the recording at both ends; give it times in ELAN"
        return Turn(None, None, words, speaker, problem=problem)
    return checked_turn(times[0] / 1000, times[1] / 1000, words, speaker)
