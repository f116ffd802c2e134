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
        tiers: names of the tiers that hold turns; by default all that depend on no other and have annotations. Of
            several of one speaker it is the one that is called like the speaker: the others may hold gestures.

    Raises:
        TranscriptError: the file cannot be read, has no such tier, several could hold a speaker's turns, or nothing
            is annotated in them.
    """
    document = parse_eaf(path)
    for number, media in enumerate(document.media_descriptors, 1):
        if media.get("TIME_ORIGIN") not in (None, "", "0"):
            log.warning(
                "%s: ELAN shifts linked file %d by a TIME_ORIGIN; times are taken as ELAN shows them, so give that "
                "file's offset in session.yaml (offsets)",
                path,
                number,
            )
    for number, name in enumerate(tiers, 1):
        if name not in document.tiers:
            raise TranscriptError(
                f"{path}: entry {number} of tiers is none of its {len(document.tiers)} tiers; write it as ELAN shows it"
            )
    top = [name for name, tier in document.tiers.items() if tier[0] and "PARENT_REF" not in tier[2]]
    is_template = SESSION_PROPERTY in dict(document.properties)
    top = [name for name in top if name != SESSION_TIER or not is_template]
    chosen = list(tiers) or _one_a_speaker(document, top, path)
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


def _one_a_speaker(document: Any, top: Sequence[str], path: Path) -> list[str]:
    places = {name: place for place, name in enumerate(document.tiers, 1)}
    of_speaker: dict[str, list[str]] = {}
    for name in top:
        of_speaker.setdefault(_speaker(document, name), []).append(name)
    chosen = set()
    for speaker, names in of_speaker.items():
        if len(names) > 1 and speaker not in names:
            shown = ", ".join(str(places[name]) for name in names)
            raise TranscriptError(
                f"{path}: tiers {shown} have the same participant, and turns may stand in any of them; name those that "
                "hold turns in session.yaml (tiers: [...]), or give the others no participant"
            )
        chosen.add(speaker if len(names) > 1 else names[0])
        aside = [str(places[name]) for name in names if len(names) > 1 and name != speaker]
        if aside:
            log.warning(
                "%s: turns are read from tier %d, which is called like its speaker; left aside: tier %s of the same "
                "speaker. To read others, name them in session.yaml (tiers: [...])",
                path,
                places[speaker],
                ", ".join(aside),
            )
    return [name for name in top if name in chosen]


def _speaker(document: Any, name: str) -> str:
    return (document.tiers[name][2].get("PARTICIPANT") or "").strip() or name


def _tier(document: Any, name: str, names: Mapping[str, str]) -> list[Turn]:
    aligned, referring, *_ = document.tiers[name]
    speaker = _speaker(document, name)
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
