"""A run's predictions on its test clips with streams missing or spoiled: `robustness.parquet`.

Streams are spoiled before anything is extracted from them, so that detectors and trackers suffer as they would.
Everything else is the run's own: its extractors, its model, its calibration. Labels and thresholds play no part.
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
import pandas as pd

from subtext.core.tables import write_csv
from subtext.core.targets import check_targets
from subtext.errors import ConfigError, ManifestError, RunError
from subtext.evaluation.conditions import CLEAN, CONDITIONS, Condition, chosen_conditions, dropped
from subtext.evaluation.robustness import RobustnessCurves
from subtext.evaluation.tables import ANSWERS, BINARY_HEADS
from subtext.features.cache import Cache, FeatureCache
from subtext.features.extract import extract
from subtext.features.extractor import Extractor, Source
from subtext.features.faces import FaceExtractor
from subtext.features.precomputed import PrecomputedFeatures
from subtext.features.prosody import ProsodyExtractor
from subtext.features.spoiled_figures import noisy, spread
from subtext.features.spoiled_pictures import DegradedFaces
from subtext.features.spoiled_sound import DegradedVoice
from subtext.features.spoiled_words import WordPool, with_word_errors
from subtext.features.text import TextExtractor
from subtext.labels import MODALITIES
from subtext.manifest import Manifest
from subtext.model.batches import ClipData
from subtext.model.classifier import IncongruenceClassifier
from subtext.model.predict import EMOTION_COLUMNS, predict_table
from subtext.runs.folder import RunFile, RunFolder
from subtext.runs.folds import fold_of
from subtext.runs.prepare import Prepared

log = logging.getLogger(__name__)

FORMAT: Final = 1
AGREEMENT: Final = 1e-3
"""Difference of probability up to which a prediction made again is the same: other devices round otherwise."""
_KEPT: Final = ("prob_", "present_")


def measure_robustness(
    folder: Path,
    conditions: Sequence[str] | None = None,
    strengths: Mapping[str, Sequence[float]] | None = None,
    *,
    seed: int = 0,
    workers: int | None = None,
    models: Path | None = None,
    trust: Collection[str] = (),
    overwrite: bool = False,
) -> pd.DataFrame:
    """Predict a run's test clips under every condition and strength, and write them to `robustness.parquet`.

    What is in the file already is kept, so that an interrupted call goes on and a later one adds conditions. Of a
    cross-validated run every fold's model is tried on the rows that it was tested on.

    Args:
        folder: the run folder.
        conditions: names, see `CONDITIONS` and `drop_conditions`; all that apply where None.
        strengths: by condition, instead of its defaults.
        seed: of the noise, the places of rectangles, and the words that go wrong.
        workers: processes that extract; the run's own number where None.
        models: folder with detector weights, where they are not where the run had them.
        trust: packages that the run may have parts of, besides this one and installed plug-ins: `("mypackage",)`.
        overwrite: begin anew.

    Returns:
        One row a test clip, condition and strength: ids, labels and units as in `predictions.parquet`, `condition`,
        `strength`, `present_*`, `prob_*`. The rows of the condition `clean` are the run's own predictions.

    Raises:
        RunError: the folder holds no finished run, its corpus or streams are no longer those that it was tested on, or
            the file that is there came from another model or seed.
        ConfigError: a condition or strength cannot be used with this run.
        TrustError: the run has a part that is not trusted.
    """
    run = RunFolder(folder, trust)
    predictions = run.predictions()
    if not run.is_finished:
        raise RunError(f"{run.path} is not finished; finish it with: subtext-train resume={run.path}")
    settings = run.settings()
    check_targets(settings, run.file(RunFile.CONFIG), trust)
    run.check_links()
    if settings["task"].get("rows", "clips") != "clips":
        raise RunError(f"{run.path} trained encoders on single streams, not on clips; give a run with task.rows=clips")
    parts = _parts(run, settings)
    described = {"format": FORMAT, "seed": seed, "models": [_digest(part) for part in parts]}
    table = None if overwrite else _there(run, described)
    strengths = strengths or {}
    for part in parts:
        clips = _TestClips(part, workers, models)
        pairs = chosen_conditions(conditions, strengths, clips.modalities, clips.has)
        fold = int(part.settings()["fold"]) if len(parts) > 1 else None
        done = _done(table, fold)
        todo = [pair for pair in pairs if pair not in done]
        if not todo and (CLEAN, 0.0) in done:
            continue
        own = _own(predictions if len(parts) == 1 else predictions[predictions["fold"] == fold])
        with _scratch(Path(clips.prepared.settings["paths"]["features"])) as scratch:
            trials = _Trials(clips, scratch, seed)
            trials.check(own)
            if table is None:
                _begin(run, described)
            if (CLEAN, 0.0) not in done:
                table = _added(run, table, own, own, CLEAN, 0.0)
            for number, (name, strength) in enumerate(todo, 1):
                which = "" if fold is None else f"fold {fold}, "
                log.info("%s%s at %g (%d of %d)", which, name, strength, number, len(todo))
                table = _added(run, table, own, trials.predict(name, strength), name, strength)
    if table is None:
        raise RunError(f"{run.path} has no fold to try; train it again")
    return table


def write_curves(folder: Path, table: pd.DataFrame) -> tuple[dict[str, RobustnessCurves], list[Path]]:
    """Write `robustness.csv`, `robustness_areas.csv` and `figures/robustness_*.png` from what was measured.

    Args:
        folder: the run folder.
        table: as `measure_robustness` gives it.

    Returns:
        The curves, by what was asked, and all files that there are.
    """
    from subtext.report.robustness_figures import robustness_figure
    from subtext.report.terminal import head_name

    run = RunFolder(folder)
    facts = run.run()
    asked = {"question": facts["question"]} if facts.get("question") else {}
    names = {head: head_name(asked, head) for head in BINARY_HEADS}
    heads = [head for head in BINARY_HEADS if f"prob_{head}" in table and not table[head].isna().all()]
    curves = {head: RobustnessCurves([table], facts.get("groups") or (), head) for head in heads}
    points = {head: found.point_table() for head, found in curves.items()}
    areas = {head: found.area_table() for head, found in curves.items()}
    written: list[Path | None] = [run.file(RunFile.ROBUSTNESS)]
    with run.writing():
        for head in heads:
            place = run.file(RunFile.FIGURES) / f"robustness_{head}.png"
            shown = {"fused": points[head]}
            written.append(robustness_figure(shown, place, areas={"fused": areas[head]}, question=names[head]))
        for name, tables in ((RunFile.ROBUSTNESS_CURVES, points), (RunFile.ROBUSTNESS_AREAS, areas)):
            if tables:
                rows = pd.concat([rows.assign(head=head) for head, rows in tables.items()], ignore_index=True)
                written.append(write_csv(rows, run.file(name), "%.6g"))
    return {names[head]: found for head, found in curves.items()}, [path for path in written if path is not None]


def _parts(run: RunFolder, settings: Mapping[str, Any]) -> list[RunFolder]:
    if settings.get("cv") is None or settings.get("fold") is not None:
        return [run]
    return [fold_of(run, fold) for fold in range(int(settings["cv"]))]


def _there(run: RunFolder, described: Mapping[str, Any]) -> pd.DataFrame | None:
    """What is there already, if it can be gone on with."""
    there = run.file(RunFile.ROBUSTNESS)
    if not there.is_file():
        return None
    before = _described(run.file(RunFile.ROBUSTNESS_DESCRIBED))
    changed = [name for name, value in described.items() if before.get(name) != value]
    if changed:
        what = {"seed": f"--seed {before.get('seed')}", "models": "another model"}.get(changed[0], "another version")
        raise RunError(f"{there} was made with {what}; add --overwrite to begin anew, or go on with that")
    try:
        return run.robustness()
    except RunError as error:
        raise RunError(f"{error}, or add --overwrite to begin anew") from error


def _begin(run: RunFolder, described: Mapping[str, Any]) -> None:
    """Put an earlier table away, once everything that could go wrong before the first rows has gone well."""
    with run.writing():
        run.file(RunFile.ROBUSTNESS).unlink(missing_ok=True)
    run.write_json(RunFile.ROBUSTNESS_DESCRIBED, described)


def _described(path: Path) -> dict[str, Any]:
    """What a file says; nothing where it cannot be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _digest(part: RunFolder) -> str:
    part.model()  # says what is wrong where it is not there
    digest = hashlib.sha256()
    for name in (RunFile.MODEL, RunFile.WEIGHTS):
        digest.update(part.file(name).read_bytes())
    return digest.hexdigest()


