"""What kind of utterance a counsellor's reply is: a small coder trained on AnnoMI's codes, and saved without pickle.

Two linear models a question, whose log-probabilities are averaged: one on sentence embeddings (of the reply, of the
client's turn, their product) and a few counts, one on hashed n-grams of words and characters. N-grams are hashed, so a
saved coder holds no word of the corpus.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import sparse

from subtext.core.weights_file import opened
from subtext.core.writing import write_bytes, write_text
from subtext.errors import ManifestError, WeightsError
from subtext.replies.embedding import Embedder
from subtext.replies.texts import plain, words_of

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

HEADS: Final[Mapping[str, tuple[str, ...]]] = {
    "behaviour": ("reflection", "question", "therapist_input", "other"),
    "question": ("open", "closed"),
    "reflection": ("simple", "complex"),
}
"""What the coder answers, and the answers."""
COLUMNS: Final[Mapping[str, str]] = {
    "behaviour": "main_therapist_behaviour",
    "question": "question_subtype",
    "reflection": "reflection_subtype",
}
"""The columns of `subtext.corpora.annomi` with these codes; `COLUMN_votes_CODE` counts annotators."""

VERSION: Final = 1
WEIGHTS: Final = "coder.safetensors"
DESCRIPTION: Final = "coder.json"
_BUCKETS: Final = 2**16
_COUNTS: Final = 0.3
"""Weight of the standardised counts beside the n-grams, whose rows have unit length."""


@dataclass(frozen=True)
class Choice:
    """What is chosen on inner folds.

    Attributes:
        dense: inverse strength of L2 for the embeddings' model.
        hashed: of the n-grams' model.
        share: weight of the embeddings' log-probabilities.
    """

    dense: float = 0.3
    hashed: float = 3.0
    share: float = 0.5


CHOICES: Final = tuple(
    Choice(*values) for values in product((0.1, 0.3, 1.0, 3.0), (1.0, 3.0, 10.0), (0.0, 0.25, 0.5, 0.75, 1.0))
)


@dataclass(frozen=True)
class Features:
    """What the coder sees of replies.

    Attributes:
        dense: `[n, 3 * dim]` embeddings of the reply and the client's turn, and their product.
        counts: `[n, k]` question marks, words, how it begins ...
        hashed: `[n, 2 * buckets]` counts of n-grams of words, then of characters.
    """

    dense: Floats
    counts: Floats
    hashed: sparse.csr_matrix

    def __getitem__(self, rows: npt.NDArray[Any]) -> "Features":
        return Features(self.dense[rows], self.counts[rows], self.hashed[rows])

    def __len__(self) -> int:
        return len(self.dense)


_OPENINGS: Final = (
    r"(what|how|why|tell me)\b",
    r"(so|it sounds|sounds like|you)\b",
    r"(do|does|did|is|are|was|were|have|has|can|could|would|will)\b",
)
_INSIDE: Final = (
    r"\?",
    r"\?\s*$",
    r"\byou(?:r|'re|'ve)?\b",
    r"\bi(?:'m|'d|'ve)?\b",
    r"[.!]",
    r"\b(?:okay|ok|yeah|mm|uh|right|great)\b",
)


def features(replies: Sequence[str], clients: Sequence[Any], embed: Embedder) -> Features:
    """Of each reply and the client's turn before it (null where there is none)."""
    from sklearn.feature_extraction.text import HashingVectorizer

    said = [plain(reply) for reply in replies]
    ours, theirs = embed(list(replies)), embed(list(clients))
    rows = []
    for text, client in zip(said, clients, strict=True):
        words = words_of(text)
        others = words_of(client) if isinstance(client, str) else []
        shared = len(set(words) & set(others)) / max(1, len(set(words)))
        rows.append(
            [np.log1p(len(words)), len(words) <= 2, len(words) <= 4, np.log1p(len(others)), not others, shared]
            + [re.match(opening, text) is not None for opening in _OPENINGS]
            + [len(re.findall(inside, text)) for inside in _INSIDE]
        )
    common = {"n_features": _BUCKETS, "alternate_sign": False, "norm": None}
    words = HashingVectorizer(ngram_range=(1, 3), token_pattern=r"(?u)\b\w+\b|[?!]", **common)
    letters = HashingVectorizer(analyzer="char_wb", ngram_range=(2, 5), **common)
    hashed = sparse.hstack([words.transform(said), letters.transform(said)]).tocsr()
    return Features(
        np.hstack([ours, theirs, ours * theirs]), np.array(rows, dtype=np.float64).reshape(len(said), -1), hashed
    )


