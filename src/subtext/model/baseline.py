"""The person's own baseline: the mean of a person's figures, against which a reader holds each of their turns.

People differ in how their faces and voices look and sound at rest, by more than what they feel changes. A session tells
how, without any label: the mean over the person's turns in it. That makes a reading *transductive*: it depends on other
turns that are judged with it. A baseline is made within one split, never across.
"""

from typing import Final

import pandas as pd
import torch
from torch import Tensor

from subtext.model.batches import ClipData, loader
from subtext.model.classifier import IncongruenceClassifier

ENROLMENT: Final = "enrolment"
"""The manifest's column that marks turns of a known, calm state."""
# Of the person in a session, in all sessions, or in those turns that the column `enrolment` marks.
_PERSON: Final = {"session": ["session", "speaker"], "speaker": ["speaker"], "enrol": ["speaker"]}
_ROWS: Final = 512


@torch.inference_mode()
def figures_of(classifier: IncongruenceClassifier, data: ClipData, head: str) -> Tensor:
    """What a head's reader reads of every row, `[rows, width]`, on the CPU; NaN where a modality is absent."""
    classifier.eval()
    device = next(classifier.parameters()).device
    data = data.only(classifier.heads.reads(head))
    parts = []
    for batch in loader(data, _ROWS):
        embedded = classifier.embed(batch.to(device).streams, data.embedded)
        parts.append(classifier.figures(head, embedded).float().cpu())
    return torch.cat(parts)


def person_means(
    classifier: IncongruenceClassifier, data: ClipData, turns: dict[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """The mean figures of each row's person, by head: `[rows, width]`.

    Every distinct stream of the person counts once. NaN for a person of fewer than `ReaderSpec.least_turns` of them, or
    whose name or session is not known.

    Args:
        classifier: whose readers have baselines; of others nothing is told.
        data: all rows that are judged together.
        turns: gets by modality of how many turns each row's mean is, `[rows]`, 0 where there is none.
    """
    means = {}
    for name, reader in classifier.heads.readers.items():
        modalities = classifier.heads.reads(name)
        if reader.relative is None or not set(modalities) & set(data.numbers):
            continue
        figures = figures_of(classifier, data, name)
        means[name] = torch.full_like(figures, torch.nan)
        first = 0
        for modality in modalities:
            block = slice(first, first + classifier.heads.read[modality])
            first = block.stop
            if modality not in classifier.heads.baseline or modality not in data.numbers:
                continue
            kind = classifier.heads.baseline[modality]
            found, number = _means(data, figures[:, block], modality, kind, reader.spec.least_turns)
            means[name][:, block] = found
            if turns is not None:
                turns[modality] = number
    return means


def _means(data: ClipData, figures: Tensor, modality: str, kind: str, least: int) -> tuple[Tensor, Tensor]:
    """Of one modality: each row's person's mean, and of how many turns."""
    people = _people(data.table, kind)
    rows = pd.DataFrame({"person": people, "stream": data.numbers[modality].numpy()})
    counted = (rows["stream"] >= 0) & people.notna()
    if kind == "enrol" and ENROLMENT in data.table:
        counted &= data.table[ENROLMENT].astype("boolean").fillna(False).astype(bool)
    turns = rows[counted].drop_duplicates()
    found, number = torch.full_like(figures, torch.nan), torch.zeros(len(figures), dtype=torch.long)
    for person, places in turns.groupby("person").indices.items():
        if len(places) >= (1 if kind == "enrol" else least):
            own = torch.tensor((people == person).fillna(False).to_numpy(dtype=bool))
            found[own] = figures[torch.tensor(turns.index.to_numpy()[places])].mean(dim=0)
            number[own] = len(places)
    return found, number


def _people(table: pd.DataFrame, kind: str) -> pd.Series:
    """Who each row is of, within its split; missing where that is not known."""
    columns = _PERSON[kind]
    if kind == "enrol" and ENROLMENT not in table:
        return pd.Series(pd.NA, index=table.index)
    parts = table.reindex(columns=["split", *columns])
    return parts.astype(str).agg("\x1f".join, axis=1).where(parts[columns].notna().all(axis=1))
