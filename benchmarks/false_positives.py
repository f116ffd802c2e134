"""How often the tests of `subtext.evaluation.paired` call a difference real where there is none, and find one there is.

Two systems that are equally good but not equal, on pairs that reuse parts: identities x dialogues x actors in the sizes
of the collage's test split (1,000 pairs of 528 identities, 251 dialogues, 6 actors). Both see one signal, with errors
of their own that stick to the parts: a face that one system misreads is misread in all its pairs. Designs differ in
where those errors sit:

- `offsets`: a system scores all pairs of a part higher or lower;
- `skills`: a system is better at some parts and worse at others;
- `misreadings`: each system perceives a polarity of each face and each wording, and scores their disagreement;
- `all three`: skills that hang on identity, dialogue and actor alike;
- `actors`: skills that hang on the actor above all, of whom there are few;
- `faces and words`: no error hangs on the actor;
- `pairs`: every pair has its own error: nothing is shared, so that plain DeLong is right.

`seeds`: several trainings a system, whose quality differs by more than the clips make it differ. `within`: figures
inside each of 24 actors, as on the swapped pairs of RAVDESS, with the paired t and the sign-flip test; the latter
speaks of these trainings only, so that it rejects far more where trainings differ. `encoders`: two systems on encoders
that each seed has trained anew, compared seed by seed or as if they shared nothing. `power`: the
share of samples in which a true difference of the size of the minimal detectable one is found; 80 % is promised.

A rate's interval is Clopper and Pearson's 95 % one. 3 to 7 % is what is asked for at alpha 5 %.

    python benchmarks/false_positives.py --replications 4000
    python benchmarks/false_positives.py --replications 4000 --actors 24 --designs offsets skills
"""

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import binomtest

from subtext.corpora.cells import draw_cells
from subtext.evaluation.intervals import Units
from subtext.evaluation.paired import ALPHA, POWER, PairedDifference, paired_auroc, paired_within
from subtext.evaluation.within import auroc_by_unit

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Sizes:
    """How many pairs, and how many parts they are made of."""

    pairs: int = 1000
    identities: int = 528
    dialogues: int = 251
    actors: int = 6


@dataclass(frozen=True)
class Pairs:
    """One sample of pairs.

    Attributes:
        labels: `[n]`.
        said: `[n]` polarity of the words, -1, 0 or 1.
        shown: `[n]` polarity of the face.
        parts: unit -> `[n]` codes.
    """

    labels: npt.NDArray[np.bool_]
    said: npt.NDArray[np.int64]
    shown: npt.NDArray[np.int64]
    parts: Mapping[str, npt.NDArray[np.int64]]

    @property
    def units(self) -> Units:
        return Units.of(pd.DataFrame(dict(self.parts)), list(self.parts))


OFFSETS: Final[Mapping[str, Mapping[str, float]]] = {
    "offsets": {"identity": 0.8, "dialogue": 0.8, "actor": 0.4, "pair": 0.4},
    "faces and words": {"identity skill": 0.4, "dialogue skill": 0.4, "pair": 0.4},
    "skills": {"identity skill": 0.4, "dialogue skill": 0.4, "actor skill": 0.1, "pair": 0.4},
    "all three": {"identity skill": 0.4, "dialogue skill": 0.4, "actor skill": 0.2, "pair": 0.4},
    "actors": {"identity skill": 0.2, "dialogue skill": 0.2, "actor skill": 0.3, "pair": 0.4},
    "pairs": {"pair": 0.8},
}
"""Standard deviation of a system's own errors, by what they stick to."""
DESIGNS: Final = (*OFFSETS, "misreadings")


def draw_pairs(rng: np.random.Generator, sizes: Sizes) -> Pairs:
    """Labels by the collage's cells; identities and dialogues of uneven size, actors of even size."""
    cells = np.array(draw_cells(sizes.pairs, rng))
    said, shown = cells.T
    # As in the collage, where most identities stand in one pair and some in 18. Chance leaves some of them out.
    identities = rng.lognormal(0.0, 1.0, sizes.identities)
    dialogues = rng.gamma(2.5, 1.0, sizes.dialogues)
    return Pairs(
        said != shown,
        said,
        shown,
        {
            "identity": rng.choice(sizes.identities, sizes.pairs, p=identities / identities.sum()),
            "dialogue": rng.choice(sizes.dialogues, sizes.pairs, p=dialogues / dialogues.sum()),
            "actor": rng.permutation(np.arange(sizes.pairs) % sizes.actors),
        },
    )


