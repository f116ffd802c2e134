"""Where along a clip the evidence lies: for pictures of single clips, in which one sees what a fusion attended to."""

import pandas as pd
import torch

from subtext.classifier import IncongruenceClassifier
from subtext.data import ClipData, loader
from subtext.errors import ConfigError
from subtext.predictions import PREDICTION_BATCH


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
