"""What raters of the blinded form said: agreement, wins, and Bradley and Terry's strengths with intervals."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd

from subtext.annotation.agreement import Agreement, agreement
from subtext.annotation.rater_files import read_rater_files
from subtext.errors import AnnotationError
from subtext.evaluation.intervals import FEW_CLUSTERS, LEVEL
from subtext.replies.rating_form import SESSION, SIDES, pairwise_codebook

Floats = npt.NDArray[np.float64]

_ITERATIONS: Final = 300


@dataclass(frozen=True)
class Strength:
    """How one system fares on one question.

    Attributes:
        label: the question.
        system: who.
        judgements: of pairs with this system.
        won: share won, no difference counted half.
        value: log strength by Bradley and Terry, 0 = the mean of the systems.
        low: lower end of its 95 % interval over dialogues, None where there are too few.
        high: upper end.
    """

    label: str
    system: str
    judgements: int
    won: float
    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Rated:
    """What `analyse_ratings` found.

    Attributes:
        agreement: among people.
        strengths: of each question and system.
        first: question -> share of A among answers that chose a side: 0.5 where sides don't matter.
        judges: of each judge that is no person and question: `judge`, `label`, `items`, `same` (share of items on which
            it says what most people say), `people` (share of pairs of people who say the same on those items),
            `one_reflection` (items of which the coder takes exactly one reply for a reflection) and `with_coder` (share
            of those on which it chose that one; no difference counts half).
    """

    agreement: Agreement
    strengths: tuple[Strength, ...]
    first: dict[str, float]
    judges: pd.DataFrame

    def as_dict(self) -> dict[str, Any]:
        """Plain types for JSON."""
        judges = self.judges.astype(object).where(self.judges.notna(), None)
        return {
            "agreement": self.agreement.as_dict(),
            "strengths": [dict(strength.__dict__) for strength in self.strengths],
            "first": self.first,
            "judges": judges.to_dict("records"),
        }


def read_pair_ratings(paths: Sequence[Path], key: pd.DataFrame) -> pd.DataFrame:
    """Ratings of the form, from its CSV files or Label Studio's exports, with who wrote what.

    Args:
        paths: rater files.
        key: as `read_key` gives it.

    Returns:
        `rater`, `label`, `value` (A, B, none), `turn` (the item), `session` (the dialogue), `system_a`, `system_b`.

    Raises:
        AnnotationError: a rating cannot be used, or is of an item that the key does not have.
    """
    found = read_rater_files(paths, pairwise_codebook(), session=SESSION).table
    found = found[found["value"].notna()].drop(columns=["session"])
    found["turn"] = found["turn"].astype(str)
    # A spreadsheet makes 0001 to 1.
    found["turn"] = [item.zfill(4) if item.isdigit() else item for item in found["turn"]]
    unknown = found[~found["turn"].isin(key["item"])]
    if len(unknown):
        raise AnnotationError(
            f"{unknown['file'].iat[0]}: row {unknown['row'].iat[0]}: the item is not in the key; name the key of this "
            "form"
        )
    twice = found.duplicated(["turn", "rater", "label"])
    if twice.any():
        row = found[twice].iloc[0]
        raise AnnotationError(
            f"{row['file']}: row {row['row']}: the rater has judged this item before, by the same label; keep one"
        )
    return found.merge(key.rename(columns={"item": "turn"}), on="turn", how="left")


def analyse_ratings(
    ratings: pd.DataFrame,
    *,
    judges: Sequence[str] = (),
    measured: pd.DataFrame | None = None,
    n_bootstrap: int = 500,
    seed: int = 0,
) -> Rated:
    """Agreement of people, and the systems' strengths by people's answers alone.

    Args:
        ratings: as `read_pair_ratings` gives them.
        judges: raters that are no people: reported apart, and in no figure of people's.
        measured: the replies' measures, with the coder's codes, to hold judges against.
        n_bootstrap: resamples of dialogues.
        seed: of them.

    Raises:
        AnnotationError: no person has rated anything, or a judge is not among the raters.
    """
    unknown = sorted(set(judges) - set(ratings["rater"]))
    if unknown:
        raise AnnotationError(
            f"no ratings of the judge '{unknown[0]}' among those of {ratings['rater'].nunique()} raters; write the "
            "name as the ratings have it"
        )
    people = ratings[~ratings["rater"].isin(judges)]
    if not len(people):
        raise AnnotationError("no person has rated anything; a judge is never the only evidence")
    strengths: list[Strength] = []
    first = {}
    for label, rows in people.groupby("label", sort=False):
        sides = rows["value"][rows["value"].isin(SIDES[:2])]
        first[str(label)] = float((sides == SIDES[0]).mean()) if len(sides) else float("nan")
        strengths += _strengths(str(label), rows, n_bootstrap, seed)
    found = agreement(people, pairwise_codebook(), n_bootstrap=max(n_bootstrap, 100), seed=seed)
    return Rated(
        found, tuple(strengths), {k: v for k, v in first.items() if np.isfinite(v)}, _judges(ratings, judges, measured)
    )


def _strengths(label: str, rows: pd.DataFrame, n_bootstrap: int, seed: int) -> list[Strength]:
    systems = sorted({*rows["system_a"], *rows["system_b"]})
    place = {name: number for number, name in enumerate(systems)}
    a, b = (rows[column].map(place).to_numpy() for column in ("system_a", "system_b"))
    points = rows["value"].map({"A": 1.0, "B": 0.0, "none": 0.5}).to_numpy(dtype=np.float64)
    codes, dialogues = pd.factorize(rows["session"])
    # Of each dialogue, how often each system (row) won against each other; no difference is half a win of both.
    wins = np.zeros((len(dialogues), len(systems), len(systems)))
    np.add.at(wins, (codes, a, b), points)
    np.add.at(wins, (codes, b, a), 1 - points)
    values = _bradley_terry(wins.sum(axis=0), systems)
    ends = np.full((2, len(systems)), np.nan)
    if len(dialogues) >= FEW_CLUSTERS:
        rng = np.random.default_rng(seed)
        weights = rng.multinomial(len(dialogues), np.full(len(dialogues), 1 / len(dialogues)), size=n_bootstrap)
        drawn = [_bradley_terry(np.tensordot(weight, wins, 1), systems) for weight in weights]
        ends = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    total = wins.sum(axis=0)
    return [
        Strength(
            label,
            name,
            int((total[i] + total[:, i]).sum()),
            float(total[i].sum() / (total[i] + total[:, i]).sum()),
            float(values[i]),
            *(None if np.isnan(end) else float(end) for end in ends[:, i]),
        )
        for i, name in enumerate(systems)
    ]


def _bradley_terry(wins: Floats, systems: Sequence[str]) -> Floats:
    """Log strengths about their mean, by crowd-kit (Bradley & Terry 1952, Biometrika 39).

    Each two systems that met have half a win of both added, so that one that always won has a finite strength. Wins are
    counted in halves, since crowd-kit takes whole ones.
    """
    from crowdkit.aggregation import BradleyTerry

    rows = []
    for i, j in combinations(range(len(systems)), 2):
        if wins[i, j] + wins[j, i] > 0:
            for winner, loser in ((i, j), (j, i)):
                rows += [(systems[i], systems[j], systems[winner])] * round(2 * wins[winner, loser] + 1)
    scores = BradleyTerry(n_iter=_ITERATIONS).fit_predict(pd.DataFrame(rows, columns=["left", "right", "label"]))
    # A system that met nobody in a resample stands at the mean.
    logs = np.log(scores.reindex(systems).to_numpy(dtype=np.float64))
    return np.nan_to_num(logs - np.nanmean(logs))


def _judges(ratings: pd.DataFrame, judges: Sequence[str], measured: pd.DataFrame | None) -> pd.DataFrame:
    rows = []
    reflects = {} if measured is None else _reflections(measured)
    people = ratings[~ratings["rater"].isin(judges)]
    for judge in judges:
        for label, own in ratings[ratings["rater"] == judge].groupby("label", sort=False):
            theirs = people[(people["label"] == label) & people["turn"].isin(own["turn"])]
            votes = theirs.groupby(["turn", "value"]).size().unstack(fill_value=0)
            decided = votes[votes.eq(votes.max(axis=1), axis=0).sum(axis=1) == 1] if len(votes) else votes
            most = decided.idxmax(axis=1) if len(decided) else pd.Series(dtype=object)
            given = own.set_index("turn")["value"].reindex(most.index)
            pairs, same = 0.0, 0.0
            for counts in votes.to_numpy(dtype=np.float64):
                pairs += counts.sum() * (counts.sum() - 1)
                same += (counts * (counts - 1)).sum()
            rows.append(
                {
                    "judge": judge,
                    "label": label,
                    "items": len(most),
                    "same": float((given == most).mean()) if len(most) else np.nan,
                    "people": same / pairs if pairs else np.nan,
                    **_with_coder(own, reflects),
                }
            )
    columns = ["judge", "label", "items", "same", "people", "one_reflection", "with_coder"]
    return pd.DataFrame(rows, columns=columns)


def _reflections(measured: pd.DataFrame) -> dict[tuple[str, str, str], bool]:
    coded = measured[measured["code_behaviour"].notna()]
    places = zip(coded["id"].astype(str), coded["system"], coded["seed"].astype(str), strict=True)
    return dict(zip(places, coded["code_behaviour"] == "reflection", strict=True))


def _with_coder(own: pd.DataFrame, reflects: dict[tuple[str, str, str], bool]) -> dict[str, float]:
    chosen = []
    for row in own.to_dict("records"):
        a, b = (reflects.get((row["id"], row[f"system_{side}"], row[f"seed_{side}"])) for side in "ab")
        if a is not None and b is not None and a != b:
            chosen.append(0.5 if row["value"] == "none" else float((row["value"] == "A") == a))
    return {"one_reflection": len(chosen), "with_coder": float(np.mean(chosen)) if chosen else float("nan")}
