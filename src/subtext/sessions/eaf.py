"""ELAN's annotation files (.eaf), read with care, and what our templates put into them.

EAF is XML (EAFv3.0.xsd of the Max Planck Institute for Psycholinguistics): annotations of a top tier refer to time
slots in milliseconds, annotations of dependent tiers to their parents. pympi-ling reads it.
"""

from pathlib import Path
from typing import Any, Final
from xml.parsers import expat

from subtext.errors import TranscriptError

SESSION_PROPERTY: Final = "subtext-session"
"""Property of a template of ours: which session it holds."""
SESSION_TIER: Final = "session"
"""Tier of a template of ours whose one annotation is the whole session."""
NAMES_SUFFIX: Final = " turn"
"""After a tier of turns: the tier below it that names them."""


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


def is_template(document: Any) -> bool:
    """Whether a file began as a template of ours."""
    return any(name == SESSION_PROPERTY for name, _ in document.properties)


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
