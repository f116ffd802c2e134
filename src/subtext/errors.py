"""Errors for a person: each says what was wrong, where, and what to do about it.

A command prints such an error as one line and exits with code 2; see `subtext.cli.outcome`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_BEGINNING: Final = 1500
_CUT: Final = " [...] "
_END: Final = 500


def shortened(message: str) -> str:
    """A message without its middle where it is longer than anybody reads.

    What was wrong stands at the beginning and the remedy at the end; between them stand the words of libraries, which
    may hold all of a file.

    Example:
        >>> len(shortened("weights: " + 90_000_000 * "x" + "; fetch them again"))
        2007
    """
    if len(message) <= _BEGINNING + _END + len(_CUT):
        return message
    return message[:_BEGINNING] + _CUT + message[-_END:]


class SubtextError(Exception):
    """Anything that went wrong for a reason the user can act on.

    Args:
        message: what was wrong, where, and what to do.
    """

    def __init__(self, message: str) -> None:
        super().__init__(shortened(message))


class ConfigError(SubtextError):
    """A setting has a value that cannot be used, or settings contradict each other."""


class ManifestError(SubtextError):
    """A manifest lacks a column, or a cell of it cannot be used."""


class DatasetNotFound(SubtextError):
    """A corpus's files are not where its official layout puts them."""


class MediaError(SubtextError):
    """A recording or picture cannot be decoded, or holds nothing where something is expected."""


class WeightsError(SubtextError):
    """Model or detector weights are missing, altered, of another kind, or in an unsafe format."""


class TrustError(SubtextError):
    """A file that may be somebody else's asks for code, the network or files that only the user may ask for."""


class CacheError(SubtextError):
    """The feature cache cannot be read or written."""


class RunError(SubtextError):
    """A run folder is missing, incomplete, or of another kind than asked for."""


class NotFiniteError(RunError):
    """A loss or a figure of training is not a number any more."""


class TranscriptError(SubtextError):
    """A transcript or subtitle file cannot be read."""


class AnnotationError(SubtextError):
    """A codebook, a file of ratings or an annotation tool's file cannot be used."""


class AuditError(SubtextError):
    """The audit raised alarms, and `strict` asks to stop on them."""


class SessionError(SubtextError):
    """A session's folder, its session.yaml, its turns or its recordings cannot be used."""


class SweepError(SubtextError):
    """A sweep cannot go on, or has found nothing."""


def safe_reason(error: BaseException) -> str:
    """An error on one line for logs: ours and the system's in their words, of others the kind alone.

    What a library says of a value may repeat it, and so the words of a conversation.

    Example:
        >>> safe_reason(ValueError("could not convert string to float: 'I miss him'"))
        'ValueError'
    """
    kind = type(error).__name__
    said = str(error) if isinstance(error, SubtextError) else getattr(error, "strerror", None)
    return f"{kind}: {' '.join(str(said).split())}" if said else kind


def unforeseen(error: BaseException) -> str:
    """What a line says of an error that nothing foresaw: its kind alone, because its words may hold what was said."""
    return f"an error that nothing foresaw ({type(error).__name__}); leave it out, and report the error"


@contextmanager
def unforeseen_as(kind: type[SubtextError], where: object) -> Iterator[None]:
    """Make one of ours of an error that nothing foresaw, so that one file costs no others.

    Args:
        kind: of what is raised; those that are ours already pass.
        where: the file or folder, for the message.

    Example:
        >>> with unforeseen_as(MediaError, "a.mp4"):
        ...     [][0]
        Traceback (most recent call last):
        subtext.errors.MediaError: a.mp4: an error that nothing foresaw (IndexError); leave it out, and report the error
    """
    try:
        yield
    except SubtextError:
        raise
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise kind(f"{where}: cannot be opened ({reason}); check its rights and those of its folder") from error
    except Exception as error:
        raise kind(f"{where}: {unforeseen(error)}") from error
