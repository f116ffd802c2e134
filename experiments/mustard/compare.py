"""MUStARD: trained runs beside lookups of who speaks and in which series, in the paper's weighted figures.

    python experiments/mustard/compare.py RUN... --manifest MANIFEST.parquet --out FOLDER

RUN are runs of several seeds on one division. Weighted precision, recall and F1 are those of Castro et al. 2019: each
class's figure, weighted by its clips. 95 % intervals are clustered by speaker; for runs, of the mean over these seeds.
Lookups decide as the majority of the same speaker (or series) in training, and as the training majority where there is
none; on folds, each is fitted on the rows that the runs of that fold trained on or validated with. So are the support
vector machines (scikit-learn's defaults: RBF, C = 1; nothing is tuned) on the runs' own sentence embeddings.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from subtext.corpora.card import markdown_table
from subtext.evaluation.calibration import choose_threshold
from subtext.evaluation.intervals import Interval, Units, count_interval, mean_of, ranking_interval
from subtext.evaluation.metrics import CountStatistic, Floats, auroc, decision_metrics
from subtext.features.text import TextExtractor

FIGURES = ("precision", "recall", "f1", "macro_f1")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    corpus = pd.read_parquet(options.manifest).set_index("id")
    tables = [pd.read_parquet(run / "predictions.parquet") for run in options.runs]
    test = tables[0][tables[0]["split"] == "test"].sort_values("id").reset_index(drop=True)
    test = test.assign(show=corpus.loc[test["id"], "show"].to_numpy())
    labels, units = test["incongruent"].to_numpy(dtype=bool), Units.of(test, ["speaker"])
    decided = {"words + context": [decisions(table, test["id"]) for table in tables]}
    scores = [table[table["split"] == "test"].set_index("id").loc[test["id"], "prob_incongruent"] for table in tables]
    for unit in ("speaker", "show"):
        decided[f"{unit} lookup"] = [lookup(corpus, test, unit)]
    decided["majority"] = [lookup(corpus, test, None)]
    for name, embedded in embeddings(corpus).items():
        decided[f"SVM, {name}"] = [machine(corpus, embedded, test)]
    rows = [figures(name, labels, each, units) for name, each in decided.items()]
    area = ranking_interval(
        mean_of([auroc(labels, score.to_numpy(dtype=np.float64)) for score in scores]),
        units,
        lambda at: mean_of([auroc(labels[at], score.to_numpy(dtype=np.float64)[at]) for score in scores]).value,
    )
    options.out.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(rows)
    table.to_csv(options.out / "systems.csv", index=False)
    speakers = by_speaker(test, decided)
    speakers.to_csv(options.out / "speakers.csv", index=False)
    lines = [f"{len(test)} test clips, {test['speaker'].nunique()} speakers, {len(tables)} seeds.", ""]
    lines += [markdown_table(table), "", f"AUROC of words + context: {text(area)}.", "", markdown_table(speakers)]
    (options.out / "table.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


def decisions(table: pd.DataFrame, ids: pd.Series) -> np.ndarray:
    """Yes or no for each test clip, by the threshold of the validation rows of its fold."""
    parts = []
    for _, fold in table.groupby(table["fold"].fillna(-1)) if table["fold"].nunique() > 1 else [(0, table)]:
        held_out, tested = fold[fold["split"] == "val"], fold[fold["split"] == "test"].set_index("id")
        threshold = choose_threshold(
            held_out["prob_incongruent"].to_numpy(dtype=np.float64), held_out["incongruent"].to_numpy(dtype=bool)
        )
        parts.append(tested["prob_incongruent"] >= threshold)
    return pd.concat(parts).loc[ids].to_numpy(dtype=bool)


def lookup(corpus: pd.DataFrame, test: pd.DataFrame, unit: str | None) -> np.ndarray:
    """The majority among the rows outside the test part with the same speaker or series; the overall one in a tie."""
    decided = np.zeros(len(test), dtype=bool)
    for rows in parts_of(test):
        known = corpus.drop(index=rows["id"])
        overall = known["incongruent"].astype(float).mean()
        if unit is None:
            share = pd.Series(overall, index=rows.index)
        else:
            share = rows[unit].map(known["incongruent"].astype(float).groupby(known[unit]).mean()).fillna(overall)
        decided[rows.index] = ((share > 0.5) | ((share == 0.5) & (overall >= 0.5))).to_numpy(dtype=bool)
    return decided


def parts_of(test: pd.DataFrame) -> list[pd.DataFrame]:
    """The test rows of each fold; all of them where there are no folds."""
    return [rows for _, rows in test.groupby("fold")] if test["fold"].nunique() > 1 else [test]


def embeddings(corpus: pd.DataFrame) -> dict[str, np.ndarray]:
    """Sentence embeddings of each row: of its words, and beside them the mean over the utterances before."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(TextExtractor().folder), device="cpu")
    words = model.encode(list(corpus["transcript"]), show_progress_bar=False)
    context = [model.encode(str(text).split("\n"), show_progress_bar=False).mean(axis=0) for text in corpus["context"]]
    return {"words": words, "words + context": np.hstack([words, np.stack(context)])}


