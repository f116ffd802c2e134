"""Prediction tables with known properties, as a trained run would leave them."""

from typing import Any

import numpy as np
import pandas as pd

from subtext.corpora.cells import draw_cells
from subtext.labels import INCONGRUENCE_TYPES, MODALITIES, POLARITIES, POLARITY_COLUMN, POLARITY_NAMES, derive_labels

CONTROLS = (
    "majority",
    "metadata",
    "speaker",
    "visual",
    "text",
    "prosody",
    "visual+text",
    "visual+prosody",
    "text+prosody",
    "posterior_product",
    "permuted",
    "shuffled",
)


def labelled_clips(
    train: int = 400, val: int = 200, test: int = 400, speakers: int = 60, seed: int = 0
) -> pd.DataFrame:
    """Clips of the cell table with labels, units, metadata and posteriors of moderate encoders."""
    rng = np.random.default_rng(seed)
    tables = []
    for index, (split, count) in enumerate((("train", train), ("val", val), ("test", test))):
        cells = np.array(draw_cells(count, rng))
        table = pd.DataFrame({"verbal_polarity": cells[:, 0], "visual_polarity": cells[:, 1]})
        follows = rng.random(count) < 0.7
        table["vocal_polarity"] = np.where(follows, cells[:, 1], rng.integers(-1, 2, count))
        table["split"] = split
        table["speaker"] = [f"s{index}_{n:03d}" for n in rng.integers(0, speakers // 3, count)]
        table["identity"] = [f"i{index}_{n:03d}" for n in rng.integers(0, max(2, count // 4), count)]
        table["dialogue"] = [f"d{index}_{n:03d}" for n in rng.integers(0, max(2, count // 3), count)]
        table["actor"] = [f"a{index}_{n}" for n in rng.integers(0, 5, count)]
        table["session"] = table["speaker"]
        tables.append(table)
    out = derive_labels(pd.concat(tables, ignore_index=True))
    out.insert(0, "id", [f"clip_{n:05d}" for n in range(len(out))])
    out["duration"] = rng.gamma(6.0, 0.6, len(out))
    out["face_share"] = rng.beta(8, 1, len(out))
    for modality in MODALITIES:
        out[f"present_{modality}"] = rng.random(len(out)) > 0.05
        _add_posterior(out, modality, skill=2.5, rng=rng)
    return out


def run_tables(
    seed: int = 0, skill: float = 2.2, clip_seed: int = 0, **sizes: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """`predictions` and `controls` of a run whose fused model is good and whose single modalities are at chance."""
    clips = labelled_clips(seed=clip_seed, **sizes)
    rng = np.random.default_rng(1000 + seed)
    table = clips.loc[clips["split"] != "train"].reset_index(drop=True)
    table["seed"] = seed
    table["fold"] = pd.NA
    _add_head(table, "incongruent", skill, 1.8, rng)
    _add_head(table, "vocal_incongruent", 0.6 * skill, 1.8, rng)
    kinds = np.array([INCONGRUENCE_TYPES.index(kind) for kind in table["incongruence_type"]])
    logits = rng.normal(size=(len(table), len(INCONGRUENCE_TYPES)))
    logits[np.arange(len(table)), kinds] += skill
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    for index, kind in enumerate(INCONGRUENCE_TYPES):
        table[f"prob_type_{kind}"] = shares[:, index]
    for modality in MODALITIES:
        table[f"evidence_{modality}"] = 1 / 3
    parts = []
    for name in CONTROLS:
        part = table[[c for c in table.columns if not c.startswith(("prob_", "logit_", "evidence_"))]].copy()
        known = {"posterior_product": 0.9, "visual+text": 0.8, "text+prosody": 0.5}.get(name, 0.0)
        part["control"] = name
        _add_head(part, "incongruent", known * skill, 1.0, rng)
        if name in ("majority", "speaker"):
            part["prob_incongruent"] = 0.5
        parts.append(part.drop(columns="logit_incongruent"))
    return table, pd.concat(parts, ignore_index=True)


def _add_head(table: pd.DataFrame, head: str, skill: float, overconfidence: float, rng: np.random.Generator) -> None:
    signal = skill * (table[head].to_numpy(dtype=float) - 0.5) + rng.normal(size=len(table))
    logit: Any = skill * signal if skill else rng.normal(0, 0.3, len(table))
    table[f"logit_{head}"] = logit * overconfidence
    table[f"prob_{head}"] = 1 / (1 + np.exp(-logit))


def _add_posterior(table: pd.DataFrame, modality: str, skill: float, rng: np.random.Generator) -> None:
    label = POLARITY_COLUMN[modality]
    logits = rng.normal(size=(len(table), 3))
    codes = table[label].map({polarity: index for index, polarity in enumerate(POLARITIES)}).to_numpy(dtype=int)
    logits[np.arange(len(table)), codes] += skill
    # The exact posterior of that noise under the label's prior, so that the posteriors are calibrated.
    weighted = np.exp(skill * logits) * table[label].value_counts(normalize=True).reindex(POLARITIES).to_numpy()
    shares = weighted / weighted.sum(axis=1, keepdims=True)
    shares[~table[f"present_{modality}"].to_numpy()] = np.nan
    for index, name in enumerate(POLARITY_NAMES):
        table[f"prob_{label}_{name}"] = shares[:, index]
