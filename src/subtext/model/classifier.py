"""The model: encoders, a fusion and heads."""

import copy
import logging
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Final, cast

import torch
from torch import Tensor, nn

from subtext.encoders.encoder import Encoder, read_safetensors
from subtext.encoders.tokens import Tokens
from subtext.errors import ConfigError, WeightsError
from subtext.fusion.base import Fusion
from subtext.model.heads import Heads
from subtext.model.posterior import PosteriorCells

log = logging.getLogger(__name__)

AUXILIARY: Final = "auxiliary/"
"""What the fusion's own losses are called among the answers, before their names."""


class IncongruenceClassifier(nn.Module):
    """Streams of up to three modalities -> an answer per head.

    Args:
        encoders: one per modality, in the project's order.
        fusion: how the modalities are brought together: from their tokens, or from what their own heads say; None where
            every head reads one modality only.
        heads: the questions.

    Raises:
        ConfigError: the parts do not fit together.
    """

    def __init__(
        self, *, encoders: Mapping[str, Encoder], fusion: Fusion | PosteriorCells | None, heads: Heads
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
        self.posterior = fusion if isinstance(fusion, PosteriorCells) else None
        self.heads = heads
        if self.posterior is not None:
            self._read_posteriors(self.posterior)
        self.register_load_state_dict_pre_hook(_with_cells_in_their_place)

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities that have an encoder."""
        return tuple(self.encoders)

    def encoder(self, modality: str) -> Encoder:
        """One modality's encoder."""
        return cast(Encoder, self.encoders[modality])

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

    def forward(self, embedded: Mapping[str, Tokens], hidden: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """Answer from the backbones' outputs.

        Args:
            embedded: `[batch, time, embed_dim]` by modality, as `embed` gives them.
            hidden: rows (bool `[batch]`) of each modality that the fusion shall not see, for modality dropout; the
                modality's own heads still do.

        Returns:
            Logits by head (see `Heads`), `evidence` `[batch, n_modalities]` where the fusion has it and, in training,
            the fusion's own losses as `auxiliary/NAME`, scalars.
        """
        tokens = self._tokens(embedded)
        present = {m: sequence.present for m, sequence in tokens.items()}
        if hidden is not None:
            present = {m: there & ~hidden[m] if m in hidden else there for m, there in present.items()}
        if self.fusion is None:
            answers = self.heads(None, tokens)
            return answers if self.posterior is None else answers | self._from_posteriors(answers, present)
        fused = self.fusion(tokens if hidden is None else {m: t.drop(~present[m]) for m, t in tokens.items()})
        if fused.opinions is None:
            answers = self.heads(fused.embedding, tokens)
        else:
            answers = self.heads(fused.opinions, tokens, fused.evidence)
        if fused.evidence is not None:
            answers["evidence"] = fused.evidence
        answers |= {f"{AUXILIARY}{name}": loss for name, loss in fused.losses.items()}
        return answers

    def _from_posteriors(self, answers: Mapping[str, Tensor], present: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the cells answer; the heads that they read learn from their own labels alone."""
        cells = cast(PosteriorCells, self.posterior)
        logits = {m: answers[spec.name].detach() for m, spec in cells.reads.items() if spec.name in answers}
        found = cells(logits, present)
        return {spec.name: found[spec.name] for spec in self.heads.specs if spec.modality is None}

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
        # What nothing reads would get no gradient.
        self.heads.leave_to_cells()
        for modality in self.modalities:
            if modality not in self._read_alone:
                self.encoder(modality).requires_grad_(False)

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
    if cast(IncongruenceClassifier, module).posterior is not None:
        for name in cells:
            weights[f"{prefix}posterior.{name.removeprefix(f'{prefix}fusion.')}"] = weights.pop(name)
