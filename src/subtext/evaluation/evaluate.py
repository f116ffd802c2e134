"""From a table of predictions to `metrics.json`: every figure with its interval, next to the controls.

Everything is computed from the prediction tables and nothing else, so it can be computed again later. The threshold
comes from validation rows, figures from test rows. What is undefined is null and says why.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd

from subtext.errors import ConfigError, RunError
from subtext.evaluation.decisions import (
    abstention,
    decide,
    fold_figures,
    has_folds,
    labels_of,
    probabilities_of,
    temperature,
    usable,
)
from subtext.evaluation.intervals import LEVEL, Interval, Units, count_interval, ranking_interval
from subtext.evaluation.metrics import (
    ECE_BINS,
    Bools,
    CountStatistic,
    Floats,
    Linearised,
    UndefinedMetricError,
    auroc,
    average_precision,
    calibration_floor,
    confusion_matrix,
    decision_metrics,
    multiclass_metrics,
    probability_metrics,
    regression_metrics,
)
from subtext.labels import (
    EMOTION_COLUMN,
    EMOTIONS,
    ETHER_OF_TYPE,
    ETHER_TYPES,
    INCONGRUENCE_TYPES,
    MODALITIES,
    POLARITIES,
    POLARITY_COLUMN,
    POLARITY_NAMES,
    emotion_names,
)

BINARY_HEADS: Final[Mapping[str, str]] = {"incongruent": "visual_polarity", "vocal_incongruent": "vocal_polarity"}
"""Binary head -> the polarity that the words' polarity is held against."""

SUBSETS: Final = ("all", "all_streams")
"""Every labelled test clip, and those that have every stream of the model."""

RANKING: Final[Mapping[str, Callable[[Bools, Floats], Linearised]]] = {"auroc": auroc, "auprc": average_precision}
CONTROLS: Final = (
    "majority",
    "metadata",
    "speaker",
    "visual",
    "text",
    "prosody",
    "visual+text",
    "visual+prosody",
    "text+prosody",
    "posterior_product",
    "permuted",
    "shuffled",
)
"""The controls that stand beside every result; one that was not run is named in the notes."""

REDRAWN: Final = frozenset({"shuffled"})
"""Controls that are one draw of something random: a model of shuffled pairs ranks the cells of polarities by chance.

Its AUROC scatters around 0.5 by 0.1 to 0.2 from draw to draw, the more widely the better the encoders are, and no
interval over clips sees that. Runs of several seeds give an interval over draws.
"""
REDRAWN_REASON: Final = "one draw of shuffled pairs; pool several seeds for an interval over draws"

COUNTED: Final = ("macro_f1", "balanced_accuracy", "mcc", "brier", "ece")
BINARY_METRICS: Final = (*RANKING, *COUNTED)


def evaluate(
    predictions: pd.DataFrame,
    controls: pd.DataFrame | None = None,
    groups: Sequence[str] = ("speaker",),
    *,
    n_bootstrap: int = 1000,
    seed: int = 0,
    abstention_target: float = 0.75,
) -> dict[str, Any]:
    """Evaluate one run.

    Args:
        predictions: one row a clip, as in docs/architecture.md, predictions table; splits `val` and `test`, one seed.
        controls: the same in long form with a column `control`; None where none were run.
        groups: columns of reused units that intervals are clustered by; one that is absent or empty is reported.
        n_bootstrap: resamples of the bootstrap intervals.
        seed: seeds the resampling.
        abstention_target: accuracy that answers are asked to reach when choosing the abstention level.

    Returns:
        What `metrics.json` holds: plain types only.

    Raises:
        RunError: there are no test rows, ids repeat, or the table mixes seeds.
    """
    _check(predictions)
    test = predictions.loc[predictions["split"] == "test"].reset_index(drop=True)
    validation = predictions.loc[predictions["split"] == "val"].reset_index(drop=True)
    scorer = _Scorer(tuple(groups), n_bootstrap, seed)
    masks, missing = subsets_of(test)
    result: dict[str, Any] = {
        "format": 1,
        "clips": {split: int(count) for split, count in predictions["split"].value_counts().sort_index().items()},
        "seed": _only(predictions, "seed"),
        "groups": describe_groups(test, groups),
        "settings": {"level": LEVEL, "n_bootstrap": n_bootstrap, "seed": seed, "ece_bins": ECE_BINS},
        "subsets": {name: int(mask.sum()) for name, mask in masks.items()},
        "notes": missing,
        "heads": {},
        "controls": {},
    }
    for head in BINARY_HEADS:
        if f"prob_{head}" in test and head in test:
            result["heads"][head] = _binary_head(head, test, validation, masks, scorer, abstention_target)
        else:
            result["notes"].append(f"{head}: no predictions or no labels")
    result["type"] = {name: _type(test, mask, scorer) for name, mask in masks.items()}
    result["ether_type"] = {name: _ether_type(test, mask, scorer) for name, mask in masks.items()}
    result["polarity"] = {modality: _polarity(test, modality, scorer) for modality in MODALITIES}
    emotions = {m: _emotion(test, m, scorer) for m in MODALITIES if f"prob_{EMOTION_COLUMN[m]}_{EMOTIONS[0]}" in test}
    if emotions:
        result["emotion"] = emotions
    result["engagement"] = _engagement(test, scorer)
    result["presence"] = {m: float(test[f"present_{m}"].mean()) for m in MODALITIES if f"present_{m}" in test}
    if controls is not None:
        for name, rows in controls.groupby("control", sort=False):
            result["controls"][str(name)] = _control(str(name), rows, test, validation, scorer)
    absent = [name for name in CONTROLS if name not in result["controls"]]
    # A model that was asked and not trained has controls of its own.
    if absent and result["heads"] and not set(result["controls"]) - set(CONTROLS):
        result["notes"].append(f"controls that were not run: {', '.join(absent)}")
    return result


