"""One scoring run: from a corpus to a prediction table and a run folder like those of the light model."""

import json
import logging
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from subtext.core.building import build
from subtext.core.tables import write_csv
from subtext.core.writing import replacing
from subtext.corpora.shards import Shard, recordings
from subtext.errors import ConfigError, RunError
from subtext.evaluation.prompted import calibrated, classes_of, score_columns, spread_over_wordings, summary
from subtext.evaluation.tables import BINARY_HEADS
from subtext.features.cache import FeatureCache
from subtext.features.content import DigestMemory
from subtext.features.extractor import NoSource, Source
from subtext.features.prosody import ProsodyExtractor
from subtext.features.text import turns_before
from subtext.labels import EMOTION_COLUMN
from subtext.manifest import LABEL_COLUMNS, Manifest
from subtext.manifest.checks import row_number
from subtext.manifest.splits import fold_as_test
from subtext.runs.folder import RunFile, RunFolder
from subtext.runs.prepare import read_corpus
from subtext.vlm.answers import Answer, answer, answer_tokens, parse
from subtext.vlm.clips import FrameReader
from subtext.vlm.controls import CONTROLS, Clip, chosen_controls, other_clips
from subtext.vlm.cost import clip_cost, prompt_cost
from subtext.vlm.endpoint import Endpoint, EndpointSpec, Refused, RemoteVlm
from subtext.vlm.inputs import Frames, Sample, Vlm, tile
from subtext.vlm.loading import model_digest, parameter_count
from subtext.vlm.questions import OF_THE_VOICE, Questions, Told, Wording
from subtext.vlm.settings import VlmSettings
from subtext.vlm.spec import VlmSpec
from subtext.vlm.store import AnswerStore, key_of
from subtext.vlm.voice import measure_voice, voice_words

log = logging.getLogger(__name__)

VERSION: Final = 1
"""Raised whenever the code makes another answer of the same input."""
AT_ONCE: Final = 16
"""Rows whose frames are in memory together."""


@dataclass(frozen=True)
class _Asked:
    """One prompt, and what it is an answer to."""

    row: str
    control: str
    wording: Wording
    sample: Sample
    key: str


def make_vlm(settings: Mapping[str, Any]) -> Vlm:
    """The model of a configuration.

    Raises:
        WeightsError: its folder cannot be used.
        ConfigError: a setting cannot be used.
    """
    spec = build({"_target_": "subtext.vlm.spec.VlmSpec", **settings["vlm"]}, VlmSpec)
    if settings["endpoint"]["url"] is None:
        return Vlm(spec)
    if spec.adapter is not None:
        raise ConfigError(
            "vlm.adapter: a server puts adapters on its model itself; leave it out and set endpoint.model"
        )
    endpoint = build({"_target_": "subtext.vlm.endpoint.EndpointSpec", **settings["endpoint"]}, EndpointSpec)
    return RemoteVlm(spec, Endpoint(endpoint))


class Clips:
    """The rows of a corpus as a model is shown them: what tuning and replies read too.

    Args:
        settings: the resolved configuration.
        manifest: all rows; training rows set what is usual of a voice.

    Raises:
        ConfigError: a setting cannot be used.
    """

    def __init__(self, settings: Mapping[str, Any], manifest: Manifest) -> None:
        self._reader: FrameReader = build(settings["frames"], FrameReader)
        table = manifest.table
        names = table["id"].tolist()
        nothing: list[object] = [None] * len(table)
        said = table["transcript"].tolist() if settings["transcript"] else nothing
        before = turns_before(table) if settings["context"] else nothing
        voices: Mapping[str, str] = {}
        if settings["voice"]:
            prosody: ProsodyExtractor = build(settings["prosody"], ProsodyExtractor)
            cache = FeatureCache(settings["paths"]["features"])
            voices = voice_words(measure_voice(manifest, prosody, cache, int(settings["workers"])), manifest)
        self._told = {
            name: Told(_text(transcript), _text(context) if _text(transcript) else None, voices.get(name))
            for name, transcript, context in zip(names, said, before, strict=True)
        }
        self._sources: dict[str, Source | NoSource] = dict(zip(names, self._reader.sources(manifest), strict=True))

    def order(self, names: Sequence[str]) -> list[str]:
        """Rows in the order in which files are read from beginning to end."""

        def place(name: str) -> tuple[str, float, str]:
            source = self._sources[name]
            if isinstance(source, NoSource):
                return "", 0.0, name
            return str(source.path), source.segment.start or 0.0, name

        return sorted(names, key=place)

    def read(self, names: Sequence[str]) -> tuple[dict[str, Clip], dict[str, str]]:
        """Rows with their frames, and why a row has none."""
        frames = self._reader.read({name: self._sources[name] for name in dict.fromkeys(names)})
        clips = {name: Clip(name, self._told[name], _frames(found)) for name, found in frames.items()}
        return clips, {name: found for name, found in frames.items() if isinstance(found, str)}


