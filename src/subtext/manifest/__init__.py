"""The manifest: one row a segment, from any corpus, in one plain table."""

from subtext.manifest.table import (
    LABEL_COLUMNS,
    PATH_COLUMNS,
    SPLITS,
    STREAM_COLUMNS,
    TEXT_COLUMNS,
    Manifest,
    build_manifest,
    check_splits,
    read_written_manifest,
    write_manifest,
)

__all__ = [
    "LABEL_COLUMNS",
    "PATH_COLUMNS",
    "SPLITS",
    "STREAM_COLUMNS",
    "TEXT_COLUMNS",
    "Manifest",
    "build_manifest",
    "check_splits",
    "read_written_manifest",
    "write_manifest",
]