class _Scorer:
    """Figures with intervals, with the run's groups and resampling."""

    def __init__(self, groups: tuple[str, ...], n_bootstrap: int, seed: int) -> None:
        self.groups = groups
        self.n_bootstrap = n_bootstrap
        self.seed = seed

    def ranking(self, name: str, table: pd.DataFrame, labels: Bools, scores: Floats) -> dict[str, Any]:
        metric = RANKING[name]
        try:
            estimate = metric(labels, scores)
        except UndefinedMetricError as error:
            return Interval(None, reason=str(error)).as_dict()
        units = Units.of(table, self.groups)
        method = "DeLong" if name == "auroc" else "influence"
        return ranking_interval(
            estimate, units, lambda rows: metric(labels[rows], scores[rows]).value, method=method
        ).as_dict()

    def counted(
        self, names: Sequence[str], table: pd.DataFrame, make: Callable[[], Mapping[str, CountStatistic]]
    ) -> dict[str, Any]:
        try:
            statistics = make()
        except UndefinedMetricError as error:
            return {name: Interval(None, reason=str(error)).as_dict() for name in names}
        units = Units.of(table, self.groups)
        return {
            name: count_interval(statistics[name], units, n_bootstrap=self.n_bootstrap, seed=self.seed).as_dict()
            for name in names
        }

    def binary(self, table: pd.DataFrame, labels: Bools, p: Floats, decided: Bools) -> dict[str, Any]:
        figures = {name: self.ranking(name, table, labels, p) for name in RANKING}
        figures |= self.counted(
            ("macro_f1", "balanced_accuracy", "mcc"), table, lambda: decision_metrics(labels, decided)
        )
        return figures | self.counted(("brier", "ece"), table, lambda: probability_metrics(labels, p))

    def difference(
        self, table: pd.DataFrame, labels: Bools, ours: tuple[Floats, Bools], theirs: tuple[Floats, Bools]
    ) -> dict[str, Any]:
        """Ours less theirs on the same clips, in AUROC, macro-F1 and balanced accuracy."""
        units = Units.of(table, self.groups)
        try:
            area = auroc(labels, ours[0]) - auroc(labels, theirs[0])
            mine, other = decision_metrics(labels, ours[1]), decision_metrics(labels, theirs[1])
        except UndefinedMetricError as error:
            return {"auroc": Interval(None, reason=str(error)).as_dict()}
        figures = {
            "auroc": ranking_interval(
                area,
                units,
                lambda rows: auroc(labels[rows], ours[0][rows]).value - auroc(labels[rows], theirs[0][rows]).value,
                low=-1.0,
            ).as_dict()
        }
        for name in ("macro_f1", "balanced_accuracy"):
            interval = count_interval(mine[name] - other[name], units, n_bootstrap=self.n_bootstrap, seed=self.seed)
            figures[name] = interval.as_dict()
        return figures


