"""What every corpus module provides."""

from abc import ABC, abstractmethod

from subtext.manifest import Manifest


class Corpus(ABC):
    """A source of segments: official files or a generator on one side, a manifest on the other."""

    @abstractmethod
    def build(self) -> Manifest:
        """Read or make the corpus and describe it.

        Raises:
            DatasetNotFound: its files are not where its official layout puts them.
        """