def machine(corpus: pd.DataFrame, embedded: np.ndarray, test: pd.DataFrame) -> np.ndarray:
    """Decisions of a support vector machine fitted on all rows outside the test part."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    decided = np.zeros(len(test), dtype=bool)
    labels = corpus["incongruent"].to_numpy(dtype=bool)
    for rows in parts_of(test):
        known = ~corpus.index.isin(rows["id"])
        fitted = make_pipeline(StandardScaler(), SVC()).fit(embedded[known], labels[known])
        decided[rows.index] = fitted.predict(embedded[corpus.index.get_indexer(rows["id"])])
    return decided


def figures(name: str, labels: np.ndarray, decided: list[np.ndarray], units: Units) -> dict[str, str]:
    """One row of the table: the mean over seeds of each figure, with its interval."""
    row = {"system": name}
    for figure in FIGURES:
        each = [weighted(labels, one)[figure] for one in decided]
        row[figure] = text(count_interval(mean(each), units, n_bootstrap=1000, seed=0))
    return row


def weighted(labels: np.ndarray, decided: np.ndarray) -> dict[str, CountStatistic]:
    """Precision, recall and F1 of both classes, weighted by their clips (recall is accuracy), and macro-F1."""
    macro = decision_metrics(labels, decided)["macro_f1"]

    def of(kind: str) -> CountStatistic:
        def figure(counts: Floats) -> Floats:
            tn, fp, fn, tp = (counts[..., i] for i in range(4))
            with np.errstate(divide="ignore", invalid="ignore"):
                precision = np.nan_to_num(np.stack([tn / (tn + fn), tp / (tp + fp)]))
                recall = np.nan_to_num(np.stack([tn / (tn + fp), tp / (tp + fn)]))
                f1 = np.nan_to_num(2 * precision * recall / (precision + recall))
            chosen = {"precision": precision, "recall": recall, "f1": f1}[kind]
            result: Floats = (chosen * np.stack([tn + fp, tp + fn])).sum(axis=0) / counts.sum(axis=-1)
            return result

        return CountStatistic(macro.terms, figure)

    return {kind: of(kind) for kind in ("precision", "recall", "f1")} | {"macro_f1": macro}


def mean(each: list[CountStatistic]) -> CountStatistic:
    """The mean of one figure over systems on the same clips."""
    width = each[0].terms.shape[1]

    def figure(sums: Floats) -> Floats:
        parts = [one.figure(sums[..., n * width : (n + 1) * width]) for n, one in enumerate(each)]
        result: Floats = np.mean(parts, axis=0)
        return result

    return CountStatistic(np.hstack([one.terms for one in each]), figure)


def by_speaker(test: pd.DataFrame, decided: dict[str, list[np.ndarray]]) -> pd.DataFrame:
    """Clips, sarcastic share and accuracy of each speaker; those with fewer than 10 test clips together."""
    labels = test["incongruent"].to_numpy(dtype=bool)
    speakers = test["speaker"].fillna("unknown").astype(str)
    counts = speakers.value_counts()
    names = speakers.where(speakers.map(counts) >= 10, "fewer than 10 clips each")
    rows = []
    for name in names.value_counts().index:
        at = (names == name).to_numpy()
        row: dict[str, object] = {
            "speaker": name,
            "clips": int(at.sum()),
            "sarcastic": round(float(labels[at].mean()), 3),
        }
        row |= {
            f"accuracy, {system}": round(float(np.mean([(one == labels)[at].mean() for one in each])), 3)
            for system, each in decided.items()
        }
        rows.append(row)
    return pd.DataFrame(rows)


def text(found: Interval) -> str:
    """A figure with its interval, in the paper's percent."""
    if found.value is None or found.low is None or found.high is None:
        return "n/a" if found.value is None else f"{100 * found.value:.1f}"
    return f"{100 * found.value:.1f} [{100 * found.low:.1f}, {100 * found.high:.1f}]"


if __name__ == "__main__":
    main()
