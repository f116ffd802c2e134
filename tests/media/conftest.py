"""Small recordings made on the spot, and ways to make odd ones."""

from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from builders.numbered_pictures import FPS, SAMPLE_RATE, SECONDS, chirp, numbered
from subtext.corpora.studio.write import write_mp4


@pytest.fixture(scope="session")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 s of numbered pictures at 25 fps with a chirp, key frames 2 s apart, index in front."""
    return write_mp4(
        tmp_path_factory.mktemp("recording") / "numbered.mp4",
        numbered(SECONDS * FPS),
        FPS,
        chirp(SECONDS),
        SAMPLE_RATE,
        keyframe_interval=2 * FPS,
        faststart=True,
    )


@pytest.fixture(scope="session")
def encode() -> Callable[..., Path]:
    """Write pictures with any codec and pixel format, at any times."""

    def _encode(
        path: Path,
        images: Iterable[np.ndarray],
        *,
        codec: str = "ffv1",
        pix_fmt: str = "gray",
        given: str = "gray",
        times: Iterable[float] | None = None,
        fps: int = 10,
        aspect: Fraction | None = None,
        options: dict[str, str] | None = None,
    ) -> Path:
        images = list(images)
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=fps, options=options or {})
            stream.pix_fmt = pix_fmt
            stream.height, stream.width = images[0].shape[:2]
            stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
            if aspect is not None:
                stream.codec_context.sample_aspect_ratio = aspect
            for image, time in zip(images, times or np.arange(len(images)) / fps, strict=True):
                frame = av.VideoFrame.from_ndarray(image, format=given)
                frame.pts, frame.time_base = round(time * 1000), Fraction(1, 1000)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        return path

    return _encode


@pytest.fixture(scope="session")
def bad_files(tmp_path_factory: pytest.TempPathFactory, recording: Path) -> dict[str, Path]:
    """Files that are no recordings, by what is wrong with them."""
    folder = tmp_path_factory.mktemp("bad")
    whole = recording.read_bytes()
    contents = {
        "empty": b"",
        "text": b"Subtext is what is meant and not said.\n" * 100,
        "beginning": whole[: len(whole) // 50],
        "playlist": b"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nhttp://localhost/a.ts\n#EXT-X-ENDLIST\n",
    }
    files = {"missing": folder / "missing.mp4", "folder": folder}
    for name, content in contents.items():
        files[name] = folder / f"{name}.mp4"
        files[name].write_bytes(content)
    files["plain text"] = folder / "notes.txt"
    files["plain text"].write_bytes(contents["text"])
    return files


@pytest.fixture(scope="session")
def cut_off(tmp_path_factory: pytest.TempPathFactory, recording: Path) -> Path:
    """The recording, broken off somewhere in its middle."""
    path = tmp_path_factory.mktemp("cut") / "cut.mp4"
    whole = recording.read_bytes()
    path.write_bytes(whole[: len(whole) * 6 // 10])
    return path
