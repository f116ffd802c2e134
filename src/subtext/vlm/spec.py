"""What sets one family of vision-language models apart from another: a file of `conf/vlm`, and no Python."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal

from annotated_types import Interval

from subtext.core.hub import COMMIT
from subtext.core.schema import Count, Dropout, Positive, Width, checked
from subtext.errors import ConfigError

FrameMode = Literal["images", "video", "tiled"]
Precision = Literal["float32", "bfloat16", "float16"]

ARMS: Final = ("incongruence", "polarity", "placebo")


@checked
@dataclass(frozen=True, kw_only=True)
class VlmSpec:
    """One model: its family's settings, and where it is and how it is run.

    Attributes:
        name: the family.
        path: a folder, or a hub id, which needs a `revision`.
        adapter: folder of a LoRA adapter that is put on it.
        revision: commit on the hub (40 hexadecimal digits).
        allow_download: fetch the model from the hub where its local cache lacks it.
        device: `cpu`, `cuda` or `cuda:1`; never chosen silently.
        dtype: precision of weights and activations; log-probabilities are float32 whatever it is.
        four_bit: load the linear layers in four bits (NF4; Dettmers et al. 2023, arXiv 2305.14314), computing in
            `dtype`; needs bitsandbytes.
        attention: `sdpa` or `eager`.
        batch_size: prompts at once; halved where memory runs out.
        frames: how frames are given: as several images, as one video, or tiled into one image.
        max_frames: most frames that the family takes; None = as many as its context holds.
        processor: settings of the processor's parts for pictures and video, such as `do_image_splitting: false`.
        chat_template: a Jinja template for a family whose processor has none.
        interleaved: the processor takes a list of texts and pictures as a prompt (IDEFICS).
        text_modules: regular expression of the text model's modules, for adapters.
        stop: tokens that end an answer besides the tokenizer's own.
        note: what a reader of the tables must know of this family.
    """

    name: str
    path: str
    adapter: str | None = None
    revision: str | None = None
    allow_download: bool = False
    device: str
    dtype: Precision
    four_bit: bool = False
    attention: Literal["sdpa", "eager"] = "sdpa"
    batch_size: Count = 8
    frames: FrameMode
    max_frames: Count | None = None
    processor: Mapping[str, Any] = field(default_factory=dict)
    chat_template: str | None = None
    interleaved: bool = False
    text_modules: str
    stop: Sequence[str] = ()
    note: str = ""

    def __post_init__(self) -> None:
        if self.revision is not None and not COMMIT.fullmatch(self.revision):
            raise ConfigError(f"vlm.revision={self.revision} is not a commit; use its 40 hexadecimal digits")


@checked
@dataclass(frozen=True, kw_only=True)
class TuneSpec:
    """How an adapter is trained.

    Attributes:
        rank: of the adapter.
        alpha: its weight, times the rank.
        dropout: on what an adapter reads.
        batch_size: prompts a step.
        steps: of the whole training.
        learning_rate: at the first step; it falls to 0 along a line.
        every: steps between two checkpoints.
    """

    rank: Width
    alpha: Positive
    dropout: Dropout
    batch_size: Count
    steps: Count
    learning_rate: Annotated[float, Interval(gt=0, lt=1)]
    every: Count

    def __post_init__(self) -> None:
        if self.steps % self.every:
            raise ConfigError(f"tune.steps={self.steps} must be a multiple of tune.every={self.every}")
