"""From frames and a question to a model's tensors, and the guard that no frame is lost on the way.

Idefics2 and Idefics3 take `videos=` and drop it without a word; a processor may also sample frames again. So the
placeholders for vision in the input are counted and must be as many as the frames give.
"""

import hashlib
import math
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from subtext.errors import ConfigError, WeightsError
from subtext.vlm.loading import find_folder, load_model, load_processor
from subtext.vlm.spec import VlmSpec

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

CLOCK: Final = 1000
"""Ticks a second in which the times of frames are told to a processor."""
TEMPLATE_SECONDS: Final = 10
"""A chat template that takes longer doesn't end."""
TEMPLATE_SIGNS: Final = 100_000
"""More than any chat template adds to what it is given."""

Images = npt.NDArray[np.uint8]
"""Pictures `[n, height, width, 3]`, RGB."""


@dataclass(frozen=True)
class Frames:
    """Pictures of a segment.

    Attributes:
        images: uint8 RGB `[n, height, width, 3]`, in the order in which the model sees them.
        times: `[n]` s from the segment's start, rising.
        duration: of the segment, s.
    """

    images: Images
    times: tuple[float, ...]
    duration: float

    @cached_property
    def digest(self) -> str:
        """sha256 over pictures and times."""
        told = repr((self.images.shape, self.ticks, round(self.duration * CLOCK)))
        return hashlib.sha256(told.encode() + np.ascontiguousarray(self.images).tobytes()).hexdigest()

    @property
    def ticks(self) -> list[int]:
        """The times in whole parts of `CLOCK`."""
        return [round(time * CLOCK) for time in self.times]


@dataclass(frozen=True)
class Sample:
    """One question about one clip.

    Attributes:
        text: what the user's turn says.
        frames: the pictures that go with it; None = none.
    """

    text: str
    frames: Frames | None = None


@dataclass(frozen=True)
class Encoded:
    """A batch as the model takes it.

    Attributes:
        tensors: by name, `input_ids` `[batch, time]` and `attention_mask` among them, padded on the left.
        tokens: `[batch]` real tokens.
        vision_tokens: `[batch]` placeholders for vision among them.
    """

    tensors: "dict[str, torch.Tensor]"
    tokens: list[int]
    vision_tokens: list[int]


def tile(images: Images) -> Images:
    """All pictures in one, in reading order: `[1, rows * height, columns * width, 3]`, empty places black."""
    n, height, width = images.shape[:3]
    columns = math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    sheet = np.zeros((rows * columns, height, width, 3), np.uint8)
    sheet[:n] = images
    sheet = sheet.reshape(rows, columns, height, width, 3).swapaxes(1, 2)
    return sheet.reshape(1, rows * height, columns * width, 3)