def errors(rng: np.random.Generator, pairs: Pairs, deviations: Mapping[str, float]) -> Floats:
    """One system's own errors `[n]`: shifts and skills of each part, and of each pair."""
    total = np.zeros(len(pairs.labels))
    for source, deviation in deviations.items():
        unit, _, kind = source.partition(" ")
        codes = pairs.parts.get(unit, np.arange(len(total)))
        each = deviation * rng.normal(size=codes.max() + 1)[codes]
        total += each * np.where(pairs.labels, 1.0, -1.0) if kind == "skill" else each
    return total


def perceived(rng: np.random.Generator, codes: npt.NDArray[np.int64], polarity: npt.NDArray[np.int64]) -> Floats:
    """`[n, 3]` log-probabilities that a part's polarities would have; a part keeps its own for each polarity shown."""
    part = 3 * codes + polarity + 1
    logits = rng.normal(size=(part.max() + 1, 3))[part]
    logits[np.arange(len(part)), polarity + 1] += 1.5
    return logits


def systems(
    rng: np.random.Generator, pairs: Pairs, design: str, seeds: int = 1, quality: float = 0.0, effect: float = 0.0
) -> tuple[list[Floats], list[Floats]]:
    """Scores of two exchangeable systems, `seeds` trainings each.

    Args:
        rng: draws everything.
        pairs: what is scored.
        design: one of `DESIGNS`.
        seeds: trainings of each. They share half the variance of their system's own errors.
        quality: deviation between trainings of how well they see the signal.
        effect: by how much better the first system sees it: 0 for a true null.
    """
    if design == "misreadings":
        shared = [perceived(rng, pairs.parts[unit], of) for unit, of in _read(pairs)]

        def score() -> Floats:
            face, words = (
                _softmax(common + perceived(rng, pairs.parts[unit], of))
                for common, (unit, of) in zip(shared, _read(pairs), strict=True)
            )
            return 1 - (face * words).sum(axis=1) + 0.05 * rng.normal(size=len(pairs.labels))

        return [score() for _ in range(seeds)], [score() for _ in range(seeds)]
    sign = np.where(pairs.labels, 0.5, -0.5)
    signal = errors(rng, pairs, {"identity": 0.4, "dialogue": 0.4, "pair": 0.4})
    scores: tuple[list[Floats], list[Floats]] = ([], [])
    for system, bonus in zip(scores, (effect, 0.0), strict=True):
        common = errors(rng, pairs, OFFSETS[design])
        for _ in range(seeds):
            own = errors(rng, pairs, OFFSETS[design]) if seeds > 1 else common
            mixed = common if seeds == 1 else np.sqrt(0.5) * (common + own)
            system.append(signal + mixed + (0.9 + bonus + quality * rng.normal()) * sign)
    return scores


def within_units(
    rng: np.random.Generator, units: int, seeds: int, skewed: bool, size: int = 98, quality: float = 0.0
) -> tuple[list[pd.Series], list[pd.Series]]:
    """AUROC inside each of `units` for two exchangeable systems, whose skill differs from unit to unit.

    Trainings differ by `quality` in how well they see the signal.
    """
    unit = np.repeat(np.arange(units), size)
    labels = np.tile(np.arange(size) % 7 > 0, units)
    signal = 0.9 * labels + 0.5 * rng.normal(size=len(unit))
    figures: tuple[list[pd.Series], list[pd.Series]] = ([], [])
    for system in figures:
        skill = rng.exponential(0.5, units) if skewed else 0.25 * rng.normal(size=units)
        for _ in range(seeds):
            table = pd.DataFrame({"unit": unit, "label": labels})
            better = quality * rng.normal() if quality else 0.0
            table["score"] = signal + (skill[unit] + better) * labels + 0.5 * rng.normal(size=len(unit))
            system.append(auroc_by_unit(table, "label", "score", "unit"))
    return figures