class Head:
    """One question's two linear models.

    Args:
        classes: the answers.
        tensors: `mean` and `scale` of the counts, `idf` of the n-grams, and of each model `[classes, features]` weights
            and `[classes]` biases; see `fit`.
        share: weight of the embeddings' model.
    """

    def __init__(self, classes: Sequence[str], tensors: Mapping[str, Floats], share: float) -> None:
        self.classes, self.tensors, self.share = tuple(classes), dict(tensors), share

    @classmethod
    def fit(cls, seen: Features, votes: Floats, classes: Sequence[str], choice: Choice) -> "Head":
        """Fit on every annotator's code.

        Args:
            seen: features of n replies.
            votes: `[n, classes]`, how many annotators gave each code; each row counts as one reply in all, and every
                class weighs the same in all.
            classes: the answers.
            choice: settings.
        """
        tensors = _scaling(seen)
        for name, strength, matrix in _inputs(seen, tensors, choice):
            tensors |= _logistic(name, matrix, votes, strength)
        return cls(classes, tensors, choice.share)

    def log_probabilities(self, seen: Features) -> Floats:
        """`[n, classes]`, of the two models together."""
        out = np.zeros((len(seen), len(self.classes)))
        shares = {"dense": self.share, "hashed": 1 - self.share}
        for name, _, matrix in _inputs(seen, self.tensors, Choice()):
            if f"{name}.weight" in self.tensors and shares[name] > 0:
                logits = np.asarray(matrix @ self.tensors[f"{name}.weight"].T) + self.tensors[f"{name}.bias"]
                out += shares[name] * (logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))
        return out


def _scaling(seen: Features) -> dict[str, Floats]:
    containing = np.asarray((seen.hashed > 0).sum(axis=0)).ravel()
    return {
        "mean": seen.counts.mean(axis=0),
        "scale": seen.counts.std(axis=0) + 1e-9,
        # Smoothed, as in scikit-learn.
        "idf": np.log((1 + len(seen)) / (1 + containing)) + 1,
    }


def _inputs(seen: Features, tensors: Mapping[str, Floats], choice: Choice) -> Iterator[tuple[str, float, Any]]:
    counts = (seen.counts - tensors["mean"]) / tensors["scale"]
    yield "dense", choice.dense, np.hstack([seen.dense, counts])
    from sklearn.preprocessing import normalize

    weighted = seen.hashed.astype(np.float64)
    weighted.data = 1 + np.log(weighted.data)
    weighted = weighted.multiply(tensors["idf"]).tocsr()
    halves = [normalize(weighted[:, :_BUCKETS]), normalize(weighted[:, _BUCKETS:])]
    yield "hashed", choice.hashed, sparse.hstack([*halves, sparse.csr_matrix(counts * _COUNTS)]).tocsr()


def _logistic(name: str, matrix: Any, votes: Floats, strength: float) -> dict[str, Floats]:
    from sklearn.linear_model import LogisticRegression

    shares = votes / votes.sum(axis=1, keepdims=True)
    rows, codes = np.nonzero(shares)
    weights = shares[rows, codes] * len(shares) / (shares.shape[1] * shares.sum(axis=0)[codes])
    model = LogisticRegression(max_iter=300, C=strength).fit(matrix[rows], codes, sample_weight=weights)
    weight, bias = model.coef_, model.intercept_
    if len(weight) == 1:  # two classes: the second's logit against 0
        weight, bias = np.vstack([np.zeros_like(weight), weight]), np.array([0.0, bias[0]])
    return {f"{name}.weight": weight, f"{name}.bias": bias}


def choose(seen: Features, votes: Floats, classes: Sequence[str], groups: npt.NDArray[Any], seed: int) -> Choice:
    """The best of `CHOICES` by macro-F1 over three folds that keep groups together."""
    from sklearn.metrics import f1_score
    from sklearn.model_selection import StratifiedGroupKFold

    labels = votes.argmax(axis=1)
    folds = StratifiedGroupKFold(3, shuffle=True, random_state=seed)
    parts: dict[tuple[str, float], Floats] = {}
    for train, test in folds.split(labels, labels, groups):
        inside, outside = seen[train], seen[test]
        scaling = _scaling(inside)
        for name, strength in {(n, getattr(c, n)) for c in CHOICES for n in ("dense", "hashed")}:
            choice = Choice(**{name: strength})
            matrices = {n: m for n, _, m in _inputs(inside, scaling, choice)}
            fitted = _logistic(name, matrices[name], votes[train], strength)
            head = Head(classes, scaling | fitted, 1.0 if name == "dense" else 0.0)
            into = parts.setdefault((name, strength), np.zeros(votes.shape))
            into[test] = head.log_probabilities(outside)
    decided = np.sort(votes, axis=1)[:, -1] > np.sort(votes, axis=1)[:, -2]

    def score(choice: Choice) -> float:
        together = choice.share * parts["dense", choice.dense] + (1 - choice.share) * parts["hashed", choice.hashed]
        return float(f1_score(labels[decided], together.argmax(axis=1)[decided], average="macro"))

    return max(CHOICES, key=score)


