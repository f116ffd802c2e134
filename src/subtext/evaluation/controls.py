"""Control systems that need tables only: what a result must be compared with before it means anything.

Each takes the table of all clips (every split, labels, posteriors or metadata) and gives one probability a row; the
training split alone shapes it.
"""

import itertools
from collections.abc import Sequence
from typing import Final

import numpy as np
import pandas as pd

from subtext.errors import ConfigError
from subtext.evaluation.calibration import Floats, calibrate, fit_bias_corrected
from subtext.labels import MODALITIES, POLARITIES, POLARITY_COLUMN, POLARITY_NAMES

CONTENT: Final = frozenset({"voiced_share"})
"""Figures about a stream's quality that say how somebody speaks, and so are no metadata."""


def majority(table: pd.DataFrame, target: str = "incongruent") -> pd.Series:
    """The training split's share of positives, the same for every clip.

    Raises:
        ConfigError: no training row carries the label.
    """
    return pd.Series(_train_labels(table, target).mean(), index=table.index)


def metadata(table: pd.DataFrame, columns: Sequence[str], target: str = "incongruent", seed: int = 0) -> pd.Series:
    """What the label can be told from without any content: duration, size, loudness, transcript length and the like.

    The mean of a logistic regression and of gradient boosting, so that both a small linear leak and a bent one show.
    For training rows themselves the probabilities are cross-fitted over five folds.

    Args:
        table: all clips.
        columns: numeric columns of `table`; a missing value is a value of its own.
        target: the binary label to predict.
        seed: seeds boosting and folds.

    Raises:
        ConfigError: a column is absent or not numeric, or the training rows hold fewer than two classes.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    for column in columns:
        if column not in table or not pd.api.types.is_numeric_dtype(table[column]):
            raise ConfigError(f"metadata control: column '{column}' is absent or not numeric; name numeric columns")
    labels = _train_labels(table, target)
    if labels.nunique() < 2:
        raise ConfigError(f"metadata control: the training rows hold one value of '{target}' only; it cannot be fitted")
    inputs = table[list(columns)].astype("Float64").to_numpy(dtype=np.float64, na_value=np.nan)
    fitted = table.index.isin(labels.index)
    # That a figure is missing is a figure too.
    missing = ~np.isfinite(inputs)
    known = [column[fitted & ~gaps] for column, gaps in zip(inputs.T, missing.T, strict=True)]
    inputs = np.where(missing, [np.median(column) if len(column) else 0.0 for column in known], inputs)
    inputs = np.hstack([inputs, missing])
    inputs = inputs[:, (inputs[fitted] != inputs[fitted][:1]).any(axis=0)]
    if not inputs.shape[1]:
        return majority(table, target)
    train, answers = inputs[fitted], labels.to_numpy(dtype=bool)
    models = (
        make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
        HistGradientBoostingClassifier(
            learning_rate=0.05,
            max_iter=60,
            max_leaf_nodes=8,
            min_samples_leaf=20,
            early_stopping=False,
            random_state=seed,
        ),
    )
    folds = min(5, int(np.bincount(answers.astype(int)).min()))
    probabilities = np.zeros(len(table))
    for model in models:
        probabilities += model.fit(train, answers).predict_proba(inputs)[:, 1] / len(models)
    if folds >= 2:
        split = StratifiedKFold(folds, shuffle=True, random_state=seed)
        probabilities[fitted] = np.mean(
            [cross_val_predict(m, train, answers, cv=split, method="predict_proba")[:, 1] for m in models], axis=0
        )
    return pd.Series(probabilities, index=table.index)


def speaker_lookup(table: pd.DataFrame, target: str = "incongruent", unit: str = "speaker") -> pd.Series:
    """The share of positives among each speaker's training clips.

    On MUStARD's official folds this alone scores above most published unimodal models, which is why it stands beside
    every result.

    Returns:
        Probabilities; the overall share where a speaker has no training clip, which in a speaker-disjoint split is
        everywhere: there it is the majority, by construction.

    Raises:
        ConfigError: no training row carries the label, or none has a speaker.
    """
    labels = _train_labels(table, target)
    if unit not in table or table.loc[labels.index, unit].isna().all():
        raise ConfigError(f"speaker lookup: no training row says its {unit}")
    shares = labels.groupby(table.loc[labels.index, unit]).mean()
    return table[unit].map(shares).astype(np.float64).fillna(labels.mean())


def posterior_product(table: pd.DataFrame, target: str = "incongruent") -> pd.Series:
    """What unimodal polarity posteriors alone say about the label, combined by the rule of probability.

    With parts that are independent given their polarities `c = (text, face, voice)`,

        P(c | parts)  ~  P(c) * product over modalities of P(c_m | part_m) / P(c_m)
        P(label | parts) = sum over c of P(label | c) P(c | parts)

    where `P(c)`, `P(c_m)` and `P(label | c)` are shares among the training rows. The posteriors are first brought to
    the corpus's own prior, which balanced class weights move them away from, by bias-corrected temperature scaling on
    the validation rows. On constructed pairs this is close to
    the best that any fusion can do. A modality that is absent from a clip has its prior in place of its posterior,
    which drops out of the product; with no modality at all the label's prior remains.

    Args:
        table: all clips with `prob_<verbal|visual|vocal>_polarity_<name>` (NaN where absent), the polarity labels,
            `target` and, where known, `present_<modality>`. Training rows need labels only.
        target: the binary label to predict.

    Raises:
        ConfigError: no modality has both posteriors and training labels, or no training row has all their labels.
    """
    train = table.loc[_train_labels(table, target).index]
    used = [m for m in MODALITIES if _has_posterior(table, m) and _has_posterior_label(train, m)]
    if not used:
        raise ConfigError(
            "posterior product: no modality has polarity posteriors and training labels; train polarity heads"
        )
    columns = [POLARITY_COLUMN[m] for m in used]
    train = train.dropna(subset=columns)
    if train.empty:
        raise ConfigError(f"posterior product: no training row carries all of {', '.join(columns)}")
    cells = [tuple(cell) for cell in itertools.product(POLARITIES, repeat=len(used))]
    known = train[columns].astype(int)
    shares = np.array([(known == cell).all(axis=1).mean() for cell in cells])
    positives = np.array([train.loc[(known == cell).all(axis=1), target].astype(float).mean() for cell in cells])
    positives = np.where(shares > 0, positives, 0.0)
    posterior = np.tile(shares, (len(table), 1))
    for position, modality in enumerate(used):
        prior = np.array([(known[columns[position]] == polarity).mean() for polarity in POLARITIES])
        ratio = _polarity_posterior(table, modality, prior) / np.where(prior > 0, prior, np.inf)
        posterior *= ratio[:, [POLARITIES.index(cell[position]) for cell in cells]]
    total = posterior.sum(axis=1)
    label_prior = train[target].astype(float).mean()
    with np.errstate(invalid="ignore", divide="ignore"):
        answer = (posterior @ positives) / total
    return pd.Series(np.where(total > 0, answer, label_prior), index=table.index)


def _train_labels(table: pd.DataFrame, target: str) -> pd.Series:
    labels = table.loc[(table["split"] == "train") & table[target].notna(), target].astype(bool)
    if labels.empty:
        raise ConfigError(f"controls: no training row carries '{target}'; pass the manifest's training rows too")
    return labels


def _posterior_columns(modality: str) -> list[str]:
    return [f"prob_{POLARITY_COLUMN[modality]}_{name}" for name in POLARITY_NAMES]


def _has_posterior(table: pd.DataFrame, modality: str) -> bool:
    columns = _posterior_columns(modality)
    return all(column in table for column in columns) and bool(table[columns].notna().all(axis=1).any())


def _has_posterior_label(train: pd.DataFrame, modality: str) -> bool:
    column = POLARITY_COLUMN[modality]
    return column in train and bool(train[column].notna().any())


def _polarity_posterior(table: pd.DataFrame, modality: str, prior: Floats) -> Floats:
    values = table[_posterior_columns(modality)].to_numpy(dtype=np.float64, copy=True)
    absent = np.isnan(values).any(axis=1)
    present = f"present_{modality}"
    if present in table:
        absent |= ~table[present].fillna(False).to_numpy(dtype=bool)
    logits = np.log(np.clip(values, 1e-12, 1.0))
    label = table[POLARITY_COLUMN[modality]].astype("Int64")
    fitting = ((table["split"] == "val") & label.notna()).to_numpy(dtype=bool) & ~absent
    answers = label[fitting].astype(int).to_numpy() - POLARITIES[0]
    if len(np.unique(answers)) > 1:
        temperature, biases = fit_bias_corrected(logits[fitting], answers)
        values = calibrate(logits / temperature + biases)
    values[absent] = prior
    return values
