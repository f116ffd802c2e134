"""MUStARD: utterances of television series, sarcastic or not, with their context (Castro et al. 2019, MIT).

The authors' five folds are the file `speaker_dependent_folds.json` here: `data/split_indices.p` of their repository as
JSON, since a pickle runs whatever is in it. Whoever trusts that file converts it with

    python -c "import json, pickle; folds = pickle.load(open('split_indices.p', 'rb'), encoding='latin1');
    json.dump([{'train': list(map(int, a)), 'test': list(map(int, b))} for a, b in folds],
    open('speaker_dependent_folds.json', 'w'))"
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import pandas as pd

from subtext.core.schema import Natural, Seed, checked
from subtext.corpora.corpus import Corpus
from subtext.corpora.official import official_text, present
from subtext.errors import ConfigError, ManifestError
from subtext.manifest import Manifest, build_manifest
from subtext.manifest.description import Description
from subtext.manifest.splits import split_by_shares

Folds = Literal["speaker_independent", "official"]
TEST_SHOW: Final = "FRIENDS"
_VAL_SHARE: Final = 0.2
_REMEDY: Final = "Download data/sarcasm_data.json from github.com/soujanyaporia/MUStARD, or set paths.data"


_KINDS: Final[Mapping[str, type]] = {
    "utterance": str,
    "speaker": str,
    "context": list,
    "context_speakers": list,
    "show": str,
    "sarcasm": bool,
}


class Mustard(Corpus):
    """Target utterances of MUStARD; sarcasm stands in for incongruence.

    The context's words are in `context`, a line each, and its speakers in `context_speakers`: a model that reads the
    context learns no names from it.

    Args:
        data: holds `sarcasm_data.json`, `speaker_dependent_folds.json` (see the module's text) and, where present, the
            films `utterances_final/ID.mp4` and `context_final/ID_c.mp4`.
        folds: `speaker_independent`: Friends is the test split and the other series train, as in the paper; whole
            speakers are taken out of training for validation (see `with_validation`). `official`: the authors' five
            folds as the column `fold`; they share speakers, and a table of who speaks predicts 69 % of them.
        test_fold: with `official`, the fold that is the test split in the column `split`; validation rows are taken out
            of the other four, row by row. `cv=5` makes its own of every fold.
        seed: decides which rows of training are for validation.
        groups: columns of reused units, by which intervals resample.
        disjoint: columns whose values training refuses to find in two splits; the official folds need an empty list.
    """

    description = Description(
        may_leave_machine=True,
        title="MUStARD: Multimodal Sarcasm Detection Dataset",
        nature="acted",
        question="sarcasm",
        licence="MIT for the repository and its annotations; the films are scenes of television series",
        citation="Castro, Hazarika, Pérez-Rosas, Zimmermann, Mihalcea & Poria 2019, ACL, arXiv 1906.01815",
        source="github.com/soujanyaporia/MUStARD",
        labels="incongruent is the official sarcasm label, a proxy: sarcasm is often told by words and voice that "
        "disagree, but not always, and not every disagreement is sarcasm. No polarities",
        layout="the repository's README, data_loader.py and visual/README.md; speaker_dependent_folds.json is its "
        "data/split_indices.p as JSON, not compared with the original; film names ID.mp4 and ID_c.mp4: programs of "
        "others that read the archive",
        cautions=(
            "Speaker leak: each speaker's majority label in training predicts 69 % of the official folds. Put the "
            "speaker-lookup row beside every result, and take the speaker-independent split for the headline.",
            "Show leak: all 14 utterances of Sarcasmaholics and 39 of 40 of The Golden Girls are sarcastic.",
            "PERSON, PERSON1 ... are whoever has no name; here they are kept apart by series, yet are several people.",
            "215 of the 356 utterances of Friends stand in MELD word for word: what was trained on MELD has read them.",
            "688 of the 690 utterances are in MUStARD++, with the same label.",
            "Canned laughter is in the sound.",
            "In the speaker-independent split the series differ too: it measures transfer to another series.",
        ),
    )

    @checked
    def __init__(
        self,
        *,
        data: str | Path,
        folds: Folds = "speaker_independent",
        test_fold: Natural = 0,
        seed: Seed = 0,
        groups: Sequence[str] = ("speaker",),
        disjoint: Sequence[str] = ("speaker",),
    ) -> None:
        self.data = Path(data)
        self.folds = folds
        self.test_fold = test_fold
        self.seed = seed
        self.groups = tuple(groups)
        self.disjoint = tuple(disjoint)

    def build(self) -> Manifest:
        """Read the utterances and divide them.

        Raises:
            DatasetNotFound: a file is missing.
            ManifestError: a file is damaged, or an item lacks something; naming it.
        """
        items = _read_items(self.data / "sarcasm_data.json")
        ids = pd.Series(list(items), dtype="str")
        fields = pd.DataFrame(list(items.values()))
        table = pd.DataFrame(
            {
                "id": ids,
                "speaker": named_speakers(fields["speaker"], fields["show"]),
                "video": present(self.data, "utterances_final/" + ids + ".mp4"),
                "transcript": fields["utterance"],
                "context": fields["context"].map("\n".join),
                "incongruent": fields["sarcasm"],
                "show": fields["show"],
                "context_speakers": fields["context_speakers"].map("\n".join),
                "context_video": present(self.data, "context_final/" + ids + "_c.mp4"),
            }
        )
        if self.folds == "official":
            table["fold"] = _read_folds(self.data / "speaker_dependent_folds.json", len(table))
            n = int(table["fold"].max()) + 1
            if not 0 <= self.test_fold < n:
                raise ConfigError(f"corpus.test_fold is {self.test_fold}; use 0 to {n - 1}")
            table["split"] = (table["fold"] == self.test_fold).map({True: "test", False: "train"})
        else:
            table["split"] = (table["show"] == TEST_SHOW).map({True: "test", False: "train"})
        manifest = build_manifest(table, root=self.data, name="mustard", groups=self.groups)
        return with_validation(manifest, ["speaker"] if self.folds == "speaker_independent" else [], self.seed)


def named_speakers(speakers: pd.Series, shows: pd.Series) -> pd.Series:
    """Speakers' names; one that stands for whoever has none (PERSON, PERSON1, OTHER) with the show behind it."""
    nobody = speakers.str.fullmatch(r"PERSON\d*|OTHER")
    return speakers.where(~nobody, speakers + " (" + shows + ")")


def with_validation(manifest: Manifest, by: Sequence[str], seed: int) -> Manifest:
    """The corpus with a fifth of its training rows as the split `val`.

    Where whole speakers move, they come from series in which each class is at least a quarter: a validation split with
    the others, nearly all sarcastic, would choose the model that knows the series.

    Args:
        manifest: has the splits `train` and `test`.
        by: columns of units that stay together.
        seed: another seed, another part.

    Raises:
        ManifestError: training has too few units to spare any.
    """
    table = manifest.table
    spare = table["split"] == "train"
    if by:
        share = table[spare].groupby("show")["incongruent"].transform("mean").astype(float)
        spare &= share.between(0.25, 0.75).reindex(table.index, fill_value=False)
    if not spare.any():
        raise ManifestError(f"{manifest.name}: no series of the training rows has both classes; nothing can validate")
    shares = {"train": 1 - _VAL_SHARE, "val": _VAL_SHARE}
    divided = split_by_shares(manifest.with_table(table[spare]), by, "incongruent", shares, seed)
    split = table["split"].copy()
    split[spare] = divided.table["split"]
    return manifest.with_table(table.assign(split=split))


def _read_items(path: Path) -> dict[str, dict[str, Any]]:
    items = _read_json(path, _REMEDY)
    if not isinstance(items, dict) or not items:
        raise ManifestError(f"{path}: expected one object with an entry an utterance; download the file again")
    for number, item in enumerate(items.values(), start=1):
        if not isinstance(item, dict):
            raise ManifestError(f"{path}: item {number} is a {type(item).__name__}, not an object; correct it")
        for key, kind in _KINDS.items():
            value = item.get(key)
            if not isinstance(value, kind) or (
                isinstance(value, list) and not all(isinstance(text, str) for text in value)
            ):
                wanted = {str: "text", list: "a list of texts", bool: "true or false"}[kind]
                raise ManifestError(
                    f"{path}: item {number}, '{key}': {type(value).__name__}, not {wanted}; "
                    "correct it, or download the file again"
                )
        if len(item["context"]) != len(item["context_speakers"]):
            raise ManifestError(
                f"{path}: item {number} has {len(item['context'])} utterances of context and "
                f"{len(item['context_speakers'])} context_speakers; give each utterance one"
            )
    return items


def _read_folds(path: Path, n: int) -> list[int]:
    """The fold in whose test part each of `n` utterances is."""
    remedy = (
        "It is data/split_indices.p of github.com/soujanyaporia/MUStARD as JSON, a list of five {train, test}; see the "
        "text of subtext.corpora.mustard, or set corpus.folds=speaker_independent"
    )
    folds = _read_json(path, remedy)
    if not isinstance(folds, list) or not all(
        isinstance(fold, dict) and {"train", "test"} <= set(fold) for fold in folds
    ):
        raise ManifestError(f"{path}: expected a list of folds, each with train and test; convert the file again")
    of_row: dict[int, int] = {}
    for number, fold in enumerate(folds):
        for part in ("train", "test"):
            if not isinstance(fold[part], list) or not all(isinstance(row, int) for row in fold[part]):
                raise ManifestError(
                    f"{path}: fold {number}, {part}: expected a list of numbers; convert the file again"
                )
        for place, row in enumerate(fold["test"], start=1):
            if not 0 <= row < n or row in of_row:
                raise ManifestError(
                    f"{path}: fold {number}, test, entry {place}: it is in another fold too, or no place among the {n} "
                    "utterances; convert the file again"
                )
            of_row[row] = number
        if sorted([*fold["train"], *fold["test"]]) != list(range(n)):
            raise ManifestError(
                f"{path}: fold {number}: train and test together are not each of the {n} utterances once; "
                "use the sarcasm_data.json that it was made for"
            )
    if len(of_row) != n:
        raise ManifestError(f"{path}: {n - len(of_row)} of {n} utterances are in no test part; convert the file again")
    return [of_row[row] for row in range(n)]


def _read_json(path: Path, remedy: str) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(place for place, name in enumerate(names, start=1) if name in names[: place - 1])
            raise ManifestError(
                f"{path}: key {twice} of {len(pairs)} in one object stands there twice; remove one of the two"
            )
        return found

    try:
        return json.loads(official_text(path, remedy), object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise ManifestError(
            f"{path}: not readable as JSON at line {error.lineno}, column {error.colno} ({error.msg}); "
            "download the file again"
        ) from error
    except (ValueError, RecursionError) as error:
        raise ManifestError(
            f"{path}: not readable as JSON ({type(error).__name__}); download the file again"
        ) from error