def _done(table: pd.DataFrame | None, fold: int | None) -> set[tuple[str, float]]:
    if table is None:
        return set()
    own = table if fold is None else table[table["fold"] == fold]
    return set(own[["condition", "strength"]].drop_duplicates().itertuples(index=False, name=None))


def _own(predictions: pd.DataFrame) -> pd.DataFrame:
    """The run's predictions of its test clips."""
    test = predictions[predictions["split"] == "test"]
    if test["id"].duplicated().any():
        raise RunError("a test clip is predicted more than once; give the folder of one run, not of several pooled")
    return test.reset_index(drop=True)


def _added(
    run: RunFolder, table: pd.DataFrame | None, own: pd.DataFrame, answers: pd.DataFrame, name: str, strength: float
) -> pd.DataFrame:
    described = [c for c in own if not str(c).startswith((*ANSWERS, "present_")) and c not in EMOTION_COLUMNS]
    # Every condition has the columns of the clean one: a head whose modality is gone is NaN.
    kept = [c for c in own if str(c).startswith(_KEPT)]
    values = answers.set_index("id").reindex(own["id"]).reindex(columns=kept).reset_index(drop=True)
    rows = pd.concat([own[described], values], axis=1)
    rows.insert(list(rows).index("split") + 1, "condition", name)
    rows.insert(list(rows).index("condition") + 1, "strength", float(strength))
    table = rows if table is None else pd.concat([table, rows], ignore_index=True)
    run.write_table(RunFile.ROBUSTNESS, table)
    return table


