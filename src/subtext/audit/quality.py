"""How labels lie over speakers, and how many of them may be wrong."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from subtext.audit.division import Bools, unit_codes
from subtext.audit.findings import Finding
from subtext.audit.overlap import FEWEST_WORDS, FIXED_TEXTS, normalised
from subtext.audit.predictability import FEWEST, FOLDS, sample_rows
from subtext.evaluation.metrics import auroc

FEWEST_ROWS: Final = 5
"""Labelled rows from which a speaker with one class only is remarkable."""
TELLING: Final = 0.65
"""AUROC of the words from which confident learning says anything about labels."""


def speaker_counts(table: pd.DataFrame, labels: Mapping[str, pd.Series], unit: str = "speaker") -> pd.DataFrame:
    """One row a label and speaker, `negative` and `positive` rows, most rows first; empty without speakers.

    Speakers are numbered, as on the dataset card: a report names nobody.
    """
    columns = ["label", "unit", "value", "negative", "positive"]
    if unit not in table or table[unit].notna().sum() == 0:
        return pd.DataFrame(columns=columns)
    parts = []
    numbers = {value: f"no. {n}" for n, value in enumerate(table[unit].value_counts(sort=True).index, start=1)}
    for name, answers in labels.items():
        known = answers.notna() & table[unit].notna()
        counts = pd.crosstab(table.loc[known, unit].map(numbers).astype(object), answers[known].astype(bool))
        counts = counts.reindex(columns=[False, True], fill_value=0)
        counts.columns = pd.Index(["negative", "positive"])
        counts = counts.loc[counts.sum(axis=1).sort_values(ascending=False, kind="stable").index]
        part = counts.reset_index(names="value")
        parts.append(part.assign(label=name, unit=unit)[columns])
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def count_findings(labels: Mapping[str, pd.Series], speakers: pd.DataFrame) -> list[Finding]:
    """Notes on classes: how many rows of each, and speakers that show one class only."""
    findings = []
    for name, answers in labels.items():
        known = answers.dropna().astype(bool)
        positive = int(known.sum())
        share = positive / len(known)
        text = f"{positive} of {len(known)} labelled rows are positive ({share:.1%})"
        of_label = speakers[speakers["label"] == name]
        figures: dict[str, Any] = {"positive": positive, "labelled": len(known)}
        if len(of_label):
            rows = of_label["negative"] + of_label["positive"]
            single = (rows >= FEWEST_ROWS) & (of_label[["negative", "positive"]].min(axis=1) == 0)
            figures |= {"speakers": len(of_label), "one_class_speakers": int(single.sum())}
            figures["one_class_rows"] = int(rows[single].sum())
            text += f"; {len(of_label)} speakers"
            if single.any():
                text += (
                    f", of whom {int(single.sum())} with at least {FEWEST_ROWS} rows show one class only "
                    f"({int(rows[single].sum())} rows)"
                )
        findings.append(Finding("labels", "classes", False, text, label=name, figures=figures))
    return findings


def noise_findings(table: pd.DataFrame, labels: Mapping[str, pd.Series], seed: int = 0) -> list[Finding]:
    """Notes on how many labels may be wrong, from equal rows, from raters, and by confident learning.

    Of read sentences the words say nothing about single labels, so nothing is estimated from them.
    """
    findings = []
    fixed = table["transcript"].nunique() <= FIXED_TEXTS
    for name, answers in labels.items():
        found = [] if fixed else [_conflicts(table, answers), _confident(table, answers, seed)]
        findings += [
            Finding("labels", "label noise", False, text, label=name, figures=figures)
            for text, figures in (item for item in found if item is not None)
        ]
    findings += [
        Finding("labels", "rater votes", False, text, label=column, figures=figures)
        for column, text, figures in _votes(table)
    ]
    return findings


def _conflicts(table: pd.DataFrame, answers: pd.Series) -> tuple[str, dict[str, Any]] | None:
    """Pairs of rows with the same words of which one is positive and one not.

    Where the label is about the words alone this is its noise; where face or voice take part, the same words may well
    have both labels.
    """
    known = (answers.notna() & table["transcript"].notna()).to_numpy()
    plain = table["transcript"][known].map(normalised)
    long = plain.str.count(" ").to_numpy() + 1 >= FEWEST_WORDS
    truth = answers[known].to_numpy(dtype=bool)[long]
    codes = unit_codes(plain[long])
    if not len(codes):
        return None
    rows = np.bincount(codes)
    positive = np.bincount(codes, weights=truth)
    pairs = float((rows * (rows - 1) / 2).sum())
    mixed = float((positive * (rows - positive)).sum())
    if pairs < FEWEST:
        return None
    share = mixed / pairs
    overall = truth.mean()
    return (
        f"of {pairs:,.0f} pairs of rows with the same {FEWEST_WORDS} words or more, {share:.1%} differ in the label "
        f"(chance: {2 * overall * (1 - overall):.1%}); noise only as far as the label is about the words",
        {"pairs": pairs, "share": share, "chance": float(2 * overall * (1 - overall))},
    )


def _confident(table: pd.DataFrame, answers: pd.Series, seed: int) -> tuple[str, dict[str, Any]] | None:
    """Confident learning (Northcutt, Jiang & Chuang 2021, JAIR 70) with the words as evidence.

    A label counts as doubtful where the model, fitted without that row, is more confident of the other class than it
    is on average of rows that carry that class. With evidence that hardly tells the label the figure says nothing, so
    below an AUROC of `TELLING` none is given.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline

    rows = sample_rows((answers.notna() & table["transcript"].notna()).to_numpy(), seed)
    truth = answers.iloc[rows].to_numpy(dtype=bool)
    if min(truth.sum(), (~truth).sum()) < FOLDS * FEWEST:
        return None
    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True), LogisticRegression(max_iter=500)
    )
    texts = table["transcript"].iloc[rows].tolist()
    try:
        shares = cross_val_predict(
            model, texts, truth, cv=StratifiedKFold(FOLDS, shuffle=True, random_state=seed), method="predict_proba"
        )[:, 1]
    except ValueError:  # no word stands in two rows
        return None
    value = auroc(truth, shares).value
    figures: dict[str, Any] = {"auroc": value}
    if value < TELLING:
        return (
            f"the words tell the label with AUROC {value:.2f} only (TF-IDF and logistic regression, out of fold), too "
            "little to judge single labels by them",
            figures,
        )
    doubtful = doubtful_labels(truth, shares)
    figures["share"] = float(doubtful.mean())
    return (
        f"confident learning on the words (TF-IDF and logistic regression, out of fold, AUROC {value:.2f}) doubts "
        f"{doubtful.mean():.1%} of the labels; an upper bound of what the words contradict, since a label that face or "
        "voice decide looks wrong from the words",
        figures,
    )