def trained_on_encoders(
    rng: np.random.Generator, seeds: int, shared: float, own: float, speakers: int = 24, each: int = 40
) -> tuple[npt.NDArray[np.bool_], list[Floats], list[Floats], Units]:
    """Two exchangeable systems whose n-th trainings share encoders: labels, their scores, and the clips' units.

    Encoders differ by `shared` in how well they see the signal, and fusions by `own`.
    """
    speaker = np.repeat(np.arange(speakers), each)
    labels = np.tile(np.arange(each) % 2 == 0, speakers)
    sign = np.where(labels, 0.5, -0.5)
    signal = 0.5 * rng.normal(size=len(labels)) + 0.6 * rng.normal(size=speakers)[speaker] * sign
    quality = 1.2 + shared * rng.normal(size=seeds)
    seen = [0.5 * rng.normal(size=len(labels)) for _ in range(seeds)]
    scores: tuple[list[Floats], list[Floats]] = ([], [])
    for system in scores:
        errors_ = 0.3 * rng.normal(size=speakers)[speaker] * sign + 0.5 * rng.normal(size=len(labels))
        for better, encoded in zip(quality, seen, strict=True):
            skill = better + own * rng.normal()
            system.append(skill * sign + signal + encoded + errors_ + 0.3 * rng.normal(size=len(labels)))
    return labels, *scores, Units.of(pd.DataFrame({"speaker": speaker}), ["speaker"])


