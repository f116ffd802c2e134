"""RAVDESS swapped: what limits the AUROC, by how often the emotion of the face and of the voice is read rightly.

    python experiments/fusion_ravdess_swap/limits.py RUN [RUN ...] [--data ../shared/data/ravdess_av_features]

RUN: folders of pooled runs, `NAME=FOLDER`, FOLDER holding `seed-*/predictions.parquet`. Beside them stand the posterior
baseline of `experiments/ravdess_swap` and the same with stronger classifiers, the kind and its strength chosen by log
loss in folds of the training actors.

Writes beside itself:
- `limits.csv`: of every system how often it names the emotion of the face and of the voice rightly (of seven), the
  AUROC within actors of its own score, of the product of its two posteriors, and of that product where the truth stands
  in for one of the two. Means over the 24 actors with t intervals over them; of several seeds, of each actor's mean.
- `curve.csv`, `curve.png`: AUROC against accuracy where the truth stands in for a random share of all takes of the
  baseline. **Not a system**: it says how well emotions would have to be read for a given AUROC.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from subtext.corpora.ravdess_swap import RavdessSwap, read_summaries
from subtext.evaluation.intervals import mean_interval
from subtext.evaluation.within import auroc_by_unit

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "ravdess_swap"))
import posterior_baseline as baseline  # noqa: E402

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402

EMOTIONS = ("angry", "calm", "disgust", "fearful", "happy", "sad", "surprised")
HALVES = ("visual", "vocal")
Shares = Mapping[str, np.ndarray]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="NAME=FOLDER")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/ravdess_av_features"))
    parser.add_argument("--folder", type=Path, default=Path("runs/ravdess_swap_pairs"), help="where pairs are written")
    arguments = parser.parse_args()
    pairs = RavdessSwap(data=arguments.data, folder=arguments.folder).build().table.reset_index(drop=True)
    takes = read_summaries(arguments.data)

    rows = []
    for name, folder in (run.split("=", 1) for run in arguments.runs):
        seeds = [trained(place, pairs) for place in sorted(Path(folder).glob("seed-*"))]
        rows += system(name, pairs, seeds)
    first = {half: in_order(baseline.posteriors(pairs, takes, half, "headline")) for half in HALVES}
    rows += system("posterior baseline", pairs, [(None, first)])
    baseline.out_of_fold = stronger
    better = {half: in_order(baseline.posteriors(pairs, takes, half, "headline")) for half in HALVES}
    rows += system("posterior baseline, stronger classifiers", pairs, [(None, better)])
    pd.DataFrame(rows).to_csv(HERE / "limits.csv", index=False, float_format="%.4f")

    found = curve(pairs, first)
    found.to_csv(HERE / "curve.csv", index=False, float_format="%.4f")
    draw(found, pd.DataFrame(rows))


def in_order(shares: pd.DataFrame) -> np.ndarray:
    return shares[list(EMOTIONS)].to_numpy()


def trained(run: Path, pairs: pd.DataFrame) -> tuple[np.ndarray, Shares]:
    """Scores of a run's test rows and its heads' posteriors over the seven emotions that there are."""
    rows = pd.read_parquet(run / "predictions.parquet")
    rows = rows[rows["split"] == "test"].set_index("id").loc[pairs["id"]]
    shares = {}
    for half in HALVES:
        own = rows[[f"prob_{half}_emotion_{emotion}" for emotion in EMOTIONS]].to_numpy(dtype=np.float64)
        shares[half] = own / own.sum(axis=1, keepdims=True)
    return rows["prob_incongruent"].to_numpy(dtype=np.float64), shares


def truth(pairs: pd.DataFrame, half: str) -> np.ndarray:
    return np.asarray(EMOTIONS)[None, :] == pairs[f"{half}_emotion"].to_numpy()[:, None]


def differing(face: np.ndarray, voice: np.ndarray) -> np.ndarray:
    """Probability that two independent emotions differ."""
    return 1 - (face * voice).sum(axis=1)


def system(name: str, pairs: pd.DataFrame, seeds: list[tuple[np.ndarray | None, Shares]]) -> list[dict[str, object]]:
    """Accuracies and AUROCs of one system."""
    real = {half: truth(pairs, half) for half in HALVES}
    figures: dict[str, list[pd.Series]] = {}
    for score, shares in seeds:
        for half, label in (("visual", "accuracy, face"), ("vocal", "accuracy, voice")):
            right = shares[half].argmax(axis=1) == real[half].argmax(axis=1)
            figures.setdefault(label, []).append(pd.Series(right, dtype=float).groupby(pairs["speaker"]).mean())
        scores = {
            "AUROC, own score": score,
            "AUROC, product of posteriors": differing(shares["visual"], shares["vocal"]),
            "AUROC, product, face known": differing(real["visual"], shares["vocal"]),
            "AUROC, product, voice known": differing(shares["visual"], real["vocal"]),
        }
        for label, own in scores.items():
            if own is not None:
                each = auroc_by_unit(pairs.assign(score=own), "incongruent", "score", "speaker")
                figures.setdefault(label, []).append(each)
    rows = []
    for label, parts in figures.items():
        found = mean_interval(pd.concat(parts, axis=1).mean(axis=1).to_list(), "speaker")
        rows.append({"system": name, "figure": label, "value": found.value, "low": found.low, "high": found.high})
    return rows


def stronger(figures: pd.DataFrame, emotion: pd.Series, fold: pd.Series, actor: pd.Series) -> pd.DataFrame:
    """As the baseline's, from whichever of three kinds of classifier has the least log loss on actors left out."""
    out = pd.DataFrame(np.nan, index=figures.index, columns=sorted(set(emotion)))
    kinds = [
        {"classifier": [LogisticRegression(max_iter=3000)], "classifier__C": np.logspace(-4, 1, 11)},
        {
            "classifier": [LinearDiscriminantAnalysis(solver="lsqr")],
            "classifier__shrinkage": [0.1, 0.2, 0.3, 0.5, 0.7, 0.9],
        },
        {
            "classifier": [SVC(probability=True, random_state=0)],
            "classifier__C": [1.0, 3.0, 10.0],
            "classifier__gamma": [0.002, 0.005, 0.01, 0.02],
        },
    ]
    for held_out in sorted(set(fold)):
        train, test = fold != held_out, fold == held_out
        search = GridSearchCV(
            Pipeline([("scale", StandardScaler()), ("classifier", LogisticRegression())]),
            kinds,
            scoring="neg_log_loss",
            cv=GroupKFold(7),
        )
        search.fit(figures[train], emotion[train], groups=actor[train])
        print(f"fold {held_out}: {search.best_params_}")
        out.loc[test, search.classes_] = search.predict_proba(figures[test])
    return out


