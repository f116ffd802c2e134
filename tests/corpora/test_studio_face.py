"""Drawn faces: what moves, what stays, and that people differ."""

import numpy as np
import pytest

from subtext.corpora.studio.face import CANVAS, Expression, Head
from subtext.corpora.studio.speakers import draw_speaker

SHAVEN = [number for number in range(40) if draw_speaker(0, number).look.beard == "none"][:8]
BROWS, EYES, MOUTH = slice(112, 150), slice(150, 175), slice(212, 275)
CORNERS, MIDDLE = (slice(95, 106), slice(150, 161)), slice(122, 134)


def drawn(number: int, **expression: float) -> np.ndarray:
    head = Head(draw_speaker(0, number).look, (0.0, 0.0), np.random.default_rng(0))
    return head.draw(Expression(**expression)).astype(float)


def lip_height(image: np.ndarray, columns: slice) -> float:
    """Row of the darkest pixels in some columns of the mouth's region: where the lips meet."""
    dark = image[226:264, columns].mean(axis=(1, 2))
    return float(np.argmin(dark))


def corners_above_middle(image: np.ndarray) -> float:
    return lip_height(image, MIDDLE) - np.mean([lip_height(image, columns) for columns in CORNERS])


@pytest.mark.parametrize("number", SHAVEN)
def test_a_smile_lifts_the_corners_of_the_mouth_and_a_frown_lowers_them(number: int) -> None:
    glad, rest, low = (corners_above_middle(drawn(number, smile=smile)) for smile in (0.9, 0.0, -0.9))
    assert glad > rest + 2
    assert low < rest - 2


@pytest.mark.parametrize("number", SHAVEN[:4])
def test_each_part_moves_alone(number: int) -> None:
    rest = drawn(number)
    for part, expression in (
        (BROWS, {"brow_raise": 0.8}),
        (BROWS, {"brow_inner": -0.9}),
        (EYES, {"lids": 0.1}),
        (MOUTH, {"jaw": 0.9}),
    ):
        moved = np.abs(drawn(number, **expression) - rest).sum(axis=(1, 2))
        assert moved[part].sum() > 0.8 * moved.sum() > 0, expression


def test_open_and_shut_eyes_differ_in_brightness() -> None:
    for number in SHAVEN[:4]:
        eye = (slice(152, 172), slice(78, 110))
        spread_open, spread_shut = (drawn(number, lids=lids)[eye].std() for lids in (1.0, 0.0))
        assert spread_open > spread_shut


def test_extreme_expressions_can_be_drawn() -> None:
    for number in range(24):
        for size in (-2.0, 2.0):
            image = drawn(
                number, smile=size, stretch=size, jaw=1.5, teeth=2, brow_raise=size, brow_inner=size, lids=2, cheeks=2
            )
            assert image.shape == (CANVAS[1], CANVAS[0], 3)
            assert image.std() > 10


def test_people_differ_and_stay_themselves() -> None:
    speakers = [draw_speaker(0, number) for number in range(60)]
    assert len({speaker.look for speaker in speakers}) == 60
    assert len({speaker.voice for speaker in speakers}) == 60
    for trait in ("hair_style", "glasses", "beard"):
        assert len({getattr(speaker.look, trait) for speaker in speakers}) >= 3
    assert speakers[7] == draw_speaker(0, 7) != draw_speaker(1, 7)
    images = [drawn(number) for number in range(12)]
    for first in range(12):
        for second in range(first):
            assert np.abs(images[first] - images[second]).mean() > 3


def test_light_comes_from_its_side() -> None:
    look = draw_speaker(0, SHAVEN[0]).look
    left, right = (
        Head(look, (side, 0.0), np.random.default_rng(0)).draw(Expression()).astype(float) for side in (-1.0, 1.0)
    )
    cheek = slice(185, 205)
    assert left[cheek, 70:100].mean() > right[cheek, 70:100].mean()
    assert left[cheek, 156:186].mean() < right[cheek, 156:186].mean()