class _TestClips:
    """A trained model, its test rows, and how it reads them."""

    def __init__(self, run: RunFolder, workers: int | None, models: Path | None) -> None:
        self.run = run
        settings = run.settings()
        check_targets(settings, run.file(RunFile.CONFIG), run.trust)
        if workers is not None:
            settings["workers"] = workers
        self.described = run.model()
        self.modalities: list[str] = list(self.described["modalities"])
        self.extractors: dict[str, Extractor] = run.extractors(models)
        self.prepared = Prepared(
            settings,
            narrow=self._test_rows,
            extractors=self.extractors,
            trained=lambda: self.classifier,
        )
        table = self.prepared.corpus.manifest.table
        self.said = table.loc[(table["split"] == "train").fillna(False), "transcript"].dropna().tolist()
        self.manifest = self.prepared.manifest
        self.given = {m: self._given_rows(m) for m in self.modalities}

    @cached_property
    def classifier(self) -> IncongruenceClassifier:
        return self.run.classifier()

    def _test_rows(self, manifest: Manifest) -> Manifest:
        test = (manifest.table["split"] == "test").fillna(False)
        return manifest.with_table(self._with_context(manifest)[test].reset_index(drop=True))

    def _with_context(self, manifest: Manifest) -> pd.DataFrame:
        """The table with the turn before written out where it is read: it would be lost with the other rows."""
        text = self.extractors.get("text")
        if not isinstance(text, TextExtractor) or not text.context:
            return manifest.table
        sources = text.sources(manifest)
        # Empty where there is none, or another row of the test split would be taken for the turn before.
        before = [s.texts[0] if isinstance(s, Source) and len(s.texts) > 1 else "" for s in sources]
        return manifest.table.assign(context=pd.array(before, dtype="string"))

    def _given_rows(self, modality: str) -> np.ndarray:
        """`[rows]`: which take the modality from the column `features`."""
        sources = PrecomputedFeatures(modality).sources(self.manifest)
        return np.array([isinstance(source, Source) for source in sources], dtype=bool)

    def has(self, condition: Condition) -> bool:
        """Whether any row has what a condition spoils."""
        given = self.given[condition.modality]
        extractor = self.extractors[condition.modality]
        if condition.precomputed:
            return bool(given.any())
        if isinstance(extractor, PrecomputedFeatures):
            return False
        found = [isinstance(source, Source) for source in extractor.sources(self.manifest)]
        return bool((np.array(found, dtype=bool) & ~given).any())


