"""How many clips of another kind a run calls unlike those of its training, and how many of its own test split.

Each measure is fitted on what the run's encoders make of its training clips; its level is the one that 99 % of its
validation clips keep. Neither its test clips nor the others are looked at for either, but which measure is kept, and of
how many components, was chosen by such tables. It is `subtext.model.novelty.Reference`: Mahalanobis step by step, over
the leading components and all directions beside them. Others, of each clip's mean along time:

- mean along time: the same measure;
- shrunk covariance: Mahalanobis with Ledoit and Wolf's estimate over all directions;
- components: Mahalanobis over the leading components alone, without what lies beside them;
- neighbours: mean distance to the 5 nearest training clips, over the same components, each scaled to variance 1.

"short" is the first third of each test clip's steps: what is shorter should not be called unlike for that.

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
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from subtext.encoders.tokens import Tokens
from subtext.evaluation.novelty import KEPT_SHARE
from subtext.features.cache import FeatureCache, MemoryCache
from subtext.features.extract import extract
from subtext.features.index import FeatureIndex
from subtext.labels import MODALITIES
from subtext.manifest import Manifest, build_manifest, read_written_manifest
from subtext.model.batches import load_clips
from subtext.model.novelty import COMPONENTS, Reference, embedded_streams
from subtext.runs.folder import RunFile, RunFolder

Vectors = npt.NDArray[np.float64]
Streams = list[Tensor]
"""`[time, embed_dim]` each."""
Distance = Callable[[Streams], Vectors]
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
    print(f"{'modality':<10}{'measure':<20}{'test clips':>12}{'unlike':>8}{'short':>8}{'others':>8}{'unlike':>8}")
    for modality in MODALITIES:
        if modality not in own["train"] or modality not in unlike:
            continue
        train, val, test, shown = (part[modality] for part in (*own.values(), unlike))
        short = [steps[: -(-len(steps) // 3)] for steps in test]
        for name, measure in MEASURES.items():
            distance = measure(train, val)
            level = np.quantile(distance(val), KEPT_SHARE, method="higher")
            of_test, of_short, of_shown = (f"{(distance(part) > level).mean():.1%}" for part in (test, short, shown))
            print(f"{modality:<10}{name:<20}{len(test):>12}{of_test:>8}{of_short:>8}{len(shown):>8}{of_shown:>8}")


def embedded(run: RunFolder) -> dict[str, dict[str, Streams]]:
    """The distinct streams of each split, by modality."""
    rows, index = run.table(RunFile.ROWS), FeatureIndex.load(run.path)
    cache = FeatureCache(run.settings()["paths"]["features"])
    found = {}
    for split in ("train", "val", "test"):
        table = rows[rows["split"] == split].reset_index(drop=True)
        found[split] = _embedded(run, table, index, cache)
    return found


def embedded_others(run: RunFolder, manifest: Manifest, models: Path | None) -> dict[str, Streams]:
    """The same of clips that the run never saw."""
    cache = MemoryCache()
    index = extract(manifest, run.extractors(models), cache, progress=False)
    return _embedded(run, manifest.table, index, cache)


def _embedded(
    run: RunFolder, table: pd.DataFrame, index: FeatureIndex, cache: FeatureCache | MemoryCache
) -> dict[str, Streams]:
    classifier = run.classifier()
    encoders = {modality: classifier.encoder(modality) for modality in classifier.modalities}
    clips = load_clips(table, index, cache, encoders, run.model()["max_steps"])
    return {
        modality: [
            values[mask]
            for batch in embedded_streams(classifier, clips, modality)
            for values, mask in zip(batch.values, batch.mask, strict=True)
        ]
        for modality in clips.streams
    }


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


def _kept(train: Streams, val: Streams) -> Distance:
    reference = Reference.fit([Tokens.pad(train)], [Tokens.pad(val)])
    return lambda shown: reference.novelty(Tokens.pad(shown)).double().numpy()


def _means(streams: Streams) -> Vectors:
    return np.stack([steps.double().mean(dim=0).numpy() for steps in streams])


def _mean(train: Streams, val: Streams) -> Distance:
    def one(streams: Streams) -> Streams:
        return [steps.mean(dim=0, keepdim=True) for steps in streams]

    distance = _kept(one(train), one(val))
    return lambda shown: distance(one(shown))


def _shrunk(train: Streams, val: Streams) -> Distance:
    fitted = LedoitWolf().fit(_means(train))
    return lambda shown: np.sqrt(fitted.mahalanobis(_means(shown)))


def _whitened(train: Streams) -> PCA:
    means = _means(train)
    return PCA(min(COMPONENTS, min(means.shape) // 2), whiten=True, random_state=0).fit(means)


def _components(train: Streams, val: Streams) -> Distance:
    fitted = _whitened(train)
    return lambda shown: np.linalg.norm(fitted.transform(_means(shown)), axis=1)


def _neighbours(train: Streams, val: Streams) -> Distance:
    fitted = _whitened(train)
    nearest = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(fitted.transform(_means(train)))
    return lambda shown: nearest.kneighbors(fitted.transform(_means(shown)))[0].mean(axis=1)


MEASURES: Final = {
    "kept with the run": _kept,
    "mean along time": _mean,
    "shrunk covariance": _shrunk,
    "components": _components,
    "neighbours": _neighbours,
}

if __name__ == "__main__":
    main()