def _check(predictions: pd.DataFrame) -> None:
    for column in ("id", "split"):
        if column not in predictions:
            raise RunError(f"predictions lack the column '{column}'; train the run again")
    if not (predictions["split"] == "test").any():
        raise RunError("predictions hold no test rows; give the manifest a test split")
    seeds = predictions["seed"].nunique() if "seed" in predictions else 1
    if seeds > 1:
        raise RunError(
            f"predictions mix {seeds} seeds; evaluate one run each and pool them with subtext-evaluate RUN RUN ..."
        )
    # A row may serve for validation in several folds; it is tested once.
    validated = predictions["split"] == "val"
    fold = predictions["fold"].where(validated) if "fold" in predictions else None
    repeated = predictions["id"][predictions[["split", "id"]].assign(fold=fold).duplicated()]
    if len(repeated):
        raise RunError(
            f"predictions hold id '{repeated.iloc[0]}' twice ({len(repeated)} such rows); one row a clip is expected"
        )


def subsets_of(test: pd.DataFrame) -> tuple[dict[str, Bools], list[str]]:
    """Which rows belong to each of `SUBSETS`, and a note where that is not known.

    A stream that no clip has, as of a modality that the model does not use, is not asked for.
    """
    masks: dict[str, Bools] = {"all": np.ones(len(test), dtype=bool)}
    columns = [f"present_{modality}" for modality in MODALITIES]
    absent = [column for column in columns if column not in test]
    if absent:
        return masks, [f"clips with all streams: not known, predictions lack {', '.join(absent)}"]
    present = test[columns].fillna(False).astype(bool)
    used = [column for column in columns if present[column].any()]
    unused = [modality for modality, column in zip(MODALITIES, columns, strict=True) if column not in used]
    masks["all_streams"] = present[used].all(axis=1).to_numpy()
    return masks, [f"no test clip has {', '.join(unused)}: 'all streams' leaves it out"] if unused else []


def check_groups(groups: Sequence[str], tables: Sequence[pd.DataFrame]) -> None:
    """Whether units that somebody named are columns of every table of predictions.

    Raises:
        ConfigError: one is not, and intervals would be too narrow without a word.
    """
    for table in tables:
        for group in groups:
            if group not in table:
                known = [str(name) for name, kind in table.dtypes.items() if not pd.api.types.is_float_dtype(kind)]
                near = [name for name in known if not name.startswith(("present_", "pred_")) and name != "id"]
                raise ConfigError(
                    f"the predictions have no column '{group}' to cluster by; there are: {', '.join(near)}"
                )


def describe_groups(test: pd.DataFrame, groups: Sequence[str]) -> dict[str, Any]:
    """Clusters of each reused unit among the test clips, or why there are none."""
    described: dict[str, Any] = {}
    for group in groups:
        if group not in test or test[group].isna().all():
            described[group] = {"clusters": None, "reason": "no such column" if group not in test else "no values"}
        else:
            described[group] = {
                "clusters": int(test[group].nunique()),
                "largest": int(test[group].value_counts().max()),
                "unknown": int(test[group].isna().sum()),
            }
    return described


def _binary_head(
    head: str, test: pd.DataFrame, validation: pd.DataFrame, masks: Mapping[str, Bools], scorer: _Scorer, target: float
) -> dict[str, Any]:
    thresholds, decided = decide(head, test, validation)
    result: dict[str, Any] = {
        "threshold": {**thresholds, "chosen": "largest balanced accuracy on validation"},
        "temperature": temperature(head, test, validation),
        "subsets": {},
    }
    known = usable(test, head)
    for name, mask in masks.items():
        rows = test.loc[mask & known]
        labels, p = labels_of(rows, head), probabilities_of(rows, head)
        entry: dict[str, Any] = {
            "clips": len(rows),
            "positive": int(labels.sum()),
            "without_label": int((mask & test[head].isna().to_numpy()).sum()),
            "without_probability": int((mask & test[head].notna().to_numpy() & ~known).sum()),
            "metrics": scorer.binary(rows, labels, p, decided[mask & known]),
            "ece_if_calibrated": calibration_floor(p) if len(p) else None,
            "uncalibrated": _uncalibrated(head, rows, labels, scorer),
        }
        entry |= _apart(head, rows, p, scorer)
        result["subsets"][name] = entry
    result["abstention"] = abstention(head, test.loc[known], validation, target)
    if has_folds(test):
        result["folds"] = fold_figures(head, test, decided)
    return result