class Vlm:
    """A model that answers questions about clips.

    Args:
        spec: which model, and how it is run.

    Raises:
        WeightsError: the folder, its processor or its model cannot be used.
        ConfigError: a setting of `spec` cannot be used.
    """

    def __init__(self, spec: VlmSpec) -> None:
        self.spec = spec
        self.folder = find_folder(spec)
        self._counts: dict[tuple[int, int, int], int] = {}

    @cached_property
    def processor(self) -> Any:
        """Makes tensors of texts and pictures; loaded when it is first asked for."""
        return load_processor(self.spec, self.folder)

    @property
    def tokenizer(self) -> Any:
        """The processor's, padding on the left."""
        return self.processor.tokenizer

    @cached_property
    def model(self) -> "PreTrainedModel":
        """The model on its device, loaded when it is first asked for."""
        return load_model(self.spec, self.folder, self.processor)

    @property
    def context(self) -> int | None:
        """Tokens that the model takes at most; None where it does not say."""
        return getattr(self.model.config.get_text_config(), "max_position_embeddings", None)

    def render(self, sample: Sample) -> str:
        """The whole prompt with its placeholders, up to where the answer begins.

        Raises:
            WeightsError: the chat template cannot be used, does not end, or loses what it is given.
        """
        pictures = self._pictures(sample.frames)
        kind = "video" if self.spec.frames == "video" else "image"
        places = [{"type": kind}] * (min(len(pictures), 1) if kind == "video" else len(pictures))
        text = self._harmless(sample.text)
        messages = [{"role": "user", "content": [*places, {"type": "text", "text": text}]}]
        own = {} if self.spec.chat_template is None else {"chat_template": self.spec.chat_template}
        from jinja2 import TemplateError

        try:
            with _at_most(TEMPLATE_SECONDS):
                made = self.processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False, **own)
        except (TemplateError, ValueError, TypeError, KeyError, TimeoutError, MemoryError, OverflowError) as error:
            # Not in the template's words, which may be those of the prompt.
            reason = str(error) if isinstance(error, TimeoutError) else type(error).__name__
            raise WeightsError(f"{self.folder}: its chat template cannot be used ({reason})") from error
        if len(made) > TEMPLATE_SIGNS + 2 * len(text):
            raise WeightsError(
                f"{self.folder}: its chat template makes {len(made)} signs of {len(text)}; it is no chat's"
            )
        if made.count(text) != 1:
            raise WeightsError(
                f"{self.folder}: its chat template gives the question {made.count(text)} times instead of once; set "
                "another by vlm.chat_template"
            )
        return str(made)

    def encode(self, samples: Sequence[Sample], endings: Sequence[str] | None = None) -> Encoded:
        """Tensors of samples that all have as many pictures of one size.

        Args:
            samples: at least one.
            endings: text after each prompt, such as the answer that a model is trained on.

        Raises:
            ConfigError: there are more frames than the family takes, or the input holds fewer placeholders than they
                give.
            WeightsError: see `render`.
        """
        import torch

        ends = endings or [""] * len(samples)
        prompts = [self.render(sample) + end for sample, end in zip(samples, ends, strict=True)]
        tensors = self._process(prompts, [sample.frames for sample in samples])
        ids = tensors["input_ids"]
        vision = torch.stack([(ids == number).sum(dim=1) for number in self._vision_ids]).sum(dim=0).tolist()
        for place, (sample, count) in enumerate(zip(samples, vision, strict=True)):
            if count != (expected := self._expected(sample.frames, tensors, place)):
                raise ConfigError(
                    f"{self.spec.name}: {0 if sample.frames is None else len(sample.frames.images)} frames give "
                    f"{max(expected, 1)} placeholders for vision or more, but the input holds {count}: frames would be "
                    "lost; set vlm.frames to another of images, video, tiled"
                )
        return Encoded(tensors, tensors["attention_mask"].sum(dim=1).tolist(), vision)

    @cached_property
    def _vision_ids(self) -> list[int]:
        ids = (getattr(self.processor, f"{kind}_token_id", None) for kind in ("image", "video"))
        found = sorted({number for number in ids if number is not None})
        if not found:
            raise WeightsError(f"{self.folder}: its processor knows no image or video token; it is no vision model's")
        return found

    @cached_property
    def _special(self) -> list[str]:
        added = {*self.tokenizer.all_special_tokens, *self.tokenizer.get_added_vocab()}
        return sorted((token for token in added if len(token) > 1), key=len, reverse=True)

    def _pictures(self, frames: Frames | None) -> Sequence[Images]:
        if frames is None:
            return ()
        most = self.spec.max_frames
        if most is not None and len(frames.images) > most:
            raise ConfigError(
                f"{self.spec.name} takes {most} frames at most, not {len(frames.images)}; lower frames.count"
            )
        return list(tile(frames.images) if self.spec.frames == "tiled" else frames.images)

    def _process(self, prompts: Sequence[str], frames: Sequence[Frames | None]) -> "dict[str, torch.Tensor]":
        import torch
        from PIL import Image

        options: dict[str, Any] = {"padding": True, "return_tensors": "pt"}
        text: list[Any] = list(prompts)
        if frames[0] is None:
            if self.spec.interleaved:
                text = [[prompt] for prompt in prompts]
        elif self.spec.frames == "video":
            given = [f for f in frames if f is not None]
            options |= {
                "videos": [np.ascontiguousarray(f.images) for f in given],
                "video_metadata": [_metadata(f) for f in given],
            }
            options["do_sample_frames"] = False
        else:
            pictures = [[Image.fromarray(picture) for picture in self._pictures(f)] for f in frames]
            if self.spec.interleaved:
                token = self.tokenizer.convert_ids_to_tokens(self._vision_ids[0])
                text = [list(_interleaved(p.split(token), given)) for p, given in zip(prompts, pictures, strict=True)]
            else:
                options["images"] = pictures
        try:
            made = self.processor(text=text, **options)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            reason = str(error) if isinstance(error, TimeoutError) else type(error).__name__
            raise WeightsError(f"{self.folder}: its processor cannot take words and frames ({reason})") from error
        return {key: value for key, value in made.items() if torch.is_tensor(value)}

    def _expected(self, frames: Frames | None, tensors: "Mapping[str, torch.Tensor]", place: int) -> int:
        """Placeholders that the frames of one sample of a batch must give; -1 where their number shows a loss.

        Where a processor tells its grid of patches, it must have as many steps as frames. Else the number goes by what
        two and three pictures of this size give, since it must grow by as much with every picture.
        """
        if frames is None:
            return 0
        n, is_video = len(frames.images), self.spec.frames == "video"
        kind = "video" if is_video else "image"
        grids = tensors.get(f"{kind}_grid_thw")
        if grids is not None:
            part = getattr(self.processor, f"{kind}_processor")
            own = grids[place : place + 1] if is_video else grids.view(-1, len(self._pictures(frames)), 3)[place]
            steps = math.ceil(n / part.temporal_patch_size) if is_video else len(own)
            return int(own.prod(dim=1).sum()) // part.merge_size**2 if int(own[:, 0].sum()) == steps else -1
        height, width = frames.images.shape[1:3]
        if n == 1 or self.spec.frames == "tiled":
            return self._count(n, height, width) or -1
        two, three = (self._count(pictures, height, width) for pictures in (2, 3))
        return two + (n - 2) * (three - two) if three > two > 0 else -1

    def _count(self, pictures: int, height: int, width: int) -> int:
        key = (pictures, height, width)
        if key not in self._counts:
            times = tuple(float(time) for time in range(pictures))
            probe = Frames(np.zeros((pictures, height, width, 3), np.uint8), times, float(pictures))
            ids = self._process([self.render(Sample("?!", probe))], [probe])["input_ids"]
            self._counts[key] = int(sum((ids == number).sum() for number in self._vision_ids))
        return self._counts[key]

    def _harmless(self, text: str) -> str:
        """The text without the model's control tokens, which a transcript may hold: `<image>` becomes `< image>`."""
        for token in self._special:
            if token in text:
                text = text.replace(token, f"{token[0]} {token[1:]}")
        return text.strip()


def _metadata(frames: Frames) -> Mapping[str, Any]:
    from transformers.video_utils import VideoMetadata

    height, width = frames.images.shape[1:3]
    return VideoMetadata(
        total_num_frames=max(1, round(frames.duration * CLOCK)),
        fps=float(CLOCK),
        width=width,
        height=height,
        duration=frames.duration,
        frames_indices=frames.ticks,
    )


def _interleaved(texts: Sequence[str], pictures: Sequence[Any]) -> Iterator[Any]:
    for place, text in enumerate(texts):
        if text:
            yield text
        if place < len(pictures):
            yield pictures[place]


@contextmanager
def _at_most(seconds: int) -> Iterator[None]:
    """Ends what takes longer by a TimeoutError; only in the main thread, where signals arrive."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def end(*_: object) -> None:
        raise TimeoutError(f"it takes longer than {seconds} s")

    before = signal.signal(signal.SIGALRM, end)
    timer = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, *timer)  # somebody else's, such as a test's
