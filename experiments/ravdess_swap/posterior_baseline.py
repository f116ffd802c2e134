"""RAVDESS swapped: what two unimodal classifiers say about the pairs, and what knowing the actor would add.

    python experiments/ravdess_swap/posterior_baseline.py [--data ../shared/data/ravdess_av_features]

A classifier of seven emotions a modality, standardised logistic regression, is fitted on the training actors' takes;
its strength of regularisation is chosen by log loss in folds of those actors. A pair's score is the probability that
the two emotions differ, 1 - sum_k p_face(k) p_voice(k). Same pairs, actors and folds as `corpus=ravdess_swap`; the
validation fold of that training is part of the training actors here, as nothing is stopped early.

Writes every pair's score to `runs/ravdess_swap/posterior_baseline.csv`, which `results.py` reads.

Three conditions, of which only the first knows nothing of the test actor:
- headline: figures as measured;
- enrolment: less the figures of the actor's one neutral take, which is in no pair;
- transductive: standardised by mean and deviation of all of the actor's takes, test takes included.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from subtext.corpora.ravdess_swap import FOLDS, VARIANTS, RavdessSwap, face_columns, read_summaries, voice_columns
from subtext.labels import emotion_polarity

OUT = Path("runs/ravdess_swap/posterior_baseline.csv")
STRENGTHS = np.logspace(-4, 1, 11)
COLUMNS = {"visual": face_columns, "vocal": voice_columns}
INTENSITY = {"visual": "face_intensity", "vocal": "voice_intensity"}
CONDITIONS = ("headline", "enrolment", "transductive")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/ravdess_av_features"))
    data = parser.parse_args().data
    rows = []
    for variant in VARIANTS:
        with tempfile.TemporaryDirectory() as folder:
            pairs = RavdessSwap(data=data, folder=folder, variant=variant).build().table
        for condition in CONDITIONS:
            rows.append(scored(pairs, read_summaries(data), condition).assign(variant=variant, condition=condition))
    scores = pd.concat(rows, ignore_index=True)
    columns = ["variant", "condition", "id", "speaker", "fold", "incongruent", "pair_kind", "face_clip", "voice_clip"]
    OUT.parent.mkdir(parents=True, exist_ok=True)
    scores[[*columns, "score"]].to_csv(OUT, index=False, float_format="%.9f")


def scored(pairs: pd.DataFrame, takes: pd.DataFrame, condition: str) -> pd.DataFrame:
    """The pairs with the score of the classifiers that saw none of their actors."""
    by_polarity = "surprised" not in set(pairs["visual_emotion"])
    halves = {half: posteriors(pairs, takes, half, condition) for half in COLUMNS}
    if by_polarity:
        halves = {half: to_polarity(shares) for half, shares in halves.items()}
    return pairs.assign(score=1 - (halves["visual"].to_numpy() * halves["vocal"].to_numpy()).sum(axis=1))


def posteriors(pairs: pd.DataFrame, takes: pd.DataFrame, half: str, condition: str) -> pd.DataFrame:
    """Shares of the seven emotions for one half of each pair, in the pairs' order."""
    takes = takes.assign(speaker="actor-" + takes["actor"])
    takes = adapted(takes, condition)
    takes = takes[takes["emotion"] != "neutral"].reset_index(drop=True)
    fold = takes["speaker"].map(pairs.drop_duplicates("speaker").set_index("speaker")["fold"])
    shares = out_of_fold(takes[list(COLUMNS[half]())], takes["emotion"], fold, takes["speaker"])
    keys = pd.MultiIndex.from_frame(takes[["speaker", "emotion", "intensity"]])
    wanted = pd.MultiIndex.from_frame(pairs[["speaker", f"{half}_emotion", INTENSITY[half]]])
    return shares.iloc[keys.get_indexer(wanted)].reset_index(drop=True)


def out_of_fold(figures: pd.DataFrame, emotion: pd.Series, fold: pd.Series, actor: pd.Series) -> pd.DataFrame:
    """Posteriors of each take from a classifier fitted on the other folds' actors."""
    out = pd.DataFrame(np.nan, index=figures.index, columns=sorted(set(emotion)))
    for held_out in range(FOLDS):
        train, test = fold != held_out, fold == held_out
        search = GridSearchCV(
            make_pipeline(StandardScaler(), LogisticRegression(max_iter=3000)),
            {"logisticregression__C": STRENGTHS},
            scoring="neg_log_loss",
            cv=GroupKFold(7),
        )
        search.fit(figures[train], emotion[train], groups=actor[train])
        out.loc[test, search.classes_] = search.predict_proba(figures[test])
    return out


def adapted(takes: pd.DataFrame, condition: str) -> pd.DataFrame:
    """The figures as a condition lets a system see them."""
    figures = [*face_columns(), *voice_columns()]
    if condition == "enrolment":
        neutral = takes[takes["emotion"] == "neutral"].set_index("speaker")[figures]
        return takes.assign(**(takes[figures] - neutral.loc[takes["speaker"]].to_numpy()))
    if condition == "transductive":
        seen = takes[takes["emotion"] != "neutral"].groupby("speaker")[figures]
        mean, deviation = (part.loc[takes["speaker"]].to_numpy() for part in (seen.mean(), seen.std()))
        return takes.assign(**(takes[figures] - mean) / np.maximum(deviation, 1e-9))
    return takes


def to_polarity(shares: pd.DataFrame) -> pd.DataFrame:
    """Posteriors of polarities from those of emotions; surprise, which no pair shows, is left out."""
    known = [emotion for emotion in shares if emotion_polarity(emotion) is not None]
    polarity = pd.Series({emotion: emotion_polarity(emotion) for emotion in known})
    sums = shares[known].T.groupby(polarity).sum().T
    return sums.div(sums.sum(axis=1), axis=0)


if __name__ == "__main__":
    main()
