"""The model: encoders, a fusion and heads."""

import copy
import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, cast

import torch
from torch import Tensor, nn

from subtext.core.building import build
from subtext.encoders.encoder import Encoder, read_safetensors
from subtext.encoders.tokens import Tokens
from subtext.errors import ConfigError, WeightsError
from subtext.fusion.base import Fusion
from subtext.model.heads import HEADS, Heads
from subtext.model.posterior import PosteriorCells

log = logging.getLogger(__name__)

AUXILIARY: Final = "auxiliary/"
"""What the fusion's own losses are called among the answers, before their names."""
ANCHORED: Final = "anchor/"
"""What the answers that a fusion stands on are called among the answers, before the names of their heads."""
ANCHOR: Final = "anchor"
"""The setting of any fusion that says what it stands on."""
Anchor = Literal["posterior"]


class IncongruenceClassifier(nn.Module):
    """Streams of up to three modalities -> an answer per head.

    Args:
        encoders: one per modality, in the project's order.
        fusion: how the modalities are brought together: from their tokens, or from what their own heads say; None where
            every head reads one modality only.
        heads: the questions.
        anchor: posterior cells that a fusion of tokens stands on: its answer is added to theirs, as far as its gates
            are open. None: so it is with the heads' direct readers, if there are any.

    Raises:
        ConfigError: the parts do not fit together.
    """

    gates: Tensor

    def __init__(
        self,
        *,
        encoders: Mapping[str, Encoder],
        fusion: Fusion | PosteriorCells | None,
        heads: Heads,
        anchor: PosteriorCells | None = None,
    ) -> None:
        super().__init__()
        if not encoders:
            raise ConfigError("the model has no encoder; choose one: encoder/visual, encoder/text or encoder/prosody")
        if len({encoder.dim for encoder in encoders.values()}) > 1:
            widths = ", ".join(f"encoder.{name}.dim={encoder.dim}" for name, encoder in encoders.items())
            raise ConfigError(f"encoders must agree on the width of their tokens, got {widths}")
        if fusion is None and heads.need_fusion:
            fused = ", ".join(spec.name for spec in heads.specs if spec.modality is None)
            raise ConfigError(
                f"without a fusion there is nothing to read {fused} from; set fusion, or drop these heads"
            )
        for spec in heads.specs:
            if spec.modality is not None and spec.modality not in encoders:
                raise ConfigError(f"the head '{spec.name}' needs encoder/{spec.modality}, which is off")
        self.encoders = nn.ModuleDict(dict(encoders))
        self.fusion = fusion if isinstance(fusion, Fusion) else None
        if not any(spec.modality for spec in heads.specs):
            anchor = None  # no head gives a posterior; what there is to stand on are direct readers
        self.posterior = fusion if isinstance(fusion, PosteriorCells) else anchor
        self.heads = heads
        if self.posterior is not None:
            self._read_posteriors(self.posterior)
        if self.fusion is None:
            # What nothing reads, or only a reader, would get no gradient.
            learning = {spec.modality for spec in heads.specs if spec.name not in heads.readers}
            for modality in self.modalities:
                if modality not in learning:
                    self.encoder(modality).requires_grad_(False)
        if self.is_anchored:
            heads.begin_with_nothing(self.anchored)
            # Open while the fusion learns; what they are afterwards is chosen on validation clips.
            self.register_buffer("gates", torch.ones(len(self.anchored)))
        self.register_load_state_dict_pre_hook(_with_cells_in_their_place)

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities that have an encoder."""
        return tuple(self.encoders)

    def encoder(self, modality: str) -> Encoder:
        """One modality's encoder."""
        return cast(Encoder, self.encoders[modality])

    @property
    def fused(self) -> tuple[str, ...]:
        """The heads that read no single modality."""
        return tuple(spec.name for spec in self.heads.specs if spec.modality is None)

    @property
    def anchored(self) -> tuple[str, ...]:
        """The heads of which the fusion's own answer is added to another one."""
        if self.fusion is None:
            return ()
        return tuple(name for name in self.fused if self.posterior is not None or name in self.heads.readers)

    @property
    def gates_by_head(self) -> dict[str, float]:
        """How far the fusion's own answer counts beside its anchor."""
        return {name: round(float(gate), 6) for name, gate in zip(self.anchored, self.gates, strict=True)}

    @property
    def is_anchored(self) -> bool:
        """Whether the answer of the fusion's tokens is added to another one."""
        return bool(self.anchored)

    def embed(self, streams: Mapping[str, Tokens], done: Collection[str] = ()) -> dict[str, Tokens]:
        """Raw streams through the backbones.

        Args:
            streams: by modality; modalities without an encoder are left out.
            done: modalities whose stream is already a backbone's output.
        """
        return {
            modality: streams[modality] if modality in done else self.encoder(modality).embed(streams[modality])
            for modality in self.modalities
            if modality in streams
        }

    def figures(self, head: str, embedded: Mapping[str, Tokens]) -> Tensor:
        """What a head's reader reads, `[batch, width]`; NaN where a modality is absent.

        Args:
            head: its name.
            embedded: as for `forward`.
        """
        rows = next(iter(embedded.values())).mask.shape[0]  # len() would keep an export to this number
        parts = []
        for modality in self.heads.reads(head):
            if modality in embedded:
                found = self.encoder(modality).figures(embedded[modality])
                parts.append(found.masked_fill(~embedded[modality].present.unsqueeze(1), torch.nan))
            else:
                like = next(iter(embedded.values())).values
                parts.append(like.new_full((rows, self.heads.read[modality]), torch.nan))
        return torch.cat(parts, dim=1)

    def read(self, embedded: Mapping[str, Tokens], means: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """What the readers say of the backbones' outputs: `[batch, classes]` by head.

        Args:
            embedded: as for `forward`.
            means: by head, of each row's person, `[batch, width]`, see `model.baseline`.
        """
        readers = self.heads.readers
        return {
            name: reader(self.figures(name, embedded), (means or {}).get(name))
            for name, reader in readers.items()
            if any(modality in embedded for modality in self.heads.reads(name))
        }

    def forward(
        self,
        embedded: Mapping[str, Tokens],
        hidden: Mapping[str, Tensor] | None = None,
        readings: Mapping[str, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Answer from the backbones' outputs.

        Args:
            embedded: `[batch, time, embed_dim]` by modality, as `embed` gives them.
            hidden: rows (bool `[batch]`) of each modality that the fusion shall not see, for modality dropout; the
                modality's own heads still do.
            readings: what readers say, by head, in place of `read(embedded)`; in training, of readers that were not
                fitted to these clips.

        Returns:
            Logits by head (see `Heads`), and `evidence` `[batch, n_modalities]` where the fusion has it. In training
            also the fusion's own losses as `auxiliary/NAME`, scalars; else what the fusion stands on as `anchor/NAME`.
        """
        if readings is None:
            readings = self.read(embedded)
        tokens = self._tokens(embedded)
        present = {m: sequence.present for m, sequence in tokens.items()}
        if hidden is not None:
            present = {m: there & ~hidden[m] if m in hidden else there for m, there in present.items()}
        if self.fusion is None:
            answers = self.heads(None, tokens, readings=readings)
            return answers if self.posterior is None else answers | self._from_posteriors(answers, present)
        fused = self.fusion(tokens if hidden is None else {m: t.drop(~present[m]) for m, t in tokens.items()})
        if fused.opinions is None:
            answers = self.heads(fused.embedding, tokens, readings=readings)
        else:
            answers = self.heads(fused.opinions, tokens, fused.evidence, readings)
        if self.is_anchored:
            anchors = _direct(readings) if self.posterior is None else self._from_posteriors(answers, present)
            for place, name in enumerate(self.anchored):
                answers[name] = anchors[name] + self.gates[place] * answers[name]
                if not self.training:
                    answers[f"{ANCHORED}{name}"] = anchors[name]
        if fused.evidence is not None:
            answers["evidence"] = fused.evidence
        answers |= {f"{AUXILIARY}{name}": loss for name, loss in fused.losses.items()}
        return answers

    def _from_posteriors(self, answers: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the cells answer; the heads that they read learn from their own labels alone."""
        cells = cast(PosteriorCells, self.posterior)
        logits = {m: answers[spec.name].detach() for m, spec in cells.reads.items() if spec.name in answers}
        found = cells(logits, present)
        return {name: found[name] for name in self.fused}

    def focus(self, embedded: Mapping[str, Tokens]) -> dict[str, Tensor] | None:
        """How the evidence is spread over the tokens, `[batch, time']` by modality; see `Fused.focus`.

        Args:
            embedded: as for `forward`.

        Returns:
            None where the fusion does not attend along time, or the model is in training mode.
        """
        if self.fusion is None:
            return None
        tokens = self._tokens(embedded)
        found = self.fusion(tokens).focus
        return None if found is None else {modality: found[modality] for modality in tokens}

    def _tokens(self, embedded: Mapping[str, Tokens]) -> dict[str, Tokens]:
        return {m: self.encoder(m).project(embedded[m]) for m in self.modalities if m in embedded}

    def fit_targets(self, targets: Mapping[str, Tensor]) -> None:
        """Take from the training labels what is no matter of gradients: scales of numbers, shares of cells.

        Args:
            targets: by head, float `[rows]`, NaN where unlabelled.

        Raises:
            ConfigError: the fusion needs labels that no training clip carries.
        """
        self.heads.fit_scales(targets)
        if self.posterior is None:
            return
        self.posterior.fit(targets)
        for modality, spec in self.posterior.reads.items():
            if spec.name not in self.heads.names:
                learns = "" if modality in self._read_alone else "; its encoder does not learn"
                log.warning("fusion=posterior does not use %s, which has no head %s%s", modality, spec.name, learns)

    @property
    def _read_alone(self) -> set[str | None]:
        """Modalities with a head of their own."""
        return {spec.modality for spec in self.heads.specs}

    def _read_posteriors(self, posterior: PosteriorCells) -> None:
        posterior.choose_cells(self.heads.names)
        wanted = [spec.name for spec in posterior.reads.values()]
        if not set(wanted) & set(self.heads.names):
            raise ConfigError(
                "fusion=posterior combines posteriors of single modalities, and there is no head to give one; add "
                f"{' or '.join(wanted)} to task.heads if the corpus labels it, else choose another fusion"
            )
        if self.fusion is None:
            self.heads.leave_to_cells()

    def counts(self) -> dict[str, int]:
        """How many parameters train and how many are frozen."""
        counts = {"trainable": 0, "frozen": 0}
        for parameter in self.parameters():
            counts["trainable" if parameter.requires_grad else "frozen"] += parameter.numel()
        return counts

    def flops(self, streams: Mapping[str, Tokens]) -> int:
        """Floating-point operations (a multiplication and an addition count as two) of one pass over raw streams."""
        from torch.nn.attention import SDPBackend, sdpa_kernel
        from torch.utils.flop_counter import FlopCounterMode

        # The counter knows attention by its plain form only, and stumbles over views of parameters that train.
        model = copy.deepcopy(self).eval().requires_grad_(False)
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            model(model.embed(streams))
        return int(counter.get_total_flops())


def _direct(readings: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Readings of the heads that they belong to, as those answer."""
    return {name: read[:, 1] - read[:, 0] if HEADS[name].kind == "binary" else read for name, read in readings.items()}


def build_fusion(
    node: Mapping[str, Any] | None, modalities: Sequence[str], dim: int
) -> tuple[Fusion | PosteriorCells | None, PosteriorCells | None]:
    """A fusion of the configuration, and the cells that it is to stand on.

    Args:
        node: its `_target_` and settings; `anchor: posterior` beside them asks for cells. None for no fusion.
        modalities: names, in order.
        dim: width of the tokens.

    Raises:
        ConfigError: a setting cannot be used.
    """
    if not node:
        return None, None
    settings = {key: value for key, value in node.items() if key != ANCHOR}
    fusion: Fusion | PosteriorCells = build(settings, (Fusion, PosteriorCells), modalities=list(modalities), dim=dim)
    anchored = node.get(ANCHOR) is not None and isinstance(fusion, Fusion)
    return fusion, PosteriorCells(modalities=modalities, dim=dim) if anchored else None


def load_weights(
    classifier: IncongruenceClassifier, path: Path, described: str, weights: Mapping[str, Tensor] | None = None
) -> None:
    """Give a classifier the weights of a safetensors file.

    Args:
        classifier: gets them.
        path: the file.
        described: the file beside it that describes the model.
        weights: what the file holds; None: read it.

    Raises:
        WeightsError: it is unreadable, or of another model.
    """
    tensors = read_safetensors(path) if weights is None else weights
    try:
        classifier.load_state_dict(dict(tensors))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise WeightsError(
            f"{path} does not fit the model that {described} beside it describes ({reason}); they come from "
            "different runs: copy a run folder as a whole"
        ) from error


def _with_cells_in_their_place(module: nn.Module, weights: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Earlier versions kept the cells where other strategies are."""
    cells = [name for name in weights if name.startswith(f"{prefix}fusion.")]
    classifier = cast(IncongruenceClassifier, module)
    if classifier.posterior is not None and classifier.fusion is None:
        for name in cells:
            weights[f"{prefix}posterior.{name.removeprefix(f'{prefix}fusion.')}"] = weights.pop(name)
