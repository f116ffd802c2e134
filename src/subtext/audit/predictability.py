"""How well a label can be told from what has nothing to do with it.

Numeric variables are judged by cross-validation over folds that share no unit. Where a corpus reuses several units
(speaker, sentence ...) each in turn makes the folds, and the least AUROC counts: a variable that merely tells a
sentence or a speaker that stands in both halves again is no property of the recording that goes with the label. What
the units themselves tell is the business of the lookups.

A lookup gives each row the share of positive labels among the training rows of the same speaker (show, session ...).
It is judged on the corpus's own division: where no speaker stands on both sides it knows nothing, and cannot leak.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from subtext.audit.division import Bools, Division, Ints, determines, unit_codes
from subtext.errors import ConfigError
from subtext.evaluation.intervals import Interval, Units, ranking_interval, t_quantile
from subtext.evaluation.metrics import UndefinedMetricError, auroc
from subtext.manifest.table import columns_told

Floats = npt.NDArray[np.float64]

FOLDS: Final = 5
MOST_ROWS: Final = 20_000
"""Rows that cross-validation looks at; of a larger corpus a random sample, which bounds time and loses nothing."""
FEWEST: Final = 10
"""Rows of each class below which nothing is said."""
MOST_CLASSES: Final = 12
FOR_BOOSTING: Final = 600
"""Training rows from which gradient boosting joins the logistic regression: fewer show it no interaction."""
_PRIOR_ROWS: Final = 1.0
"""Weight of the overall share in a unit's share, in rows."""


@dataclass(frozen=True)
class Prediction:
    """How well one variable, or all of them, tells a label.

    Attributes:
        label: which label.
        variable: the variable; "all together" for all.
        how: "cross-validated", or the division that a lookup was judged on.
        rows: rows judged.
        interval: AUROC with its 95 % interval.
        p: one-sided p value of AUROC > 0.5, before correction.
        accuracy: of a lookup, of deciding by the majority; None otherwise.
        majority: accuracy of always saying what is more frequent among the training rows; None as above.
        carries: whether it can pass from training rows to judged rows of the corpus's own division; a lookup that is
            judged on random folds, because the corpus is not divided, can not yet.
        medians: of the variable among negative and positive rows, for numeric ones.
    """

    label: str
    variable: str
    how: str
    rows: int
    interval: Interval
    p: float
    accuracy: float | None = None
    majority: float | None = None
    carries: bool = True
    medians: tuple[float, float] | None = None

    def as_dict(self) -> dict[str, Any]:
        """One row of a table."""
        low, high = self.medians or (None, None)
        return {
            "label": self.label,
            "variable": self.variable,
            "how": self.how,
            "rows": self.rows,
            "auroc": self.interval.value,
            "low": self.interval.low,
            "high": self.interval.high,
            "method": self.interval.method,
            "clusters": dict(self.interval.clusters or {}),
            "p": self.p,
            "accuracy": self.accuracy,
            "majority": self.majority,
            "median_negative": low,
            "median_positive": high,
        }


def audited_labels(table: pd.DataFrame, wanted: Sequence[str] | None = None) -> dict[str, pd.Series]:
    """The yes-no labels to audit, each `[n]` boolean with nulls.

    By default `incongruent` and `vocal_incongruent`; in a corpus that has neither, each polarity against the others.

    Args:
        table: the manifest's.
        wanted: columns instead: booleans or 0 and 1 as they are, of others each value against the rest.

    Raises:
        ConfigError: a column is absent, or has too many values for classes.
    """
    for column in wanted or ():
        if column not in table:
            raise ConfigError(f"audit: no column '{column}' to audit; the table has {columns_told(table)}")
    columns = ["incongruent", "vocal_incongruent"] if wanted is None else list(wanted)
    columns = [column for column in columns if column in table and table[column].notna().any()]
    if wanted is None and not columns:
        polarities = ("verbal_polarity", "visual_polarity", "vocal_polarity")
        columns = [column for column in polarities if column in table and table[column].notna().any()]
    labels: dict[str, pd.Series] = {}
    for column in columns:
        values = table[column]
        known = list(values.dropna().unique())
        if set(known) <= {True, False}:
            labels[column] = values.astype("boolean")
            continue
        if len(known) > MOST_CLASSES:
            raise ConfigError(
                f"audit: the label '{column}' has {len(known)} different values; name a column with at most "
                f"{MOST_CLASSES} classes"
            )
        for value in sorted(known)[1 if len(known) == 2 else 0 :]:
            labels[f"{column}={_shown(value)}"] = (values == value).astype("boolean").mask(values.isna())
    return labels


