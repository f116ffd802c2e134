"""What the settings of `subtext-vlm` may be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, MinLen

from subtext.core.schema import Count, Dropout, Form, Natural, OneOf, Part, Seed
from subtext.corpora.corpus import Corpus
from subtext.features.prosody import ProsodyExtractor
from subtext.runs.settings import Paths, check_folds
from subtext.vlm.clips import FrameReader
from subtext.vlm.controls import CONTROLS
from subtext.vlm.endpoint import Endpoint, EndpointSpec
from subtext.vlm.spec import ARMS, TuneSpec, VlmSpec


@dataclass(frozen=True)
class ReplySettings:
    """Of the mode `reply`."""

    out: str
    system: str | None
    hint: Literal["none", "told", "placebo"]
    predictions: str | None
    split: str
    limit: Count | None
    before: Natural
    max_new_tokens: Count
    batch_size: Count


@dataclass(frozen=True, kw_only=True)
class TuneSettings(TuneSpec):
    """Of the mode `tune`."""

    folder: str


@dataclass(frozen=True, kw_only=True)
class EndpointSettings(EndpointSpec):
    """Of a server; without an `url` the model runs here."""

    url: str | None  # type: ignore[assignment]


@dataclass(frozen=True)
class VlmSettings(Form):
    """Of all modes."""

    corpus: Annotated[Corpus, Part()]
    vlm: VlmSpec
    prompts: Mapping[str, Any]
    paths: Paths
    folder: str
    seed: Seed
    heads: Annotated[Sequence[str], MinLen(1)]
    answer: Literal["likelihood", "generation"]
    floor: Dropout
    max_new_tokens: Count
    controls: bool | Sequence[Annotated[str, OneOf(CONTROLS)]]
    transcript: bool
    context: bool
    voice: bool
    frames: Annotated[FrameReader, Part()]
    prosody: Annotated[ProsodyExtractor, Part()]
    endpoint: EndpointSettings
    shard: str | None
    light: str | None
    trust: Sequence[str] | None
    labels: Annotated[str, OneOf(ARMS)]
    tune: TuneSettings
    reply: ReplySettings
    cv: Annotated[int, Ge(3)] | None
    fold: Natural | None
    overwrite: bool
    dry_run: bool
    workers: Natural
    debug: bool
    name: str = ""

    @classmethod
    def check(cls, settings: Mapping[str, Any]) -> None:
        """See `Form.check`; also whether `cv` and `fold` go together, and the server's address."""
        super().check(settings)
        check_folds(settings)
        if settings["endpoint"]["url"] is not None:
            Endpoint(EndpointSpec(**settings["endpoint"]))
