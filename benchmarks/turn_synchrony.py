"""How often `subtext.behaviour.synchrony.turn_synchrony` calls voices synchronous that are not, and ones that are.

Kinds of two independent voices: noise; straight lines, other ones in each voice, or the same; curves (parabolas of any
direction; the same exponential or the same full wave in both); a step in each; autoregression of the first order, .3 to
.9; random walks, bare or under noise. Kinds of two voices of which the second follows the first: on noise, on slow
noise, and a second voice that is slow where the first is not.

Each is tried with other turns in every exchange, and as a conversation has it that goes to and fro: each turn is the
second of one exchange and the first of the next. Beside it stands the test that slides one voice along the other.

    python benchmarks/turn_synchrony.py --samples 2000
"""

import argparse
from typing import Final

import numpy as np
import numpy.typing as npt

from subtext.behaviour.synchrony import turn_synchrony

Floats = npt.NDArray[np.float64]

INDEPENDENT: Final = (
    "noise",
    "lines",
    "same line",
    "curves",
    "same curve",
    "same wave",
    "steps",
    "slow .3",
    "slow",
    "very slow",
    "lines, slow",
    "walks",
    "noisy walks",
)
FOLLOWING: Final = ("synchrony", "strong synchrony", "slow synchrony", "slow leader")


def autoregressive(generator: np.random.Generator, length: int, weight: float) -> Floats:
    """Noise of variance 1 of which each value holds `weight` of the one before."""
    values = generator.normal(size=length + 60)
    for place in range(1, len(values)):
        values[place] += weight * values[place - 1]
    return np.asarray(values[60:] * np.sqrt(1 - weight**2))


def voices(kind: str, generator: np.random.Generator, length: int) -> tuple[Floats, Floats]:
    """Two voices' values at each exchange, `[length]`."""
    time = np.linspace(-1.0, 1.0, length)

    def noise() -> Floats:
        return generator.normal(size=length)

    def size() -> float:
        return float(generator.choice([-1, 1]) * generator.uniform(0.5, 2.0))

    def one() -> Floats:
        if kind in ("noise", "lines", "same line", "curves", "same curve", "same wave", "steps"):
            drift = {
                "noise": 0 * time,
                "lines": 1.5 * size() * time,
                "same line": 1.5 * time,
                "curves": 1.5 * size() * time + 2 * size() * (time**2 - 1 / 3),
                "same curve": 2.5 * np.exp(-3 * (time + 1)),
                "same wave": 1.2 * np.sin(np.pi * time),
                "steps": 2 * size() * (time > generator.uniform(-0.6, 0.6)),
            }[kind]
            return np.asarray(noise() + drift)
        if kind == "walks":
            return np.cumsum(noise())
        if kind == "noisy walks":
            return np.asarray(0.3 * np.cumsum(noise()) + noise())
        weight = {"slow .3": 0.3, "slow": 0.7, "very slow": 0.9, "lines, slow": 0.5}[kind]
        return autoregressive(generator, length, weight) + (1.5 * size() * time if kind == "lines, slow" else 0.0)

    if kind in INDEPENDENT:
        return one(), one()
    shared = {"synchrony": 0.4, "strong synchrony": 0.55, "slow synchrony": 0.45, "slow leader": 0.45}[kind]
    first = noise() if "slow" not in kind else autoregressive(generator, length, 0.5)
    own = autoregressive(generator, length, 0.5) if kind == "slow synchrony" else noise()
    return first, shared * first + np.sqrt(1 - shared**2) * own


def alternating(kind: str, generator: np.random.Generator, exchanges: int) -> tuple[Floats, Floats]:
    """The same for a conversation to and fro: every turn but the outer ones stands in two exchanges."""
    first, second = voices(kind, generator, exchanges // 2 + 1)
    place = np.arange(exchanges)
    return first[(place + 1) // 2], second[place // 2]


def sliding_p(first: Floats, second: Floats) -> float:
    """P by sliding the second voice along the first, around the end, as it was before drift was taken off."""
    one, two = first - first.mean(), second - second.mean()
    slid = np.array([(one * np.roll(two, shift)).sum() for shift in range(len(one))])
    return float(np.mean(slid >= slid[0]))


def main() -> None:
    """Simulate and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--exchanges", type=int, nargs="+", default=[20, 40, 100, 300])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for exchanges in options.exchanges:
        print(f"\n{exchanges} exchanges, {options.samples} samples\n")
        print("| voices | p <= .05 | by sliding | to and fro | by sliding |\n|---|---|---|---|---|", flush=True)
        for kind in (*INDEPENDENT, *FOLLOWING):
            cells = []
            for draw in (voices, alternating):
                generator = np.random.default_rng(options.seed)
                pairs = [draw(kind, generator, exchanges) for _ in range(options.samples)]
                cells.append(np.mean([turn_synchrony(*pair).p <= 0.05 for pair in pairs]))
                cells.append(np.mean([sliding_p(*pair) <= 0.05 for pair in pairs]))
            print(f"| {kind} | {' | '.join(f'{cell:.1%}' for cell in cells)} |", flush=True)


if __name__ == "__main__":
    main()
