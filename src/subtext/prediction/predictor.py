"""From a trained run and recordings to predictions, one recording after the other."""

import hashlib
import heapq
import logging
import os
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import torch

from subtext import __version__
from subtext.encoders.encoder import Encoder
from subtext.encoders.tokens import Tokens
from subtext.errors import ConfigError, RunError, SubtextError, unforeseen
from subtext.evaluation.novelty import unchecked
from subtext.features.cache import MemoryCache
from subtext.features.extract import extract
from subtext.features.extractor import NoSource, Source
from subtext.features.index import FeatureIndex
from subtext.features.precomputed import PrecomputedFeatures
from subtext.features.stream import Stream, StreamInfo
from subtext.features.workers import Job, Outcome, do_job
from subtext.labels import MODALITIES, IncongruenceRule
from subtext.manifest import Manifest
from subtext.model.batches import load_clips, shorten
from subtext.model.predict import predict_table
from subtext.prediction.inputs import (
    LONG_TURN,
    Batch,
    Words,
    find_inputs,
    manifest_batches,
    read_manifests,
    recording_batch,
)
from subtext.prediction.lines import CHANNELS, PAIRS, error_line, prediction_line
from subtext.runs.folder import RunFile, RunFolder
from subtext.sessions.transcripts import Turn, short_turns, told_short

MANIFEST_PART: Final = 64
"""Rows of a manifest that are done, and written, together."""

TURNS_AT_ONCE: Final = 16
"""Turns of a recording that are answered, and written, together."""

_LACKS: Final[Mapping[str | None, tuple[str, str]]] = {
    "audio": ("visual", "the recording has no picture"),
    "image": ("prosody", "a picture has no sound"),
}
"""What a recording of one kind cannot have."""

MANY_UNKNOWN: Final = 0.5
"""Share of tokens that the text model does not know from which its reading of a turn is not to be relied on."""

log = logging.getLogger(__name__)


