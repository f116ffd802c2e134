"""What to predict on: the turns of recordings, folders of recordings and manifests, each as a manifest."""

import logging
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pandas as pd

from subtext.errors import ConfigError, MediaError, SubtextError, TranscriptError, unforeseen_as
from subtext.manifest import PATH_COLUMNS, Manifest, build_manifest
from subtext.manifest.checks import row_number
from subtext.sessions.transcripts import Turn, as_spoken, is_unicode, read_text, read_turns
from subtext.sessions.turns import SESSION_SUFFIXES, read_session_turns

MANIFEST_SUFFIXES: Final = (".csv", ".tsv", ".parquet", ".jsonl")
PICTURE_SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
RECORDING_SUFFIXES: Final = (
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".flv", ".wmv", ".mpg", ".mpeg", ".ts", ".mts", ".3gp", ".ogv"),
    *(".wav", ".mp3", ".flac", ".m4a", ".ogg", ".opus", ".aac", ".wma"),
)
"""What counts as a recording inside a folder; a file that is named itself may end otherwise."""

BESIDE_SUFFIXES: Final = (".srt", ".vtt", ".csv", ".tsv", ".txt")
"""Turns are looked for beside a recording under its name with these endings, in this order, and with and without the
recording's own: `clip.srt`, `clip.mp4.srt`."""

LONG_TURN: Final = 30.0
"""Seconds above which one turn is suspiciously long: models are trained on turns of a few seconds."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Refusal:
    """A turn, or a whole input, that cannot be predicted on, and why."""

    input: str
    id: str
    problem: str
    start: float | None = None
    end: float | None = None
    speaker: str | None = None
    role: str | None = None


@dataclass(frozen=True)
class Batch:
    """Segments that are extracted together: those of one recording, or a part of a manifest.

    Attributes:
        input: what the user named.
        manifest: the segments, None where none can be used.
        refused: the segments that cannot be used.
        warnings: what is odd about the batch but does not stop it.
        stream: "video", "audio" or "image" where all segments are turns of one such file, in order of time; None for a
            manifest.
        duration: of that file in s, None where unknown.
        rows: of a manifest, each id's row in it: ids may be names, so messages give the row.
    """

    input: str
    manifest: Manifest | None
    refused: list[Refusal] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    stream: str | None = None
    duration: float | None = None
    rows: Mapping[str, int] = field(default_factory=dict)

    def place(self, id_: str) -> str:
        """What messages call a segment: its id, which begins with the recording's name, or its row in a manifest."""
        return f"{self.input}: row {self.rows[id_]}" if id_ in self.rows else id_


@dataclass(frozen=True)
class Words:
    """Where the words of recordings come from; at most one of the first three is given.

    Attributes:
        transcript: what is said in each recording.
        transcript_file: a plain text file of it.
        turns: a file of turns for the one recording.
        encoding: of text files.
    """

    transcript: str | None = None
    transcript_file: Path | None = None
    turns: Path | None = None
    encoding: str = "utf-8"

    @property
    def given(self) -> bool:
        """Whether the words are given on the command line instead of beside the recordings."""
        return not (self.transcript is None and self.transcript_file is None and self.turns is None)

    def read(self) -> list[Turn] | None:
        """The turns that are given, None where they are to be looked for beside each recording.

        Raises:
            TranscriptError: their file cannot be read.
        """
        if self.turns is not None:
            return read_session_turns(self.turns, encoding=self.encoding)
        if self.transcript_file is not None:
            if self.transcript_file.suffix.lower() in (".srt", ".vtt"):
                raise ConfigError(
                    f"{self.transcript_file} holds timed turns; give it with --turns instead of --transcript-file"
                )
            text: str | None = read_text(self.transcript_file, self.encoding)
        else:
            text = self.transcript
        if text is None:
            return None
        if not is_unicode(text):
            raise TranscriptError("the text of --transcript is not valid UTF-8; write it to a file, and use --encoding")
        return as_spoken([Turn(None, None, text.strip() or None)], self.transcript_file or "--transcript")


