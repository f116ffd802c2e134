"""Pictures and sounds that tell which moment they are."""

from collections.abc import Iterable

import numpy as np

FPS = 25
SECONDS = 12
SAMPLE_RATE = 16_000
BITS = 10


def numbered(count: int, height: int = 32, width: int = 80) -> Iterable[np.ndarray]:
    """Pictures that carry their own number as black and white stripes, which compression leaves legible."""
    for number in range(count):
        image = np.zeros((height, width, 3), np.uint8)
        for bit in range(BITS):
            image[:, bit * 8 : bit * 8 + 8] = 255 * (number >> bit & 1)
        yield image


def number_of(image: np.ndarray) -> int:
    """The number that a picture of `numbered` carries."""
    return sum(int(image[16, bit * 8 + 4, 0] > 128) << bit for bit in range(BITS))


def chirp(seconds: float, sample_rate: int = SAMPLE_RATE) -> np.ndarray:
    """A rising tone, unlike itself at every other time."""
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    return (0.5 * np.sin(2 * np.pi * (200 + 40 * time) * time)).astype(np.float32)
