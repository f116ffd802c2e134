"""What a trained model costs to run: parameters, operations, time and memory.

Measured on streams as they come from the cache, of the corpus's median lengths: the encoders' backbones and
projections, the fusion and the heads. What comes before is not covered: decoding, finding faces, measuring prosody and
the sentence model, which are the same for every fusion.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

from subtext.core.threads import of_threads
from subtext.errors import RunError, SubtextError

BATCHES: Final = (1, 64)
"""Clips at once: one, as when somebody waits for it, and as many as are worth while."""
SECONDS: Final = 3.0
"""How long a batch size is measured, once the least number of passes is done."""
PASSES: Final = (5, 200)
"""Least and largest number of passes that are timed, after two that are not."""


def measure_cost(run: Path | str, trust: Collection[str] = ()) -> dict[str, Any]:
    """Measure the model of a run in a process of its own, on one thread of the CPU.

    Args:
        run: folder of a training run, with the table of extraction results that training leaves in it.
        trust: see `subtext.runs.folder.RunFolder`.

    Returns:
        `parameters` (`trainable`, `frozen`), `flops_per_clip`, `steps` (of each modality's stream), `ms_per_clip` by
        batch size (`"1"`, `"64"`), the median over passes, `core_share`, for how much of the time that was measured the
        process had a core (clearly below 1 on a machine with other work, whose times are then too long),
        `peak_memory_mb` of the whole process with Python and torch in it, and `own_memory_mb`, the weights and what
        computing added to the process (MiB). Memory is None where the system does not tell.

    Raises:
        RunError: the folder holds no finished run, or measuring failed.
    """
    # One thread must be asked for before torch is loaded.
    done = subprocess.run(
        # -P, or modules of the folder that the command is called in, perhaps somebody's run, would come first.
        [sys.executable, "-P", "-m", __name__, os.fspath(run), *trust],
        env={**os.environ, **of_threads(1)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise RunError(f"cannot measure what {run} costs: {last}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def measure_here(run: Path, trust: Collection[str] = ()) -> dict[str, Any]:
    """As `measure_cost`, in this process, whatever else is in its memory.

    Raises:
        RunError: the folder holds no finished run.
        TrustError: the model has a part that is not trusted.
        WeightsError: the weights are missing or unreadable.
        CacheError: the table of extraction results is missing.
    """
    import torch

    from subtext.encoders.tokens import Tokens
    from subtext.features.index import FeatureIndex
    from subtext.model.batches import typical_clip
    from subtext.runs.folder import RunFolder

    folder = RunFolder(run, trust)
    described = folder.model()
    index = FeatureIndex.load(run)
    classifier = folder.classifier()
    clip = typical_clip(index, classifier.modalities, described["max_steps"])
    weights = sum(tensor.nbytes for tensor in classifier.state_dict().values()) / 2**20
    before = peak_memory()
    milliseconds = {}
    wall = computed = 0.0
    with torch.inference_mode():
        for batch in BATCHES:
            streams = {
                modality: Tokens(
                    tokens.values.expand(batch, *tokens.values.shape[1:]).contiguous(), tokens.mask.expand(batch, -1)
                )
                for modality, tokens in clip.items()
            }
            for _ in range(2):
                classifier(classifier.embed(streams))
            passes: list[float] = []
            at_work = time.process_time()
            while len(passes) < PASSES[0] or (sum(passes) < SECONDS and len(passes) < PASSES[1]):
                began = time.perf_counter()
                classifier(classifier.embed(streams))
                passes.append(time.perf_counter() - began)
            computed += time.process_time() - at_work
            wall += sum(passes)
            milliseconds[str(batch)] = 1000 * statistics.median(passes) / batch
    after = peak_memory()
    return {
        "parameters": classifier.counts(),
        # After memory was read, because counting loads much that computing does not need.
        "flops_per_clip": classifier.flops(clip),
        "steps": {modality: tokens.mask.shape[1] for modality, tokens in clip.items()},
        "ms_per_clip": milliseconds,
        # On one thread; a process that has several is not short of cores.
        "core_share": min(1.0, computed / wall),
        "peak_memory_mb": after,
        "own_memory_mb": None if before is None or after is None else weights + after - before,
    }


def peak_memory() -> float | None:
    """The most memory that this process has held, in MiB."""
    try:
        # Not what getrusage gives, which begins with what the process held that started this one.
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024
    except (OSError, StopIteration, ValueError, IndexError):
        return None


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    try:
        print(json.dumps(measure_here(Path(sys.argv[1]), sys.argv[2:])))
    except SubtextError as problem:
        sys.exit(f"{type(problem).__name__}: {problem}")
