"""The collage corpus: a real photograph, a real voice and a real utterance a row, put together to agree or disagree.

It tests fusion on real parts. It does not test timing or synchrony: photographs do not move, and the voices speak other
words. Its examples are crossed, so every part is reused; the group columns say by what intervals have to resample.
"""

import hashlib
import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from annotated_types import Interval

from subtext.core.schema import Natural, Seed, checked
from subtext.core.tables import write_csv
from subtext.core.writing import replacing, write_bytes, write_json
from subtext.corpora.cells import CELL_SHARES, draw_cells, quotas
from subtext.corpora.corpus import Corpus
from subtext.corpora.made import finish, made_before, making
from subtext.corpora.meld import Meld
from subtext.corpora.official import official_table, present
from subtext.corpora.ravdess import read_voices
from subtext.errors import ConfigError, DatasetNotFound, MediaError
from subtext.labels import POLARITIES, POLARITY_COLUMN, POLARITY_NAMES, IncongruenceRule, emotion_polarity
from subtext.manifest import SPLITS, Manifest, build_manifest, check_splits
from subtext.manifest.description import Description

GROUPS: Final = ("identity", "actor", "dialogue")
"""The units that are reused between examples."""

_PART_COLUMN: Final = {"visual": "image", "text": "utterance", "prosody": "audio"}
_IDENTITY_SHARES: Final = {"train": 0.6, "val": 0.2, "test": 0.2}
_ACTOR_SHARES: Final = {"train": 14 / 24, "val": 4 / 24, "test": 6 / 24}
_FREQUENT: Final = 5
_RECIPE: Final = 1  # Raised whenever the same settings give another corpus, so that old folders are built again.

_log = logging.getLogger(__name__)


