"""Readers: figures to posteriors, fitted at once."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from builders.figure_clips import figure_clips, model
from subtext.encoders.standardise import Standardised
from subtext.errors import ManifestError
from subtext.model.anchoring import fit_readers
from subtext.model.baseline import person_means
from subtext.model.batches import ClipData
from subtext.model.predict import raw_answers
from subtext.model.readers import Reader, ReaderSpec, clusters, fit, fit_and_read

ALL = ReaderSpec(networks=2, steps=60)


def figures(seed: int, rows: int, width: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    """Three classes that a curved border divides in part."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(rows, width, generator=generator)
    score = values[:, 0] + values[:, 1] * values[:, 2] + 0.5 * torch.randn(rows, generator=generator)
    return values * 3 + 10, torch.bucketize(score, torch.tensor([-0.6, 0.6]))


def fit_all(reader: Reader, values: torch.Tensor, classes: torch.Tensor, seed: int = 0) -> Reader:
    fit([reader], values, classes, torch.ones(1, len(values), dtype=torch.bool), seed=seed)
    return reader


def test_a_reader_is_no_worse_than_logistic_regression() -> None:
    """On sets of a few hundred clips, by log loss on held-out ones; the mean over ten sets."""
    gains = []
    for seed in range(10):
        values, classes = figures(seed, 1300)
        train, test = slice(0, 300), slice(300, None)
        reader = fit_all(Reader(12, 3, ReaderSpec()), values[train], classes[train], seed)
        scaled = ((values - values[train].mean(0)) / values[train].std(0, correction=0)).clamp(-3, 3).numpy()
        regression = LogisticRegression(C=0.1, max_iter=1000).fit(scaled[train], classes[train])
        theirs = log_loss(classes[test], regression.predict_proba(scaled[test]))
        gains.append(theirs - log_loss(classes[test], reader(values[test]).softmax(dim=1).numpy()))
    assert np.mean(gains) > 0


@pytest.mark.parametrize("count", [2, 3])
def test_without_networks_it_is_that_regression(count: int) -> None:
    values, classes = figures(1, 200)
    classes = classes.clamp(max=count - 1)
    reader = fit_all(Reader(12, count, ReaderSpec(networks=0, limit=100.0)), values, classes)
    scaled = ((values - values.mean(0)) / values.std(0, correction=0)).numpy()
    regression = LogisticRegression(C=0.1, max_iter=1000).fit(scaled, classes)
    expected = torch.from_numpy(regression.predict_proba(scaled)).float()
    torch.testing.assert_close(reader(values).softmax(dim=1), expected, atol=2e-3, rtol=0)


def test_a_class_without_clips_is_hardly_ever_read() -> None:
    values, classes = figures(2, 120)
    reader = fit_all(Reader(12, 4, ReaderSpec(networks=0)), values, classes)
    assert reader(values).softmax(dim=1)[:, 3].max() < 0.01
    alone = fit_all(Reader(12, 4, ReaderSpec(networks=0)), values, torch.full_like(classes, 2))
    assert bool((alone(values).argmax(dim=1) == 2).all())


def test_a_missing_figure_is_the_mean() -> None:
    values, classes = figures(3, 120)
    values[:40, 5] = torch.nan
    reader = fit_all(Reader(12, 3, ALL), values, classes)
    filled = values.clone()
    filled[:40, 5] = values[40:, 5].mean()
    torch.testing.assert_close(reader(values), reader(filled), atol=1e-4, rtol=0)


def test_statistics_are_exact_and_bear_large_figures() -> None:
    values = torch.tensor([[1e6, 5.0], [1e6 + 2, 5.0]])
    standardise = Standardised(2, limit=3.0)
    standardise.fit(values)
    assert standardise.mean.tolist() == [1e6 + 1, 5.0]
    assert standardise.deviation.tolist() == [1.0, 1.0]
    assert standardise(values).tolist() == [[-1.0, 0.0], [1.0, 0.0]]


def test_readings_come_from_readers_of_other_speakers() -> None:
    """A speaker whose labels are turned round is read as the others would have it."""
    values, classes = figures(4, 240)
    speakers = [f"s{number % 12}" for number in range(240)]
    read = fit_and_read(Reader(12, 3, ReaderSpec(networks=0)), values, classes, speakers, seed=0)
    mine = torch.tensor([name == "s3" for name in speakers])
    changed = classes.clone()
    changed[mine] = 2 - changed[mine]
    again = fit_and_read(Reader(12, 3, ReaderSpec(networks=0)), values, changed, speakers, seed=0)
    torch.testing.assert_close(read[mine], again[mine])
    assert not torch.allclose(read[~mine], again[~mine])


@pytest.mark.parametrize(("clips", "width", "curved", "share"), [(400, 4, True, 0.75), (60, 30, False, 0.0)])
def test_the_networks_count_as_far_as_they_read_others_better(
    clips: int, width: int, curved: bool, share: float
) -> None:
    generator = torch.Generator().manual_seed(7)
    values = torch.randn(clips, width, generator=generator)
    straight = values @ torch.randn(width, generator=generator)
    classes = ((values[:, 0] * values[:, 1] if curved else straight) > 0).long()
    reader = Reader(width, 2, ReaderSpec(networks=2))
    fit_and_read(reader, values, classes, [None] * clips, seed=0)
    assert float(reader.share) == share


