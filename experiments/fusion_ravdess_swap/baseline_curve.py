"""RAVDESS swapped: of how many unlabelled turns a person's mean must be to help.

    python experiments/fusion_ravdess_swap/baseline_curve.py [--data ../shared/data/ravdess_av_features]

Readers of face and voice (`subtext.model.readers`) are fitted to the training actors of each of the eight folds, with
the mean of all 14 takes of each as baseline. The test actors' mean is of 1, 2, 3, 5, 8, 11 or 14 of their takes, drawn
at random ten times; 0 is the raw reading alone. The score of a pair is that of its two readings multiplied, as in
`experiments/ravdess_swap`. Writes `baseline_curve.csv` and `baseline_curve.png` beside itself: AUROC within actors,
mean over the 24 actors of each actor's mean over the draws, with t intervals over actors.
"""

import argparse
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import torch
from sklearn.metrics import roc_auc_score

from subtext.corpora.ravdess_swap import RavdessSwap, face_columns, read_summaries, voice_columns
from subtext.evaluation.intervals import mean_interval
from subtext.model.readers import Reader, ReaderSpec, fit_and_read

matplotlib.use("Agg")
from matplotlib import pyplot as plt

HERE = Path(__file__).parent
TURNS = (0, 1, 2, 3, 5, 8, 11, 14)
DRAWS = 10
FOLDS = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/ravdess_av_features"))
    parser.add_argument("--folder", type=Path, default=Path("runs/ravdess_swap_pairs"), help="where pairs are written")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    pairs = RavdessSwap(data=arguments.data, folder=arguments.folder).build().table
    fold_of = pairs.drop_duplicates("speaker").set_index("speaker")["fold"]
    takes = read_summaries(arguments.data)
    takes = takes[takes["emotion"] != "neutral"].reset_index(drop=True)
    actors = ("actor-" + takes["actor"]).to_numpy()
    folds = np.array([int(fold_of[actor]) for actor in actors])
    classes = torch.from_numpy(pd.factorize(takes["emotion"], sort=True)[0])
    halves = {"face": face_columns(), "voice": voice_columns()}
    figures = {half: torch.tensor(takes[list(columns)].to_numpy(np.float32)) for half, columns in halves.items()}

    scores: dict[int, dict[str, list[float]]] = {turns: {actor: [] for actor in np.unique(actors)} for turns in TURNS}
    for fold in range(FOLDS):
        # As a run does, the next fold is left for validation.
        train = torch.from_numpy((folds != fold) & (folds != (fold + 1) % FOLDS))
        test = np.flatnonzero(folds == fold)
        readers = {half: fitted(figures[half][train], classes[train], actors[train.numpy()]) for half in halves}
        for turns in TURNS:
            for draw in range(1 if turns in (0, 14) else DRAWS):
                rng = np.random.default_rng([fold, turns, draw])
                read = {
                    half: readers[half](figures[half][test], means(figures[half][test], actors[test], turns, rng))
                    for half in halves
                }
                for actor in np.unique(actors[test]):
                    scores[turns][actor].append(auroc(takes.iloc[test], read, actors[test] == actor))
    rows = []
    for turns, found in scores.items():
        own = [float(np.mean(values)) for values in found.values()]
        interval = mean_interval(own, "actor")
        gains = [value - float(np.mean(scores[0][actor])) for actor, value in zip(found, own, strict=True)]
        gain = mean_interval(gains, "actor", low=-1.0)
        row = {"turns": turns, "auroc": interval.value, "low": interval.low, "high": interval.high}
        rows.append(row | {"gain": gain.value, "gain_low": gain.low, "gain_high": gain.high})
    table = pd.DataFrame(rows)
    table.to_csv(HERE / "baseline_curve.csv", index=False, float_format="%.4f")
    print(table.to_string(index=False, float_format="%.3f"))
    draw_curve(table)


def fitted(figures: torch.Tensor, classes: torch.Tensor, actors: np.ndarray) -> Reader:
    reader = Reader(figures.shape[1], 7, ReaderSpec(), baseline=True)
    everyone = means(figures, actors, 14, np.random.default_rng(0))
    fit_and_read(reader, figures, classes, list(actors), seed=0, means=everyone)
    return reader


def means(figures: torch.Tensor, actors: np.ndarray, turns: int, rng: np.random.Generator) -> torch.Tensor:
    """Each take's actor's mean over so many takes; NaN for none."""
    found = torch.full_like(figures, torch.nan)
    for actor in np.unique(actors):
        own = np.flatnonzero(actors == actor)
        if turns:
            found[own] = figures[rng.choice(own, turns, replace=False)].mean(dim=0)
    return found


def auroc(takes: pd.DataFrame, read: dict[str, torch.Tensor], own: np.ndarray) -> float:
    """Of one actor's pairs, which cross intensities: how well the product of both readings tells other emotions."""
    face, voice = (read[half][own].softmax(dim=1).double().numpy() for half in ("face", "voice"))
    emotion, intensity = (takes[column].to_numpy()[own] for column in ("emotion", "intensity"))
    crossing = intensity[:, None] != intensity[None]
    differ = emotion[:, None] != emotion[None]
    return float(roc_auc_score(differ[crossing], (1 - face @ voice.T)[crossing]))


def draw_curve(table: pd.DataFrame) -> None:
    figure, ax = plt.subplots(figsize=(6.4, 4), layout="constrained")
    ax.fill_between(table["turns"], table["low"], table["high"], color="0.88", label="95 % t interval, 24 actors")
    ax.plot(table["turns"], table["auroc"], "o-", color="#0072B2", label="mean over actors")
    ax.set(xlabel="unlabelled turns in the person's mean (0: raw reading)", ylabel="AUROC within actors")
    ax.set_title("Swapped pairs of RAVDESS: what a baseline needs")
    ax.legend(loc="lower right", fontsize=9)
    figure.savefig(HERE / "baseline_curve.png", dpi=110)


if __name__ == "__main__":
    main()
