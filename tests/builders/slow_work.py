"""Work for worker processes that never comes to an end, and notes who does it."""

import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from subtext.errors import MediaError
from subtext.features.extractor import Extractor, NoSource, Source
from subtext.features.stream import Stream
from subtext.manifest import Manifest


def note_and_wait(folder: str) -> Path:
    """Note the number of this process as a file in a folder, and wait."""
    (Path(folder) / str(os.getpid())).touch()
    time.sleep(600)
    return Path(folder)


class SlowExtractor(Extractor):
    """Extracts nothing, slowly."""

    modality = "visual"

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def fingerprint(self) -> str:
        return "slow"

    def sources(self, manifest: Manifest) -> list[Source | NoSource]:
        return []

    def extract(self, sources: Sequence[Source]) -> Iterator[tuple[int, Stream | MediaError]]:
        note_and_wait(self.folder)
        yield from ()
