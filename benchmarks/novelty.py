"""How many clips of another kind a run calls unlike those of its training, and how many of its own test split.

Each measure is fitted on the mean embeddings of the run's training clips; its level is the one that 99 % of its
validation clips keep. Neither its test clips nor the others are looked at for either. The measure that runs keep is
`subtext.model.novelty.Reference`; beside it stand:

- shrunk covariance: Mahalanobis with Ledoit and Wolf's estimate over all directions;
- components: Mahalanobis over the leading components alone, without what lies beside them;
- neighbours: mean distance to the 5 nearest training clips, over the same components, each scaled to variance 1;
- cosine: the same over all directions, of vectors scaled to length 1.

The others are photographs of Labeled Faces in the Wild, voices of RAVDESS and utterances of MELD; or, with --studio,
for a run that was trained on people, the studio's drawn faces, synthesised voices and written sentences.

Usage: python benchmarks/novelty.py RUN --data ../shared/data --models ../shared/models
       python benchmarks/novelty.py RUN --studio work/corpora/studio/demo-0 --models ../shared/models
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

from subtext.evaluation.novelty import KEPT_SHARE
from subtext.features.cache import FeatureCache, MemoryCache
from subtext.features.extract import extract
from subtext.features.index import FeatureIndex
from subtext.labels import MODALITIES
from subtext.manifest import Manifest, build_manifest, read_written_manifest
from subtext.model.batches import load_clips
from subtext.model.novelty import COMPONENTS, Reference, mean_embeddings
from subtext.runs.folder import RunFile, RunFolder

Vectors = npt.NDArray[np.float64]
Distance = Callable[[Vectors], Vectors]
NEIGHBOURS: Final = 5
FACES, VOICES, UTTERANCES = 500, 300, 300


def main() -> None:
    parser = argparse.ArgumentParser(description="Share of clips that a run calls unlike those of its training.")
    parser.add_argument("run", type=Path, help="folder of a training run")
    parser.add_argument("--data", type=Path, help="folder with faces, ravdess and meld")
    parser.add_argument("--studio", type=Path, help="folder of a studio corpus")
    parser.add_argument("--models", type=Path, help="folder of detector weights")
    options = parser.parse_args()
    if (options.data is None) == (options.studio is None):
        parser.error("give either --data or --studio")
    run = RunFolder(options.run)
    studio = None if options.studio is None else read_written_manifest(options.studio / "manifest.parquet")
    others = people(options.data) if studio is None else studio
    own = embedded(run)
    unlike = embedded_others(run, others, options.models)
    print(f"{'modality':<10}{'measure':<20}{'test clips':>12}{'unlike':>8}{'others':>8}{'unlike':>8}")
    for modality in MODALITIES:
        if modality not in own["train"] or modality not in unlike:
            continue
        train, val, test, shown = (part[modality] for part in (*own.values(), unlike))
        for name, measure in MEASURES.items():
            distance = measure(train, val)
            level = np.quantile(distance(val), KEPT_SHARE, method="higher")
            shares = [float((distance(part) > level).mean()) for part in (test, shown)]
            print(f"{modality:<10}{name:<20}{len(test):>12}{shares[0]:>8.1%}{len(shown):>8}{shares[1]:>8.1%}")


def embedded(run: RunFolder) -> dict[str, dict[str, Vectors]]:
    """The distinct streams of each split, by modality."""
    rows, index = run.table(RunFile.ROWS), FeatureIndex.load(run.path)
    cache = FeatureCache(run.settings()["paths"]["features"])
    found = {}
    for split in ("train", "val", "test"):
        table = rows[rows["split"] == split].reset_index(drop=True)
        found[split] = _embedded(run, table, index, cache)
    return found


def embedded_others(run: RunFolder, manifest: Manifest, models: Path | None) -> dict[str, Vectors]:
    """The same of clips that the run never saw."""
    cache = MemoryCache()
    index = extract(manifest, run.extractors(models), cache, progress=False)
    return _embedded(run, manifest.table, index, cache)


def _embedded(
    run: RunFolder, table: pd.DataFrame, index: FeatureIndex, cache: FeatureCache | MemoryCache
) -> dict[str, Vectors]:
    classifier = run.classifier()
    encoders = {modality: classifier.encoder(modality) for modality in classifier.modalities}
    clips = load_clips(table, index, cache, encoders, run.model()["max_steps"])
    return {m: means.double().numpy() for m, means in mean_embeddings(classifier, clips).items()}


def people(data: Path) -> Manifest:
    """Faces, voices and utterances, a row each."""
    faces = pd.read_csv(data / "faces" / "labels.csv").query("source == 'lfw'").sample(FACES, random_state=0)
    voices = pd.Series(sorted((data / "ravdess").glob("Actor_*/*"))).sample(VOICES, random_state=0)
    utterances = pd.read_csv(data / "meld" / "test_sent_emo.csv")["Utterance"].sample(UTTERANCES, random_state=0)
    rows = pd.DataFrame(
        {
            "image": [*("faces/images/" + faces["image"]), *[None] * (VOICES + UTTERANCES)],
            "audio": [*[None] * FACES, *(str(v.relative_to(data)) for v in voices), *[None] * UTTERANCES],
            "transcript": [*[None] * (FACES + VOICES), *utterances],
        }
    )
    return build_manifest(rows.assign(id=[f"row-{n}" for n in range(len(rows))]), root=data, name="people", groups=())


# -- measures ---------------------------------------------------------------------------------------------------------


def _kept(train: Vectors, val: Vectors) -> Distance:
    reference = Reference.fit(torch.from_numpy(train), torch.from_numpy(val))
    return lambda shown: reference.novelty(torch.from_numpy(shown)).numpy()


def _shrunk(train: Vectors, val: Vectors) -> Distance:
    fitted = LedoitWolf().fit(train)
    return lambda shown: np.sqrt(fitted.mahalanobis(shown))


def _components(train: Vectors, val: Vectors) -> Distance:
    fitted = PCA(_number(train), whiten=True, random_state=0).fit(train)
    return lambda shown: np.linalg.norm(fitted.transform(shown), axis=1)


def _neighbours(train: Vectors, val: Vectors) -> Distance:
    fitted = PCA(_number(train), whiten=True, random_state=0).fit(train)
    nearest = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(fitted.transform(train))
    return lambda shown: nearest.kneighbors(fitted.transform(shown))[0].mean(axis=1)


def _cosine(train: Vectors, val: Vectors) -> Distance:
    def scaled(values: Vectors) -> Vectors:
        return values / np.linalg.norm(values, axis=1, keepdims=True)

    nearest = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(scaled(train))
    return lambda shown: nearest.kneighbors(scaled(shown))[0].mean(axis=1)


def _number(train: Vectors) -> int:
    return min(COMPONENTS, min(train.shape) // 2)


MEASURES: Final = {
    "kept with the run": _kept,
    "shrunk covariance": _shrunk,
    "components": _components,
    "neighbours": _neighbours,
    "cosine": _cosine,
}

if __name__ == "__main__":
    main()
