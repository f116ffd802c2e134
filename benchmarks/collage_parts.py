"""Plain references for the parts of the collage, on the collage's own splits: what an encoder has to reach.

Each distinct part counts once. A balanced logistic regression on fixed features is fitted on the training parts, its
regularisation chosen on the validation parts, and the test parts are scored once:

- words: MiniLM sentence embeddings. On MELD's official split the same reaches macro-F1 0.618 and accuracy 0.639; the
  collage leaves out what stands in two splits, mostly stock phrases that are easy, and holds fewer neutral texts;
- voice: mean, spread and percentiles of the frames of `subtext.media.prosody_frames`, and eGeMAPS functionals where
  openSMILE is installed; also over 8 folds of 3 actors, since 6 test actors say little;
- face: histograms of oriented gradients, a floor rather than a reference.

Usage: python benchmarks/collage_parts.py --data ../shared/data
"""

import argparse
import importlib.util
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
import soundfile
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from subtext.corpora.collage import Collage
from subtext.evaluation.intervals import Units, count_interval
from subtext.evaluation.metrics import multiclass_metrics
from subtext.features.extractor import Source
from subtext.features.text import TextExtractor
from subtext.labels import POLARITIES, POLARITY_COLUMN
from subtext.manifest import Manifest
from subtext.media.prosody_frames import prosody_frames

Features = npt.NDArray[np.float64]
REGULARISATION = (0.001, 0.01, 0.1, 1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description="Plain reference figures for the collage's words, voices and faces.")
    parser.add_argument("--data", type=Path, required=True, help="folder with ravdess, faces and meld")
    parser.add_argument("--folder", type=Path, help="where the corpus is built (default: a folder that is removed)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        corpus = Collage(data=options.data, folder=options.folder or scratch).build()
        score(corpus, "text", "utterance", "dialogue", "MiniLM", embed)
        score(corpus, "prosody", "audio", "actor", "prosody functionals", lambda rows: describe_voices(corpus, rows))
        if importlib.util.find_spec("opensmile"):
            score(corpus, "prosody", "audio", "actor", "eGeMAPS functionals", lambda rows: egemaps(corpus, rows))
        score(corpus, "visual", "image", "identity", "oriented gradients", lambda rows: describe_faces(corpus, rows))


def score(
    corpus: Manifest, modality: str, part: str, unit: str, name: str, measure: Callable[[pd.DataFrame], Features]
) -> None:
    """Fit on train, choose on val, report on test; for voices the folds of actors as well."""
    began = time.monotonic()
    parts = corpus.table.drop_duplicates(part).reset_index(drop=True)
    labels = parts[POLARITY_COLUMN[modality]].astype(int).to_numpy()
    features = measure(parts)
    train, val, test = ((parts["split"] == split).to_numpy() for split in ("train", "val", "test"))
    chosen = max(
        REGULARISATION,
        key=lambda c: f1_score(
            labels[val], model(c).fit(features[train], labels[train]).predict(features[val]), average="macro"
        ),
    )
    predicted = model(chosen).fit(features[train], labels[train]).predict(features[test])
    report(f"{modality}: {name}, C={chosen:g}", parts[test], labels[test], predicted, unit)
    if modality == "prosody":
        folds = np.empty_like(labels)
        for fit, held_out in GroupKFold(8).split(features, labels, parts[unit]):
            folds[held_out] = model(chosen).fit(features[fit], labels[fit]).predict(features[held_out])
        report(f"{modality}: {name}, 8 folds of actors", parts, labels, folds, unit)
    print(f"    {time.monotonic() - began:.0f} s")


def model(regularisation: float) -> Pipeline:
    return make_pipeline(StandardScaler(), LogisticRegression(C=regularisation, class_weight="balanced", max_iter=2000))


def report(
    name: str,
    parts: pd.DataFrame,
    labels: npt.NDArray[np.int_],
    predicted: npt.NDArray[np.int_],
    unit: str,
) -> None:
    units = Units.of(parts, [unit])
    figures = []
    for metric, statistic in multiclass_metrics(labels + 1, predicted + 1, len(POLARITIES)).items():
        interval = count_interval(statistic, units, n_bootstrap=2000, seed=0)
        figures.append(f"{metric} {interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]")
    print(f"{name}: {', '.join(figures)}; {len(parts)} parts, {unit} x {units.counts()[unit]}, {interval.method}")


def embed(parts: pd.DataFrame) -> Features:
    """`[n, 384]` MiniLM embeddings."""
    sources = [Source(texts=(text,)) for text in parts["transcript"]]
    out: dict[int, Features] = {}
    for row, stream in TextExtractor().extract(sources):
        if isinstance(stream, Exception):
            raise stream
        out[row] = stream.values.mean(axis=0)
    return np.stack([out[row] for row in range(len(parts))])


def describe_voices(corpus: Manifest, parts: pd.DataFrame) -> Features:
    """Mean, standard deviation, 20th, 50th and 80th percentile of each prosodic feature, `[n, 5 features]`."""
    rows = []
    for audio in parts["audio"]:
        frames = prosody_frames(*soundfile.read(corpus.path(audio), dtype="float32"), hop=0.02)
        rows.append(np.concatenate([frames.mean(0), frames.std(0), *np.percentile(frames, (20, 50, 80), axis=0)]))
    return np.stack(rows).astype(float)


def egemaps(corpus: Manifest, parts: pd.DataFrame) -> Features:
    """`[n, 88]` eGeMAPSv02 functionals."""
    import opensmile

    smile = opensmile.Smile(opensmile.FeatureSet.eGeMAPSv02, opensmile.FeatureLevel.Functionals)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows = [
            smile.process_signal(*soundfile.read(corpus.path(audio), dtype="float32")).to_numpy()[0]
            for audio in parts["audio"]
        ]
    return np.stack(rows).astype(float)


def describe_faces(corpus: Manifest, parts: pd.DataFrame) -> Features:
    """Oriented gradients of the middle of the photograph at 96 px, in cells of 12 px."""
    hog = cv2.HOGDescriptor((96, 96), (24, 24), (12, 12), (12, 12), 9)
    rows = []
    for image in parts["image"]:
        picture = cv2.imread(str(corpus.path(image)), cv2.IMREAD_GRAYSCALE)
        edge = picture.shape[0] // 6
        rows.append(hog.compute(cv2.resize(picture[edge:-edge, edge:-edge], (96, 96), interpolation=cv2.INTER_AREA)))
    return np.stack(rows).reshape(len(parts), -1).astype(float)


if __name__ == "__main__":
    main()