def _control(
    name: str, control: pd.DataFrame, test: pd.DataFrame, validation: pd.DataFrame, scorer: _Scorer
) -> dict[str, Any]:
    mine = control.loc[control["split"] == "test"].drop_duplicates("id")
    row = ["id", "fold"] if "fold" in control and "fold" in validation else ["id"]
    held_out = control.loc[control["split"] == "val"].drop_duplicates(row)
    result: dict[str, Any] = {}
    for head in BINARY_HEADS:
        column = f"prob_{head}"
        if column not in mine or mine[column].isna().all() or head not in test:
            continue
        # Labels, units and presence are the run's own, so that both systems are judged on the very same clips.
        table = test.drop(columns=[column], errors="ignore").merge(mine[["id", column]], on="id", how="left")
        table_val = validation.drop(columns=[column], errors="ignore").merge(
            held_out[[*row, column]], on=row, how="left"
        )
        thresholds, decided = decide(head, table, table_val)
        known, fused_known = usable(table, head), usable(test, head)
        masks, _ = subsets_of(table)
        _, fused_decided = decide(head, test, validation) if f"prob_{head}" in test else ({}, decided)
        subsets: dict[str, Any] = {}
        for subset, mask in masks.items():
            rows = table.loc[mask & known]
            subsets[subset] = {
                "clips": len(rows),
                "without_probability": int((mask & table[head].notna().to_numpy() & ~known).sum()),
                "metrics": scorer.binary(
                    rows, labels_of(rows, head), probabilities_of(rows, head), decided[mask & known]
                ),
            } | _apart(head, rows, probabilities_of(rows, head), scorer)
            if f"prob_{head}" in test:
                both = mask & known & fused_known
                subsets[subset]["fused_minus_control"] = {"clips": int(both.sum())} | scorer.difference(
                    test.loc[both],
                    labels_of(test.loc[both], head),
                    (probabilities_of(test.loc[both], head), fused_decided[both]),
                    (probabilities_of(table.loc[both], head), decided[both]),
                )
        result[head] = {"threshold": thresholds, "subsets": subsets}
        if has_folds(test):
            result[head]["folds"] = fold_figures(head, table, decided)
    if not result:
        result["reason"] = f"control '{name}' has no test probabilities"
    return _one_draw(result) if name in REDRAWN else result


def _one_draw(control: dict[str, Any]) -> dict[str, Any]:
    """A control without its intervals: over clips they would say nothing about another draw of it."""
    if "low" in control and "high" in control:
        return {"value": control["value"], "low": None, "high": None, "reason": REDRAWN_REASON}
    return {key: _one_draw(entry) if isinstance(entry, dict) else entry for key, entry in control.items()}


def _uncalibrated(head: str, rows: pd.DataFrame, labels: Bools, scorer: _Scorer) -> dict[str, Any]:
    from scipy.special import expit

    column = f"logit_{head}"
    if column not in rows or rows[column].isna().any():
        return {"reason": "no logits"}
    p = expit(rows[column].to_numpy(dtype=np.float64))
    return scorer.counted(("brier", "ece"), rows, lambda: probability_metrics(labels, p))


def _apart(head: str, rows: pd.DataFrame, p: Floats, scorer: _Scorer) -> dict[str, Any]:
    """AUROC of opposite signs, and of mismatches that involve a zero, each against congruent clips alone.

    A corpus that is balanced for the whole label is not balanced for either part of it: a single modality can tell
    them in part, which is why the controls have these figures too. Clips of unknown polarities belong to neither.
    """
    other = BINARY_HEADS[head]
    positive = labels_of(rows, head)
    result: dict[str, Any] = {}
    labelled = "verbal_polarity" in rows and other in rows
    if labelled and (rows["verbal_polarity"].notna() & rows[other].notna()).any():
        said, shown = rows["verbal_polarity"].astype("Int64"), rows[other].astype("Int64")
        known = (said.notna() & shown.notna()).to_numpy()
        congruent = (said == shown).fillna(False).to_numpy(dtype=bool)
        opposite = (said * shown < 0).fillna(False).to_numpy(dtype=bool)
        zero = positive & known & ~opposite & ~congruent
        warmth = ((said == 0) & (shown == 1)).fillna(False).to_numpy(dtype=bool)
    else:
        reason = "polarities are not known"
        return {key: {"auroc": Interval(None, reason=reason).as_dict()} for key in ("contradiction", "zero_cell")}
    for key, kind in (("contradiction", opposite), ("zero_cell", zero)):
        at = kind | congruent
        result[key] = {
            "clips": int(kind.sum()),
            "congruent": int(congruent.sum()),
            "auroc": scorer.ranking("auroc", rows.loc[at], kind[at], p[at]),
        }
    if warmth.any():
        result["unvoiced_warmth"] = {
            "clips": int(warmth.sum()),
            "counted_as_incongruent": scorer.ranking("auroc", rows, positive | warmth, p),
            "counted_as_congruent": scorer.ranking("auroc", rows, positive & ~warmth, p),
        }
    return result


