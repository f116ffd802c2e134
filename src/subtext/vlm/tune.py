"""Fine-tuning by LoRA, in three arms that differ in their labels alone: E-THER's own comparison, controlled.

Every arm sees the same training rows in the same order, as many questions, steps and answer tokens. What is drawn in a
step comes from the seed and the step's number alone, so that a run that was killed ends as one that was not.
"""

import inspect
import logging
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from subtext.core.building import build
from subtext.core.tables import write_csv
from subtext.errors import ConfigError, ManifestError, NotFiniteError, RunError, WeightsError
from subtext.features.content import DigestMemory
from subtext.manifest import Manifest
from subtext.model.batches import mix
from subtext.model.checkpoints import Checkpoints, SafeCheckpointIO, forget, resumable
from subtext.model.fit import interruptible, quiet_lightning
from subtext.model.task import seed_draws
from subtext.runs.folder import RunFile, RunFolder
from subtext.runs.prepare import read_corpus
from subtext.vlm.adapters import add_adapter, targets, write_adapter
from subtext.vlm.inputs import Encoded, Sample, Vlm
from subtext.vlm.loading import folder_digest, parameter_count
from subtext.vlm.questions import Questions, Wording
from subtext.vlm.score import Clips, is_out_of_memory, make_vlm
from subtext.vlm.spec import ARMS, TuneSpec

if TYPE_CHECKING:
    from torch.optim import Optimizer

log = logging.getLogger(__name__)

NEEDED: Final = ("incongruent", "verbal_polarity", "visual_polarity")
"""Labels of a row that any arm learns from, so that all learn from the same rows."""
_IGNORED: Final = -100
_FREE: Final = ("overwrite", "debug", "workers", "dry_run")


@dataclass(frozen=True)
class Example:
    """A question about a row with the answer that its label gives.

    Attributes:
        row: the row's id.
        wording: the question.
        answer: yes or no.
    """

    row: str
    wording: Wording
    answer: str


def examples_of(manifest: Manifest, questions: Questions, arm: str, seed: int) -> list[Example]:
    """All questions about all training rows that have every label in `NEEDED`, in the table's order.

    Args:
        manifest: the corpus.
        questions: wordings.
        arm: one of `ARMS`.
        seed: of the placebo's shuffling.

    Raises:
        ConfigError: there is no such arm.
        ManifestError: no training row has all labels.
    """
    if arm not in ARMS:
        raise ConfigError(f"labels is {arm!r}; write {', '.join(ARMS[:-1])} or {ARMS[-1]}")
    table = manifest.table
    missing = [column for column in NEEDED if column not in table]
    rows = table.loc[(table["split"] == "train") & table[[*NEEDED]].notna().all(axis=1)] if not missing else table[:0]
    if not len(rows):
        raise ManifestError(
            f"{manifest.name}: no training row has {', '.join(missing or NEEDED)}; tuning needs them all"
        )
    labels: dict[str, list[Any]] = {
        "incongruent": ["yes" if value else "no" for value in rows["incongruent"]],
        **{c: ["negative" if value < 0 else "other" for value in rows[c]] for c in NEEDED[1:]},
    }
    if arm == "placebo":
        order = np.random.default_rng(mix(seed, 0)).permutation(len(rows))
        labels["incongruent"] = [labels["incongruent"][place] for place in order]
    wordings = questions.polarity() if arm == "polarity" else questions.wordings["incongruent"]
    return [
        Example(name, wording, next(a for a, meaning in wording.options.items() if meaning == labels[wording.head][n]))
        for n, name in enumerate(rows["id"])
        for wording in wordings
    ]


class Stream(Sampler[int]):
    """Numbers of examples, without end: shuffled anew each time that all were there. An epoch is `length` of them.

    Args:
        examples: how many there are.
        length: of an epoch.
        seed: of the order.
    """

    def __init__(self, examples: int, length: int, seed: int) -> None:
        self.examples, self.length, self.seed, self.epoch = examples, length, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; the training loop does so before each one."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        orders: dict[int, np.ndarray] = {}
        for place in range(self.epoch * self.length, (self.epoch + 1) * self.length):
            turn, within = divmod(place, self.examples)
            if turn not in orders:
                orders[turn] = np.random.default_rng(mix(self.seed, 1, turn)).permutation(self.examples)
            yield int(orders[turn][within])


