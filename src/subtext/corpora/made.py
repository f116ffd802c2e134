"""The folder of a corpus that is made: taken as it is, or made again where its settings or sources changed."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pandas as pd

from subtext.core.writing import write_json
from subtext.errors import ConfigError, ManifestError
from subtext.manifest import PATH_COLUMNS, Manifest, read_written_manifest, write_manifest

_SETTINGS: Final = "settings.json"
_MANIFEST: Final = "manifest.parquet"


def read_json(path: Path) -> Any:
    """What a JSON file of ours holds; None where it is missing or no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def made_before(folder: Path, settings: Mapping[str, Any]) -> Manifest | None:
    """The corpus that an earlier call left in a folder, if it is whole and of the same settings."""
    if read_json(folder / _SETTINGS) != settings:
        return None
    try:
        manifest = read_written_manifest(folder / _MANIFEST)
    except ManifestError:
        return None
    files = pd.concat([manifest.table[column] for column in PATH_COLUMNS]).dropna().unique()
    return manifest if all((folder / file).exists() for file in files) else None


@contextmanager
def making(folder: Path, what: str) -> Iterator[None]:
    """While a folder is written, it is the corpus of no settings.

    Raises:
        ConfigError: it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _SETTINGS).unlink(missing_ok=True)
        yield
    except OSError as error:
        raise ConfigError(
            f"cannot write the {what} under {folder}: {error.strerror or error}; free space there or set paths.corpora"
        ) from error


def finish(manifest: Manifest, settings: Mapping[str, Any]) -> None:
    """Write the manifest into its folder, and last the settings: a folder that has them is complete."""
    write_manifest(manifest, manifest.root / _MANIFEST)
    write_json(manifest.root / _SETTINGS, settings)