class Collage(Corpus):
    """Photographs (LFW), voices (RAVDESS) and utterances (MELD), combined by `subtext.corpora.cells.CELL_SHARES`.

    Words' and face's polarity follow the cell table exactly, so that neither alone tells `incongruent`. The voice's
    polarity is one third each within every cell, so that the voice tells nothing about it. `vocal_incongruent` has no
    such balance: with an independent voice the words alone tell it to some degree, so read it beside its controls.

    The splits share no identity, no actor, no dialogue and no sentence. Within a split and polarity no part is used
    more than one time oftener than another, in each cell and over all. `speaker` is the actor: the speaker of a collage
    does not exist, and the voice is what per-speaker normalisation is about.

    Sources: photographs with `source == "lfw"` only, since the film stills are told from them by looks and hold most
    of disgust and sadness; surprise is left out, it has no polarity. Words take MELD's sentiment; a text that stands in
    two splits, or with two sentiments, is left out, and one that repeats within a split counts once.

    Args:
        data: folder that holds `ravdess`, `faces` and `meld` in their layouts.
        folder: where the manifest, the re-encoded photographs (grey, one size, one quality), links to the voices and
            `reuse.json` go. Built again only if the settings or the sources changed.
        seed: decides the splits of identities and actors and the pairing.
        n_train, n_val, n_test: numbers of examples; a multiple of 40 follows the cell table exactly, of 120 the thirds
            of the voice as well.
        count_unvoiced_warmth: count a smile (or a warm voice) under neutral words as incongruent.
        groups: columns of reused parts, by which intervals resample.
        image_size: side of the photographs in px.
        jpeg_quality: 1 to 100.
    """

    description = Description(
        may_leave_machine=True,
        title="Collage: photographs (LFW), voices (RAVDESS) and utterances (MELD) put together",
        nature="constructed",
        licence="that of its parts: RAVDESS CC BY-NC-SA 4.0, MELD's repository GPL-3.0, LFW for research",
        citation="Livingstone & Russo 2018 (RAVDESS); Poria et al. 2019 (MELD); Huang et al. 2007 (LFW)",
        source="the three corpora under paths.data",
        labels="verbal_polarity from MELD's sentiment, visual_polarity from the emotion people named on the "
        "photograph, vocal_polarity from RAVDESS's intended emotion; incongruent and type by the rule",
        layout="official layouts of the three parts",
        cautions=(
            "The photographs do not move and the voices speak other words: nothing about timing or synchrony.",
            "vocal_incongruent is not balanced against the words' polarity; read it beside its controls.",
            "Parts are independent given their labels, so a product of unimodal posteriors is near optimal.",
        ),
    )

    @checked
    def __init__(
        self,
        *,
        data: str | Path,
        folder: str | Path,
        seed: Seed = 0,
        n_train: Natural = 6000,
        n_val: Natural = 1000,
        n_test: Natural = 1000,
        count_unvoiced_warmth: bool = False,
        image_size: Annotated[int, Interval(ge=16, le=4096)] = 192,
        jpeg_quality: Annotated[int, Interval(ge=1, le=100)] = 90,
        groups: Sequence[str] = GROUPS,
    ) -> None:
        self.data = Path(data)
        self.folder = Path(folder)
        self.seed = seed
        self.sizes = {"train": n_train, "val": n_val, "test": n_test}
        self.rule = IncongruenceRule(count_unvoiced_warmth)
        self.image_size = image_size
        self.jpeg_quality = jpeg_quality
        self.groups = tuple(groups)
        if not any(self.sizes.values()):
            raise ConfigError("corpus.n_train, n_val, n_test are all 0; ask for some rows")

    def build(self) -> Manifest:
        """Draw the examples, write their photographs, and describe them.

        Raises:
            DatasetNotFound: a part is not under `data`, or too little of it for every split and polarity.
            ConfigError: `folder` cannot be written.
        """
        photographs = self._photographs()
        voices = self._voices()
        utterances = self._utterances()
        settings = self._settings(photographs, voices, utterances)
        ready = made_before(self.folder, settings)
        if ready is not None:
            return replace(ready, groups=self.groups)
        table = self._draw(photographs, voices, utterances)
        with making(self.folder, "collage"):
            self._place_images(table)
            self._place_voices(table)
            sources = pd.concat(
                [
                    table[["image", "image_source"]].set_axis(["part", "source"], axis=1),
                    table[["audio", "audio_source"]].set_axis(["part", "source"], axis=1),
                ]
            )
            write_csv(sources.drop_duplicates().sort_values("part"), self.folder / "sources.csv")
        manifest = build_manifest(
            table.drop(columns=["image_source", "audio_source"]),
            root=self.folder,
            name="collage",
            groups=self.groups,
            allow_links=True,
            rule=self.rule,
        )
        check_splits(manifest, (*GROUPS, *_PART_COLUMN.values(), "transcript"))
        reuse = reuse_of_parts(manifest.table)
        with making(self.folder, "collage"):
            write_json(self.folder / "reuse.json", reuse)
            finish(manifest, settings)
        _log.info("collage: %s", _in_words(reuse))
        return manifest

    def _photographs(self) -> pd.DataFrame:
        table = read_photographs(self.data / "faces")
        table = _with_polarity(table[table["source"] == "lfw"])
        # Numbers instead of names: the groups have to be told apart, not known.
        names = {name: f"person-{number:04d}" for number, name in enumerate(sorted(set(table["identity"])))}
        table["identity"] = table["identity"].map(names)
        table["split"] = table["identity"].map(split_identities(table, np.random.default_rng((self.seed, 0))))
        return table

    def _voices(self) -> pd.DataFrame:
        table = _with_polarity(read_voices(self.data / "ravdess"))
        table["split"] = table["actor"].map(split_actors(table, np.random.default_rng((self.seed, 1))))
        return table

    def _utterances(self) -> pd.DataFrame:
        return distinct_utterances(Meld(data=self.data / "meld").build())

    def _settings(self, *parts: pd.DataFrame) -> dict[str, Any]:
        digest = hashlib.sha256()
        for part in parts:
            digest.update(part.to_csv(index=False).encode())
        return {
            "recipe": _RECIPE,
            "data": str(self.data.resolve()),
            "seed": self.seed,
            "sizes": self.sizes,
            "count_unvoiced_warmth": self.rule.count_unvoiced_warmth,
            "image_size": self.image_size,
            "jpeg_quality": self.jpeg_quality,
            "parts": digest.hexdigest(),
        }

    def _draw(self, photographs: pd.DataFrame, voices: pd.DataFrame, utterances: pd.DataFrame) -> pd.DataFrame:
        parts = []
        for number, split in enumerate(SPLITS):
            rng = np.random.default_rng((self.seed, 2, number))
            said, shown, voiced = _polarities(self.sizes[split], rng)
            cell = 3 * said + shown
            face = _pick(photographs[photographs["split"] == split], ["emotion"], shown, cell, rng, "photographs")
            words = _pick(utterances[utterances["split"] == split], ["emotion"], said, cell, rng, "utterances")
            voice = _pick(
                voices[voices["split"] == split], ["actor", "emotion", "intensity"], voiced, cell, rng, "voices"
            )
            parts.append(
                pd.DataFrame(
                    {
                        "speaker": ("actor-" + voice["actor"]).to_numpy(),
                        "image_source": ("faces/" + face["file"]).to_numpy(),
                        "audio_source": ("ravdess/" + voice["file"]).to_numpy(),
                        "transcript": words["text"].to_numpy(),
                        "verbal_emotion": words["emotion"].to_numpy(),
                        "visual_emotion": face["emotion"].to_numpy(),
                        "vocal_emotion": voice["emotion"].to_numpy(),
                        "verbal_polarity": said,
                        "visual_polarity": shown,
                        "vocal_polarity": voiced,
                        "vocal_intensity": voice["intensity"].to_numpy(),
                        "split": split,
                        "identity": face["identity"].to_numpy(),
                        "actor": ("actor-" + voice["actor"]).to_numpy(),
                        "dialogue": words["dialogue"].to_numpy(),
                        "utterance": words["utterance"].to_numpy(),
                    }
                )
            )
        table = pd.concat(parts, ignore_index=True)
        table.insert(0, "id", [f"collage-{number:06d}" for number in range(len(table))])
        return table

    def _place_images(self, table: pd.DataFrame) -> None:
        """Write each photograph that is used and put its name into `table["image"]`.

        The name is a hash of the source's content and of the settings: it tells neither person nor emotion, and another
        build never changes a file that a run has seen.
        """
        folder = self.folder / "images"
        folder.mkdir(parents=True, exist_ok=True)
        names = {}
        for source in table["image_source"].unique():
            content = _content(self.data / source)
            digest = hashlib.sha256(content + f"|{self.image_size}|{self.jpeg_quality}".encode()).hexdigest()[:20]
            names[source] = f"images/{digest}.jpg"
            target = self.folder / names[source]
            if not target.exists():
                write_bytes(target, _grey_square(content, self.data / source, self.image_size, self.jpeg_quality))
        table["image"] = table["image_source"].map(names)

    def _place_voices(self, table: pd.DataFrame) -> None:
        """Link each voice that is used under a name without its emotion and put that name into `table["audio"]`."""
        folder = self.folder / "voices"
        folder.mkdir(parents=True, exist_ok=True)
        names = {}
        for source in table["audio_source"].unique():
            names[source] = f"voices/{hashlib.sha256(source.encode()).hexdigest()[:20]}{Path(source).suffix}"
            _link((self.data / source).resolve(), self.folder / names[source])
        table["audio"] = table["audio_source"].map(names)