class Predictor:
    """A trained model with everything that it reads recordings with.

    Args:
        run: folder of a training run.
        device: where the model computes.
        models: folder with detector weights, where they are not where the run had them.
        trust: packages that the run may have parts of, besides this one and installed plug-ins: `("mypackage",)`.
        novelty_check: abstain from turns that are unlike the training clips.

    Raises:
        RunError: the folder is no finished run.
        TrustError: the run has a part that is not trusted.
        WeightsError: weights are missing, altered or in an unsafe format.
        ConfigError: there is no such device.

    Example:
        >>> predictor = subtext.Predictor("runs/mine")
        >>> lines = list(predictor.predict("my.csv"))
        >>> len(lines), lines[0]["id"], 0 < lines[0]["prob_vocal_incongruent"] < 1
        (160, 'train-000', True)
    """

    def __init__(
        self,
        run: str | os.PathLike[str],
        *,
        device: str = "cpu",
        models: Path | None = None,
        trust: Collection[str] = (),
        novelty_check: bool = True,
    ) -> None:
        self.device = _device(device)
        folder = RunFolder(run, trust)
        described = folder.model()
        self.classifier = folder.classifier().to(self.device)
        self.extractors = folder.extractors(models)
        if self.extractors.keys() != set(self.classifier.modalities):
            raise RunError(
                f"{folder.file('model.json')} tells how to read {', '.join(self.extractors) or 'nothing'} for a model "
                f"of {', '.join(self.classifier.modalities)}; train the run again"
            )
        self._novelty = folder.novelty(self.classifier) if novelty_check else {}
        self._max_steps: dict[str, int] = {m: described["max_steps"][m] for m in self.classifier.modalities}
        self._trained_on: dict[str, str] = {
            m: described["fingerprints"][m]["extractor"] for m in self.classifier.modalities
        }
        self._calibration: dict[str, Any] = described["calibration"]
        binary = {label: self._calibration[label] for label in PAIRS if label in self._calibration}
        self._thresholds: dict[str, float] = {label: chosen["threshold"] for label, chosen in binary.items()}
        self._levels: dict[str, float] = {label: chosen["abstention"]["level"] for label, chosen in binary.items()}
        self._gates: dict[str, float] = described.get("gates", {})
        for modality, fingerprint in self._trained_on.items():
            given = PrecomputedFeatures(modality)
            if fingerprint == given.fingerprint():
                # Trained on streams that another tool made: media would give something else under the same name.
                self.extractors[modality] = given
        features = {modality: extractor.fingerprint() for modality, extractor in self.extractors.items()}
        self._rule = _rule(folder)
        self._labels = [label for label in PAIRS if label in self.classifier.heads.names]
        parts = [RunFile.MODEL, RunFile.WEIGHTS, *([RunFile.NOVELTY] if self._novelty else [])]
        self._provenance = {
            "model": _digest(*map(folder.file, parts)),
            "features": features,
            "subtext": __version__,
        }
        for modality, fingerprint in features.items():
            if fingerprint != self._trained_on[modality]:
                log.warning(
                    "%s is read otherwise than when %s was trained (another version of a library, or other weights), "
                    "so its probabilities may be off",
                    CHANNELS[modality],
                    run,
                )
        if _nature(folder) == "constructed":
            log.warning(
                "%s was trained on constructed clips, not on recordings of conversations; how well it reads people is "
                "not known",
                run,
            )
        if novelty_check:
            novelty = described.get("novelty")
            old = "novelty is not checked: it was trained before there was a check; train it again"
            note = old if novelty is None else unchecked(novelty, CHANNELS)
            if note is not None:
                log.warning("%s: %s", run, note)

    def predict(
        self,
        inputs: str | os.PathLike[str] | Sequence[str | os.PathLike[str] | tuple[str, Path]],
        given: Sequence[Turn] | None = None,
        encoding: str = "utf-8",
        manifests: Mapping[Path, Manifest] | None = None,
    ) -> Iterator[dict[str, Any]]:
        """One line a turn (see `subtext.prediction.lines`), each recording's as soon as it is done.

        Args:
            inputs: a recording, a folder of recordings or a manifest; or several, also as `find_inputs` gives them.
            given: the turns of each recording; None = look for them beside it.
            encoding: of text files beside recordings.
            manifests: those among the inputs; None = read them.

        Raises:
            ConfigError: an input is not there.
            ManifestError: a manifest cannot be used.
        """
        named = [inputs] if isinstance(inputs, str | os.PathLike) else inputs
        found = [
            one
            for name in named
            for one in ([name] if isinstance(name, tuple) else find_inputs([os.fspath(name)], Words()))
        ]
        # A manifest that cannot be used is found before hours are spent on what stands before it.
        if manifests is None:
            manifests = read_manifests(found)
        for name, path in found:
            if path in manifests:
                size = len(manifests[path]) if self._rows_need_others else MANIFEST_PART
                batches = manifest_batches(name, manifests[path], size)
            else:
                batches = iter([recording_batch(name, path, given, encoding)])
            for batch in batches:
                yield from self._whatever_happens(batch)

    def _whatever_happens(self, batch: Batch) -> Iterator[dict[str, Any]]:
        """The lines of a batch; an error that nobody foresaw costs what is left of it and no other batch."""
        done = set()
        try:
            for line in self.predict_batch(batch):
                done.add(line["id"])
                yield line
        except SubtextError:
            raise  # of the run or the machine, which no other recording can do without
        except Exception as error:
            problem = unforeseen(error)
            if batch.manifest is not None and batch.stream is None and not self._rows_need_others:
                # A part of a manifest holds several recordings: each is tried alone, the one that trips us among them.
                table = batch.manifest.table
                left: list[int] = np.flatnonzero(~table["id"].isin(done).to_numpy()).tolist()
                for row in left if len(table) > 1 else ():
                    alone = batch.manifest.with_table(table.iloc[[row]].reset_index(drop=True))
                    done.add(alone.table["id"].iloc[0])
                    yield from self._whatever_happens(replace(batch, manifest=alone, refused=[]))
            rows = [] if batch.manifest is None else batch.manifest.table.to_dict("records")
            turns: list[Mapping[Any, Any]] = [*rows, *map(vars, batch.refused)]
            for turn in turns:
                if turn["id"] not in done:
                    place = {key: turn[key] for key in ("start", "end", "speaker", "role")}
                    yield error_line(batch.input, turn["id"], turn.get("problem", problem), **place)

    def predict_batch(self, batch: Batch) -> Iterator[dict[str, Any]]:
        """One line for every segment of a batch, in its order."""
        for warning in batch.warnings:
            log.warning("%s: %s", batch.input, warning)
        refused = (
            error_line(batch.input, r.id, r.problem, start=r.start, end=r.end, speaker=r.speaker, role=r.role)
            for r in batch.refused
        )
        yield from heapq.merge(refused, self._lines(batch), key=lambda line: line["start"] or 0.0)

    @property
    def _rows_need_others(self) -> bool:
        # The turn before as context, a speaker's other turns for normalisation or as baseline, must not be cut off.
        return bool(self.classifier.heads.baseline) or any(
            getattr(extractor, "context", False) or getattr(extractor, "normalise", "none") == "speaker"
            for extractor in self.extractors.values()
        )

    @property
    def _reads_faces(self) -> bool:
        return "visual" in self.extractors and not isinstance(self.extractors["visual"], PrecomputedFeatures)

    def _lines(self, batch: Batch) -> Iterator[dict[str, Any]]:
        if batch.manifest is None:
            return
        visual = self.classifier.encoder("visual") if self._reads_faces else None
        cache = _EmbeddingCache(visual, self._max_steps.get("visual", 0), self.device)
        if batch.stream is None or not self._reads_faces:
            index = extract(batch.manifest, self.extractors, cache, progress=len(batch.manifest) > TURNS_AT_ONCE)
            yield from self._answers(batch, batch.manifest.table, index, cache)
        else:
            yield from self._lines_of_recording(batch, batch.manifest, cache)

    def _lines_of_recording(
        self, batch: Batch, manifest: Manifest, cache: "_EmbeddingCache"
    ) -> Iterator[dict[str, Any]]:
        # Words and voice first, which is quick; then one pass over the picture, which gives turns as it reaches their
        # ends, so that an hour's first results are there, and safe from an interruption, within seconds.
        faces = self.extractors["visual"]
        quick = {modality: extractor for modality, extractor in self.extractors.items() if modality != "visual"}
        rest = extract(manifest, quick, cache, progress=len(manifest) > TURNS_AT_ONCE)
        ids = manifest.table["id"].tolist()
        sources = dict(zip(ids, faces.sources(manifest), strict=True))
        outcomes: dict[str, Outcome] = {id_: s for id_, s in sources.items() if isinstance(s, NoSource)}
        job = Job("visual", tuple((id_, s) for id_, s in sources.items() if isinstance(s, Source)))
        answered = 0
        with _bar(len(job.items)) as advance:
            for id_, outcome in do_job(job, faces, cache):
                outcomes[id_] = outcome
                advance()
                ready = answered
                while ready < len(ids) and ids[ready] in outcomes:
                    ready += 1
                if ready - answered >= TURNS_AT_ONCE:
                    yield from self._part(batch, manifest, rest, outcomes, answered, ready, cache)
                    answered = ready
        if answered < len(ids):
            yield from self._part(batch, manifest, rest, outcomes, answered, len(ids), cache)

    def _part(
        self,
        batch: Batch,
        manifest: Manifest,
        rest: FeatureIndex,
        outcomes: Mapping[str, Outcome],
        first: int,
        end: int,
        cache: "_EmbeddingCache",
    ) -> Iterator[dict[str, Any]]:
        """The lines of some turns of a recording; a person's baseline is of all turns up to there."""
        begin = 0 if self.classifier.heads.baseline else first
        table = manifest.table[begin:end]
        index = _with_faces(rest, outcomes, table["id"].tolist())
        yield from self._answers(batch, table, index, cache, first - begin)

    def _answers(
        self, batch: Batch, table: pd.DataFrame, index: FeatureIndex, cache: MemoryCache, told: int = 0
    ) -> Iterator[dict[str, Any]]:
        # The lines of a table's rows, but for the first, which have been told and are there as company.
        # Of recordings only: a manifest's own column of this name may hold anything.
        events = ("events",) if batch.stream is not None and "events" in table else ()
        keep = ("start", "end", "role", "transcript", *events)
        if index.missing() == dict.fromkeys(index.modalities, len(table)):
            rows = table[["id", "speaker", *keep]]
        else:
            encoders = {m: self.classifier.encoder(m) for m in self.classifier.modalities}
            done = {"visual"} if self._reads_faces else ()
            try:
                clips = load_clips(table, index, cache, encoders, self._max_steps, done=done)
                rows = predict_table(
                    self.classifier, clips, calibration=self._calibration, novelty=self._novelty, keep=keep
                )
            except (RuntimeError, ConfigError) as error:
                if batch.stream is not None:
                    raise  # a recording has no streams of its own that could be of another kind
                reason = " ".join(str(error).split())
                raise RunError(
                    f"{batch.input}: the model cannot compute on its streams ({reason}); files in column 'features' "
                    "must hold streams of the kind that the run was trained on"
                ) from error
        if "visual" in index.modalities:
            rows = rows.join(index.quality("visual"), on="id")
        if "text" in index.modalities:
            rows = rows.join(index.quality("text").filter(["unknown_share"]), on="id")
        status = index.table.set_index(["id", "modality"])[["status", "reason", "n_steps"]].sort_index()
        for row in rows[told:].to_dict("records"):
            line = self._line(batch, row, status.loc[row["id"]])
            for warning in line.get("warnings", [])[len(batch.warnings) :]:
                log.warning("%s: %s", batch.place(line["id"]), warning)
            yield line

    def _line(self, batch: Batch, row: Mapping[Any, Any], status: pd.DataFrame) -> dict[str, Any]:
        missing = {m: "the model does not use it" for m in MODALITIES if m not in self.classifier.modalities}
        missing |= {str(m): str(reason) for m, reason in status.loc[status["status"] != "ok", "reason"].items()}
        if "text" in missing and pd.isna(row["transcript"]) and "text" in self.classifier.modalities:
            missing["text"] = "there is no transcript, or an empty one; give subtitles, turns or --transcript"
            if not pd.isna(row.get("events")):
                missing["text"] = "nobody speaks: its transcript holds nothing but what else is heard"
        if batch.stream in _LACKS:
            modality, reason = _LACKS[batch.stream]
            missing |= {modality: reason} if modality in self.classifier.modalities else {}
        whole = pd.isna(row["start"]) and pd.isna(row["end"])
        if batch.duration is not None:
            # Of one recording it is known where a turn without times begins and ends.
            row = {**row, "start": _either(row["start"], 0.0), "end": _either(row["end"], batch.duration)}
        there = status.loc[~status.index.isin(list(missing)), "n_steps"]
        warnings = [*batch.warnings, *self._turn_warnings(row, whole, {str(m): int(n) for m, n in there.items()})]
        failed = {str(m): str(reason) for m, reason in status.loc[status["status"] == "failed", "reason"].items()}
        if failed and len(missing) == len(MODALITIES):
            problem = "; ".join(f"{CHANNELS[m]}: {reason}" for m, reason in failed.items())
            return error_line(
                batch.input, row["id"], problem, **{k: row[k] for k in ("start", "end", "speaker", "role")}
            )
        return prediction_line(
            row,
            input_=batch.input,
            labels=self._labels,
            missing={m: missing[m] for m in MODALITIES if m in missing},
            failed=[m for m in MODALITIES if m in failed],
            thresholds=self._thresholds,
            levels=self._levels,
            provenance=self._provenance,
            warnings=warnings,
            rule=self._rule,
            gates=self._gates,
        )

    def _turn_warnings(self, row: Mapping[Any, Any], whole: bool, steps: Mapping[str, int]) -> Iterator[str]:
        # What is odd about one turn, its streams as long as `steps` says.
        duration = row["end"] - _either(row["start"], 0.0)
        if duration > LONG_TURN and not whole:  # of a whole recording its batch has said so
            yield (
                f"the turn lasts {duration:.0f} s, longer than the turns of a few seconds that models are trained on; "
                "divide it"
            )
        if not whole and short_turns([(_either(row["start"], 0.0), row["end"])]):
            yield told_short([], "the turn")
        for modality, number in steps.items():
            limit = self._max_steps[modality]
            if number > limit:
                kept = "its middle is" if modality == "prosody" else "evenly spaced ones are"
                yield f"{CHANNELS[modality]}: of {number} steps the model takes {limit}; {kept} used"
        unknown = row.get("unknown_share", 0.0)
        if "text" in steps and unknown >= MANY_UNKNOWN:
            yield f"words: the text model does not know {unknown:.0%} of them; its reading is not to be relied on"