class Shown(Dataset[tuple[Example, Sample]]):
    """Examples with the clips that they are about, read when they are asked for."""

    def __init__(self, examples: Sequence[Example], clips: Clips, questions: Questions, mode: str) -> None:
        self.examples, self._clips, self._questions, self._mode = examples, clips, questions, mode

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, number: int) -> tuple[Example, Sample]:
        example = self.examples[number]
        clip = self._clips.read([example.row])[0][example.row]
        pictures = 0 if clip.frames is None else len(clip.frames.images)
        return example, Sample(self._questions.text(example.wording, clip.told, self._mode, pictures), clip.frames)


class Encoder:
    """Makes of examples what the model takes, with labels on the answer's tokens and on the end of the turn alone.

    Args:
        vlm: the model; only its processor is used.

    Raises:
        WeightsError: the end of a turn is the padding token.
    """

    def __init__(self, vlm: Vlm) -> None:
        self.vlm = vlm
        self.end = vlm.spec.stop[0] if vlm.spec.stop else vlm.tokenizer.eos_token
        if vlm.tokenizer.convert_tokens_to_ids(self.end) in (
            None,
            vlm.tokenizer.pad_token_id,
            vlm.tokenizer.unk_token_id,
        ):
            raise WeightsError(
                f"{vlm.folder}: '{self.end}' does not end a turn in its tokenizer; set vlm.stop to what does"
            )

    def __call__(self, batch: Sequence[tuple[Example, Sample]]) -> list[dict[str, Tensor]]:
        """Tensors of the examples, with `labels` `[batch, time]`; those with pictures of one size are together."""
        groups: dict[object, list[tuple[Example, Sample]]] = {}
        for example, sample in batch:
            shape = None if sample.frames is None else sample.frames.images.shape
            groups.setdefault(shape, []).append((example, sample))
        return [self._group(group) for group in groups.values()]

    def _group(self, group: Sequence[tuple[Example, Sample]]) -> dict[str, Tensor]:
        samples, endings, targets = [], [], []
        for example, sample in group:
            prompt = self.vlm.render(sample)
            # As the model itself would go on: after "Assistant:" with a space, on a new line without one.
            ending = ("" if prompt[-1].isspace() else " ") + example.answer + self.end
            samples.append(sample)
            endings.append(ending)
            targets.append(self._new_tokens(prompt, prompt + ending))
        encoded = self.vlm.encode(samples, endings)
        self._check(encoded)
        ids = encoded.tensors["input_ids"]
        labels = torch.full_like(ids, _IGNORED)
        for row, tokens in enumerate(targets):
            # Padding is on the left, so that an answer stands at the end.
            if ids[row, -len(tokens) :].tolist() != tokens:
                raise WeightsError(f"{self.vlm.folder}: its processor changes the answer's tokens; it cannot be tuned")
            labels[row, -len(tokens) :] = ids[row, -len(tokens) :]
        return {**encoded.tensors, "labels": labels}

    def _new_tokens(self, prompt: str, whole: str) -> list[int]:
        before, after = (self.vlm.tokenizer(text, add_special_tokens=False)["input_ids"] for text in (prompt, whole))
        same = next((n for n, pair in enumerate(zip(before, after, strict=False)) if pair[0] != pair[1]), len(before))
        return list(after[same:])

    def _check(self, encoded: Encoded) -> None:
        most = self.vlm.context
        if most is not None and max(encoded.tokens) > most:
            raise ConfigError(f"{max(encoded.tokens)} tokens do not fit into a context of {most}; lower frames.count")