def read_photographs(folder: Path) -> pd.DataFrame:
    """Face photographs with the emotion that people named, mostly from Labeled Faces in the Wild.

    Args:
        folder: holds `labels.csv` (image, emotion, identity, source) and the pictures it names under `images/`.

    Returns:
        One row a photograph in the file's order: `file` (relative to `folder`), `emotion`, `identity`, `source`
        ("lfw", "film_still").

    Raises:
        DatasetNotFound: the table or pictures are missing.
    """
    path = folder / "labels.csv"
    remedy = "Put the face photographs there, labels.csv and images/*.jpg, or set paths.data"
    labels = official_table(path, ("image", "emotion", "identity", "source"), remedy).fillna("")
    files = "images/" + labels["image"]
    missing = files[present(folder, files).isna()]
    if len(missing):
        raise DatasetNotFound(
            f"{path}: {len(missing)} of {len(labels)} pictures are not there, the first that of row "
            f"{missing.index[0] + 1}, column 'image'; copy them to images beside the table, or take their rows out"
        )
    return pd.DataFrame({"file": files, **{name: labels[name] for name in ("emotion", "identity", "source")}})


def split_identities(photographs: pd.DataFrame, rng: np.random.Generator) -> dict[str, str]:
    """Identity -> split, about 60 / 20 / 20 of the photographs of each polarity.

    People with the rarest polarity are placed first. Those with five photographs or more go where most are still
    wanted, in practice to train, so that no single person weighs much in a held-out split; the others in random order.

    Args:
        photographs: columns `identity`, `polarity`.
        rng: decides the order.
    """
    counts = pd.crosstab(photographs["identity"], photographs["polarity"]).reindex(columns=POLARITIES, fill_value=0)
    people = counts.iloc[rng.permutation(len(counts))]
    rarity = counts.sum().sort_values(kind="stable").index
    wanted = pd.DataFrame({split: share * counts.sum() for split, share in _IDENTITY_SHARES.items()}).T
    missing = wanted.to_numpy().copy()
    sizes = wanted.to_numpy().clip(min=1)
    column = {polarity: number for number, polarity in enumerate(POLARITIES)}
    out: dict[str, str] = {}
    for polarity in rarity:
        rows = people[(people[polarity] > 0) & ~people.index.isin(list(out))]
        total = rows.sum(axis=1)
        frequent = rows.loc[total[total >= _FREQUENT].sort_values(ascending=False, kind="stable").index]
        for identity, photos in zip(frequent.index, frequent.to_numpy(), strict=True):
            split = int(missing[:, column[polarity]].argmax())
            missing[split] -= photos
            out[identity] = SPLITS[split]
        for identity, photos in zip(rows.index, rows.to_numpy(), strict=True):
            if identity in out:
                continue
            split = int((missing[:, column[polarity]] / sizes[:, column[polarity]]).argmax())
            missing[split] -= photos
            out[identity] = SPLITS[split]
    return out


