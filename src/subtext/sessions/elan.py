"""ELAN's annotation files (.eaf), read with care: the turns in them, and what our templates put there.

EAF is XML (EAFv3.0.xsd of the Max Planck Institute for Psycholinguistics): annotations of a top tier refer to time
slots in milliseconds, annotations of dependent tiers to their parents. pympi-ling reads it. An annotation of a tier is
a turn, its value the words, and the tier's participant (else the tier's name) the speaker. Templates of ours
(`subtext.annotation.elan`) hold names of turns too, and a tier of the session, which is no turn.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from xml.parsers import expat

from subtext.errors import TranscriptError
from subtext.sessions.transcripts import Turn, checked_turn

SESSION_PROPERTY: Final = "subtext-session"
"""Property of a template of ours: which session it holds."""
SESSION_TIER: Final = "session"
"""Tier of a template of ours whose one annotation is the whole session."""
NAMES_SUFFIX: Final = " turn"
"""After a tier of turns: the tier below it that names them."""

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
    is_template = SESSION_PROPERTY in dict(document.properties)
    chosen = list(tiers) or [name for name in top if name != SESSION_TIER or not is_template]
    names = turn_names(document)
    turns = [turn for name in chosen for turn in _tier(document, name, names)]
    if not turns:
        raise TranscriptError(
            f"{path}: no turn in it; expected a tier a speaker (a top tier, or one named in tiers) with an "
            "annotation a turn"
        )
    return turns


def parse_eaf(path: Path) -> Any:
    """A file as pympi's `Eaf`, refused if it is no plain XML.

    Raises:
        TranscriptError: the file cannot be read, has a DOCTYPE, or is no ELAN file.
    """
    from pympi.Elan import Eaf

    try:
        content = path.read_bytes()
    except OSError as error:
        raise TranscriptError(f"{path}: cannot read the ELAN file ({error.strerror}); check the path") from error

    def refuse(*_: Any) -> None:
        raise TranscriptError(f"{path}: has a DOCTYPE, which no ELAN file needs and which can blow up; remove it")

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(content, True)
        return Eaf(str(path), suppress_version_warning=True)
    except TranscriptError:
        raise
    except Exception as error:  # pympi raises bare Exception, and KeyError for what an EAF file must have
        # expat says where in the file; pympi's messages may hold what is annotated.
        reason = type(error).__name__ + (f": {error}" if isinstance(error, expat.ExpatError) else "")
        raise TranscriptError(f"{path}: not readable as an ELAN file ({reason}); save it again in ELAN") from error


def turn_names(document: Any) -> dict[str, str]:
    """Annotation -> what its turn is called, as the tiers of names in our templates say."""
    return {
        parent: value.strip()
        for tier, (_, referring, attributes, _) in document.tiers.items()
        if tier == f"{attributes.get('PARENT_REF')}{NAMES_SUFFIX}"
        for parent, value, *_ in referring.values()
        if value and value.strip()
    }


def slots_of(document: Any, annotation: str) -> tuple[str, str] | None:
    """The time slots of an annotation, or of the one that it stands under; None where there is none."""
    for _ in range(len(document.tiers) + 1):
        aligned, referring, *_ = document.tiers.get(document.annotations.get(annotation), ({}, {}))
        if annotation in aligned:
            return aligned[annotation][0], aligned[annotation][1]
        if annotation not in referring:
            return None
        annotation = referring[annotation][0]
    return None


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