class VlmTask(pl.LightningModule):
    """Trains the adapters of a model; a checkpoint holds them and the optimiser, and not the base.

    Args:
        model: with adapters.
        learning_rate: at the first step; it falls to 0 along a line.
        steps: of the whole training.
        seed: of dropout.
    """

    strict_loading = False

    def __init__(self, model: torch.nn.Module, *, learning_rate: float, steps: int, seed: int) -> None:
        super().__init__()
        self.model, self.learning_rate, self.steps, self.seed = model, learning_rate, steps, seed
        for name, part in model.named_modules():
            part.train("lora_dropout" in name)  # the base answers as it does in scoring

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Draw dropout from the seed and the step, so that a resumed run draws the same."""
        seed_draws(mix(self.seed, 2, self.global_step), self.device)

    def training_step(self, batch: list[dict[str, Tensor]], batch_idx: int) -> Tensor:
        """Mean loss of the answers' tokens, float32."""
        learned = sum(int((group["labels"] != _IGNORED).sum()) for group in batch)
        total = torch.zeros((), device=self.device)
        for group in batch:
            options: dict[str, Any] = {"use_cache": False}
            inputs = {key: value for key, value in group.items() if key != "labels"}
            dtype = next(self.model.parameters()).dtype
            inputs = {k: v.to(dtype) if v.is_floating_point() else v for k, v in inputs.items()}
            # Logits for the answer alone: those of a whole prompt would fill the memory.
            first = int((group["labels"] != _IGNORED).any(dim=0).nonzero()[0]) - 1
            keep = group["labels"].shape[1] - first
            if "logits_to_keep" in inspect.signature(self.model.forward).parameters:
                options["logits_to_keep"] = keep
            logits = self.model(**inputs, **options).logits[:, -keep:-1].float()
            labels = group["labels"][:, first + 1 :]
            total = total + torch.nn.functional.cross_entropy(
                logits.flatten(0, 1), labels.flatten(), ignore_index=_IGNORED, reduction="sum"
            )
        loss = total / learned
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=learned)
        return loss

    def configure_optimizers(self) -> Any:
        """AdamW on the adapters, falling to 0."""
        optimizer: Optimizer = torch.optim.AdamW(
            [weight for weight in self.parameters() if weight.requires_grad], lr=self.learning_rate, weight_decay=0.0
        )
        falling = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: max(0.0, 1 - step / self.steps))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": falling, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave the base out."""
        checkpoint["state_dict"] = {k: v for k, v in checkpoint["state_dict"].items() if ".lora_" in k}


def tune(settings: Mapping[str, Any], folder: Path) -> RunFolder:
    """Train an adapter; the same command goes on with a run that was broken off.

    Args:
        settings: the resolved configuration.
        folder: the run folder, in which `adapter` is written.

    Raises:
        ConfigError: a setting cannot be used.
        ManifestError: no training row has the labels.
        WeightsError: the model cannot be used.
        RunError: another run is in the folder.
    """
    node = {key: value for key, value in settings["tune"].items() if key != "folder"}
    spec: TuneSpec = build({"_target_": "subtext.vlm.spec.TuneSpec", **node}, TuneSpec)
    seed, run = int(settings["seed"]), RunFolder(folder)
    if settings["vlm"].get("adapter"):
        raise ConfigError("vlm.adapter: tuning begins with a fresh adapter; leave it out")
    if settings["cv"] is not None and settings["fold"] is None:
        raise ConfigError("cv: tuning is of one fold; name it by fold=0, fold=1 ...")
    if settings["endpoint"]["url"] is not None:
        raise ConfigError("endpoint.url: a model behind a server cannot be tuned; leave it out and set vlm.path")
    questions = Questions(settings["prompts"], ["incongruent"])
    vlm = make_vlm(settings)
    corpus = read_corpus(settings)
    examples = examples_of(corpus.manifest, questions, str(settings["labels"]), seed)
    encoder = Encoder(vlm)
    if run.file(RunFile.ADAPTER).exists() and not settings["overwrite"]:
        raise RunError(f"{folder} holds a finished adapter; choose another name=, or replace it by overwrite=true")
    if run.is_begun and not run.file(RunFile.ADAPTER).exists() and _same(run.settings(), settings):
        log.info("going on with %s", folder)
    else:
        run.begin(dict(settings), overwrite=bool(settings["overwrite"]))
    stream = Stream(len(examples), spec.every * spec.batch_size, seed)
    taught = _taught(examples, stream, spec.steps * spec.batch_size)
    with run.writing():
        write_csv(taught, run.file(RunFile.EXAMPLES))
    base = folder_digest(vlm.folder, DigestMemory(Path(settings["paths"]["work"]) / "vlm" / "files.sqlite"))
    model = vlm.model
    torch.manual_seed(mix(seed, 3))  # of the adapters' first numbers
    names = targets(vlm.spec, model)
    add_adapter(model, names, rank=spec.rank, alpha=spec.alpha, dropout=spec.dropout)
    task = VlmTask(model, learning_rate=spec.learning_rate, steps=spec.steps, seed=seed)
    shown = Shown(examples, Clips(settings, corpus.manifest), questions, vlm.spec.frames)
    loader = DataLoader(shown, spec.batch_size, sampler=stream, collate_fn=encoder)
    began = time.perf_counter()
    losses = _fit(task, loader, spec, torch.device(vlm.spec.device), folder)
    with run.writing():
        write_csv(losses, run.file(RunFile.HISTORY))
        write_adapter(model, run.file(RunFile.UNFINISHED_ADAPTER), rank=spec.rank, alpha=spec.alpha, base=base)
    run.add_facts(
        {
            "tuning": {
                "labels": settings["labels"],
                "family": vlm.spec.name,
                "base": vlm.folder.name,
                "base_sha256": base,
                "layers": len(names),
                "trainable_parameters": sum(w.numel() for w in model.parameters() if w.requires_grad),
                "parameters": parameter_count(vlm.folder),
                "rows": int(taught["id"].nunique()),
                "questions": len(taught),
                "steps": spec.steps,
                "seconds": round(time.perf_counter() - began, 1),
            }
        }
    )
    with run.writing():
        run.file(RunFile.UNFINISHED_ADAPTER).rename(run.file(RunFile.ADAPTER))
        forget(run.path)
    return run