def doubtful_labels(truth: Bools, shares: npt.NDArray[np.float64]) -> Bools:
    """`[n]`: labels that out-of-sample probabilities contradict.

    The threshold of a class is the mean probability of it among the rows that carry it (equation 2 of Northcutt et al.
    2021); a row counts as of the class whose threshold it reaches, of the likelier one where it reaches both.

    Args:
        truth: `[n]`.
        shares: `[n]`, out-of-sample probability of the positive class.
    """
    yes, no = shares[truth].mean(), (1 - shares[~truth]).mean()
    reaches_yes, reaches_no = shares >= yes, (1 - shares) >= no
    as_yes = reaches_yes & (~reaches_no | (shares > 0.5))
    as_no = reaches_no & (~reaches_yes | (shares <= 0.5))
    return np.asarray((truth & as_no) | (~truth & as_yes))


def _votes(table: pd.DataFrame) -> list[tuple[str, str, dict[str, Any]]]:
    """Of columns `<channel>_agreement`, the share of a row's raters that gave its label: how far raters agree."""
    found = []
    for column in table.columns:
        name = str(column)
        if not name.endswith("_agreement") or not pd.api.types.is_float_dtype(table[column]):
            continue
        values = table[column].dropna()
        if len(values) < FEWEST or not values.between(0, 1).all():
            continue
        found.append(
            (
                name,
                f"share of raters that gave the row's label: mean {values.mean():.2f} over {len(values):,} rows, "
                f"{(values <= 0.5).mean():.1%} of them at most one half",
                {"mean": float(values.mean()), "rows": len(values), "at_most_half": float((values <= 0.5).mean())},
            )
        )
    return found
