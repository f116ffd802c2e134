"""Validation finds what was put in, and calls chance chance."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from subtext.errors import ManifestError
from subtext.evaluation.metrics import auroc
from subtext.manifest import Manifest
from subtext.replies import pages
from subtext.replies.embedding import Embedder
from subtext.replies.measures import MEASURES
from subtext.replies.validate import Validated, _folds, _out_of_fold, validate, validate_corpus

pytestmark = pytest.mark.usefixtures("few_buckets")


def made_up(seed: int, effect: float, length_effect: float = 0.0) -> pd.DataFrame:
    """60 sessions of two each of 30 films, 20 low; `advice` differs by `effect` (sd 1 between sessions)."""
    rng = np.random.default_rng(seed)
    rows = []
    for session in range(60):
        high = session // 2 % 3 > 0
        turns = int(np.exp(rng.normal(2.5 + length_effect * high, 0.3))) + 2
        level = rng.normal(-effect * high, 1)
        for turn in range(turns):
            row = {measure.name: rng.normal() for measure in MEASURES}
            row |= {"advice": level + rng.normal() * 0.1, "session": str(session), "id": f"{session}-{turn}"}
            rows.append(row | {"mi_quality": "high" if high else "low", "source": f"film {session // 2}"})
    return pd.DataFrame(rows)


def of(found: Validated, name: str, codes: str = "") -> object:
    return next(row for row in found.rows if row.measure == name and row.codes == codes)


def test_what_was_put_in_is_found_in_its_direction() -> None:
    found = validate(None, made_up(0, effect=2.0))
    row = of(found, "advice")
    assert row.verdict == "holds"  # type: ignore[attr-defined]
    assert row.auroc.value > 0.85  # type: ignore[attr-defined]
    assert row.p_holm < 0.001  # type: ignore[attr-defined]
    turned = of(validate(None, made_up(0, effect=-2.0)), "advice")
    assert turned.verdict == "against its claim"  # type: ignore[attr-defined]


def test_chance_is_called_chance() -> None:
    rows = [row for seed in range(3) for row in validate(None, made_up(seed, effect=0.0)).rows]
    significant = [row for row in rows if row.p is not None and row.p < 0.05]
    assert len(significant) / len(rows) < 0.12
    assert not [row for row in rows if row.p_holm is not None and row.p_holm < 0.05]


def test_a_sum_of_nothing_that_holds_is_no_figure_or_chance() -> None:
    for seed in range(2):
        for found in validate(None, made_up(seed, effect=0.0)).sums:
            assert found.auroc.value is None or found.auroc.value < 0.75, "chosen on training folds, judged on others"


def test_a_measure_of_length_alone_gains_nothing() -> None:
    table = made_up(1, effect=0.0, length_effect=1.0)
    size = table.groupby("session")["id"].transform("size")
    table["advice"] = -np.log(size)
    found = of(validate(None, table), "advice")
    assert found.verdict == "holds"  # type: ignore[attr-defined]
    assert found.auroc.value == pytest.approx(found.length.value)  # type: ignore[attr-defined]
    assert abs(found.gain.value) < 0.03  # type: ignore[attr-defined]


def test_pooled_folds_do_not_invert_a_useless_input() -> None:
    """With an intercept, folds with more of one quality would push pooled AUROC far below 0.5."""
    rng = np.random.default_rng(0)
    areas = []
    for seed in range(40):
        labels, groups = rng.random(60) < 0.7, np.repeat(np.arange(30), 2)
        out = _out_of_fold([rng.normal(size=60)], labels, _folds(labels, groups, 5, seed))
        areas.append(auroc(labels, out).value)
    assert 0.45 < np.mean(areas) < 0.55


def test_too_few_sessions_and_constants_have_no_figure() -> None:
    table = made_up(0, effect=1.0)
    table["advice"] = 1.0
    table.loc[table["session"].astype(int) > 9, "copying"] = np.nan
    found = validate(None, table)
    for name in ("advice", "copying"):
        assert of(found, name).verdict == "no figure"  # type: ignore[attr-defined]
    assert json.dumps(found.as_dict(), allow_nan=False)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t: t.drop(columns="mi_quality"), "no column 'mi_quality'"),
        (lambda t: t.assign(mi_quality="high"), "mi_quality is the same in all sessions"),
        (lambda t: t.drop(columns="source"), "no column 'source'"),
    ],
)
def test_what_cannot_be_validated_is_told(spoil: object, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        validate(None, spoil(made_up(0, effect=1.0)))  # type: ignore[operator]


@pytest.mark.slow
def test_a_corpus_from_end_to_end(dialogues: Manifest, embed: Embedder, tmp_path: Path) -> None:
    checks, found = validate_corpus(dialogues, embed, folds=3, n_bootstrap=200)
    assert of(found, "input", "human").verdict == "holds"  # type: ignore[attr-defined]
    assert of(found, "input", "predicted").auroc.value > 0.8  # type: ignore[attr-defined]
    names = [row.name for row in found.rows]
    assert len(names) == len(set(names)) == len(MEASURES) + sum("codes" in m.needs for m in MEASURES)
    content = {
        "corpus": "made_up",
        **found.as_dict(),
        "coder": {head: check.as_dict() for head, check in checks.items()},
    }
    text = pages.validation_markdown(json.loads(json.dumps(content, allow_nan=False)))
    assert text.count("| input (human)") == 1
    assert "What the coder costs" in text
    human, predicted = (of(found, "input", codes) for codes in ("human", "predicted"))
    cost = found.coder_cost["input"].value
    assert cost == pytest.approx(predicted.auroc.value - human.auroc.value)  # type: ignore[attr-defined]
    assert len(pages.validation_table(content)) == len(names) + 3
    assert len(pages.coder_table(content)) == 3
    from subtext.replies.figures import draw_validation

    draw_validation(content, tmp_path / "v.png")
    assert (tmp_path / "v.png").read_bytes().startswith(b"\x89PNG")