def split_actors(voices: pd.DataFrame, rng: np.random.Generator) -> dict[str, str]:
    """Actor -> split with as many men as women in each; 14 / 4 / 6 of the 24 actors.

    Args:
        voices: columns `actor`, `gender`.
        rng: decides who goes where.

    Raises:
        DatasetNotFound: fewer than three men or three women.
    """
    out: dict[str, str] = {}
    for gender, rows in voices.groupby("gender"):
        actors = sorted(set(rows["actor"]))
        held_out = {split: max(1, round(_ACTOR_SHARES[split] * len(actors))) for split in ("val", "test")}
        if sum(held_out.values()) >= len(actors):
            raise DatasetNotFound(
                f"RAVDESS has {len(actors)} actors ({gender}) here, too few for three splits; "
                "download all 24 actors, or set paths.data"
            )
        splits = [split for split, count in held_out.items() for _ in range(count)]
        splits += ["train"] * (len(actors) - len(splits))
        out.update(zip(rng.permutation(actors).tolist(), splits, strict=True))
    return out


def distinct_utterances(meld: Manifest) -> pd.DataFrame:
    """The utterances of MELD whose words stand in one split only and with one sentiment only, each once.

    Texts are compared by their letters and digits alone. What this leaves out are mostly stock phrases ("Hey!", "Oh my
    God!"), which would stand on both sides of a split.
    """
    columns = ["id", "dialogue", "split", "transcript", "speaker", "emotion"]
    table = meld.table[columns].rename(columns={"id": "utterance", "transcript": "text"})
    table["sentiment"] = meld.table["verbal_polarity"].map(dict(zip(POLARITIES, POLARITY_NAMES, strict=True)))
    table["polarity"] = meld.table["verbal_polarity"].astype(int)
    words = (
        table["text"].str.normalize("NFKC").str.casefold().str.replace(r"[\W_]+", " ", regex=True).str.strip()
    ).rename("words")
    by_words = table.groupby(words)
    kept = (words != "") & (by_words["split"].transform("nunique") == 1)
    kept &= (by_words["polarity"].transform("nunique") == 1) & ~words.duplicated()
    return table[kept].reset_index(drop=True)


def reuse_of_parts(table: pd.DataFrame) -> dict[str, Any]:
    """How often parts are used, by split, modality and polarity, and how often pairs of parts meet again.

    Returns:
        `{split: {modality: {polarity: {parts, uses, min, median, max}}, "units": {group: number},
        "repeated_pairs": {"image+utterance": rows whose pair stands in an earlier row, ...}}}`.
    """
    out: dict[str, Any] = {}
    for split, rows in table.groupby("split", sort=False):
        figures: dict[str, Any] = {}
        for modality, part in _PART_COLUMN.items():
            figures[modality] = {}
            for polarity, name in zip(POLARITIES, POLARITY_NAMES, strict=True):
                uses = rows.loc[rows[POLARITY_COLUMN[modality]] == polarity, part].value_counts()
                if len(uses):
                    figures[modality][name] = {
                        "parts": len(uses),
                        "uses": int(uses.sum()),
                        "min": int(uses.min()),
                        "median": float(uses.median()),
                        "max": int(uses.max()),
                    }
        figures["units"] = {group: int(rows[group].nunique()) for group in GROUPS}
        figures["repeated_pairs"] = {
            f"{first}+{second}": int(rows.duplicated([first, second]).sum())
            for first, second in (("image", "utterance"), ("image", "audio"), ("utterance", "audio"))
        }
        out[str(split)] = figures
    return out