def score(settings: Mapping[str, Any], folder: Path) -> RunFolder:
    """Ask a model about every validation and test row, and evaluate what it says.

    The same command goes on with a run that was broken off; what was answered before is not asked again.

    Args:
        settings: the resolved configuration.
        folder: the run folder.

    Raises:
        RunError: another run is in the folder.
        ConfigError: a setting cannot be used.
        WeightsError: the model cannot be used.
    """
    run = RunFolder(folder)
    scoring = _Scoring(settings, run)
    done = run.file(RunFile.PREDICTIONS).is_file() if scoring.shard else run.is_finished
    goes_on = run.is_begun and not done and _same(run.settings(), settings)
    if run.is_begun and not goes_on and not settings["overwrite"]:
        state = "a finished run" if done else "a run of other settings"
        raise RunError(f"{folder} holds {state}; replace it by overwrite=true, or choose another name=")
    run.begin(dict(settings), overwrite=bool(settings["overwrite"]) or goes_on)
    scoring.do()
    return run


def dry_run(settings: Mapping[str, Any], folder: Path) -> tuple[str, Path | None]:
    """What would be sent of the first clip: the prompt and facts about it, and its frames as one picture.

    Args:
        settings: the resolved configuration.
        folder: where the picture goes.
    """
    from PIL import Image

    scoring = _Scoring(settings, RunFolder(folder))
    manifest, judged = scoring.rows()
    clips = Clips(settings, manifest)
    name = clips.order(judged["id"].tolist())[0]
    read, reasons = clips.read([name])
    asked = next(scoring.prompts(read[name], ""), None)
    if asked is None:
        row = row_number(manifest.table.index, manifest.table["id"].tolist().index(name))
        raise ConfigError(f"{manifest.name}: row {row} has neither words nor pictures: {reasons.get(name)}")
    remote = isinstance(scoring.vlm, RemoteVlm)
    encoded = None if remote else scoring.vlm.encode([asked.sample])
    frames = asked.sample.frames
    per_clip = sum(len(wordings) for wordings in scoring.questions.wordings.values())
    told = [
        scoring.vlm.render(asked.sample),
        "",
        f"clip {name}, question {asked.wording.head}, wording {asked.wording.name}, 1 of {per_clip} a clip",
        "tokens are the server's affair"
        if encoded is None
        else f"{encoded.tokens[0]} tokens, {encoded.vision_tokens[0]} of them placeholders for vision",
    ]
    if frames is None:
        return "\n".join([*told, f"no frames: {reasons.get(name, 'none are sent')}"]), None
    told.append(f"frames at {', '.join(f'{at:.2f}' for at in frames.times)} s of {frames.duration:.2f} s")
    RunFolder(folder).make()
    path = folder / "dry_run.png"
    with RunFolder(folder).writing(), replacing(path) as place:
        Image.fromarray(tile(frames.images)[0]).save(place)
    return "\n".join(told), path


