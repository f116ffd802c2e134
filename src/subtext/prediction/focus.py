"""Where along a clip the evidence lies: for pictures of single clips, in which one sees what a fusion attended to."""

from collections.abc import Collection, Sequence
from pathlib import Path

import pandas as pd
import torch

from subtext.errors import ConfigError
from subtext.features.cache import FeatureCache
from subtext.features.index import FeatureIndex
from subtext.model.batches import ClipData, load_clips, loader
from subtext.model.classifier import IncongruenceClassifier
from subtext.model.predict import PREDICTION_BATCH
from subtext.runs.folder import RunFolder


def focus_of_run(
    folder: Path | str,
    split: str = "test",
    ids: Sequence[str] | None = None,
    features: Path | str | None = None,
    trust: Collection[str] = (),
) -> pd.DataFrame:
    """The evidence of each token of a run's clips, from the streams in its feature cache; no recording is opened.

    Args:
        folder: the run.
        split: the clips to look at, val or test.
        ids: only these of them; None: all.
        features: the feature cache, where it is not at the run's own `paths.features`, which may be relative to where
            the run was started.
        trust: see `subtext.runs.folder.RunFolder`.

    Returns:
        See `focus_table`.

    Raises:
        ConfigError: the model's fusion does not attend along time, or the split has no such clip.
        RunError: the folder holds no finished run.
        CacheError: the run's streams are not in the cache any more.
    """
    run = RunFolder(folder, trust)
    described = run.model()
    table = run.predictions()
    table = table[table["split"] == split]
    if ids is not None:
        known = set(table["id"])
        unknown = [place for place, id_ in enumerate(ids, start=1) if id_ not in known]
        if unknown:
            raise ConfigError(
                f"ids, entry {unknown[0]}: {run.path} predicted no such clip of the split '{split}'; name one that it "
                "did"
            )
        table = table[table["id"].isin(ids)]
    if table.empty:
        raise ConfigError(f"{run.path} predicted no clip of the split '{split}'; give val or test")
    classifier = run.classifier()
    cache = FeatureCache(run.settings()["paths"]["features"] if features is None else features)
    encoders = {modality: classifier.encoder(modality) for modality in classifier.modalities}
    index = FeatureIndex.load(run.path)
    return focus_table(classifier, load_clips(table, index, cache, encoders, described["max_steps"]))


@torch.inference_mode()
def focus_table(classifier: IncongruenceClassifier, data: ClipData, batch_size: int = PREDICTION_BATCH) -> pd.DataFrame:
    """The evidence of each token of each clip.

    It tells where weights of attention lie, which is not the same as what an answer would change with; and after an
    exchange between modalities a token holds something of the others too.

    Args:
        classifier: the model, on the device where it shall compute.
        data: clips and their streams.
        batch_size: clips computed at once.

    Returns:
        A row for each clip, modality that it has, and token: `id`, `modality`, `token` (from 0), `position` (middle of
        the token's share of the stream, 0 to 1, as if tokens were equally long; of a stream longer than `max_steps` of
        what was kept), `weight`. A clip's weights sum to 1. Tokens of an encoder for figures that other tools measured
        are its families, one after the other, and no stretches of time.

    Raises:
        ConfigError: the model's fusion does not attend along time.
    """
    classifier.eval()
    device = next(classifier.parameters()).device
    ids = data.table["id"].tolist()
    parts = []
    for batch in loader(data, batch_size):
        batch = batch.to(device)
        embedded = classifier.embed(batch.streams, data.embedded)
        focus = classifier.focus(embedded)
        if focus is None:
            raise ConfigError(
                "the model's fusion does not attend along time, so there is nothing to show; fusion=crossmodal and "
                "fusion=latent do"
            )
        names = [ids[row] for row in batch.rows.tolist()]
        for modality, weights in focus.items():
            mask = embedded[modality].mask
            rows, tokens = mask.nonzero(as_tuple=True)
            lengths = mask.sum(dim=1)[rows]
            parts.append(
                pd.DataFrame(
                    {
                        "id": [names[row] for row in rows.tolist()],
                        "modality": modality,
                        "token": tokens.cpu().numpy(),
                        "position": ((tokens + 0.5) / lengths).cpu().numpy(),
                        "weight": weights[mask].float().cpu().numpy(),
                    }
                )
            )
    return pd.concat(parts, ignore_index=True)
