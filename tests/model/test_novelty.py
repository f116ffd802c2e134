"""How far clips lie from those of the training: the distance by hand, its level, what counts once."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from subtext.encoders.text import TextEncoder
from subtext.encoders.tokens import Tokens
from subtext.evaluation.novelty import FEWEST_CLIPS
from subtext.model.batches import ClipData, StreamTable
from subtext.model.classifier import IncongruenceClassifier
from subtext.model.heads import Heads
from subtext.model.novelty import COMPONENTS, Novelty, Reference

WIDTH = 48


def drawn(rows: int, seed: int, shift: float = 0.0, steps: int = 1) -> Tokens:
    """Streams whose steps vary much in a few directions and hardly in the others."""
    generator = torch.Generator().manual_seed(seed)
    spread = 2.0 * 0.9 ** torch.arange(WIDTH)
    values = torch.randn(rows, steps, WIDTH, generator=generator) * spread + 3.0 + shift
    return Tokens(values, torch.ones(rows, steps, dtype=torch.bool))


def test_the_distance_is_mahalanobis_with_one_variance_for_the_directions_left_out() -> None:
    training, shown = drawn(400, 0, steps=3), drawn(20, 1, shift=0.7, steps=2)
    reference = Reference.fit([training], [drawn(200, 2)])
    values = training.real.double().numpy()
    variances, directions = np.linalg.eigh(np.cov(values, rowvar=False, bias=True))
    variances, directions = variances[::-1].copy(), directions[:, ::-1]
    kept = min(COMPONENTS, WIDTH // 2)
    variances[kept:] = variances[kept:].mean()
    inverse = directions @ np.diag(1 / variances) @ directions.T
    off = shown.values.double().numpy() - values.mean(axis=0)
    by_hand = np.sqrt(np.einsum("bti,ij,btj->bt", off, inverse, off).mean(axis=1))
    assert np.allclose(reference.novelty(shown).numpy() * reference.level, by_hand, rtol=1e-4)


def test_batches_and_padding_change_nothing() -> None:
    streams = [row[: 1 + number % 4] for number, row in enumerate(drawn(120, 0, steps=4).values)]
    together = Reference.fit([Tokens.pad(streams)], [Tokens.pad(streams)])
    apart = Reference.fit(
        [Tokens.pad(streams[:50]).padded_to(9), Tokens.pad(streams[50:])], [Tokens.pad([stream]) for stream in streams]
    )
    shown = drawn(9, 1)
    assert torch.allclose(together.novelty(shown), apart.novelty(shown.padded_to(5)), rtol=1e-4)


@pytest.mark.parametrize("clips", [100, 250, 1000])
def test_99_of_100_validation_clips_keep_the_level(clips: int) -> None:
    validation = drawn(clips, 3)
    found = Reference.fit([drawn(300, 0)], [validation]).novelty(validation)
    assert int((found > 1 + 1e-6).sum()) <= clips * 0.01
    assert float(found.max()) >= 1 - 1e-6  # and not a level that nothing could reach


def test_new_clips_of_the_same_kind_are_alike_and_others_are_not() -> None:
    reference = Reference.fit([drawn(300, 0)], [drawn(200, 1)])
    assert float((reference.novelty(drawn(1000, 2)) > 1).float().mean()) < 0.05
    assert bool((reference.novelty(drawn(100, 2, shift=2.0)) > 1).all())


def test_a_short_clip_is_no_farther_away_than_a_long_one() -> None:
    """As its mean along time would be, which varies more."""
    reference = Reference.fit([drawn(300, 0, steps=40)], [drawn(200, 1, steps=40)])
    medians = [float(reference.novelty(drawn(200, 2, steps=steps)).median()) for steps in (1, 5, 40)]
    assert max(medians) - min(medians) < 0.05


def test_what_differs_only_where_training_hardly_varied_is_unlike() -> None:
    """The directions beside the principal components count: there a network shows what it never saw."""
    reference = Reference.fit([drawn(300, 0)], [drawn(200, 1)])
    shown = drawn(100, 2)
    shown.values[:, :, -1] += 3.0
    assert bool((reference.novelty(shown) > 1).all())


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 3e38])
def test_what_is_no_number_is_unlike(value: float) -> None:
    shown = drawn(2, 1)
    shown.values[0] = value
    found = Reference.fit([drawn(300, 0)], [drawn(200, 1)]).novelty(shown)
    assert bool(found.isfinite().all())
    assert float(found[0]) > 1e6
    assert float(found[1]) < 10


def same(rows: int, value: float) -> Tokens:
    return Tokens(torch.full((rows, 1, WIDTH), value), torch.ones(rows, 1, dtype=torch.bool))


@pytest.mark.parametrize("clips", [1, 50])
def test_training_clips_that_do_not_vary_give_distances_all_the_same(clips: int) -> None:
    reference = Reference.fit([same(clips, 1.0)], [same(120, 1.0)])
    assert reference.is_usable
    assert bool((reference.novelty(same(3, 1.0)) <= 1).all())
    assert bool((reference.novelty(same(3, 2.0)) > 1).all())


# -- from a model and its rows ----------------------------------------------------------------------------------------


def model() -> IncongruenceClassifier:
    encoder = TextEncoder(embed_dim=WIDTH, dim=8)
    return IncongruenceClassifier(
        encoders={"text": encoder}, fusion=None, heads=Heads(names=["verbal_polarity"], dim=8, dropout=0.0)
    ).eval()


def rows(train: list[int], val: list[int], steps: int = 2) -> ClipData:
    """Rows that name streams by number, -1 for none."""
    streams = list(drawn(max(*train, *val) + 1, 0, steps=steps).values)
    table = pd.DataFrame({"id": range(len(train) + len(val)), "split": ["train"] * len(train) + ["val"] * len(val)})
    return ClipData(table, {"text": StreamTable(streams)}, {"text": torch.tensor([*train, *val])})


def test_a_stream_counts_once_however_many_rows_share_it() -> None:
    distinct = list(range(120))
    once = Novelty.fit(model(), rows(distinct, list(range(120, 240))))
    often = Novelty.fit(model(), rows(distinct + [3] * 500, [*range(120, 240), *[125] * 500, -1]))
    assert once.clips == often.clips == {"text": 120}
    ours, theirs = once.references["text"], often.references["text"]
    assert ours.level == pytest.approx(theirs.level)
    assert torch.allclose(ours.center, theirs.center)


@pytest.mark.parametrize("clips", [FEWEST_CLIPS - 1, FEWEST_CLIPS])
def test_below_a_hundred_validation_clips_there_is_no_level(clips: int) -> None:
    # Rows do not make up for streams.
    found = Novelty.fit(model(), rows(list(range(200)), [*range(200, 200 + clips), *[200] * 50]))
    has_level = clips >= FEWEST_CLIPS
    assert (found.described["text"]["level"] is not None) == has_level
    assert found.described["text"]["clips"] == clips
    assert bool(found.tensors) == has_level
