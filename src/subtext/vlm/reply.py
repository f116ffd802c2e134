"""The counsellor's next reply by a model that sees the client, in the form and by the prompts of `subtext-replies`."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from subtext.errors import RunError
from subtext.features.content import DigestMemory
from subtext.manifest.read import read_table
from subtext.replies import prompts
from subtext.replies.exchanges import client_turns, drawn, of_splits
from subtext.replies.generate import write_replies
from subtext.replies.prompts import Prompt, make_prompts
from subtext.runs.prepare import read_corpus
from subtext.vlm.answers import generate
from subtext.vlm.endpoint import Refused, RemoteVlm
from subtext.vlm.inputs import Sample, Vlm
from subtext.vlm.loading import model_digest
from subtext.vlm.score import Clips, is_out_of_memory, make_vlm

log = logging.getLogger(__name__)


class VlmReplies:
    """Likeliest replies to prompts about turns whose pictures are shown; a generator as `write_replies` takes it.

    A turn is one turn of the user: families without system messages get the task as its beginning. Where a turn has no
    pictures the model goes by its words.

    Args:
        vlm: the model.
        clips: the rows that the prompts are about.
        introductions: what is said of `{n}` pictures, by how they are given.
        tokens: of the longest reply.
    """

    def __init__(self, vlm: Vlm, clips: Clips, introductions: Mapping[str, str], tokens: int) -> None:
        self.vlm, self._clips, self._introductions, self._tokens = vlm, clips, introductions, tokens

    def __call__(self, prompts: Sequence[Prompt]) -> list[str | None]:
        """The replies; None where a prompt is longer than the model reads."""
        shown = self._clips.read([prompt.id for prompt in prompts])[0]
        samples = [Sample(self._text(prompt, frames := shown[prompt.id].frames), frames) for prompt in prompts]
        if isinstance(self.vlm, RemoteVlm):
            return [self._served(self.vlm, sample) for sample in samples]
        groups: dict[object, list[int]] = {}
        for place, sample in enumerate(samples):
            groups.setdefault(None if sample.frames is None else sample.frames.images.shape, []).append(place)
        replies: list[str | None] = [None] * len(samples)
        for places in groups.values():
            for place, reply in zip(places, self._made([samples[place] for place in places]), strict=True):
                replies[place] = reply
        return replies

    def _text(self, prompt: Prompt, frames: Any) -> str:
        said = {"system": "", "user": "Client: ", "assistant": "Counsellor: "}
        parts = [said[message["role"]] + message["content"] for message in prompt.messages]
        if frames is not None:
            parts.insert(1, self._introductions[self.vlm.spec.frames].format(n=len(frames.images)))
        return "\n".join(parts)

    def _made(self, samples: Sequence[Sample]) -> list[str | None]:
        encoded = self.vlm.encode(samples)
        most = self.vlm.context
        if most is not None and max(encoded.tokens) + self._tokens > most:
            if len(samples) == 1:
                return [None]
            return [reply for sample in samples for reply in self._made([sample])]
        try:
            return [text.strip() for text in generate(self.vlm, encoded, self._tokens)[1]]
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and not is_out_of_memory(error):
                raise
        if len(samples) == 1:
            raise RunError(
                "out of memory with one prompt; lower frames.count or frames.max_side. Replies so far are kept"
            )
        log.warning("out of memory with %d prompts at once; halved", len(samples))
        half = len(samples) // 2
        return [*self._made(samples[:half]), *self._made(samples[half:])]

    def _served(self, vlm: RemoteVlm, sample: Sample) -> str | None:
        try:
            return vlm.write(sample, self._tokens, listed=False).text.strip()
        except Refused as error:
            log.warning("no reply: %s", error)
            return None


def reply(settings: Mapping[str, Any]) -> tuple[Path, int]:
    """Write replies to the clients' turns of some splits; the same command goes on with what is there.

    Args:
        settings: the resolved configuration.

    Returns:
        The file, JSON Lines as `subtext-replies` reads them, and how many replies were made now.

    Raises:
        ConfigError: a setting cannot be used, or the file was made with others.
        ManifestError: no turn has words, or a turn has no prediction.
        WeightsError: the model cannot be used.
    """
    node = settings["reply"]
    out = Path(node["out"])
    vlm = make_vlm(settings)
    corpus = read_corpus(settings)
    if isinstance(vlm, RemoteVlm):
        vlm.endpoint.check(corpus.description)
        digest = vlm.digest
    else:
        memory = DigestMemory(Path(settings["paths"]["work"]) / "vlm" / "files.sqlite")
        digest = model_digest(vlm.folder, vlm.spec.adapter, memory)
    turns = drawn(client_turns(of_splits(corpus.manifest, node["split"]), int(node["before"])), node["limit"])
    predictions = None if node["predictions"] is None else read_table(Path(node["predictions"]))
    asked = make_prompts(turns, node["hint"], predictions)
    generator = VlmReplies(
        vlm, Clips(settings, corpus.manifest), settings["prompts"]["parts"], int(node["max_new_tokens"])
    )
    shaping = {
        "system": node["system"] or out.stem,
        "seed": int(settings["seed"]),
        "corpus": corpus.manifest.name,
        "model": digest,
        "family": vlm.spec.name,
        "dtype": vlm.spec.dtype,
        "four_bit": vlm.spec.four_bit,
        "prompts": prompts.VERSION,
        "pictures": settings["prompts"]["version"],
        "frames": settings["frames"],
        **{name: node[name] for name in ("hint", "before", "max_new_tokens", "batch_size")},
    }
    return out, write_replies(asked, generator, out, shaping, batch_size=int(node["batch_size"]))