def _rule(run: RunFolder) -> IncongruenceRule:
    """The rule that made the labels which the run learned; the usual one where its configuration is not there."""
    try:
        corpus = run.settings().get("corpus") if run.is_begun else None
    except RunError:  # prediction goes by model.json, and needs no more of the configuration than this
        corpus = None
    counted = corpus.get("count_unvoiced_warmth") if isinstance(corpus, Mapping) else None
    return IncongruenceRule(count_unvoiced_warmth=counted is True)


def _nature(run: RunFolder) -> str | None:
    """Where the behaviour in the run's corpus comes from; None where the run does not say."""
    try:
        nature: str | None = run.run().get("nature") if run.file(RunFile.RUN).is_file() else None
    except RunError:  # as for the rule
        return None
    return nature


def _either(value: float, otherwise: float) -> float:
    return otherwise if pd.isna(value) else value


class _EmbeddingCache(MemoryCache):
    """Keeps of a face what its encoder makes of it: an hour of crops would fill the memory, their embeddings do not."""

    def __init__(self, encoder: Encoder | None, max_steps: int, device: torch.device) -> None:
        super().__init__()
        self._encoder = encoder
        self._max_steps = max_steps
        self._device = device
        self._infos: dict[str, StreamInfo] = {}

    def check(self, keys: Iterable[str]) -> dict[str, StreamInfo]:
        """Describe those streams that are there, as they were extracted."""
        return {key: self._infos[key] for key in keys if key in self._infos}

    def write(self, key: str, stream: Stream) -> None:
        """Keep a stream, of crops `[time, height, width, 3]` their embeddings."""
        self._infos[key] = StreamInfo.of(stream)
        if self._encoder is not None and stream.values.ndim == 4 and len(stream):
            crops = torch.from_numpy(shorten(stream.values, self._max_steps, "visual"))
            with torch.inference_mode():
                embedded = self._encoder.embed(Tokens.pad([crops]).to(self._device))
            values = embedded.values[0][embedded.mask[0]].float().cpu().numpy()
            stream = Stream(values, np.arange(len(values), dtype=np.float64), stream.quality)
        super().write(key, stream)


