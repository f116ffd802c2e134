"""A user's own recordings, described by a table: `corpus=manifest corpus.path=my.csv`."""

import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from subtext.core.headers import did_you_mean, misspelt
from subtext.core.tables import ESCAPED, unescaped
from subtext.corpora.corpus import Corpus
from subtext.errors import ConfigError, ManifestError
from subtext.labels import IncongruenceRule
from subtext.manifest import LABEL_COLUMNS, TEXT_COLUMNS, Manifest, build_manifest, check_splits
from subtext.manifest.checks import OnError, near_cell
from subtext.manifest.description import Description
from subtext.manifest.read import Unread, kind_of, one_line, read_numbered_table, rejects_of
from subtext.manifest.table import TIME_COLUMNS, columns_told, described_root
from subtext.sessions.transcripts import short_turns, told_short

_log = logging.getLogger(__name__)
_OURS: Final = (*TEXT_COLUMNS, *TIME_COLUMNS, *LABEL_COLUMNS, "fold")


def read_manifest(path: str | os.PathLike[str], **settings: Any) -> Manifest:
    """Read and check a table of segments: what `corpus=manifest corpus.path=PATH` trains on.

    Args:
        path: a CSV, TSV, Parquet or JSON Lines file; one that `subtext-data build` wrote brings its description.
        settings: see `ManifestCorpus`.

    Raises:
        ManifestError: the file is missing or cannot be read, or a cell of it cannot be used.
        TrustError: its description looks for files outside of the table's folder, and `root` does not say so.

    Example:
        >>> manifest = subtext.read_manifest("my.csv", groups=["speaker"])
        >>> manifest.table["split"].value_counts().to_dict()
        {'train': 80, 'val': 40, 'test': 40}
    """
    return ManifestCorpus(path=Path(path), **settings).build()


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
        for setting, named in (("columns", columns), ("values", values)):
            if not isinstance(named, Mapping | None):
                raise ConfigError(f"corpus.{setting} is a {type(named).__name__}; write what belongs to each column")
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
        unread: list[Unread] | None = [] if self.on_error == "skip" else None
        table, numbers = read_numbered_table(self.path, unread)
        beside = self._beside()
        if "about" in beside:
            self.description = self._described(beside["about"])
        if beside.get("escaped") == ESCAPED:
            table = unescaped(table)
        name = self.name or str(beside.get("name") or self.path.stem)
        self._check_header(table)
        table = self._translate(self._rename(table))
        root = self.root
        if root is None:
            root = described_root(self.path, str(beside.get("root", "")), table)
        if not root.is_dir():
            # What a description calls the folder may be somebody's name.
            where = f"the root {root}" if self.root is not None else "what the description beside it calls the root"
            raise ManifestError(f"{name}: {where} is not a folder; set corpus.root to where the files are")
        groups = self.groups
        if groups is None:
            groups = tuple(beside.get("groups", ("speaker",)))
            missing = [n for n, group in enumerate(groups, 1) if group not in table and group not in TEXT_COLUMNS]
            if missing:
                raise ManifestError(
                    f"{self.path.with_suffix('.json')}, key 'groups', entry {missing[0]}: no column of "
                    f"{self.path.name}; build the table again, or name its groups by corpus.groups"
                )
        manifest = build_manifest(
            table,
            root=root,
            name=name,
            groups=groups,
            allow_links=self.allow_links,
            rule=self.rule,
            on_error=self.on_error,
            check_media=bool(self.check_media),
            row_numbers=numbers,
            rejects=rejects_of(unread),
        )
        check_splits(manifest, self.disjoint)
        short = short_turns(manifest.table[["start", "end"]].itertuples(index=False, name=None))
        if short:
            kept = np.setdiff1d(numbers, manifest.rejects["row"])
            _log.warning("%s: %s", name, told_short([int(kept[place]) for place in short], "row"))
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
                f"{beside}, the description of {self.path.name}, cannot be read ({one_line(error)}); "
                "repair or remove it"
            ) from error
        # Beside other tables there may be any file of that name: only an export's says how it was written.
        ours = isinstance(description, dict) and (kind_of(self.path) == "parquet" or "escaped" in description)
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

    def _check_header(self, table: pd.DataFrame) -> None:
        """Refuse a column that was meant for one of ours: nothing would be made of it."""
        ours = {theirs: ours for ours, theirs in self.columns.items()}
        header = [ours.get(str(column), str(column)) for column in table.columns]
        found = misspelt(header, _OURS, (*(self.groups or ()), *self.disjoint))
        if found:
            raise ManifestError(f"{self.path}: {did_you_mean(found)}")

    def _translate(self, table: pd.DataFrame) -> pd.DataFrame:
        for ours, meanings in self.values.items():
            if ours not in table:
                raise ManifestError(
                    f"{self.path}: corpus.values names the column '{ours}', which is not there; "
                    f"the table has {columns_told(table)}"
                )
            spelled = {str(cell).strip().lower(): str(meaning) for cell, meaning in meanings.items()}
            words = table[ours].astype("string")
            table[ours] = words.str.strip().str.lower().map(spelled).fillna(words)
        return table

    def _rename(self, table: pd.DataFrame) -> pd.DataFrame:
        missing = [theirs for theirs in self.columns.values() if theirs not in table]
        if missing:
            raise ManifestError(
                f"{self.path}: corpus.columns names '{missing[0]}', which is not in the file; "
                f"{near_cell(missing[0], table.columns)}the file has "
                f"{columns_told(table)}"
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