def _fit(task: VlmTask, loader: "DataLoader[Any]", spec: TuneSpec, device: torch.device, folder: Path) -> pd.DataFrame:
    """Train to the last step, from the newest checkpoint where there is one."""
    checkpoints = Checkpoints(folder, lambda figures: log.info("step %(step)d: loss %(train_loss).4f", figures))
    try:
        with quiet_lightning():
            trainer = _trainer(spec, device, checkpoints, folder)
            with interruptible(trainer):
                trainer.fit(task, loader, ckpt_path=resumable(folder), weights_only=True)
    except NotFiniteError:
        raise NotFiniteError(
            "the loss is not a number any more; lower tune.learning_rate, and overwrite=true"
        ) from None
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not is_out_of_memory(error):
            raise
        raise RunError(
            f"out of memory with {spec.batch_size} prompts a step; lower tune.batch_size or frames.count"
        ) from error
    if trainer.global_step != spec.steps:
        raise RunError(f"{folder}: training ended at step {trainer.global_step} of {spec.steps}; run it again")
    return pd.DataFrame(checkpoints.history)


def _trainer(spec: TuneSpec, device: torch.device, checkpoints: Checkpoints, folder: Path) -> pl.Trainer:
    return pl.Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=[device.index or 0] if device.type == "cuda" else 1,
        max_epochs=spec.steps // spec.every,  # with max_steps, a resumed run takes an epoch for begun
        gradient_clip_val=1.0,
        callbacks=[checkpoints],
        plugins=[SafeCheckpointIO()],
        logger=False,
        enable_progress_bar=sys.stderr.isatty(),
        enable_model_summary=False,
        use_distributed_sampler=False,
        default_root_dir=str(folder),
    )


def _taught(examples: Sequence[Example], stream: Stream, wanted: int) -> pd.DataFrame:
    """What will be asked in which order."""
    numbers: list[int] = []
    epoch = 0
    while len(numbers) < wanted:
        stream.set_epoch(epoch)
        numbers += list(stream)
        epoch += 1
    stream.set_epoch(0)
    rows = [examples[number] for number in numbers[:wanted]]
    told = [(one.row, one.wording.head, one.wording.name, one.answer) for one in rows]
    return pd.DataFrame(told, columns=["id", "head", "wording", "answer"])


def _same(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> bool:
    return {k: v for k, v in ours.items() if k not in _FREE} == {k: v for k, v in theirs.items() if k not in _FREE}
