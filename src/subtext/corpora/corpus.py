"""What every corpus module provides."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from subtext.manifest import Manifest
from subtext.manifest.description import CardSection, Description


class Corpus(ABC):
    """A source of segments: official files or a generator on one side, a manifest on the other.

    Attributes:
        description: licence, citation, labels and cautions, for the dataset card and the page of a run. A table of
        ours takes on, when it is built, that of the corpus that it was made from.

    Example:
        >>> import pandas
        >>> from subtext.manifest import build_manifest
        >>> from subtext.manifest.description import Description
        >>> class Mine(subtext.Corpus):
        ...     description = Description(
        ...         title="Mine", nature="your own", licence="mine", citation="none", source="my own recordings",
        ...         labels="two raters", layout="my own",
        ...     )
        ...     def build(self):
        ...         rows = {"id": ["a"], "transcript": ["Fine."], "verbal_polarity": [1], "visual_polarity": [-1]}
        ...         return build_manifest(pandas.DataFrame(rows), root=".", name="mine")
        >>> Mine().build().table["incongruence_type"].tolist()
        ['leakage']
    """

    description: Description

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if not hasattr(cls, "description"):
            raise TypeError(f"{cls.__name__} needs a class attribute `description`, a subtext Description")

    @abstractmethod
    def build(self) -> Manifest:
        """Read or make the corpus and describe it.

        Raises:
            DatasetNotFound: its files are not where its official layout puts them.
        """

    def card_sections(self, manifest: Manifest) -> Sequence[CardSection]:
        """What the dataset card says of this corpus beyond what it says of every one.

        Args:
            manifest: what `build` gave.
        """
        return ()