class _Trials:
    """The model, the test clips' clean streams, and what it says once some are missing or spoiled.

    Clean streams are extracted where they are not in the run's feature cache any more.

    Args:
        clips: the test rows.
        scratch: a folder for spoiled streams.
        seed: see `measure_robustness`.
    """

    def __init__(self, clips: _TestClips, scratch: Path, seed: int) -> None:
        self.clips, self.scratch, self.seed = clips, scratch, seed
        self.classifier, self.prepared = clips.classifier, clips.prepared
        self.cache, self.index = self.prepared.cache, self.prepared.index
        self.clean = self.prepared.load(self.index, self.cache, self.classifier.modalities)

    def check(self, own: pd.DataFrame) -> None:
        """Whether the clean streams give what `predictions.parquet` says.

        Raises:
            RunError: they do not.
        """
        again = self._answers(self.clean).set_index("id")
        before = own.set_index("id")
        if set(again.index) != set(before.index):
            raise RunError(
                f"{self.clips.run.path} was tested on {len(before)} clips, of which its corpus now holds "
                f"{len(set(before.index) & set(again.index))} among {len(again)}; bring back the corpus that it was "
                "trained on"
            )
        columns = [c for c in before if str(c).startswith(_KEPT)]
        ours = again.reindex(before.index).reindex(columns=columns).astype("float64")
        theirs = before[columns].astype("float64")
        same = (ours - theirs).abs().le(AGREEMENT) | (ours.isna() & theirs.isna())
        wrong = same.index[~same.all(axis=1)]
        if len(wrong):
            place = int(same.index.get_indexer(wrong[:1])[0]) + 1
            raise RunError(
                f"{self.clips.run.path}: its model now gives other answers than {RunFile.PREDICTIONS} says "
                f"({len(wrong)} of {len(same)} test clips, the first is test clip {place} there): its corpus, its "
                "streams or a library changed; bring back what it was trained with, or train it again"
            )

    def predict(self, name: str, strength: float) -> pd.DataFrame:
        """Answers under one condition, a row a clip."""
        gone = dropped(name)
        if gone:
            return self._answers(self.clean.only([m for m in self.clips.modalities if m not in gone]))
        condition = CONDITIONS[name]
        try:
            return self._answers(self._spoiled(condition, strength))
        finally:
            # Crops of every strength together would fill the disk; digests of files stay.
            shutil.rmtree(self.scratch / "streams", ignore_errors=True)

    def _spoiled(self, condition: Condition, strength: float) -> ClipData:
        modality = condition.modality
        cache = FeatureCache(self.scratch)
        if condition.precomputed:
            index = self.index
            self._spoil_figures(modality, strength, cache)
        else:
            manifest, extractor = self._spoiled_source(condition, strength)
            index = extract(manifest, {modality: extractor}, cache, workers=int(self.prepared.settings["workers"]))
        rest = self.clean.only([m for m in self.clean.streams if m != modality])
        if all(index.key(row, modality) is None for row in self.clips.manifest.table["id"]):
            return rest
        own = self.prepared.load(index, cache, [modality])
        order = [m for m in self.clips.modalities if m in rest.streams or m in own.streams]
        return ClipData(
            self.clean.table,
            {m: (own if m == modality else rest).streams[m] for m in order},
            {m: (own if m == modality else rest).numbers[m] for m in order},
            rest.embedded | own.embedded,
        )

    def _spoiled_source(self, condition: Condition, strength: float) -> tuple[Manifest, Extractor]:
        extractor, seed, kind = self.clips.extractors[condition.modality], self.seed, condition.name.split(":")[1]
        if isinstance(extractor, FaceExtractor):
            return self.clips.manifest, DegradedFaces(extractor, kind, strength, seed)
        if isinstance(extractor, ProsodyExtractor):
            return self.clips.manifest, DegradedVoice(extractor, strength, pink=kind == "pink", seed=seed)
        pool = WordPool(self.clips.said)
        if not len(pool):
            raise ManifestError(
                f"{self.clips.manifest.name}: no training row has a transcript, so there are no words to put in; leave "
                f"out {condition.name}"
            )
        table = self.clips.manifest.table.copy()
        for column in ("transcript", "context"):
            texts = table[column]
            spoiled = texts.dropna().map(lambda text: with_word_errors(text, strength, pool, seed))
            table[column] = spoiled.reindex(texts.index).astype("string")
        return self.clips.manifest.with_table(table), extractor

    def _spoil_figures(self, modality: str, strength: float, cache: Cache) -> None:
        keys = [self.index.key(row, modality) for row in self.clips.manifest.table["id"]]
        given = {key for key, is_given in zip(keys, self.clips.given[modality], strict=True) if key and is_given}
        deviation = spread([self.cache.read(key) for key in sorted(given)])
        for key in sorted({key for key in keys if key}):
            stream = self.cache.read(key)
            cache.write(key, noisy(stream, strength, deviation, self.seed) if key in given else stream)

    def _answers(self, data: ClipData) -> pd.DataFrame:
        if data.streams:
            return predict_table(self.classifier, data, calibration=self.clips.described["calibration"])
        # Of no clip is anything left that the model could read.
        return data.table[["id"]].assign(**{f"present_{m}": False for m in MODALITIES})


@contextmanager
def _scratch(place: Path) -> Iterator[Path]:
    """A folder for spoiled streams beside the feature cache, gone afterwards: they show faces as the cache does."""
    try:
        place.mkdir(parents=True, exist_ok=True)
        folder = TemporaryDirectory(dir=place, prefix="robustness-", ignore_cleanup_errors=True)
    except OSError as error:
        raise ConfigError(
            f"cannot make a folder in {place} ({error.strerror}), where spoiled streams are kept for a while; free "
            "some space or change its rights"
        ) from error
    with folder as name:
        yield Path(name)
