"""Figures from robustness tables: AUROC by strength, areas by hand, intervals, clips that nothing is left of."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from subtext.errors import RunError
from subtext.evaluation.intervals import Units, ranking_interval
from subtext.evaluation.metrics import auroc
from subtext.evaluation.robustness import RobustnessCurves, records, trapezoid_weights
from subtext.report.robustness_figures import robustness_figure
from subtext.report.terminal import FEW_MARK, interval_text

POINTS = [("clean", 0.0, 2.0), ("drop:text", 1.0, 0.2), ("prosody:noise", 20.0, 1.5), ("prosody:noise", 0.0, 0.5)]


def table(seed: int = 0, clips: int = 200, points: list[tuple[str, float, float]] = POINTS) -> pd.DataFrame:
    labels = np.random.default_rng(99).random(clips) < 0.5
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=clips)
    parts = []
    for condition, strength, skill in points:
        score = skill * labels + noise + 0.1 * rng.normal(size=clips)
        parts.append(
            pd.DataFrame(
                {
                    "id": [f"c{n}" for n in range(clips)],
                    "split": "test",
                    "speaker": [f"s{n % 40}" for n in range(clips)],
                    "condition": condition,
                    "strength": strength,
                    "incongruent": pd.array(labels, dtype="boolean"),
                    "prob_incongruent": 1 / (1 + np.exp(-score)),
                    "present_prosody": True,
                    "present_text": True,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def test_points_are_the_auroc_of_their_rows() -> None:
    made = table()
    points = RobustnessCurves([made], ["speaker"]).point_table()
    assert points[["condition", "strength"]].to_numpy().tolist() == [[c, s] for c, s, _ in POINTS]
    for row in points.to_dict("records"):
        own = made[(made["condition"] == row["condition"]) & (made["strength"] == row["strength"])]
        labels, scores = own["incongruent"].to_numpy(bool), own["prob_incongruent"].to_numpy()
        assert row["auroc"] == pytest.approx(roc_auc_score(labels, scores))
        expected = ranking_interval(auroc(labels, scores), Units.of(own, ["speaker"]))
        assert (row["low"], row["high"]) == pytest.approx((expected.low, expected.high))
    assert points["level"].tolist() == pytest.approx([0, 1, 0.1, 1])


def test_an_area_is_the_mean_along_the_scale() -> None:
    curves = RobustnessCurves([table()], ["speaker"])
    (area,) = curves.area_table().to_dict("records")
    clean, _, soft, loud = curves.point_table()["auroc"]
    # Amplitudes 0, 0.1 and 1.
    by_hand = 0.1 * (clean + soft) / 2 + 0.9 * (soft + loud) / 2
    assert area["area"] == pytest.approx(by_hand)
    assert (area["strengths"], area["clean"]) == ("inf 20 0", pytest.approx(clean))
    assert loud < area["area"] < clean
    assert area["low"] < area["area"] < area["high"]


def test_the_weights_of_a_flat_curve_give_its_height() -> None:
    weights = trapezoid_weights([0, 0.1, 0.3, 0.75])
    assert weights.sum() == pytest.approx(1)
    assert weights @ np.array([0.0, 0.1, 0.3, 0.75]) == pytest.approx(0.75 / 2)
    flat = table(points=[("clean", 0.0, 1.0)])
    again = pd.concat([flat, *(flat.assign(condition="visual:blur", strength=s) for s in (0.1, 0.2))])
    curves = RobustnessCurves([again.assign(present_visual=True)], [])
    (area,) = curves.area_table().to_dict("records")
    clean = curves.point_table().iloc[0]
    assert (area["area"], area["low"], area["high"]) == pytest.approx((clean["auroc"], clean["low"], clean["high"]))


@pytest.mark.slow  # 250 draws of a corpus, to see how often an interval holds the true area
def test_the_interval_of_an_area_holds_it_as_often_as_it_says() -> None:
    def draw(clips: int, rng: np.random.Generator) -> pd.DataFrame:
        speakers = rng.integers(0, 40, clips)
        shift = rng.normal(size=40)[speakers]
        labels = rng.random(clips) < 0.5
        parts = []
        for condition, strength, skill in POINTS:
            score = skill * labels + shift + rng.normal(size=clips)
            own = table(clips=clips, points=[(condition, strength, 1.0)])
            own["speaker"], own["incongruent"], own["prob_incongruent"] = speakers, labels, score
            parts.append(own)
        return pd.concat(parts, ignore_index=True)

    rng = np.random.default_rng(0)
    # Averaged over corpora of as many speakers each, as the truth of this sampling scheme.
    truth = np.mean([RobustnessCurves([draw(400, rng)], []).area("prosody:noise")[0].value for _ in range(100)])
    inside = 0
    for _ in range(150):
        (area,) = RobustnessCurves([draw(400, rng)], ["speaker"]).area_table().to_dict("records")
        inside += area["low"] <= truth <= area["high"]
    assert 0.9 <= inside / 150 <= 0.99


def test_seeds_are_averaged_and_their_spread_told() -> None:
    tables = [table(seed) for seed in range(3)]
    pooled = RobustnessCurves(tables, ["speaker"])
    each = [RobustnessCurves([one], ["speaker"]) for one in tables]
    points = pooled.point_table()
    own = np.array([curves.point_table()["auroc"] for curves in each])
    np.testing.assert_allclose(points["auroc"], own.mean(axis=0))
    np.testing.assert_allclose(points["seed_sd"], own.std(axis=0, ddof=1))
    assert points["seeds"].tolist() == [3] * 4
    areas = [curves.area_table().loc[0, "area"] for curves in each]
    assert pooled.area_table().loc[0, "area"] == pytest.approx(np.mean(areas))


def test_only_what_every_run_has_is_shown() -> None:
    less = table(1, points=POINTS[:3])
    # A condition that was interrupted between two folds is not whole.
    part = pd.concat([less, table(1)[lambda t: t["strength"] == 0].iloc[200:250]])
    points = RobustnessCurves([table(0), part], []).point_table()
    assert points[["condition", "strength"]].to_numpy().tolist() == [[c, s] for c, s, _ in POINTS[:3]]


def test_clips_that_nothing_is_left_of_stay_in_as_one_and_the_same() -> None:
    made = table()
    gone = (made["strength"] == 0.0) & (made["condition"] == "prosody:noise")
    made.loc[gone, ["prob_incongruent", "present_prosody"]] = [np.nan, False]
    last = RobustnessCurves([made], []).point_table().iloc[-1]
    assert (last["auroc"], last["clips"], last["judged"], last["present"]) == (0.5, 200, 0.0, 0.0)
    # What could not be judged clean is no clip to measure a loss on.
    made.loc[made["id"] == "c7", "prob_incongruent"] = np.nan
    assert RobustnessCurves([made], []).point_table()["clips"].tolist() == [199] * 4


def test_other_clips_or_labels_are_refused() -> None:
    other = table(1)
    with pytest.raises(RunError, match="other test clips"):
        RobustnessCurves([table(), other[other["id"] != "c3"]], [])
    other.loc[other["id"] == "c3", "incongruent"] = ~other.loc[other["id"] == "c3", "incongruent"]
    with pytest.raises(RunError, match="other labels"):
        RobustnessCurves([table(), other], [])
    with pytest.raises(RunError, match="no prob_vocal_incongruent"):
        RobustnessCurves([table()], [], "vocal_incongruent")
    with pytest.raises(RunError, match="no rows of clean"):
        RobustnessCurves([table(points=POINTS[1:])], [])


@pytest.mark.parametrize(("speakers", "few"), [(10, True), (25, False)])
def test_intervals_that_rest_on_few_speakers_are_marked(speakers: int, few: bool) -> None:
    made = table().assign(speaker=lambda t: (t["id"].str[1:].astype(int) % speakers).astype(str))
    curves = RobustnessCurves([made], ["speaker"])
    assert curves.point_table()["few"].tolist() == [few] * 4
    assert curves.area_table()["few"].tolist() == [few]
    row = records(curves.point_table())[0]
    assert interval_text(row | {"value": row["auroc"]}).endswith(FEW_MARK) == few


def test_one_class_has_no_figure_and_says_why() -> None:
    made = table().assign(incongruent=pd.array([True] * 800, dtype="boolean"))
    points = RobustnessCurves([made], ["speaker"]).point_table()
    assert points["auroc"].isna().all()
    assert "all 200 labelled clips are positive" in points["reason"][0]


def test_the_figure_bears_several_systems_and_missing_conditions(tmp_path: Path) -> None:
    systems = {f"fusion={n}": RobustnessCurves([table(n)], ["speaker"]) for n in range(3)}
    systems["less"] = RobustnessCurves([table(4, points=POINTS[:2])], ["speaker"])
    points = {name: curves.point_table() for name, curves in systems.items()}
    areas = {name: curves.area_table() for name, curves in systems.items()}
    written = robustness_figure(points, tmp_path / "all.png", areas=areas, question="words against face")
    assert written is not None
    assert written.stat().st_size > 10_000
    clean = {"one": RobustnessCurves([table(points=POINTS[:1])], []).point_table()}
    assert robustness_figure(clean, tmp_path / "none.png") is None