def _type(test: pd.DataFrame, mask: Bools, scorer: _Scorer) -> dict[str, Any]:
    columns = [f"prob_type_{kind}" for kind in INCONGRUENCE_TYPES]
    return _choice(test.loc[mask], "incongruence_type", INCONGRUENCE_TYPES, columns, INCONGRUENCE_TYPES, scorer)


def _ether_type(test: pd.DataFrame, mask: Bools, scorer: _Scorer) -> dict[str, Any]:
    """The same in E-THER's own view: as the model was asked for it, else summed from our types."""
    rows = test.loc[mask]
    columns = {kind: f"prob_ether_type_{kind}" for kind in ETHER_TYPES}
    if "incongruence_type" in rows:
        rows = rows.assign(ether_type=rows["incongruence_type"].map(ETHER_OF_TYPE))
    ours = [f"prob_type_{kind}" for kind in INCONGRUENCE_TYPES]
    if not set(columns.values()) <= set(rows) and set(ours) <= set(rows):
        summed = {
            column: rows[[f"prob_type_{own}" for own, theirs in ETHER_OF_TYPE.items() if theirs == kind]].sum(
                axis=1, skipna=False
            )
            for kind, column in columns.items()
        }
        rows = rows.assign(**summed)
    return _choice(rows, "ether_type", ETHER_TYPES, list(columns.values()), ETHER_TYPES, scorer)


def _polarity(test: pd.DataFrame, modality: str, scorer: _Scorer) -> dict[str, Any]:
    label = POLARITY_COLUMN[modality]
    present = f"present_{modality}"
    rows = test.loc[test[present].fillna(False).astype(bool)] if present in test else test
    columns = [f"prob_{label}_{name}" for name in POLARITY_NAMES]
    return _choice(rows, label, POLARITIES, columns, POLARITY_NAMES, scorer)


def _emotion(test: pd.DataFrame, modality: str, scorer: _Scorer) -> dict[str, Any]:
    label, present = EMOTION_COLUMN[modality], f"present_{modality}"
    rows = test.loc[test[present].fillna(False).astype(bool)] if present in test else test
    if label in rows:
        rows = rows.assign(**{label: emotion_names(rows[label])})
    return _choice(rows, label, EMOTIONS, [f"prob_{label}_{name}" for name in EMOTIONS], EMOTIONS, scorer)


def _choice(
    rows: pd.DataFrame,
    label: str,
    values: Sequence[Any],
    columns: Sequence[str],
    names: Sequence[str],
    scorer: _Scorer,
) -> dict[str, Any]:
    if label not in rows or any(column not in rows for column in columns):
        return {"clips": 0, "reason": f"no predictions or no labels of {label}"}
    rows = rows.loc[rows[label].notna() & rows[list(columns)].notna().all(axis=1)]
    codes = rows[label].map({value: index for index, value in enumerate(values)}).to_numpy(dtype=np.int64)
    predicted = rows[list(columns)].to_numpy(dtype=np.float64).argmax(axis=1) if len(rows) else codes
    return {
        "clips": len(rows),
        "classes": list(names),
        "metrics": scorer.counted(
            ("macro_f1", "accuracy"), rows, lambda: multiclass_metrics(codes, predicted, len(names))
        ),
        "confusion": confusion_matrix(codes, predicted, len(names)).tolist(),
    }


def _engagement(test: pd.DataFrame, scorer: _Scorer) -> dict[str, Any]:
    if "engagement" not in test or "pred_engagement" not in test:
        return {"clips": 0, "reason": "no predictions or no labels of engagement"}
    rows = test.loc[test["engagement"].notna() & test["pred_engagement"].notna()]
    labels, predicted = (rows[c].to_numpy(dtype=np.float64) for c in ("engagement", "pred_engagement"))
    figures = scorer.counted(("mae", "pearson"), rows, lambda: regression_metrics(labels, predicted))
    return {"clips": len(rows), "metrics": figures}


def _only(table: pd.DataFrame, column: str) -> int | None:
    values = list(table[column].dropna().unique()) if column in table else []
    return int(values[0]) if len(values) == 1 else None
