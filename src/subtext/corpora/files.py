"""A user's own recordings, described by a table: `corpus=manifest corpus.path=my.csv`."""

import csv
import difflib
import io
import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.csv

from subtext.corpora.corpus import Corpus
from subtext.corpora.description import Description
from subtext.errors import ConfigError, ManifestError
from subtext.labels import IncongruenceRule
from subtext.manifest import (
    LABEL_COLUMNS,
    TEXT_COLUMNS,
    TIME_COLUMNS,
    Manifest,
    build_manifest,
    check_splits,
    described_root,
)
from subtext.manifest_checks import REJECT_COLUMNS, OnError
from subtext.privacy import ESCAPED, unescaped
from subtext.transcripts import is_unicode, with_whole_characters

_log = logging.getLogger(__name__)
_REMEDY: Final = (
    "each row needs as many cells as the first, cells with commas, quotes or line breaks stand in double quotes"
)


class ManifestCorpus(Corpus):
    """Segments listed in a CSV, TSV, Parquet or JSON Lines file with the manifest's columns.

    Cells are read verbatim: "NA", "null" and "007" are text, only the empty cell is missing. Columns that the manifest
    does not know are carried through.

    Args:
        path: the table; its ending (.csv, .tsv, .parquet, .jsonl) says how to read it.
        root: folder that the paths in it are relative to; by default the one that a description beside a Parquet file
            names (see `subtext.manifest.write_manifest`) where it lies in the table's own folder, else that folder.
        name: the corpus's name; by default the one in that description, else the file's.
        columns: our column name -> the file's, for those that differ; null values are ignored.
        values: our column name -> {cell of the file: what it stands for}, for labels spelled otherwise, such as
            {"verbal_polarity": {"neg": -1}}; compared without case and outer blanks, other cells stay.
        groups: columns of reused units, by which intervals resample.
        disjoint: columns whose values must not stand in two splits.
        allow_links: accept files that symbolic links bring in from outside `root`.
        count_unvoiced_warmth: count a smile under neutral words as incongruent.
        on_error: "stop" at the first row that cannot be used, or "skip" such rows and list them in `Manifest.rejects`.
        check_media: whether a file that is named but not there is such an error. By default `subtext-data build` looks
            and training does not: extraction reports what is missing, and features may be there without their files.
    """

    description = Description(
        title="Your own table of segments",
        nature="your own",
        licence="yours: say it on the card before you share anything",
        citation="none",
        source="your own recordings",
        labels="whatever the table carries; polarities are filled in from emotions, incongruence from polarities",
        layout="the manifest's columns, see docs/tables.md",
    )

    def __init__(
        self,
        *,
        path: str | Path | None,
        root: str | Path | None = None,
        name: str | None = None,
        columns: Mapping[str, str | None] | None = None,
        values: Mapping[str, Mapping[Any, Any] | None] | None = None,
        groups: Sequence[str] | None = None,
        disjoint: Sequence[str] = ("speaker",),
        allow_links: bool = False,
        count_unvoiced_warmth: bool = False,
        on_error: OnError = "stop",
        check_media: bool | None = None,
    ) -> None:
        if path is None:
            raise ConfigError("no manifest is named; set corpus.path to a .csv, .tsv, .parquet or .jsonl file")
        self.path = Path(path)
        self.root = None if root is None else Path(root)
        self.name = None if name is None else str(name)
        self.columns = {ours: theirs for ours, theirs in (columns or {}).items() if theirs is not None}
        self.values = {ours: dict(meanings) for ours, meanings in (values or {}).items() if meanings}
        self.groups = None if groups is None else tuple(groups)
        self.disjoint = tuple(disjoint)
        self.allow_links = allow_links
        self.rule = IncongruenceRule(count_unvoiced_warmth)
        self.on_error: OnError = on_error
        self.check_media = check_media
        if on_error not in ("stop", "skip"):
            raise ConfigError(f"corpus.on_error is '{on_error}'; use stop or skip")
        for setting, value in (("groups", groups), ("disjoint", disjoint)):
            if isinstance(value, str):
                raise ConfigError(f"corpus.{setting} is the text '{value}'; write a list: corpus.{setting}=[{value}]")

    def build(self) -> Manifest:
        """Read and check the table.

        Raises:
            ManifestError: the file is missing or cannot be read, or a cell of it cannot be used.
            TrustError: its description looks for files outside of the table's folder, and `root` does not say so.
        """
        unread: list[_Unread] | None = [] if self.on_error == "skip" else None
        table = read_table(self.path, unread)
        beside = self._beside()
        if "about" in beside:
            self.description = self._described(beside["about"])
        if beside.get("escaped") == ESCAPED:
            table = unescaped(table)
        name = self.name or str(beside.get("name") or self.path.stem)
        table = self._translate(self._rename(table))
        self._tell_near_misses(table)
        root = self.root
        if root is None:
            root = described_root(self.path, str(beside.get("root", "")), table)
        if not root.is_dir():
            raise ManifestError(f"{name}: the root {root} is not a folder; set corpus.root to where the files are")
        groups = self.groups
        if groups is None:
            groups = tuple(beside.get("groups", ("speaker",)))
        manifest = build_manifest(
            table,
            root=root,
            name=name,
            groups=groups,
            allow_links=self.allow_links,
            rule=self.rule,
            on_error=self.on_error,
            check_media=bool(self.check_media),
            row_numbers=_numbers(len(table), unread),
            rejects=_rejects(unread),
        )
        check_splits(manifest, self.disjoint)
        return manifest

    def _beside(self) -> dict[str, Any]:
        """Name, root and groups as `write_manifest` or `subtext-data export` left them beside a file of ours.

        Leave to follow links is not taken from it: that is for the user to give.
        """
        beside = self.path.with_suffix(".json")
        if not beside.is_file():
            return {}
        try:
            description = json.loads(beside.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise ManifestError(
                f"{beside}, the description of {self.path.name}, cannot be read ({_one_line(error)}); "
                "repair or remove it"
            ) from error
        # Beside other tables there may be any file of that name: only an export's says how it was written.
        ours = isinstance(description, dict) and (_kind(self.path) == "parquet" or "escaped" in description)
        if not ours:
            return {}
        kinds = {"name": str, "root": str, "groups": list}
        for part, kind in kinds.items():
            value = description.get(part, kind())
            if not isinstance(value, kind) or (kind is list and not all(isinstance(group, str) for group in value)):
                raise ManifestError(
                    f"{beside}, the description of {self.path.name}: '{part}' is no "
                    f"{'list of columns' if kind is list else 'text'}; repair or remove it"
                )
        return dict(description)

    def _described(self, about: object) -> Description:
        try:
            description = Description.from_json(about)
        except ValueError as error:
            raise ManifestError(
                f"{self.path.with_suffix('.json')}, the description of {self.path.name}: 'about' cannot be read "
                f"({error}); build the corpus again, or remove that part"
            ) from error
        changed = [f"corpus.{setting}" for setting in ("columns", "values") if getattr(self, setting)]
        if changed:
            description = replace(description, labels=f"{description.labels} (changed by {' and '.join(changed)})")
        return description

    def _tell_near_misses(self, table: pd.DataFrame) -> None:
        """Say which columns only nearly have one of our names: nothing would be made of them."""
        ours = {_plain(name): name for name in (*TEXT_COLUMNS, *TIME_COLUMNS, *LABEL_COLUMNS, "fold")}
        for column in map(str, table.columns):
            name = ours.get(_plain(column), column)
            if name != column and name not in table:
                _log.warning(
                    "%s: the column '%s' is not read as '%s'; if it is that, set corpus.columns.%s='%s'",
                    self.path,
                    column,
                    name,
                    name,
                    column,
                )

    def _translate(self, table: pd.DataFrame) -> pd.DataFrame:
        for ours, meanings in self.values.items():
            if ours not in table:
                raise ManifestError(
                    f"{self.path}: corpus.values names the column '{ours}', which is not there; name one of "
                    f"{', '.join(str(column) for column in table.columns)}"
                )
            spelled = {str(cell).strip().lower(): str(meaning) for cell, meaning in meanings.items()}
            words = table[ours].astype("string")
            table[ours] = words.str.strip().str.lower().map(spelled).fillna(words)
        return table

    def _rename(self, table: pd.DataFrame) -> pd.DataFrame:
        missing = [theirs for theirs in self.columns.values() if theirs not in table]
        if missing:
            near = difflib.get_close_matches(missing[0], [str(column) for column in table.columns], n=1)
            hint = f"did you mean '{near[0]}'? " if near else ""
            raise ManifestError(
                f"{self.path}: corpus.columns names '{missing[0]}', which is not in the file; {hint}"
                f"It has {', '.join(str(column) for column in table.columns)}"
            )
        rest = table.drop(columns=list(self.columns.values()))
        hidden = [ours for ours in self.columns if ours in rest]
        if hidden:
            raise ManifestError(
                f"{self.path}: corpus.columns makes '{self.columns[hidden[0]]}' the column '{hidden[0]}', "
                "but the file has one of that name already; rename one of them in the file"
            )
        renamed = pd.DataFrame({ours: table[theirs] for ours, theirs in self.columns.items()}, index=table.index)
        return pd.concat([renamed, rest], axis=1)


def _plain(column: str) -> str:
    return "".join(character for character in column.lower() if character.isalnum())


@dataclass(frozen=True)
class _Unread:
    """A row of a file that has no cells to check: its number among the rows, why, and what to do."""

    row: int
    reason: str
    remedy: str


def _rejects(unread: Sequence[_Unread] | None) -> pd.DataFrame | None:
    if not unread:
        return None
    # Not what the row holds: that may be what somebody said.
    table = pd.DataFrame(columns=list(REJECT_COLUMNS), index=range(len(unread)))
    table["row"] = [row.row for row in unread]
    table["reason"] = [row.reason for row in unread]
    table["remedy"] = [row.remedy for row in unread]
    return table


def _numbers(rows: int, unread: Sequence[_Unread] | None) -> npt.NDArray[np.integer[Any]]:
    """`[rows]`: numbers that the rows of a table had before others were left out."""
    numbers = np.arange(1, rows + len(unread or ()) + 1)
    return np.setdiff1d(numbers, [row.row for row in unread or ()])


def read_table(path: Path, unread: list[_Unread] | None = None) -> pd.DataFrame:
    """A table from CSV, TSV, Parquet or JSON Lines, its text verbatim.

    CSV is read as UTF-8 (with or without mark), UTF-16 with mark, else as Windows-1252 or Latin-1, which is reported.
    In CSV every cell is text; Parquet and JSON keep their types.

    Args:
        path: its ending says what it is.
        unread: takes the rows that cannot be told apart into cells, which are then left out; by default they are an
            error. A quote that is never closed always is one: there is no telling where its row ends.

    Raises:
        ManifestError: naming the file, where in it, and the remedy.
    """
    kind = _kind(path)
    if not os.path.exists(path):  # unlike pathlib's, it bears a name that no file system takes
        raise ManifestError(f"no manifest {path}; set corpus.path to a .csv, .tsv, .parquet or .jsonl file")
    if path.is_dir():
        raise ManifestError(f"{path} is a folder; set corpus.path to a .csv, .tsv, .parquet or .jsonl file")
    try:
        if kind == "parquet":
            table = pd.read_parquet(path)
            # A notebook may have made a column, such as the id, the index.
            return table if table.index.names == [None] else table.reset_index()
        content = path.read_bytes()
    except (OSError, ValueError, pa.ArrowException) as error:
        raise ManifestError(f"{path} cannot be read as {kind} ({_one_line(error)}); save it again") from error
    if not content.strip():
        raise ManifestError(f"{path} is empty; write one line of column names and one line a segment")
    text = _decode(content, path)
    return _read_json_lines(text, path, unread) if kind == "jsonl" else _read_csv(text, path, kind, unread)


def _kind(path: Path) -> str:
    kinds = {".csv": "csv", ".tsv": "tsv", ".parquet": "parquet", ".jsonl": "jsonl", ".ndjson": "jsonl"}
    kind = kinds.get(path.suffix.lower())
    if kind is None:
        raise ManifestError(f"{path} is no table that can be read; use a .csv, .tsv, .parquet or .jsonl file")
    return kind


def _decode(content: bytes, path: Path) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        encodings = ["utf-16"]
    else:
        # Windows-1252 is Latin-1 with quotes and dashes where that has control characters.
        encodings = ["utf-8-sig", "cp1252", "latin-1"]
    for encoding in encodings:
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" in text:
            break
        if encoding in ("cp1252", "latin-1"):
            _log.warning("%s is not UTF-8; read as %s. Save it as UTF-8 if letters look wrong", path, encoding)
        return text
    raise ManifestError(f"{path} is not text; save the table as UTF-8 CSV or JSON Lines")


def _read_csv(text: str, path: Path, kind: str, unread: list[_Unread] | None) -> pd.DataFrame:
    text = text.lstrip("\r\n")
    delimiter = "\t" if kind == "tsv" else ","
    header = text.split("\n", 1)[0]
    if kind == "csv" and "," not in header and ";" in header:
        delimiter = ";"  # What spreadsheets write where the comma is the decimal sign.
    _check_quotes(text, delimiter, path)
    names = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    content = text.encode()
    torn = [] if unread is None else unread

    def leave_out(row: pyarrow.csv.InvalidRow) -> str:
        reason = f"{row.actual_columns} cells where {row.expected_columns} are expected"
        torn.append(_Unread(row.number - 1, reason, _REMEDY))  # Arrow counts the header.
        return "error" if unread is None else "skip"

    try:
        table = pa.csv.read_csv(
            io.BytesIO(content),
            # Errors name the row only when one thread reads, and no cell may be longer than a block.
            pa.csv.ReadOptions(use_threads=False, block_size=max(1 << 20, len(content))),
            pa.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True, invalid_row_handler=leave_out),
            pa.csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True, null_values=[""]
            ),
        ).to_pandas()
    except pa.ArrowException as error:
        # Not in Arrow's words, which quote the row: that may be what somebody said.
        where = f"row {torn[0].row}: {torn[0].reason}" if torn else "it cannot be read as a table"
        raise ManifestError(f"{path}: {where}; {_REMEDY}") from error
    table.columns = table.columns.str.strip()
    # Spreadsheets leave nameless empty columns at the end.
    table = table.loc[:, (table.columns != "") | table.notna().any().to_numpy()]
    repeated = table.columns[table.columns.duplicated()]
    if len(repeated):
        raise ManifestError(f"{path}: several columns are named '{repeated[0]}'; rename or remove all but one")
    return table