def _with_faces(rest: FeatureIndex, outcomes: Mapping[str, Outcome], ids: Sequence[str]) -> FeatureIndex:
    # The rows of an index that belong to `ids`, and beside them what became of their faces, kept under the ids.
    rows: list[dict[str, Any]] = []
    for id_ in ids:
        outcome = outcomes[id_]
        row: dict[str, Any] = {"id": id_, "modality": "visual", "key": None, "n_steps": 0, "step_shape": ""}
        if isinstance(outcome, NoSource):
            row |= {"status": outcome.status, "reason": outcome.reason}
        elif outcome.n_steps == 0:
            row |= {"status": "absent", "reason": outcome.reason} | dict(outcome.quality)
        else:
            row |= {"status": "ok", "reason": "", "key": id_, "n_steps": outcome.n_steps} | dict(outcome.quality)
        rows.append(row)
    others = rest.table[rest.table["id"].isin(set(ids))]
    return FeatureIndex(pd.concat([others, pd.DataFrame(rows)], ignore_index=True), rest.fingerprints)


@contextmanager
def _bar(turns: int) -> Iterator[Callable[[], None]]:
    # A bar on a terminal, where there is something to wait for.
    if turns <= TURNS_AT_ONCE or not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task("Reading faces", total=turns)
        yield lambda: shown.advance(task)


def _digest(*paths: Path) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(
            f"--device {name} cannot be used ({reason}); use cpu, or cuda where a GPU is at hand"
        ) from error
    return device