def count_encoders(options: argparse.Namespace) -> None:
    for seeds in (3, 5):
        for name, shared, own in (("encoders differ", 0.3, 0.02), ("both differ", 0.3, 0.15), ("fusions", 0.05, 0.3)):
            rng = np.random.default_rng(options.seed)
            samples = [trained_on_encoders(rng, seeds, shared, own) for _ in range(max(1, options.replications // 4))]
            for together in (True, False):
                found = [paired_auroc(*sample, together=together) for sample in samples]
                size = np.median([result.minimal_detectable for result in found])
                words = f"{seeds} trainings, {name}, {'together' if together else 'apart'}"
                note = f"median minimal detectable {size:.3f}"
                report(words, sum(significant(result) for result in found), len(found), note)


def report(name: str, hits: int, of: int, note: str = "") -> None:
    """A line with the share and its interval."""
    interval = binomtest(hits, of).proportion_ci()
    print(f"| {name} | {hits / of:.1%} | {interval.low:.1%} to {interval.high:.1%} | {of} | {note} |", flush=True)


def head(title: str) -> None:
    print(f"\n{title}\n\n| case | share | 95 % interval | samples | |\n|---|---|---|---|---|", flush=True)


def significant(difference: PairedDifference) -> bool:
    return difference.p is not None and difference.p <= ALPHA


def count_false(options: argparse.Namespace, sizes: Sizes, seeds: int, quality: float) -> None:
    """Print the share of samples with p <= alpha under true nulls, clustered and by clip."""
    for design in options.designs:
        rng = np.random.default_rng(options.seed)
        clustered = plain = 0
        found = []
        for _ in range(options.replications):
            pairs = draw_pairs(rng, sizes)
            ours, theirs = systems(rng, pairs, design, seeds, quality)
            result = paired_auroc(pairs.labels, ours, theirs, pairs.units)
            clustered += significant(result)
            if seeds == 1:
                plain += significant(paired_auroc(pairs.labels, ours, theirs, Units({}, sizes.pairs)))
            found.append(result)
        spread = float(np.std([result.value for result in found]))
        errors = float(np.sqrt(np.mean([((result.high or 0) - (result.low or 0)) ** 2 for result in found])) / 4)
        note = f"spread {spread:.4f}, quarter of the mean interval {errors:.4f}"
        report(f"{design}, clustered", clustered, options.replications, note)
        if seeds == 1:
            report(f"{design}, by clip", plain, options.replications)


def find_true(options: argparse.Namespace, sizes: Sizes) -> None:
    """Print the share of samples that find a true difference of the mean minimal detectable size."""
    for design in options.designs:
        if design == "misreadings":
            continue

        def sample(effect: float, of: int, stream: int, design: str = design) -> list[PairedDifference]:
            rng = np.random.default_rng((options.seed, stream))
            out = []
            for _ in range(of):
                pairs = draw_pairs(rng, sizes)
                ours, theirs = systems(rng, pairs, design, effect=effect)
                out.append(paired_auroc(pairs.labels, ours, theirs, pairs.units))
            return out

        effect = _effect_of_detectable(lambda size: sample(size, 400, 0))
        found = sample(effect, options.replications, 1)
        value = np.mean([result.value for result in found])
        detectable = np.mean([result.minimal_detectable for result in found])
        hits = sum(significant(result) and (result.value or 0) > 0 for result in found)
        report(design, hits, len(found), f"mean difference {value:.4f}, mean minimal detectable {detectable:.4f}")


def count_within(options: argparse.Namespace, units: int) -> None:
    for seeds, skewed, quality in ((1, False, 0.0), (1, True, 0.0), (3, False, 0.0), (3, False, 0.3)):
        rng = np.random.default_rng(options.seed)
        samples = max(1, options.replications // 4)
        by_t = by_signs = 0
        for _ in range(samples):
            result = paired_within(*within_units(rng, units, seeds, skewed, quality=quality), "actor")
            by_t += significant(result)
            by_signs += result.sign_flip_p is not None and result.sign_flip_p <= ALPHA
        name = f"{units} actors, {seeds} trainings, {'skewed' if skewed else 'normal'} skills"
        name += ", trainings differ" if quality else ""
        report(f"{name}, paired t", by_t, samples)
        report(f"{name}, sign-flip", by_signs, samples)


def _effect_of_detectable(sample: Callable[[float], Sequence[PairedDifference]]) -> float:
    """The effect at which the mean difference is as large as the mean minimal detectable one."""
    effect = 0.5
    for _ in range(4):
        found = sample(effect)
        # The difference is nearly proportional to the effect, the detectable one nearly constant.
        effect *= float(
            np.mean([result.minimal_detectable for result in found]) / np.mean([result.value for result in found])
        )
    return effect


def _read(pairs: Pairs) -> tuple[tuple[str, npt.NDArray[np.int64]], tuple[str, npt.NDArray[np.int64]]]:
    return ("identity", pairs.shown), ("dialogue", pairs.said)


def _softmax(logits: Floats) -> Floats:
    shares = np.exp(logits)
    return shares / shares.sum(axis=1, keepdims=True)


def main() -> None:
    """Simulate and print tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replications", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--designs", nargs="+", default=list(DESIGNS), choices=DESIGNS)
    parser.add_argument("--parts", nargs="+", default=["null", "seeds", "within", "encoders", "power"])
    parser.add_argument("--pairs", type=int, default=Sizes.pairs)
    parser.add_argument("--identities", type=int, default=Sizes.identities)
    parser.add_argument("--dialogues", type=int, default=Sizes.dialogues)
    parser.add_argument("--actors", type=int, default=Sizes.actors)
    parser.add_argument("--trainings", type=int, default=3, help="trainings a system in part seeds")
    parser.add_argument("--quality", type=float, default=0.1, help="deviation of their quality (0.1: .02 of AUROC)")
    options = parser.parse_args()
    sizes = Sizes(options.pairs, options.identities, options.dialogues, options.actors)
    began = time.perf_counter()
    print(f"{sizes}, seed {options.seed}")
    if "null" in options.parts:
        head(f"True null, one training a system, p <= {ALPHA:g}")
        count_false(options, sizes, 1, 0.0)
    if "seeds" in options.parts:
        head(f"True null, {options.trainings} trainings a system of differing quality, p <= {ALPHA:g}")
        count_false(options, sizes, options.trainings, options.quality)
    if "within" in options.parts:
        head(f"True null, figures inside each actor, p <= {ALPHA:g}")
        count_within(options, 24)
    if "encoders" in options.parts:
        head(f"True null, trainings that share encoders, p <= {ALPHA:g}")
        count_encoders(options)
    if "power" in options.parts:
        head(f"A true difference as large as the minimal detectable one is found ({POWER:.0%} promised)")
        find_true(options, sizes)
    print(f"\n{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()