def _shown(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def numeric_predictions(
    label: str,
    answers: Bools,
    variables: Mapping[str, Floats],
    units: Mapping[str, Ints],
    *,
    lookups: Sequence[Ints] = (),
    disjoint: Sequence[str] = (),
    own_units: Mapping[str, Mapping[str, Ints]] | None = None,
    seed: int = 0,
) -> list[Prediction]:
    """Every numeric variable alone, and all together with the lookups that carry over the corpus's division.

    Args:
        label: name of the label.
        answers: `[n]`.
        variables: name -> `[n]`, NaN where missing, which is a value of its own.
        units: reused units, name -> `[n]` codes.
        lookups: codes of units that stand on both sides of the division, for the figure of all together.
        disjoint: units that the division keeps apart, by which the folds of all together are made.
        own_units: variable -> units that it is a property of, beside the others: the words that a length is that of.
        seed: of folds and boosting.
    """
    if min(answers.sum(), (~answers).sum()) < FEWEST:
        return []
    encoded = {name: _encode(values) for name, values in variables.items()}
    encoded = {name: columns for name, columns in encoded.items() if columns.shape[1]}
    found = []
    for name, columns in encoded.items():
        values = variables[name]
        medians = (_median(values[~answers]), _median(values[answers]))
        reused = _distinct_units({**units, **(own_units or {}).get(name, {})})
        clusters = Units({unit: _whole(codes) for unit, codes in reused.items()}, len(answers))
        scores = [_linear_scores(columns, answers, fold) for fold in _foldings(answers, reused, seed)]
        interval, p = _weakest(answers, scores, clusters)
        found.append(Prediction(label, name, "cross-validated", len(answers), interval, p, medians=medians))
    if len(encoded) + len(lookups) > 1:
        columns = np.hstack([*encoded.values()]) if encoded else np.zeros((len(answers), 0))
        kept = {name: codes for name, codes in units.items() if not lookups or name in disjoint}
        free = Units({name: _whole(codes) for name, codes in kept.items()}, len(answers))
        scores = [_joint_scores(columns, lookups, answers, fold, seed) for fold in _foldings(answers, kept, seed)]
        interval, p = _weakest(answers, scores, free)
        found.append(Prediction(label, "all together", "cross-validated", len(answers), interval, p))
    return found


def lookup_predictions(
    label: str,
    answers: pd.Series,
    categories: Mapping[str, Ints],
    units: Mapping[str, Ints],
    divided: Sequence[Division],
    seed: int = 0,
) -> list[Prediction]:
    """What each unit's other rows tell of a row's label.

    Args:
        label: name of the label.
        answers: `[n]` boolean with nulls.
        categories: name -> `[n]` codes, -1 where missing.
        units: by which p is clustered. Under its null hypothesis, that units do not differ, rows are exchangeable
            between them, so a unit's own clusters, and those that contain it, do not count. They do for the interval,
            which is clustered by the unit that is looked up as well: other speakers would give another figure.
        divided: the corpus's divisions; where there are none, random folds.
        seed: of random folds.
    """
    known = answers.notna().to_numpy()
    truth = answers.fillna(False).to_numpy(dtype=bool)
    found = []
    for name, codes in categories.items():
        for division in [*divided] if divided else [None]:
            parts = _random_parts(truth, known, seed) if division is None else division.parts()
            judged = _look_up(truth, known, codes, parts)
            if judged is None:
                continue
            rows, scores, decided, usual = judged
            if min(truth[rows].sum(), (~truth[rows]).sum()) < FEWEST:
                continue
            others = {
                unit: _whole(other[rows]) for unit, other in units.items() if not determines(codes[rows], other[rows])
            }
            clustered = _distinct_units({name: _whole(codes[rows]), **others})
            interval, _ = _judge(truth[rows], scores, Units(clustered, len(rows)))
            _, p = _judge(truth[rows], scores, Units(others, len(rows)))
            how = "random folds" if division is None else f"own {division.column}"
            found.append(
                Prediction(
                    label,
                    f"{name} lookup",
                    how,
                    len(rows),
                    interval,
                    p,
                    accuracy=float((decided == truth[rows]).mean()),
                    majority=float((usual == truth[rows]).mean()),
                    carries=division is not None,
                )
            )
    return found


def _look_up(
    truth: Bools, known: Bools, codes: Ints, parts: Sequence[tuple[Bools, Bools]]
) -> tuple[Ints, Floats, Bools, Bools] | None:
    """Judged rows, their scores, decisions, and what the majority would say; None if no unit stands on both sides."""
    rows, scores, decided, usual = [], [], [], []
    anything = False
    for train, judged in parts:
        fitted, tested = np.flatnonzero(train & known), np.flatnonzero(judged & known)
        if not len(fitted) or not len(tested):
            continue
        prior = truth[fitted].mean()
        share = _shares(codes[fitted], truth[fitted], codes[tested])
        anything |= bool(np.isin(codes[tested][codes[tested] >= 0], codes[fitted]).any())
        rows.append(tested)
        # Less the prior: folds differ in it, and rows of different folds are ranked against each other.
        scores.append(share - prior)
        decided.append(share > 0.5)
        usual.append(np.full(len(tested), prior > 0.5))
    if not anything:
        return None
    return np.concatenate(rows), np.concatenate(scores), np.concatenate(decided), np.concatenate(usual)


def _shares(codes: Ints, truth: Bools, wanted: Ints) -> Floats:
    """Share of positives among the rows of each wanted unit, drawn to the overall share by `_PRIOR_ROWS` rows."""
    prior = truth.mean() if len(truth) else 0.5
    inside = codes >= 0
    size = int(max(codes.max(initial=-1), wanted.max(initial=-1))) + 2  # the last place is that of a missing value
    counts = np.bincount(codes[inside], minlength=size)
    positive = np.bincount(codes[inside], weights=truth[inside], minlength=size)
    return np.asarray(((positive + _PRIOR_ROWS * prior) / (counts + _PRIOR_ROWS))[wanted])


def sample_rows(known: Bools, seed: int = 0) -> Ints:
    """Positions of the labelled rows, a random `MOST_ROWS` of them if there are more."""
    rows = np.flatnonzero(known)
    if len(rows) > MOST_ROWS:
        rows = np.sort(np.random.default_rng(seed).choice(rows, MOST_ROWS, replace=False))
    return rows


def _random_parts(truth: Bools, known: Bools, seed: int) -> list[tuple[Bools, Bools]]:
    fold = np.full(len(truth), -1)
    rng = np.random.default_rng(seed)
    for side in (truth & known, ~truth & known):
        rows = rng.permutation(np.flatnonzero(side))
        fold[rows] = np.arange(len(rows)) % FOLDS
    return [((fold >= 0) & (fold != k), fold == k) for k in range(FOLDS)]


def _distinct_units(units: Mapping[str, Ints]) -> dict[str, Ints]:
    """Units with several rows each, without those that make the same groups as an earlier one."""
    found: dict[str, Ints] = {}
    for name, codes in units.items():
        distinct = int(codes.max(initial=-1)) + 1
        if distinct < 2 or len(np.unique(codes[codes >= 0])) == (codes >= 0).sum():
            continue
        if not any(determines(codes, other) and determines(other, codes) for other in found.values()):
            found[name] = codes
    return found


def _foldings(answers: Bools, units: Mapping[str, Ints], seed: int) -> list[list[tuple[Ints, Ints]]]:
    """For each unit folds that do not share it; random ones where there are none."""
    from sklearn.model_selection import GroupKFold, StratifiedKFold

    found = []
    for codes in units.values():
        groups = _whole(codes)
        n = int(groups.max()) + 1
        if 1 < n < len(groups):
            folds = GroupKFold(min(FOLDS, n), shuffle=True, random_state=seed)
            found.append(list(folds.split(groups, groups=groups)))
    if not found:
        random = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
        found.append(list(random.split(answers, answers)))
    return found


def _encode(values: Floats) -> Floats:
    """`[n, <= 3]`: rank in -1 to 1, its square, and whether it is missing; columns that do not vary are left out.

    Ranks make the figure independent of units and outliers; the square lets a label follow the middle of a range.
    """
    from scipy.stats import rankdata

    missing = ~np.isfinite(values)
    ranks = np.zeros(len(values))
    if (~missing).sum() > 1:
        ranks[~missing] = 2 * (rankdata(values[~missing]) - 0.5) / (~missing).sum() - 1
    columns = np.stack([ranks, np.where(missing, 0.0, ranks**2 - 1 / 3), missing.astype(np.float64)], axis=1)
    return columns[:, np.ptp(columns, axis=0) > 1e-9]


def _linear_scores(columns: Floats, answers: Bools, folds: Sequence[tuple[Ints, Ints]]) -> Floats:
    """Out-of-fold linear predictors without their intercepts, which would only tell the folds apart."""
    from sklearn.linear_model import LogisticRegression

    scores = np.zeros(len(answers))
    for train, test in folds:
        if answers[train].all() or not answers[train].any():
            continue
        model = LogisticRegression(max_iter=200).fit(columns[train], answers[train])
        scores[test] = columns[test] @ model.coef_[0]
    return scores


def _joint_scores(
    columns: Floats, lookups: Sequence[Ints], answers: Bools, folds: Sequence[tuple[Ints, Ints]], seed: int
) -> Floats:
    """Out-of-fold log odds, less the training rows' own: of a logistic regression, or of it and boosting."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    scores = np.zeros(len(answers))
    rng = np.random.default_rng(seed)
    for train, test in folds:
        if min(answers[train].sum(), (~answers[train]).sum()) < 2:
            continue
        inputs, judged = columns[train], columns[test]
        prior = _log_odds(np.array([answers[train].mean()]))
        for codes in lookups:
            # Cross-fitted within the training rows, so that none carries its own label.
            given = np.zeros(len(train))
            inner = rng.integers(FOLDS, size=len(train))
            for k in range(FOLDS):
                given[inner == k] = _shares(
                    codes[train[inner != k]], answers[train[inner != k]], codes[train[inner == k]]
                )
            inputs = np.column_stack([inputs, _log_odds(given) - prior])
            judged = np.column_stack([judged, _log_odds(_shares(codes[train], answers[train], codes[test])) - prior])
        models = [LogisticRegression(max_iter=500)]
        if len(train) >= FOR_BOOSTING:
            models.append(
                HistGradientBoostingClassifier(
                    learning_rate=0.1,
                    max_iter=40,
                    max_leaf_nodes=8,
                    min_samples_leaf=20,
                    early_stopping=False,
                    random_state=seed,
                )
            )
        for model in models:
            # On a busy machine the threads of so small a fit mostly wait for each other.
            with threadpool_limits(1):
                model.fit(inputs, answers[train])
            scores[test] += (_log_odds(model.predict_proba(judged)[:, 1]) - prior) / len(models)
    return scores


def _log_odds(shares: Floats) -> Floats:
    clipped = np.clip(shares, 1e-4, 1 - 1e-4)
    return np.asarray(np.log(clipped / (1 - clipped)))


def _weakest(answers: Bools, scores: Sequence[Floats], clusters: Units) -> tuple[Interval, float]:
    judged = [_judge(answers, values, clusters) for values in scores]
    return max(judged, key=lambda found: found[1])


def _judge(answers: Bools, scores: Floats, clusters: Units) -> tuple[Interval, float]:
    """AUROC with its clustered interval, and the one-sided p value that goes with it.

    The standard error is the interval's half-width over the quantile of Student's t that made it, so that the p value
    and the interval tell the same.
    """
    from scipy.stats import t

    def within(rows: Bools) -> float:
        return auroc(answers[rows], scores[rows]).value

    try:
        estimate = auroc(answers, scores)
    except UndefinedMetricError as error:
        return Interval(None, reason=str(error)), 1.0
    interval = ranking_interval(estimate, clusters, within)
    fewest = min((interval.clusters or {"clip": len(answers)}).values())
    if interval.low is None or interval.high is None:
        # No pair is misranked: a sign flip of every cluster is all that could have made another figure.
        return interval, 0.5 ** (fewest - 1) if estimate.value == 1 else 1.0
    half = max(estimate.value - interval.low, interval.high - estimate.value)
    if half <= 0:
        return interval, 1.0
    degrees = interval.degrees or fewest - 1
    spread = half / t_quantile(degrees)
    return interval, float(t.sf((estimate.value - 0.5) / spread, degrees))


def _whole(codes: Ints) -> Ints:
    """Codes without gaps; a row of no unit is one of its own."""
    filled = codes.copy()
    alone = filled < 0
    filled[alone] = filled.max(initial=-1) + 1 + np.arange(alone.sum())
    return np.unique(filled, return_inverse=True)[1].astype(np.int64)


def _median(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else float("nan")


def codes_of(table: pd.DataFrame, columns: Sequence[str]) -> dict[str, Ints]:
    """Codes of the columns that tell rows apart in groups; of columns that make the same groups the first."""
    there = [column for column in dict.fromkeys(columns) if column in table]
    return _distinct_units({column: unit_codes(table[column]) for column in there})