def _check_quotes(text: str, delimiter: str, path: Path) -> None:
    """Refuse a quote that is never closed: it would swallow the rows behind it."""
    if text.count('"') % 2 == 0:
        return
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 0
    try:
        for _ in reader:
            line = reader.line_num
    except csv.Error as error:
        raise ManifestError(
            f"{path}: a double quote in line {line + 1} is not closed ({error}); close it, or double it if it is meant"
        ) from error


def _read_json_lines(text: str, path: Path, unread: list[_Unread] | None) -> pd.DataFrame:
    rows: list[dict[str, Any]] = []
    replaced = 0
    # Not splitlines(): transcripts may hold U+2028 and its kin.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = _object(line)
        except ValueError as error:
            if unread is None:
                raise ManifestError(f"{path}, line {number}: {error}; write one object a line") from error
            unread.append(_Unread(len(rows) + len(unread) + 1, f"line {number}: {error}", "write one object a line"))
            continue
        if "\\u" in line:
            for key, value in row.items():
                if isinstance(value, str) and not is_unicode(value):
                    row[key] = with_whole_characters(value)
                    replaced += 1
        rows.append(row)
    if replaced:
        _log.warning("%s: %d cells hold halves of characters, which became U+FFFD", path, replaced)
    columns = {column: None for row in rows for column in row}
    return pd.DataFrame({column: pd.Series([row.get(column) for row in rows], dtype=object) for column in columns})


def _object(line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON ({_one_line(error)})") from error
    if not isinstance(row, dict):
        raise ValueError(f"a {type(row).__name__}")
    return row


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