def curve(pairs: pd.DataFrame, shares: Shares, draws: int = 20) -> pd.DataFrame:
    """AUROC and accuracy where a share of the takes is read rightly, the others as by the baseline."""
    rng = np.random.default_rng(0)
    rows = []
    for share in np.arange(0, 0.55, 0.05):
        for _ in range(draws):
            mixed, accuracy = {}, []
            for half, clip in zip(HALVES, ("face_clip", "voice_clip"), strict=True):
                names, codes = np.unique(pairs[clip], return_inverse=True)
                known = (rng.random(len(names)) < share)[codes]
                real = truth(pairs, half)
                mixed[half] = np.where(known[:, None], real, shares[half])
                accuracy.append((mixed[half].argmax(axis=1) == real.argmax(axis=1)).mean())
            each = auroc_by_unit(
                pairs.assign(score=differing(mixed["visual"], mixed["vocal"])), "incongruent", "score", "speaker"
            )
            rows.append(
                {"share": share, "face": accuracy[0], "voice": accuracy[1], "auroc": each.mean()},
            )
    return pd.DataFrame(rows).groupby("share").mean().reset_index()


def draw(found: pd.DataFrame, systems: pd.DataFrame) -> None:
    """The curve with the systems beside it."""
    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    axes.plot(
        (found["face"] + found["voice"]) / 2, found["auroc"], color="0.4", label="baseline, some takes told the truth"
    )
    wide = systems.pivot(index="system", columns="figure", values="value")
    own = wide["AUROC, own score"].fillna(wide["AUROC, product of posteriors"])
    for place, name in enumerate(dict.fromkeys(systems["system"])):
        mean = (wide.loc[name, "accuracy, face"] + wide.loc[name, "accuracy, voice"]) / 2
        axes.plot(mean, own[name], "osD^vP*X<>hp"[place % 12], color=f"C{place % 10}", label=name)
    axes.axhline(0.82, color="0.7", linestyle=":")
    axes.set(xlabel="emotions read rightly, mean of face and voice", ylabel="AUROC within actors")
    axes.legend(fontsize="x-small", frameon=False)
    figure.savefig(HERE / "curve.png", dpi=120)


if __name__ == "__main__":
    main()
