"""How good the behaviour coder is: folds by video, beside the plain reference and beside people.

The plain reference is a balanced logistic regression on MiniLM's embeddings of the utterance and the one before it,
their product and four counts, with nothing chosen. Both are fitted on the same rows of the same folds. The coder's own
choices are made inside each fold's training rows.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from subtext.evaluation.intervals import Interval, Units, count_interval
from subtext.evaluation.metrics import CountStatistic, multiclass_metrics
from subtext.evaluation.paired import PairedDifference, paired_counts
from subtext.replies.coder import HEADS, Choice, Floats, Head, choose, features, learnable, votes_of
from subtext.replies.embedding import Embedder

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class HeadCheck:
    """One question, out of fold.

    Attributes:
        head: the question.
        replies: with a majority code, on which F1 is computed.
        ties: left out of it (they do teach).
        coder: macro-F1 of the coder.
        reference: of the plain reference on the same rows and folds.
        difference: coder less reference.
        by_class: answer -> F1 of the coder.
        choices: what was chosen in each fold.
        several: replies that several annotators coded.
        people: macro-F1 of one annotator against another on those.
        coder_as_annotator: of the coder against one annotator on those.
        less_people: the latter less the former.
        predicted: `[n]` answers for all rows of the table, each by a model that has seen nothing of its group.
    """

    head: str
    replies: int
    ties: int
    coder: Interval
    reference: Interval
    difference: PairedDifference
    by_class: Mapping[str, float]
    choices: tuple[Choice, ...]
    several: int
    people: Interval
    coder_as_annotator: Interval
    less_people: PairedDifference
    predicted: pd.Series

    def as_dict(self) -> dict[str, Any]:
        """Plain types for JSON, without the predictions."""
        out: dict[str, Any] = {name: getattr(self, name) for name in ("head", "replies", "ties", "several")}
        for name in ("coder", "reference", "difference", "people", "coder_as_annotator", "less_people"):
            out[name] = getattr(self, name).as_dict()
        return out | {"by_class": dict(self.by_class), "choices": [asdict(choice) for choice in self.choices]}


def check_coder(
    table: pd.DataFrame,
    embed: Embedder,
    *,
    group: str = "source",
    folds: int = 5,
    n_bootstrap: int = 2000,
    seed: int = 0,
) -> dict[str, HeadCheck]:
    """Cross-validate every question.

    Args:
        table: `counsellor_turns` of AnnoMI.
        embed: the sentence model.
        group: column of what folds keep together and intervals resample.
        folds: how many.
        n_bootstrap: resamples of groups.
        seed: of folds and resamples.
    """
    from sklearn.model_selection import StratifiedGroupKFold

    seen = features(table["reply"].tolist(), table["client"].tolist(), embed)
    plain = _reference_input(table, embed)
    out = {}
    for head, classes in HEADS.items():
        votes = votes_of(table, head)
        rows = np.flatnonzero(learnable(votes, head))
        everybody = table[group].to_numpy(dtype=object)
        votes, groups = votes[rows], everybody[rows]
        most = np.sort(votes, axis=1)
        decided = most[:, -1] > most[:, -2]
        labels = votes.argmax(axis=1)
        predicted, theirs = np.full(len(table), -1), np.zeros(len(rows), dtype=np.int64)
        choices = []
        splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
        for train, test in splitter.split(labels, labels, groups):
            choice = choose(seen[rows[train]], votes[train], classes, groups[train], seed)
            choices.append(choice)
            fitted = Head.fit(seen[rows[train]], votes[train], classes, choice)
            # Also what has no vote, of these groups and of those that no fold trains on.
            unseen = np.flatnonzero(~np.isin(everybody, groups[train]))
            predicted[unseen] = fitted.log_probabilities(seen[unseen]).argmax(axis=1)
            sure = train[decided[train]]
            theirs[test] = _reference(plain[rows[sure]], labels[sure], plain[rows[test]])
        ours = predicted[rows]
        units = Units.of(table.iloc[rows[decided]], [group])
        a, b = (_macro_f1(labels[decided], given[decided], len(classes)) for given in (ours, theirs))
        several = votes.sum(axis=1) > 1
        between, alike = _between_people(votes[several], ours[several])
        people_units = Units.of(table.iloc[rows[several]], [group])
        again = {"n_bootstrap": n_bootstrap, "seed": seed}
        out[head] = HeadCheck(
            head=head,
            replies=int(decided.sum()),
            ties=int((~decided).sum()),
            coder=count_interval(a, units, **again),
            reference=count_interval(b, units, **again),
            difference=paired_counts([a], [b], units, **again),
            by_class={name: _f1(labels[decided], ours[decided], code) for code, name in enumerate(classes)},
            choices=tuple(choices),
            several=int(several.sum()),
            people=count_interval(between, people_units, **again),
            coder_as_annotator=count_interval(alike, people_units, **again),
            less_people=paired_counts([alike], [between], people_units, **again),
            predicted=pd.Series(np.array(classes, dtype=object)[predicted], index=table.index),
        )
    return out


def _reference_input(table: pd.DataFrame, embed: Embedder) -> Floats:
    ours, before = embed(table["reply"].tolist()), embed(table["previous"].tolist())
    said = [str(reply).lower() for reply in table["reply"]]
    begins = (re.compile(r"what|how|why|tell me"), re.compile(r"so|it sounds|sounds like|you"))
    counts = np.array(
        [[text.count("?"), len(text.split()), *(begin.match(text) is not None for begin in begins)] for text in said],
        dtype=np.float64,
    )
    return np.hstack([ours, before, ours * before, (counts - counts.mean(axis=0)) / counts.std(axis=0)])


def _reference(inside: Floats, labels: Ints, outside: Floats) -> Ints:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(max_iter=300, class_weight="balanced", C=3).fit(inside, labels)
    return np.asarray(model.predict(outside), dtype=np.int64)


def _macro_f1(labels: Ints, given: Ints, classes: int) -> CountStatistic:
    return multiclass_metrics(labels, given, classes)["macro_f1"]


def _f1(labels: Ints, given: Ints, code: int) -> float:
    right = float(((labels == code) & (given == code)).sum())
    return 2 * right / max(1.0, float((labels == code).sum() + (given == code).sum()))


def _between_people(votes: Floats, ours: Ints) -> tuple[CountStatistic, CountStatistic]:
    """Macro-F1 of one annotator against another (every ordered pair), and of the coder against one annotator."""
    classes = votes.shape[1]
    everyone = np.arange(classes)
    figure = _macro_f1(everyone, everyone, classes).figure
    pairs = votes[:, :, None] * votes[:, None, :] - votes[:, :, None] * np.eye(classes)
    against = votes[:, :, None] * np.eye(classes)[ours][:, None, :]
    # Each reply counts once, however many annotators it had.
    each = [terms / np.maximum(terms.sum(axis=(1, 2), keepdims=True), 1) for terms in (pairs, against)]
    between, alike = (CountStatistic(terms.reshape(len(votes), -1), figure) for terms in each)
    return between, alike
