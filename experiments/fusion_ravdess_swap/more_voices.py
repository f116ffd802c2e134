"""RAVDESS swapped: would four times as many recordings of the voice lift what limits the AUROC?

    python experiments/fusion_ravdess_swap/more_voices.py [--data ../shared/data]

The pairs are made of 336 takes. RAVDESS has 1,344 speech recordings of the same actors and seven emotions: two
sentences, two repetitions. Here the voice's classifier of the posterior baseline (`experiments/ravdess_swap`; same
folds, strength chosen by log loss in folds of the training actors) is fitted on

- the summaries of the takes (the baseline itself);
- our own prosody frames of the same takes' recordings: mean, deviation and three percentiles of each feature;
- our own frames of all recordings of the training actors;
- the summaries and either of the two: the mean of their log posteriors.

The face's classifier is the baseline's throughout. Prints and writes `more_voices.csv`: how often the voice's emotion
is named rightly (of seven) and the AUROC within actors of the product, means over the 24 actors with t intervals, and
paired differences to the baseline with t tests, corrected by Holm for the four. Nothing was chosen on these figures.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import soundfile
from limits import EMOTIONS, baseline, differing, in_order, truth
from scipy import stats

from subtext.corpora.ravdess_swap import RavdessSwap, read_summaries
from subtext.evaluation.intervals import mean_interval
from subtext.evaluation.multiple import holm
from subtext.evaluation.within import auroc_by_unit
from subtext.media.prosody_frames import prosody_frames

HERE = Path(__file__).parent
CODES = {"02": "calm", "03": "happy", "04": "sad", "05": "angry", "06": "fearful", "07": "disgust", "08": "surprised"}
INTENSITIES = {"01": "normal", "02": "strong"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--folder", type=Path, default=Path("runs/ravdess_swap_pairs"), help="where pairs are written")
    arguments = parser.parse_args()
    summaries = arguments.data / "ravdess_av_features"
    pairs = RavdessSwap(data=summaries, folder=arguments.folder).build().table.reset_index(drop=True)
    takes = read_summaries(summaries)
    recordings = read_recordings(arguments.data / "ravdess")
    # A film's voice is the recording of the same name, but for the part that says film or voice.
    of_takes = recordings[recordings["name"].isin(takes["file"].str[2:])]

    face = in_order(baseline.posteriors(pairs, takes, "visual", "headline"))
    first = in_order(baseline.posteriors(pairs, takes, "vocal", "headline"))
    voices = {
        "summaries of 336 takes": first,
        "our frames of 336 takes": posteriors(pairs, of_takes, of_takes),
        "our frames of 1,344 recordings": posteriors(pairs, recordings, of_takes),
    }
    for name in list(voices)[1:]:
        both = np.exp((np.log(first) + np.log(voices[name])) / 2)
        voices[f"summaries and {name}"] = both / both.sum(axis=1, keepdims=True)

    figures = {name: by_actor(pairs, face, voice) for name, voice in voices.items()}
    start = figures["summaries of 336 takes"]
    rows = []
    for name, own in figures.items():
        for figure in own:
            found = mean_interval(own[figure].to_list(), "speaker")
            row = {"voice": name, "figure": figure, "value": found.value, "low": found.low, "high": found.high}
            if own is not start:
                test = stats.ttest_rel(own[figure], start[figure])
                low, high = test.confidence_interval()
                row |= {"less baseline": (own[figure] - start[figure]).mean(), "less low": low, "less high": high}
                row |= {"p": test.pvalue}
            rows.append(row)
    out = pd.DataFrame(rows)
    tested = out["p"].notna()
    for figure in out["figure"].unique():
        own = out.loc[tested & (out["figure"] == figure), "p"]
        out.loc[own.index, "p (Holm)"] = list(holm({str(place): p for place, p in own.items()}).values())
    out.to_csv(HERE / "more_voices.csv", index=False, float_format="%.4f")
    print(out.round(4).to_string(index=False))


def read_recordings(folder: Path) -> pd.DataFrame:
    """A row a recording: its name without the first part, speaker, emotion, intensity, figures of its frames."""
    rows = []
    for file in sorted(folder.glob("Actor_*/*.flac")):
        parts = file.stem.split("-")
        if parts[2] in CODES:
            frames = prosody_frames(soundfile.read(file, dtype="float32")[0], hop=0.02)
            percentiles = np.percentile(frames, [10, 50, 90], axis=0)
            own = np.concatenate([frames.mean(axis=0), frames.std(axis=0), *percentiles])
            rows.append(
                {
                    "name": file.stem[2:],
                    "speaker": f"actor-{parts[6]}",
                    "emotion": CODES[parts[2]],
                    "intensity": INTENSITIES[parts[3]],
                    **{f"figure_{number}": value for number, value in enumerate(own)},
                }
            )
    return pd.DataFrame(rows)


def posteriors(pairs: pd.DataFrame, recordings: pd.DataFrame, takes: pd.DataFrame) -> np.ndarray:
    """The seven emotions' shares for each pair's voice, from classifiers fitted on the other folds' recordings."""
    fold = recordings["speaker"].map(pairs.drop_duplicates("speaker").set_index("speaker")["fold"])
    columns = [name for name in recordings if str(name).startswith("figure_")]
    shares = baseline.out_of_fold(recordings[columns], recordings["emotion"], fold, recordings["speaker"])
    keys = pd.MultiIndex.from_frame(takes[["speaker", "emotion", "intensity"]])
    wanted = pd.MultiIndex.from_frame(pairs[["speaker", "vocal_emotion", "voice_intensity"]])
    return in_order(shares.loc[takes.index].iloc[keys.get_indexer(wanted)])


def by_actor(pairs: pd.DataFrame, face: np.ndarray, voice: np.ndarray) -> dict[str, pd.Series]:
    """Each actor's accuracy of the voice and AUROC of the product."""
    right = voice.argmax(axis=1) == truth(pairs, "vocal").argmax(axis=1)
    scored = pairs.assign(score=differing(face, voice))
    return {
        "accuracy, voice": pd.Series(right, dtype=float).groupby(pairs["speaker"]).mean(),
        "AUROC, product of posteriors": auroc_by_unit(scored, "incongruent", "score", "speaker"),
    }


if __name__ == "__main__":
    assert set(CODES.values()) == set(EMOTIONS)
    main()