def find_inputs(inputs: Sequence[str], words: Words) -> list[tuple[str, Path]]:
    """The recordings and manifests that the command line names, folders opened.

    Raises:
        ConfigError: an input does not exist, a folder holds no recording, or the words do not fit the inputs.
    """
    found: list[tuple[str, Path]] = []
    for name in inputs:
        path = Path(name)
        if _is_folder(name):
            inside = _recordings_in(path)
            if not inside:
                raise ConfigError(
                    f"no recording in the folder {name}; expected files such as .mp4, .mov, .mkv, .webm, .wav, .mp3"
                )
            found += [(str(p), p) for p in inside]
        elif path.suffix.lower() in SESSION_SUFFIXES and path.suffix.lower() not in MANIFEST_SUFFIXES:
            raise ConfigError(
                f"{name} is a transcript, not a recording; name the recording, and this file with --turns"
            )
        else:
            found.append((name, path))
    manifests = [name for name, path in found if is_manifest(path)]
    if words.given and manifests:
        raise ConfigError(
            f"{manifests[0]} is a manifest, which brings its own words; leave out --transcript, or name recordings"
        )
    if words.turns is not None and len(found) > 1:
        raise ConfigError(
            f"--turns {words.turns} belongs to one recording, but {len(found)} are named; put turns beside each"
        )
    return found


def _is_folder(name: str) -> bool:
    try:
        return stat.S_ISDIR(os.stat(name).st_mode)
    except FileNotFoundError:
        raise ConfigError(
            f"INPUT {name}: there is no such file or folder; name a recording, a folder of recordings, or a manifest"
        ) from None
    except (OSError, ValueError) as error:
        remedy = (
            "check its rights and those of its folder"
            if isinstance(error, PermissionError)
            else "words are given with --transcript"
        )
        raise ConfigError(
            f"INPUT {name} cannot be opened ({getattr(error, 'strerror', None) or error}); {remedy}"
        ) from error


def _recordings_in(folder: Path) -> list[Path]:
    # Whatever bears the name of a recording, also a link that leads nowhere: its line says what is wrong with it.
    def left_out(error: OSError) -> None:
        log.warning("%s cannot be opened (%s); recordings in it are left out", error.filename, error.strerror)

    found: list[Path] = []
    for inside, folders, files in os.walk(folder, onerror=left_out):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = (Path(inside, name) for name in files if not name.startswith("."))
        found += [path for path in paths if path.suffix.lower() in RECORDING_SUFFIXES]
    return sorted(found)


def read_manifests(found: Sequence[tuple[str, Path]], root: Path | None = None) -> dict[Path, Manifest]:
    """The manifests among inputs.

    Args:
        found: as `find_inputs` gives them.
        root: where the manifests' files are; None for the folder of each, or one in it that a description names.

    Raises:
        ManifestError: one cannot be used.
        TrustError: a description names another folder.
    """
    from subtext.corpora.files import ManifestCorpus

    return {
        path: ManifestCorpus(path=path, root=root, groups=(), disjoint=()).build()
        for _, path in found
        if is_manifest(path)
    }


def files_read(found: Sequence[tuple[str, Path]], words: Words, manifests: Mapping[Path, Manifest]) -> Iterator[Path]:
    """Every file that a prediction reads besides the run, there or not: what must not be written over."""
    yield from (path for path in (words.transcript_file, words.turns) if path is not None)
    for _, path in found:
        yield path
        if path in manifests:
            yield path.with_suffix(".json")
            table = manifests[path].table
            for column in PATH_COLUMNS:
                yield from map(manifests[path].path, table[column].dropna().unique())
        else:
            yield from _beside(path)


def is_manifest(path: Path) -> bool:
    """Whether an input is a table of segments instead of a recording."""
    return path.suffix.lower() in MANIFEST_SUFFIXES


def recording_batch(name: str, path: Path, given: Sequence[Turn] | None, encoding: str = "utf-8") -> Batch:
    """The turns of one recording.

    Args:
        name: as the user wrote it; ids begin with it.
        path: the recording.
        given: its turns; None = look for them beside it.
        encoding: of a file beside it.
    """
    warnings: list[str] = []
    try:
        if not is_unicode(name):
            raise ConfigError("the file's name is not valid UTF-8, so no table can hold it; rename the file")
        with unforeseen_as(MediaError, path):
            turns = list(given) if given is not None else _turns_beside(path, encoding, warnings)
            stream, duration = _stream(path)
            return _batch(name, path, turns, stream, duration, warnings)
    except SubtextError as error:
        return Batch(name, None, [Refusal(name, name, str(error))], warnings)