def _with_polarity(table: pd.DataFrame) -> pd.DataFrame:
    """The rows whose emotion has a polarity, with it."""
    polarity = table["emotion"].map(emotion_polarity)
    return table.assign(polarity=polarity).dropna(subset=["polarity"]).astype({"polarity": int}).reset_index(drop=True)


def _polarities(
    total: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.integer[Any]], npt.NDArray[np.integer[Any]], npt.NDArray[np.integer[Any]]]:
    """Polarity of words, face and voice, `[total]` each: cells by quota, voices in thirds within each cell."""
    cells = np.array(draw_cells(total, rng), dtype=int).reshape(total, 2)
    voiced = np.zeros(total, dtype=int)
    for said, shown in CELL_SHARES:
        rows = rng.permutation(np.flatnonzero((cells[:, 0] == said) & (cells[:, 1] == shown)))
        # The polarities that get a remainder differ from cell to cell, lest one of them always gains.
        order = rng.permutation(POLARITIES)
        voiced[rows] = np.repeat(order, quotas(len(rows), [1 / 3, 1 / 3, 1 / 3]))
    return cells[:, 0], cells[:, 1], voiced


def _pick(
    pool: pd.DataFrame,
    strata: list[str],
    polarity: npt.NDArray[np.integer[Any]],
    cell: npt.NDArray[np.integer[Any]],
    rng: np.random.Generator,
    what: str,
) -> pd.DataFrame:
    """One part of `pool` for each example, of the polarity it wants.

    The parts of a polarity are dealt in turn, cell after cell, so that no part is used more than one time oftener than
    another, over all and in each cell: no single part tells the label. Who gets which within a cell is random.
    """
    chosen = np.empty(len(polarity), dtype=int)
    for value, name in zip(POLARITIES, POLARITY_NAMES, strict=True):
        examples = np.flatnonzero(polarity == value)
        parts = np.flatnonzero(pool["polarity"].to_numpy() == value)
        if not len(examples):
            continue
        if not len(parts):
            raise DatasetNotFound(
                f"collage: no {what} of {name} polarity are left for one of the splits; "
                "complete the data under paths.data"
            )
        examples = examples[np.lexsort((rng.random(len(examples)), cell[examples]))]
        deck = parts[_interleave(pool.iloc[parts].groupby(strata).ngroup().to_numpy(), rng)]
        chosen[examples] = deck[np.arange(len(examples)) % len(deck)]
    return pool.iloc[chosen]


def _interleave(stratum: npt.NDArray[np.integer[Any]], rng: np.random.Generator) -> npt.NDArray[np.integer[Any]]:
    """A random order in which every stretch holds each stratum about in proportion."""
    shuffled = rng.permutation(len(stratum))
    strata = pd.Series(stratum[shuffled])
    position = (strata.groupby(strata).cumcount() + rng.random(len(strata))) / strata.groupby(strata).transform("size")
    return shuffled[np.argsort(position.to_numpy(), kind="stable")]


def _grey_square(content: bytes, source: Path, size: int, quality: int) -> bytes:
    import cv2

    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_GRAYSCALE) if content else None
    if image is None:
        raise MediaError(f"{source} is not a picture; fetch it again or take its row out of labels.csv")
    side = min(image.shape)
    top, left = (image.shape[0] - side) // 2, (image.shape[1] - side) // 2
    image = image[top : top + side, left : left + side]
    if side != size:
        image = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if side > size else cv2.INTER_LINEAR)
    return bytes(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes())


def _content(source: Path) -> bytes:
    try:
        return source.read_bytes()
    except OSError as error:
        raise MediaError(
            f"cannot read {source}: {error.strerror or error}; fetch it again or take out its row"
        ) from error


def _link(source: Path, target: Path) -> None:
    if target.is_symlink() and target.resolve() == source:
        return
    with replacing(target) as made:
        try:
            made.symlink_to(source)
        except OSError:
            # Some file systems have no links.
            shutil.copyfile(source, made)


def _in_words(reuse: Mapping[str, Any]) -> str:
    """One line: the largest number of times that a part of each modality is used in each split."""
    return "; ".join(
        f"{split}: "
        + ", ".join(
            f"{modality} parts used {min(f['min'] for f in figures[modality].values())}"
            f"-{max(f['max'] for f in figures[modality].values())} times"
            for modality in _PART_COLUMN
        )
        for split, figures in reuse.items()
    )