class BehaviourCoder:
    """Codes replies.

    Args:
        heads: question -> its models.
        embed: the sentence model that the heads were trained with.
        facts: what it was trained on.

    Example:
        coder = BehaviourCoder.load("work/coder")
        coder.code(["What was that like?"], ["It was the worst week."])
    """

    def __init__(self, heads: Mapping[str, Head], embed: Embedder, facts: Mapping[str, Any] | None = None) -> None:
        self.heads, self.embed, self.facts = dict(heads), embed, dict(facts or {})

    def code(self, replies: Sequence[str], clients: Sequence[Any]) -> pd.DataFrame:
        """One column a question; `question` and `reflection` are null where the behaviour is another.

        Args:
            replies: n replies with words.
            clients: the client's turn before each, or null.
        """
        out = pd.DataFrame(index=range(len(replies)))
        seen = features(replies, clients, self.embed) if len(replies) else None
        for name, head in self.heads.items():
            found = [] if seen is None else [head.classes[best] for best in head.log_probabilities(seen).argmax(axis=1)]
            out[name] = pd.Series(found, dtype=object)
        for name in ("question", "reflection"):
            out[name] = out[name].where(out["behaviour"] == name, None)
        return out

    def save(self, folder: Path) -> None:
        """Write `coder.safetensors` and `coder.json`."""
        from safetensors.numpy import save

        folder.mkdir(parents=True, exist_ok=True)
        tensors = {
            f"{name}.{part}": np.ascontiguousarray(values, dtype=np.float32)
            for name, head in self.heads.items()
            for part, values in head.tensors.items()
        }
        write_bytes(folder / WEIGHTS, save(tensors))
        described = {
            "version": VERSION,
            "text_model": self.embed.extractor.fingerprint(),
            "heads": {name: {"classes": head.classes, "share": head.share} for name, head in self.heads.items()},
            "facts": self.facts,
        }
        write_text(folder / DESCRIPTION, json.dumps(described, indent=1) + "\n")

    @classmethod
    def load(cls, folder: str | Path, embed: Embedder | None = None) -> "BehaviourCoder":
        """Read a saved coder.

        Args:
            folder: written by `save`.
            embed: the sentence model; default: the project's.

        Raises:
            WeightsError: a file is missing or not ours, or the coder was trained with another sentence model.
        """
        folder, embed = Path(folder), embed or Embedder()
        try:
            described = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
            with opened(folder / WEIGHTS, "numpy") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if described["version"] != VERSION:
                raise ValueError(f"version {described['version']}, and this is {VERSION}")
            heads = {}
            for name, classes in HEADS.items():
                own = {
                    key.removeprefix(f"{name}."): t.astype(np.float64)
                    for key, t in tensors.items()
                    if key.startswith(f"{name}.")
                }
                if (
                    described["heads"][name]["classes"] != list(classes)
                    or not {"mean", "scale", "idf", "dense.weight", "dense.bias", "hashed.weight", "hashed.bias"}
                    <= own.keys()
                ):
                    raise ValueError(f"the part '{name}' is not complete")
                heads[name] = Head(classes, own, float(described["heads"][name]["share"]))
            model, facts = described["text_model"], described["facts"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, WeightsError) as error:
            reason = " ".join(str(error).split())[:200]
            raise WeightsError(
                f"{folder} is no behaviour coder that can be read ({reason}); train one with subtext-replies coder"
            ) from error
        if model != embed.extractor.fingerprint():
            raise WeightsError(
                f"{folder} was trained with another text model; train it again with subtext-replies coder"
            )
        return cls(heads, embed, facts)


def votes_of(table: pd.DataFrame, head: str) -> Floats:
    """`[n, classes]`: how many annotators gave each answer.

    Raises:
        ManifestError: the table has no such counts.
    """
    columns = [f"{COLUMNS[head]}_votes_{code}" for code in HEADS[head]]
    missing = [column for column in columns if column not in table]
    if missing:
        raise ManifestError(f"there is no column '{missing[0]}'; the coder learns from AnnoMI's annotators' codes")
    return table[columns].to_numpy(dtype=np.float64, na_value=0.0)


def train_coder(table: pd.DataFrame, embed: Embedder, *, group: str = "source", seed: int = 0) -> BehaviourCoder:
    """A coder of all rows; the choice among `CHOICES` is made by folds.

    Args:
        table: counsellors' replies, as `counsellor_turns` gives them.
        embed: the sentence model.
        group: column of what folds keep together.
        seed: of the folds.

    Raises:
        ManifestError: there are too few groups or codes to learn from.
    """
    seen = features(table["reply"].tolist(), table["client"].tolist(), embed)
    heads, facts = {}, {}
    for name, classes in HEADS.items():
        votes = votes_of(table, name)
        rows = learnable(votes, name)
        groups = table[group].to_numpy()[rows]
        choice = choose(seen[rows], votes[rows], classes, groups, seed)
        heads[name] = Head.fit(seen[rows], votes[rows], classes, choice)
        facts[name] = {"replies": int(rows.sum()), "groups": len(set(groups)), **asdict(choice)}
    return BehaviourCoder(heads, embed, {"seed": seed, "heads": facts})


def learnable(votes: Floats, head: str) -> npt.NDArray[np.bool_]:
    """Which rows teach a question: those with a vote."""
    rows: npt.NDArray[np.bool_] = votes.sum(axis=1) > 0
    if not (votes[rows].sum(axis=0) > 0).all():
        raise ManifestError(f"not every code of '{COLUMNS[head]}' occurs; the coder needs examples of each")
    return rows
