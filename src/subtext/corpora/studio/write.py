"""Write small H.264 + AAC files, the same bytes for the same input."""

from collections.abc import Iterable
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from subtext.media.video import Image

AUDIO_STEP = 1024
"""Samples of an AAC frame."""


def write_mp4(
    path: Path,
    frames: Iterable[Image] | None,
    fps: float = 25.0,
    waveform: npt.NDArray[np.float32] | None = None,
    sample_rate: int = 16_000,
    *,
    preset: str = "veryfast",
    crf: int = 23,
    keyframe_interval: int | None = None,
    faststart: bool = False,
) -> Path:
    """Write an mp4 file of H.264 (yuv420p) and mono AAC.

    One thread and fixed settings: the same input gives the same file with the same FFmpeg.

    Args:
        path: the file; its folder is made.
        frames: uint8 RGB `[height, width, 3]`, all of one size; an odd last row or column is repeated. None = no video.
        fps: frames per second.
        waveform: float `[samples]` within -1 and 1, or None = no sound.
        sample_rate: Hz.
        preset: x264's trade of speed against size.
        crf: x264's constant rate factor; lower is better.
        keyframe_interval: frames between key frames; None = x264's choice.
        faststart: put the index at the front, so that a file cut off can still be read.

    Raises:
        ValueError: neither frames nor a waveform, or frames without a single one.
    """
    if frames is None and waveform is None:
        raise ValueError("write_mp4 needs frames, a waveform, or both")
    if frames is not None:
        frames = iter(frames)
        first = next(frames, None)
        if first is None:
            raise ValueError(f"{path}: there are no frames to write; pass frames=None for sound alone")
        frames = chain([first], frames)
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"fflags": "+bitexact"} | ({"movflags": "+faststart"} if faststart else {})
    with av.open(str(path), mode="w", format="mp4", options=options) as container:
        video = audio = None
        if frames is not None:
            x264 = {"preset": preset, "crf": str(crf), "threads": "1"}
            if keyframe_interval is not None:
                x264 |= {"g": str(keyframe_interval), "sc_threshold": "0"}
            video = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001), options=x264)
            video.pix_fmt = "yuv420p"
            video.codec_context.thread_count = 1
        if waveform is not None:
            audio = container.add_stream("aac", rate=sample_rate, layout="mono")
            audio.bit_rate = 64_000
        if video is not None and frames is not None and first is not None:
            video.height, video.width = _even(first).shape[:2]
            for image in frames:
                picture = _even(image)
                container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(video.encode())
        if audio is not None and waveform is not None:
            samples = np.ascontiguousarray(waveform, dtype=np.float32)
            for start in range(0, len(samples), AUDIO_STEP):
                frame = av.AudioFrame.from_ndarray(
                    samples[None, start : start + AUDIO_STEP], format="fltp", layout="mono"
                )
                frame.sample_rate = sample_rate
                frame.pts = start
                frame.time_base = Fraction(1, sample_rate)
                container.mux(audio.encode(frame))
            container.mux(audio.encode())
    return path


def _even(image: Image) -> Image:
    height, width = image.shape[:2]
    if height % 2 or width % 2:
        image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    return np.ascontiguousarray(image)
