"""Training speed of the `crossmodal` fusion against MulT as packaged by MMSA, on the same random tensors.

MMSA brings its own requirements, so it lives in an environment of its own, with the version of torch that runs here:

    python -m venv mmsa-venv
    mmsa-venv/bin/pip install MMSA==2.2.1 torch==2.11.0
    python benchmarks/mult_speed.py --mult-python mmsa-venv/bin/python [--layers 4]

Every measurement is a process of its own with one thread; the models take turns, so that a change in the machine's
load meets all. Counted are the forward pass, the loss (binary cross-entropy of one logit), the backward pass and
Adam's step, over whole epochs after one that is not counted. The models get the same clips in the same order: three
modalities of `--steps` tokens of `--width`, with as many heads, levels and clips a batch.

What is the same and what is not. Depth is what each model calls it: blocks of exchange for `crossmodal`, `nlevels` for
MulT. MulT has six cross-modal transformers of that depth, and three self-attention transformers of twice the width
which its code makes at least three layers deep. `crossmodal` shares one block a level between all pairs and has no
self-attention, so it is a much smaller model: parameters are printed. Its feed-forward layers are twice as wide as the
tokens in our configuration, and four times in MulT. Variants:

- configured: `conf/fusion/crossmodal.yaml` with the depth, width and heads that are asked for;
- feed_forward: the same with feed-forward layers as wide as MulT's;
- wider: as feed_forward, and so wide that it has about as many parameters as MulT, tokens projected to that width;
- deeper (only where asked for): as feed_forward, with so many levels that it has about as many parameters as MulT.

MulT's causal mask is on, as its configuration has it. Of its dropouts only those are on that `crossmodal` has as well:
in the feed-forward layers and before the output. It has no padding masks; ours is given masks that are True everywhere.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import types
from pathlib import Path
from typing import Any

MODALITIES = ("text", "prosody", "visual")
VARIANTS = ("configured", "feed_forward", "wider", "deeper")
DROPOUT = 0.1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mult-python", help="Python of the environment with MMSA")
    parser.add_argument("--steps", type=int, nargs="+", default=[50, 8], help="tokens of each modality")
    parser.add_argument("--width", type=int, default=128)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--clips", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=2, help="that are counted")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS[:3]))
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(**json.loads(options.measure))))
        return
    if not options.mult_python:
        parser.error("--mult-python is needed: the Python of an environment with MMSA, see above")
    for steps in options.steps:
        shape = {name: getattr(options, name) for name in ("width", "heads", "layers", "batch", "clips", "epochs")}
        compare(options.mult_python, options.variants, options.rounds, {**shape, "steps": steps})


def compare(mult_python: str, variants: list[str], rounds: int, shape: dict[str, Any]) -> None:
    """Measure MulT and every variant in turn, and print medians and ratios."""
    found: dict[str, list[dict[str, float]]] = {name: [] for name in ("mult", *variants)}
    for _ in range(rounds):
        for name in found:
            asked = {"name": name, **shape}
            if name in ("wider", "deeper"):
                asked["parameters"] = found["mult"][0]["parameters"]
            found[name].append(run(mult_python if name == "mult" else sys.executable, asked))
    print(
        f"\n3 x {shape['steps']} x {shape['width']}, {shape['heads']} heads, {shape['layers']} levels, batch "
        f"{shape['batch']}, {shape['clips']} clips, {shape['epochs']} epochs, one thread, medians of {rounds} rounds:"
    )
    clips = shape["clips"] * shape["epochs"]
    print("| model | levels | width | parameters | clips/s | clips a CPU second | times MulT, wall | times MulT, CPU |")
    print("|---|---|---|---|---|---|---|---|")
    for name, measured in found.items():
        speed = [clips / m["wall"] for m in measured]
        cpu = [clips / m["cpu"] for m in measured]
        # A round's two measurements stood under the same load; their ratio is steadier than that of two medians.
        ratios = [
            [reference[clock] / own[clock] for reference, own in zip(found["mult"], measured, strict=True)]
            for clock in ("wall", "cpu")
        ]
        label = "MulT (MMSA)" if name == "mult" else f"crossmodal, {name}"
        size = f"{measured[0]['levels']:.0f} | {measured[0]['width']:.0f} | {measured[0]['parameters'] / 1e6:.2f} M"
        print(
            f"| {label} | {size} | {spread(speed, 0)} | {spread(cpu, 0)} | {' | '.join(spread(r, 2) for r in ratios)} |"
        )
    sys.stdout.flush()


def spread(values: list[float], digits: int) -> str:
    """The median, with the least and the most."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def run(python: str, asked: dict[str, Any]) -> dict[str, float]:
    """One measurement in a process of its own."""
    threads = {name: "1" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    done = subprocess.run(
        [python, __file__, "--measure", json.dumps(asked)],
        env=os.environ | threads,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"measuring {asked['name']} with {python} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def measure(
    name: str,
    steps: int,
    width: int,
    heads: int,
    layers: int,
    batch: int,
    clips: int,
    epochs: int,
    parameters: float = 0,
) -> dict[str, float]:
    """Train one model: seconds of the wall clock and of the processor, its levels and parameters."""
    import torch
    from torch.nn import functional

    torch.set_num_threads(1)
    torch.manual_seed(0)
    data = [torch.randn(clips, steps, width) for _ in MODALITIES]
    labels = torch.randint(0, 2, (clips, 1)).float()
    orders = [torch.randperm(clips) for _ in range(epochs + 1)]
    model: torch.nn.Module
    if name == "mult":
        model = mult(width, heads, layers)
    else:
        inner = width
        if name == "wider":
            inner = width_of(parameters, width, heads, layers)
        if name == "deeper":
            layers = levels_of(parameters, width, heads)
        model = crossmodal(width, inner, heads, layers, expansion=2 if name == "configured" else 4)
        width = inner
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    wall = cpu = 0.0
    for epoch, order in enumerate(orders):
        if epoch == 1:
            wall, cpu = time.perf_counter(), time.process_time()
        for rows in order.split(batch):
            loss = functional.binary_cross_entropy_with_logits(model(*(part[rows] for part in data)), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"wall": wall, "cpu": cpu, "levels": layers, "width": width, "parameters": count(model)}


def count(model: Any) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def mult(width: int, heads: int, layers: int) -> Any:
    """MMSA's MulT; what it gives is the logit."""
    from MMSA.models.singleTask.MULT import MULT
    from torch import Tensor, nn

    class Logit(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = MULT(
                types.SimpleNamespace(
                    use_bert=False,
                    dst_feature_dim_nheads=(width, heads),
                    feature_dims=(width, width, width),
                    nlevels=layers,
                    attn_mask=True,
                    attn_dropout=0.0,
                    attn_dropout_a=0.0,
                    attn_dropout_v=0.0,
                    relu_dropout=DROPOUT,
                    embed_dropout=0.0,
                    res_dropout=0.0,
                    output_dropout=DROPOUT,
                    text_dropout=0.0,
                    train_mode="regression",
                    num_classes=1,
                    conv1d_kernel_size_l=1,
                    conv1d_kernel_size_a=1,
                    conv1d_kernel_size_v=1,
                )
            )
            # It makes convolutions that change the width even where the width fits, and then never calls them.
            for unused in ("proj_l", "proj_a", "proj_v"):
                delattr(self.model, unused)

        def forward(self, text: Tensor, prosody: Tensor, visual: Tensor) -> Tensor:
            return self.model(text, prosody, visual)["M"]

    return Logit()


def crossmodal(width: int, inner: int, heads: int, layers: int, expansion: int) -> Any:
    """`crossmodal` of a width of its own, with one linear head."""
    import torch
    import yaml
    from torch import Tensor, nn

    from subtext.core.building import build
    from subtext.encoders.tokens import Tokens

    settings = yaml.safe_load(
        (Path(__file__).resolve().parents[1] / "conf" / "fusion" / "crossmodal.yaml").read_text(encoding="utf-8")
    )
    settings |= {"heads": heads, "layers": layers, "expansion": expansion, "dropout": DROPOUT}

    class Logit(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fusion = build(settings, modalities=list(MODALITIES), dim=inner)
            same = inner == width
            self.project = nn.ModuleList(nn.Identity() if same else nn.Linear(width, inner) for _ in MODALITIES)
            self.head = nn.Linear(inner, 1)

        def forward(self, *parts: Tensor) -> Tensor:
            tokens = {
                modality: Tokens(project(part), torch.ones(part.shape[:2], dtype=torch.bool))
                for modality, project, part in zip(MODALITIES, self.project, parts, strict=True)
            }
            return self.head(self.fusion(tokens).embedding)

    return Logit()


def count_of(width: int, inner: int, heads: int, layers: int) -> int:
    """The parameters of `crossmodal` with these sizes, without making them."""
    import torch

    with torch.device("meta"):
        return count(crossmodal(width, inner, heads, layers, expansion=4))


def levels_of(parameters: float, width: int, heads: int) -> int:
    """How many levels give `crossmodal` about as many parameters."""
    one, two = (count_of(width, width, heads, layers) for layers in (1, 2))
    return max(1, round(1 + (parameters - one) / (two - one)))


def width_of(parameters: float, width: int, heads: int, layers: int) -> int:
    """Which width, a multiple of 8 times the heads, gives `crossmodal` about as many parameters."""
    widths = range(width, 16 * width, 8 * heads)
    return min(widths, key=lambda inner: abs(count_of(width, inner, heads, layers) - parameters))


if __name__ == "__main__":
    main()