class _Scoring:
    """The steps of one run."""

    def __init__(self, settings: Mapping[str, Any], run: RunFolder) -> None:
        self.settings, self.run = settings, run
        VlmSettings.check(settings)
        self.seed = int(settings["seed"])
        self.shard = None if settings["shard"] is None else Shard.parse(str(settings["shard"]))
        self.questions = Questions(settings["prompts"], settings["heads"])
        deaf = [head for head in settings["heads"] if head in OF_THE_VOICE]
        if deaf and not settings["voice"]:
            raise ConfigError(f"heads: {deaf[0]} asks for the voice, of which nothing is told; set voice=true")
        if settings["voice"] and settings["cv"] is not None and settings["fold"] is None:
            raise ConfigError("voice=true: what is usual is another thing in each fold; score fold=0, fold=1 ... apart")
        self.controls = chosen_controls(settings["controls"])
        self.written = settings["answer"] == "generation"
        self.tokens = int(settings["max_new_tokens"]) if self.written else 1
        self.vlm = make_vlm(settings)
        work = Path(settings["paths"]["work"]) / "vlm"
        if isinstance(self.vlm, RemoteVlm):
            self.digest = self.vlm.digest
        else:
            self.digest = model_digest(self.vlm.folder, self.vlm.spec.adapter, DigestMemory(work / "files.sqlite"))
        self.store = AnswerStore(work / "answers" / self.digest[:16])
        self.batch_size = self.vlm.spec.batch_size
        self.counts: Counter[str] = Counter()
        self.records: list[dict[str, Any]] = []
        self.example: _Asked | None = None
        self._libraries = [version(package) for package in ("torch", "transformers")]
        self._tokens: dict[tuple[str, ...], Mapping[str, Sequence[int]]] = {}

    def rows(self) -> tuple[Manifest, pd.DataFrame]:
        """The corpus, and those of its rows that are asked about here."""
        whole = self.settings["cv"] is not None and self.settings["fold"] is None
        corpus = read_corpus({**self.settings, **({"fold": 0} if whole else {})})
        self.description = corpus.description
        if isinstance(self.vlm, RemoteVlm):
            self.vlm.endpoint.check(self.description)
        table = corpus.manifest.table
        wanted = table["fold"].notna() if whole else table["split"].isin(["val", "test"])
        self.folds = range(self.settings["cv"]) if whole else None
        self.lenders = table.loc[wanted] if not whole else table.loc[wanted].assign(split="test")
        if self.shard is not None:
            wanted = wanted & self.shard.rows(corpus.manifest.with_table(table.loc[wanted])).reindex(
                table.index, fill_value=False
            )
        if not wanted.any():
            raise ConfigError(f"shard={self.shard} holds no row; use fewer parts")
        return corpus.manifest, table.loc[wanted]

    def do(self) -> None:
        """All of it."""
        began = time.perf_counter()
        manifest, judged = self.rows()
        clips = Clips(self.settings, manifest)
        lent = {}
        if "other_frames" in self.controls:
            lent = other_clips(self.lenders, recordings(manifest), self.seed)
        names = clips.order(judged["id"].tolist())
        present: dict[str, dict[str, bool]] = {}
        without: Counter[str] = Counter()
        chunks = [names[first : first + AT_ONCE] for first in range(0, len(names), AT_ONCE)]
        for chunk in _progress(chunks):
            read, reasons = clips.read([*chunk, *(lent[name] for name in chunk if name in lent)])
            asked: list[_Asked] = []
            for name in chunk:
                clip = read[name]
                present[name] = {
                    "visual": clip.frames is not None,
                    "text": clip.told.transcript is not None,
                    "prosody": clip.told.voice is not None,
                }
                without.update([reasons[name]] if name in reasons else [])
                asked += self.prompts(clip, "")
                other = read[lent[name]].frames if name in lent else None
                for control in self.controls:
                    changed = CONTROLS[control](clip, other, self.questions.content_free)
                    asked += self.prompts(changed, control)
            self.example = self.example or next((one for one in asked if one.sample.frames is not None), None)
            self._answer(asked)
        for reason, count in without.most_common(3):
            log.warning("%d clips without frames: %s", count, reason)
        refused = [row["reason"] for row in self.records if row["reason"] and not row["control"]]
        if refused and len(refused) == sum(not row["control"] for row in self.records):
            raise ConfigError(f"no clip can be asked about: {refused[0]}")
        for reason, count in Counter(refused).most_common(3):
            log.warning("%d prompts are not answered: %s", count, reason)
        self._write(manifest, judged, present, time.perf_counter() - began)

    def prompts(self, clip: Clip, control: str) -> Iterator[_Asked]:
        """Every wording of every question about a clip; a control is asked the yes-no questions."""
        if clip.is_empty:
            return
        spec, frames = self.vlm.spec, clip.frames
        for head, wordings in self.questions.wordings.items():
            if control and head not in BINARY_HEADS:
                continue
            for wording in wordings:
                pictures = 0 if frames is None else len(frames.images)
                sample = Sample(self.questions.text(wording, clip.told, spec.frames, pictures), frames)
                yield _Asked(clip.name, control, wording, sample, self._key(sample, wording))

    def _key(self, sample: Sample, wording: Wording) -> str:
        spec = self.vlm.spec
        return key_of(
            version=VERSION,
            libraries=self._libraries,
            model=self.digest,
            run=[spec.dtype, spec.device.partition(":")[0], spec.attention, *(["four bits"] if spec.four_bit else [])],
            family=[spec.frames, dict(spec.processor), spec.chat_template, spec.interleaved, list(spec.stop)],
            text=sample.text,
            frames=None if sample.frames is None else sample.frames.digest,
            options=sorted(wording.options),
            tokens=self.tokens,
        )

    def _answer(self, asked: Sequence[_Asked]) -> None:
        """Answers from the store, else from the model; each goes into the log."""
        missing = {one.key: one for one in asked if self.store.get(one.key) is None}
        self.counts["asked"] += len(missing)
        refused: dict[str, str] = {}
        if missing:
            # Prompts with pictures of one size go together, the longest first: what does not fit shows at once.
            groups: dict[object, list[_Asked]] = {}
            for one in missing.values():
                shape = None if one.sample.frames is None else one.sample.frames.images.shape
                groups.setdefault(shape, []).append(one)
            for group in groups.values():
                group.sort(key=lambda one: -len(one.sample.text))
                while group:
                    batch, group = group[: self.batch_size], group[self.batch_size :]
                    refused |= self._model_answers(batch)
        for one in asked:
            self.records.append(self._record(one, self.store.get(one.key), refused.get(one.key)))

    def _model_answers(self, batch: Sequence[_Asked]) -> dict[str, str]:
        """Ask the model and keep what it says; gives why a prompt could not be asked."""
        import torch

        if isinstance(self.vlm, RemoteVlm):
            return self._server_answers(self.vlm, batch)
        try:
            encoded = self.vlm.encode([one.sample for one in batch])
            most = self.vlm.context
            if most is not None and max(encoded.tokens) + self.tokens > most:
                if len(batch) > 1:
                    return {k: why for one in batch for k, why in self._model_answers([one]).items()}
                tokens = encoded.tokens[0] + self.tokens
                return {batch[0].key: f"{tokens} tokens do not fit into a context of {most}; lower frames.count"}
            options = [self._options(one.wording) for one in batch]
            began = time.perf_counter()
            answers = answer(self.vlm, encoded, options, self.tokens)
            took = 1000 * (time.perf_counter() - began) / len(batch)
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and not is_out_of_memory(error):
                raise
            return self._halved(batch)
        self.store.add(
            {
                one.key: {
                    "log_probs": dict(given.log_probs),
                    "raw": given.raw,
                    "tokens": tokens,
                    "vision_tokens": vision,
                    "batch": len(batch),
                    "ms": took,
                }
                for one, given, tokens, vision in zip(
                    batch, answers, encoded.tokens, encoded.vision_tokens, strict=True
                )
            }
        )
        return {}

    def _server_answers(self, vlm: RemoteVlm, batch: Sequence[_Asked]) -> dict[str, str]:
        """As many questions at once as a batch has; each answer is kept as it comes, whatever becomes of the others."""
        refused: dict[str, str] = {}
        failed: Exception | None = None
        listed = not self.written

        def ask(one: _Asked) -> tuple[Answer, int | None, float]:
            began = time.perf_counter()
            return *vlm.answer(
                one.sample, tuple(one.wording.options), self.tokens, listed=listed
            ), time.perf_counter() - began

        with ThreadPoolExecutor(len(batch)) as pool:
            asked = {pool.submit(ask, one): one.key for one in batch}
            for done in as_completed(asked):
                try:
                    given, tokens, took = done.result()
                except Refused as error:
                    refused[asked[done]] = str(error)
                except (RunError, ConfigError) as error:
                    failed = error
                else:
                    counted = {"tokens": tokens, "vision_tokens": None, "batch": len(batch), "ms": 1000 * took}
                    self.store.add({asked[done]: {"log_probs": dict(given.log_probs), "raw": given.raw, **counted}})
        if failed is not None:
            raise failed
        return refused

    def _halved(self, batch: Sequence[_Asked]) -> dict[str, str]:
        import torch

        if len(batch) == 1:
            raise RunError(
                f"out of memory on {self.vlm.spec.device} with one prompt; lower frames.count or "
                "frames.max_side, or take a smaller model. What was answered is kept: the same command goes on"
            )
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self.batch_size = max(1, len(batch) // 2)
        log.warning("out of memory with %d prompts at once; going on with %d", len(batch), self.batch_size)
        halves = batch[: self.batch_size], batch[self.batch_size :]
        return {key: why for half in halves if half for key, why in self._model_answers(half).items()}

    def _options(self, wording: Wording) -> Mapping[str, Sequence[int]]:
        options = tuple(sorted(wording.options))
        if options not in self._tokens:
            self._tokens[options] = answer_tokens(self.vlm, options)
        return self._tokens[options]

    # -- tables -------------------------------------------------------------------------------------------------------

    def _record(self, one: _Asked, given: Mapping[str, Any] | None, refused: str | None) -> dict[str, Any]:
        """A row of the log."""
        frames = one.sample.frames
        row: dict[str, Any] = {
            "id": one.row,
            "control": one.control,
            "head": one.wording.head,
            "wording": one.wording.name,
            "prompt_sha256": key_of(text=one.sample.text),
            "frames_sha256": None if frames is None else frames.digest,
            "frame_times": [] if frames is None else list(frames.times),
            "key": one.key,
        }
        nothing = {"raw": None, "parsed": None, "log_probs": None, "mass": np.nan, "score": np.nan}
        if given is None:
            return (
                row | nothing | {"tokens": None, "vision_tokens": None, "batch": None, "ms": np.nan, "reason": refused}
            )
        own = {name: np.exp(value) for name, value in given["log_probs"].items()}
        mass = float(sum(own.values()))
        parsed = parse(given["raw"], tuple(one.wording.options))
        counted = {k: given.get(k) for k in ("raw", "tokens", "vision_tokens", "batch", "ms")}
        shares = self._shares(one.wording, given, parsed)
        return (
            row
            | counted
            | {
                "parsed": None if parsed is None else one.wording.options[parsed],
                "log_probs": json.dumps(given["log_probs"]),
                "mass": mass,
                "score": shares.get("yes", np.nan),
                "shares": shares,
                "reason": None if np.isfinite(mass) else "the model's answer is not a number",
            }
        )

    def _shares(self, wording: Wording, given: Mapping[str, Any], parsed: str | None) -> dict[str, float]:
        """Probability of each class of the head by one wording; empty without an answer."""
        if self.written:
            return {} if parsed is None else {c: float(c == wording.options[parsed]) for c in wording.options.values()}
        values = np.array(list(given["log_probs"].values()), dtype=np.float64)
        if not np.isfinite(values).all():
            return {}
        shares = np.exp(values - np.logaddexp.reduce(values))
        return {wording.options[name]: float(share) for name, share in zip(given["log_probs"], shares, strict=True)}

    def _write(
        self, manifest: Manifest, judged: pd.DataFrame, present: Mapping[str, Mapping[str, bool]], seconds: float
    ) -> None:
        wanted = ["id", "session", "speaker", "split", "fold", *manifest.groups, "corpus", "start", "end"]
        kept = dict.fromkeys([*wanted, *EMOTION_COLUMN.values(), *LABEL_COLUMNS])
        base = judged[[column for column in kept if column in judged]].assign(seed=self.seed)
        for modality in ("visual", "text", "prosody"):
            base[f"present_{modality}"] = base["id"].map({name: there[modality] for name, there in present.items()})
        # A column of the corpus that this run did not go by would be taken for runs of several folds.
        base["fold"] = base["fold"] if self.folds is not None else pd.array([pd.NA] * len(base), dtype="Int64")
        by_system: dict[str, dict[tuple[str, str], list[dict[str, Any]]]] = {}
        for row in self.records:
            by_system.setdefault(row["control"], {}).setdefault((row["id"], row["head"]), []).append(row)
        tables = {name: self._table(base, by_system.get(name, {})) for name in ("", *self.controls)}
        answers = pd.DataFrame(self.records).drop(columns="shares")
        self.run.write_table(RunFile.ANSWERS, answers)
        self.run.add_facts(
            {
                "groups": list(manifest.groups),
                "labels": self.description.labels,
                "question": self.description.question,
                "nature": self.description.nature,
                "rows": len(base),
                "vlm": self._facts(tables[""], answers),
                "seconds": {"scoring": round(seconds, 1)},
            }
        )
        predictions = calibrated(self._by_fold(manifest, tables[""]))
        controls = [
            calibrated(self._by_fold(manifest, table)).assign(control=name) for name, table in tables.items() if name
        ]
        if controls:
            self.run.write_table(RunFile.CONTROLS, pd.concat(controls, ignore_index=True))
        with self.run.writing():
            write_csv(spread_over_wordings(answers, predictions), self.run.file(RunFile.WORDINGS))
        self.run.write_table(RunFile.PREDICTIONS, predictions)
        if self.shard is None:
            from rich.console import Console

            from subtext.report.terminal import print_results
            from subtext.runs.evaluate import evaluate_run

            print_results(evaluate_run(self.run.path, seed=self.seed), Console())

    def _table(self, base: pd.DataFrame, asked: Mapping[tuple[str, str], Sequence[Mapping[str, Any]]]) -> pd.DataFrame:
        """Rows with the raw scores of each head: means over wordings, their spread, mass, and why there is none."""
        columns: dict[str, list[Any]] = {}
        for head in self.questions.wordings:
            if not any(name == head for _, name in asked):
                continue
            for name in base["id"]:
                found = self._mean(head, asked.get((name, head), ()))
                for column, value in found.items():
                    columns.setdefault(column, []).append(value)
        return pd.concat([base, pd.DataFrame(columns, index=base.index)], axis=1)

    def _mean(self, head: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        classes = classes_of(head)
        given = [row["shares"] for row in rows if row.get("shares")]
        mass = float(np.mean([row["mass"] for row in rows])) if rows else np.nan
        reason = next((row["reason"] for row in rows if row["reason"]), None if rows else "nothing to judge by")
        if reason is None and not self.written and mass < self.settings["floor"]:
            reason = f"mass of the answers below {self.settings['floor']:g}"
        if reason is None and not given:
            reason = "no answer could be read"
        columns = score_columns(head)
        told = {f"mass_{head}": mass, f"unparsed_{head}": sum(row["parsed"] is None for row in rows)}
        if reason is not None:
            return dict.fromkeys(columns, np.nan) | {f"spread_{head}": np.nan} | told | {f"reason_{head}": reason}
        shares = np.array([[share.get(name, 0.0) for name in classes] for share in given])
        mean = shares.mean(axis=0)
        if self.written:
            # Shares of a few written answers: a vote for each class keeps their logarithm finite.
            mean = (shares.sum(axis=0) + 1 / len(classes)) / (len(shares) + 1)
        logs = np.log(np.maximum(mean, np.finfo(np.float64).tiny))
        scores = [logs[1] - logs[0]] if head in BINARY_HEADS else logs
        spread = float(shares.std(axis=0).mean())
        values = dict(zip(columns, map(float, scores), strict=True))
        return values | {f"spread_{head}": spread} | told | {f"reason_{head}": None}

    def _by_fold(self, manifest: Manifest, table: pd.DataFrame) -> pd.DataFrame:
        """The rows once, or for each fold those that it is tested and validated on."""
        if self.folds is None:
            return table.reset_index(drop=True)
        parts = []
        for fold in self.folds:
            divided = fold_as_test(manifest, fold, len(self.folds)).table
            part = table.assign(
                split=divided["split"].reindex(table.index), fold=pd.array([fold] * len(table), "Int64")
            )
            parts.append(part.loc[part["split"].isin(["val", "test"])])
        return pd.concat(parts, ignore_index=True)

    def _facts(self, table: pd.DataFrame, answers: pd.DataFrame) -> dict[str, Any]:
        """What a reader must know of the model and its answers."""
        spec = self.vlm.spec
        return {
            "family": spec.name,
            "model": Path(spec.path).name,
            "adapter": None if spec.adapter is None else Path(spec.adapter).resolve().parent.name,
            "sha256": self.digest,
            "parameters": None if isinstance(self.vlm, RemoteVlm) else parameter_count(self.vlm.folder),
            "dtype": spec.dtype,
            "four_bit": spec.four_bit,
            "device": spec.device,
            "frames": spec.frames,
            "note": spec.note,
            "prompts": self.questions.version,
            "answer": self.settings["answer"],
            "floor": self.settings["floor"],
            "prompts_asked": int(self.counts["asked"]),
            "prompts_known": len(answers) - int(self.counts["asked"]),
            "cost": self._cost(answers),
            **summary(table, answers),
        }

    def _cost(self, answers: pd.DataFrame) -> dict[str, Any]:
        """What a clip costs, for `subtext-compare`; counted once, like an answer."""
        if isinstance(self.vlm, RemoteVlm):
            return {"reason": "the model is behind a server, which does not say what it costs"}
        if self.example is None:
            return {"reason": "no clip has frames"}
        key = key_of(cost=self.example.key)
        if self.store.get(key) is None:
            try:
                counted = prompt_cost(self.vlm, self.example.sample)
            except (RuntimeError, ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
                # Answers that took days are worth more than what they cost.
                return {"reason": f"operations cannot be counted ({type(error).__name__}: {str(error)[:200]})"}
            self.store.add({key: {"log_probs": {}, "cost": counted}})
        return clip_cost((self.store.get(key) or {})["cost"], answers, self.vlm.spec.device)


def _same(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> bool:
    free = ("overwrite", "debug", "workers", "dry_run")
    return {k: v for k, v in ours.items() if k not in free} == {k: v for k, v in theirs.items() if k not in free}


def is_out_of_memory(error: RuntimeError) -> bool:
    import torch

    told = str(error)
    marks = ("not enough memory", "out of memory", "ALLOC_FAILED")
    return isinstance(error, torch.OutOfMemoryError) or any(mark in told for mark in marks)


def _progress(chunks: Sequence[list[str]]) -> Iterator[list[str]]:
    from rich.console import Console
    from rich.progress import track

    yield from track(chunks, "Asking", console=Console(stderr=True), disable=not sys.stderr.isatty())


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value.strip() else None


def _frames(found: Frames | str) -> Frames | None:
    return found if isinstance(found, Frames) else None
