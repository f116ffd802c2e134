"""What a voice could add at best: readers who know how the studio's evidence is made, with and without the voice.

    python experiments/studio/ideal_readers.py

Face and voice each give one number, their polarity times an intensity as `subtext.corpora.studio.plan` draws it, plus
noise; words are read rightly at a set rate. Answers are exact posteriors. No picture or sound is involved: it says how
large a gain to look for, not what any model does.
"""

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

from subtext.corpora.cells import CELL_SHARES
from subtext.labels import POLARITIES

FOLLOWS, WORDS_RIGHT, FACE_NOISE, VOICE_NOISE = 0.7, 0.92, 0.22, 0.27
WEAK, STRONG = (0.05, 0.30), (0.70, 1.0)
CLIPS, REPEATS = 1000, 100
Floats = npt.NDArray[np.float64]


def likelihood(seen: Floats, weak: float, noise: float) -> Floats:
    """P(what is seen | polarity), `[clips, 3]`, over the intensities that a clip may have."""

    def share(low: float, high: float, polarity: int) -> Floats:
        centres = polarity * np.linspace(low, high, 7)
        return np.exp(-0.5 * ((seen[:, None] - centres) / noise) ** 2).mean(axis=1)

    return np.stack([(1 - weak) * share(*STRONG, p) + weak * share(*WEAK, p) for p in POLARITIES], axis=1)


def areas(weak: float, rng: np.random.Generator) -> tuple[float, float]:
    """AUROC with and without the voice, of one set of clips."""
    cells = list(CELL_SHARES)
    drawn = rng.choice(len(cells), CLIPS, p=list(CELL_SHARES.values()))
    said, shown = np.array(cells)[drawn].T
    other = (shown + 1 + rng.choice([1, 2], CLIPS)) % 3 - 1
    voiced = np.where(rng.random(CLIPS) < FOLLOWS, shown, other)

    def evidence(polarity: npt.NDArray[np.int64], noise: float) -> Floats:
        intensity = np.where(rng.random(CLIPS) < weak, rng.uniform(*WEAK, CLIPS), rng.uniform(*STRONG, CLIPS))
        return likelihood(polarity * intensity + rng.normal(0, noise, CLIPS), weak, noise)

    face, voice = evidence(shown, FACE_NOISE), evidence(voiced, VOICE_NOISE)
    misread = (said + 1 + rng.choice([1, 2], CLIPS)) % 3 - 1
    read = np.where(rng.random(CLIPS) < WORDS_RIGHT, said, misread)
    words = np.full((CLIPS, 3), (1 - WORDS_RIGHT) / 2)
    words[np.arange(CLIPS), read + 1] = WORDS_RIGHT
    of_face = voice @ np.where(np.eye(3, dtype=bool), FOLLOWS, (1 - FOLLOWS) / 2)
    found = []
    for extra in (of_face, np.ones((CLIPS, 3))):
        parts = {c: s * words[:, c[0] + 1] * face[:, c[1] + 1] * extra[:, c[1] + 1] for c, s in CELL_SHARES.items()}
        incongruent = sum(part for cell, part in parts.items() if cell[0] != cell[1])
        found.append(float(roc_auc_score(said != shown, incongruent / sum(parts.values()))))
    return found[0], found[1]


def main() -> None:
    for weak in (0.1, 0.2, 0.3):
        rng = np.random.default_rng(0)
        all_three, pair = np.array([areas(weak, rng) for _ in range(REPEATS)]).T
        gain = all_three - pair
        print(
            f"weak share {weak}: words + face {pair.mean():.3f}, with the voice {all_three.mean():.3f}, gain "
            f"{gain.mean():.4f} (sd over sets of {CLIPS} clips {gain.std(ddof=1):.4f})"
        )


if __name__ == "__main__":
    main()