def _batch(
    name: str, path: Path, turns: Sequence[Turn], stream: str, duration: float | None, warnings: list[str]
) -> Batch:
    one = len(turns) == 1 and turns[0].start is None and turns[0].end is None
    if one and duration is not None and duration > LONG_TURN:
        warnings.append(
            f"the whole recording ({duration:.0f} s) is taken as one turn, longer than the turns of a few seconds that "
            "models are trained on; give subtitles or turns with start and end"
        )
    rows, refused = [], []
    eventful = any(turn.events for turn in turns)
    # In order of time, whatever the order in the file: one pass, and output that reads like the conversation.
    for number, turn in sorted(enumerate(turns, 1), key=lambda item: item[1].start or 0.0):
        id_ = name if one else f"{name}#{number}"
        problem = turn.problem
        if problem is None and duration is not None and (turn.start or 0.0) >= duration:
            problem = (
                f"the turn starts at {turn.start:g} s, but {path.name} ends at {duration:.2f} s; correct its times"
            )
        if problem is not None:
            refused.append(Refusal(name, id_, problem, turn.start, turn.end, turn.speaker, turn.role))
            continue
        row = {"id": id_, "session": name, "start": turn.start, "end": turn.end, "transcript": turn.transcript}
        row |= {"events": " ".join(turn.events) or None} if eventful else {}
        rows.append(row | {"speaker": turn.speaker, "role": turn.role, stream: path.name})
    if not rows:
        return Batch(name, None, refused, warnings, stream, duration)
    # The user named this very file, so where a link leads does not matter.
    manifest = build_manifest(pd.DataFrame(rows, dtype=object), root=path.parent, name=name, allow_links=True)
    return Batch(name, manifest, refused, warnings, stream, duration)


def manifest_batches(name: str, manifest: Manifest, size: int) -> Iterator[Batch]:
    """A manifest in parts of about `size` rows, each recording's rows together, so that each is read once."""
    table = manifest.table
    source = table["video"].fillna(table["audio"]).fillna(table["image"]).fillna(table["features"]).fillna(table["id"])
    rows = rows_of(manifest)
    part: list[int] = []
    for positions in (list(p) for p in table.groupby(source, sort=False).indices.values()):
        if part and len(part) + len(positions) > size:
            yield Batch(name, manifest.with_table(table.iloc[sorted(part)]), rows=rows)
            part = []
        part += positions
    if part:
        yield Batch(name, manifest.with_table(table.iloc[sorted(part)]), rows=rows)


def rows_of(manifest: Manifest) -> dict[str, int]:
    """Each id's row, from 1 on."""
    return {id_: row_number(manifest.table.index, place) for place, id_ in enumerate(manifest.table["id"])}


def _stream(path: Path) -> tuple[str, float | None]:
    # Which manifest column the recording belongs in, and how long it is (s).
    from subtext.media.video import probe

    if path.suffix.lower() in PICTURE_SUFFIXES:
        return "image", None
    info = probe(path)
    if not info.has_video and not info.has_audio:
        raise MediaError(f"{path}: neither picture nor sound in it; give a recording")
    return ("video" if info.has_video else "audio"), info.duration


def _turns_beside(path: Path, encoding: str, warnings: list[str]) -> list[Turn]:
    beside = [p for p in _beside(path) if p.is_file()]
    if not beside:
        near = _near(path)
        if near:
            warnings.append(
                f"no turns: none of {', '.join(path.stem + suffix for suffix in BESIDE_SUFFIXES)} is there, but "
                f"{near[0].name} is; give it with --turns"
            )
        return [Turn(None, None, None)]
    if len(beside) > 1:
        warnings.append(f"turns are read from {beside[0].name}; {', '.join(p.name for p in beside[1:])} is left unread")
    return read_turns(beside[0], encoding)


def _beside(path: Path) -> Iterator[Path]:
    # Where turns are looked for, in this order.
    for suffix in BESIDE_SUFFIXES:
        for ending in (suffix, suffix.upper()):
            # Some recognisers put their ending behind the recording's.
            yield from (path.with_suffix(ending), path.with_name(f"{path.name}{ending}"))


def _near(path: Path) -> list[Path]:
    """Files of turns that begin with a recording's name and are called otherwise than those that are looked for."""
    try:
        inside = [p for p in path.parent.iterdir() if p.name.startswith(f"{path.stem}.") and p != path]
    except OSError:  # a folder whose files may be opened, but not listed
        return []
    # Beside `clip.json`, which recognisers write, JSON may be about anything: `clip.info.json`.
    inside = [p for p in inside if p.suffix.lower() != ".json" or p.stem == path.stem]
    return sorted(p for p in inside if p.suffix.lower() in SESSION_SUFFIXES and p.is_file())