def test_a_seed_gives_the_same_readers_and_leaves_the_generator_alone() -> None:
    values, classes = figures(5, 90)
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    first = fit_all(Reader(12, 3, ALL), values, classes, seed=1)
    torch.manual_seed(3)
    second, third = Reader(12, 3, ALL), Reader(12, 3, ALL)
    torch.manual_seed(3)
    fit_all(second, values, classes, seed=1)
    assert torch.equal(torch.rand(2), expected)
    fit_all(third, values, classes, seed=2)
    torch.testing.assert_close(first(values), second(values))
    assert not torch.allclose(first(values), third(values))


def test_more_clips_than_a_step_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    values, classes = figures(6, 400)
    monkeypatch.setattr("subtext.model.readers._CLIPS_A_STEP", 64)
    reader = fit_all(Reader(12, 3, ReaderSpec(steps=150)), values, classes)
    assert float((reader(values).argmax(dim=1) == classes).float().mean()) > 0.6


def test_clips_without_a_speaker_stand_alone() -> None:
    assert len(set(clusters(["a", None, "a", None, "b"]).tolist())) == 4


# -- the person's own baseline -----------------------------------------------------------------------------------------


def read_rightly(data: ClipData, baseline: str | None) -> float:
    """Share of the test faces whose polarity is read rightly."""
    classifier = model(None, data, baseline=baseline)
    fit_readers(classifier, data.split("train"), seed=0)
    judged = data.split("test")
    embedded = classifier.eval().embed(judged.__getitems__(range(len(judged))).streams)
    found = classifier.read(embedded, person_means(classifier, judged))["visual_polarity"]
    return float((found.argmax(dim=1) == judged.targets["visual_polarity"].long()).float().mean())


def test_a_baseline_helps_where_persons_differ() -> None:
    gains = []
    for seed in range(3):
        data = figure_clips(seed, person=2.0)
        gains.append(read_rightly(data, "session") - read_rightly(data, None))
    assert np.mean(gains) > 0.05


def test_a_baseline_is_of_the_persons_own_turns_in_one_split() -> None:
    data = figure_clips(0, speakers=6, clips=8, person=1.0)
    classifier = model(None, data, baseline="session")
    fit_readers(classifier, data.split("train"), seed=0)
    means = person_means(classifier, data)["visual_polarity"]
    figures = classifier.encoder("visual").embed(data.__getitems__(range(len(data))).streams["visual"]).mean()
    for person in range(6):
        own = slice(person * 8, person * 8 + 8)
        torch.testing.assert_close(means[own], figures[own].mean(dim=0).expand(8, -1))
    # A person who stands in two splits has a baseline in each, of the turns there.
    table = data.table.copy()
    table.loc[4:7, "split"] = "test"
    parted = ClipData(table, data.streams, data.numbers)
    means = person_means(classifier, parted)["visual_polarity"]
    assert bool(means[:8].isnan().all()), "four turns are fewer than five"


def test_without_turns_enough_the_raw_reading_stands() -> None:
    data = figure_clips(0, speakers=12, clips=8, person=1.0)
    classifier = model(None, data, baseline="session")
    fit_readers(classifier, data.split("train"), seed=0)
    few = data.split("test").select(range(4))
    means = person_means(classifier, few)
    assert bool(means["visual_polarity"].isnan().all())
    embedded = classifier.eval().embed(few.__getitems__(range(4)).streams)
    torch.testing.assert_close(classifier.read(embedded, means), classifier.read(embedded))


def test_a_stream_that_stands_in_many_rows_counts_once() -> None:
    data = figure_clips(0, speakers=6, clips=8)
    classifier = model(None, data, baseline="speaker")
    fit_readers(classifier, data.split("train"), seed=0)
    once = person_means(classifier, data)["visual_polarity"][0]
    often = person_means(classifier, data.select([*range(8), 0, 0, 0]))["visual_polarity"][0]
    torch.testing.assert_close(once, often)


def test_enrolment_turns_alone_make_the_mean() -> None:
    data = figure_clips(0, speakers=6, clips=8, person=1.0)
    table = data.table.assign(enrolment=[number % 8 == 2 for number in range(48)])
    classifier = model(None, data, baseline="enrol")
    with pytest.raises(ManifestError, match=r"encoder\.visual\.baseline: .*enrolment\) are filled"):
        fit_readers(classifier, data.split("train"), seed=0)
    marked = ClipData(table, data.streams, data.numbers)
    fit_readers(classifier, marked.split("train"), seed=0)
    means = person_means(classifier, marked)["visual_polarity"]
    figures = classifier.encoder("visual").embed(marked.__getitems__([2]).streams["visual"]).mean()
    torch.testing.assert_close(means[:8], figures.expand(8, -1))


def test_permuted_persons_lose_what_the_own_mean_gives() -> None:
    data = figure_clips(0, person=2.0)
    classifier = model(None, data, baseline="session")
    fit_readers(classifier, data.split("train"), seed=0)
    judged = data.split("test")
    rightly = {}
    for name, given in (("own", judged), ("others", judged.with_permuted_persons(1))):
        found = raw_answers(classifier, given)["visual_polarity"].argmax(dim=1)
        rightly[name] = float((found == judged.targets["visual_polarity"]).float().mean())
    assert rightly["own"] > rightly["others"] + 0.1


def test_training_persons_must_have_turns_enough() -> None:
    data = figure_clips(0, speakers=12, clips=3)
    with pytest.raises(ManifestError, match=r"encoder\.visual\.baseline: no person .*least_turns lower"):
        fit_readers(model(None, data, baseline="session"), data.split("train"), seed=0)
