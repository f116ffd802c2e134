"""Systems' replies to the same turns, measure by measure, and E-THER's three claims as three rows.

A system's figure in a dialogue is the mean over its replies there, so that a paired t test over dialogues takes them,
not replies, for independent; trainings of a system are averaged and their spread counts (`paired_within`). Holm's
correction is over all measures and pairs of systems; the claims' rows are corrected among themselves.

A claim's figure is the mean of its measures that held in validation, each in standard deviations of AnnoMI's sessions,
in the direction of the claim.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import pandas as pd

from subtext.errors import ConfigError, ManifestError
from subtext.evaluation.multiple import Verdict, holm, verdict
from subtext.evaluation.paired import ALPHA, PairedDifference, paired_within
from subtext.replies.measured import SCORED
from subtext.replies.measures import BY_NAME, CLAIMS, MEASURES

NOT_VALIDATED: Final = "not validated"


@dataclass(frozen=True)
class Row:
    """One figure of two systems.

    Attributes:
        name: of the measure, or the claim.
        system: ours.
        reference: theirs.
        direction: 1 where more is better.
        ours: mean over dialogues and trainings.
        theirs: likewise.
        difference: ours less theirs.
        p_holm: corrected.
        verdict: of our system; None where there is no difference to judge.
        validation: what validation said of the measure: holds, includes 0.5 ...; of a claim: the measures in it.
    """

    name: str
    system: str
    reference: str
    direction: int
    ours: float | None
    theirs: float | None
    difference: PairedDifference
    p_holm: float | None
    verdict: Verdict
    validation: str

    def as_dict(self) -> dict[str, Any]:
        """Plain types for JSON."""
        return {**self.__dict__, "difference": self.difference.as_dict()}


@dataclass(frozen=True)
class Compared:
    """What `compare_systems` found.

    Attributes:
        measures: rows of single measures.
        claims: rows of E-THER's claims.
        scored: a row a system: replies, scored, trainings, dialogues.
    """

    measures: tuple[Row, ...]
    claims: tuple[Row, ...]
    scored: pd.DataFrame

    def as_dict(self) -> dict[str, Any]:
        """Plain types for JSON."""
        return {
            "scored": self.scored.to_dict("records"),
            "claims": [row.as_dict() for row in self.claims],
            "measures": [row.as_dict() for row in self.measures],
        }


def compare_systems(
    measured: pd.DataFrame,
    reference: str,
    validation: Mapping[str, Any] | None = None,
    *,
    alpha: float = ALPHA,
    seed: int = 0,
) -> Compared:
    """Compare every other system with one.

    Args:
        measured: as `measure_replies` gives them, of all systems, with `system` and `seed`.
        reference: the system that the others are held against.
        validation: `Validated.as_dict()`; without it there are no claims' rows.
        alpha: level.
        seed: of the sign flips.

    Raises:
        ConfigError: there is no such system, or no other.
        ManifestError: two systems share no scored turn.
    """
    systems = list(dict.fromkeys(measured["system"]))
    if reference not in systems:
        raise ConfigError(
            f"there is no system '{reference}' among the {len(systems)} of the measures; write it as their column "
            "'system' does"
        )
    if len(systems) < 2:
        raise ConfigError(f"'{reference}' is the only system; name the measures of two or more")
    known = {measure["measure"]: measure for measure in _for_systems(validation)}
    rows, claims = [], []
    for system in systems:
        if system == reference:
            continue
        both = _shared(measured, system, reference)
        for measure in MEASURES:
            verdict_of = known.get(measure.name, {}).get("verdict", NOT_VALIDATED)
            found = _row(both, measure.name, system, reference, measure.direction, verdict_of, seed)
            # What no system has a figure of, such as the client's next turn, is no row.
            rows += [found] if found.difference.value is not None else []
        for claim, title in CLAIMS.items() if validation is not None else ():
            members = [name for name, one in known.items() if one["verdict"] == "holds" and one["claim"] == claim]
            members = [name for name in members if "next" not in BY_NAME[name].needs and both[name].notna().any()]
            inside = both.assign(**{claim: _standardised(both, members, known)})
            found = _row(inside, claim, system, reference, 1, ", ".join(members) or "no measure held", seed)
            claims.append(replace(found, name=title))
    return Compared(tuple(_corrected(rows, alpha)), tuple(_corrected(claims, alpha)), _scored(measured))


def _for_systems(validation: Mapping[str, Any] | None) -> list[Mapping[str, Any]]:
    """The validation's rows that apply to systems: theirs are predicted codes, never people's."""
    if validation is None:
        return []
    try:
        rows = [row for row in validation["measures"] if row["codes"] != "human"]
        known = [row for row in rows if row["measure"] in BY_NAME and {"verdict", "mean", "sd", "claim"} <= row.keys()]
        if any(row["verdict"] == "holds" and not float(row["sd"]) > 0 for row in known):
            known = []
    except (KeyError, TypeError, AttributeError, ValueError):
        known = []
    if not known:
        raise ConfigError("the validation holds no measures; name the validation.json of subtext-replies validate")
    return known


def _shared(measured: pd.DataFrame, system: str, reference: str) -> pd.DataFrame:
    """The rows of two systems on turns that every training of both has a scored reply to."""
    both = measured[measured["system"].isin([system, reference])]
    trainings = both.groupby(["system", "seed"]).ngroups
    scored = both[both["status"] == SCORED]
    counts = scored.groupby("id").size()
    shared = scored[scored["id"].isin(counts.index[counts == trainings])]
    if not len(shared):
        row = int((measured["system"] == system).to_numpy().argmax()) + 1
        raise ManifestError(
            f"'{reference}' and the system of row {row} of the measures share no turn that both have a scored reply to"
        )
    return shared


def _standardised(
    both: pd.DataFrame, members: Sequence[str], known: Mapping[str, Mapping[str, Any]]
) -> "pd.Series | float":
    if not members:
        return float("nan")
    z = [BY_NAME[name].direction * (both[name] - known[name]["mean"]) / known[name]["sd"] for name in members]
    return pd.concat(z, axis=1).mean(axis=1)


def _row(
    both: pd.DataFrame, column: str, system: str, reference: str, direction: int, validation: str, seed: int
) -> Row:
    sides = []
    for name in (system, reference):
        own = both[both["system"] == name]
        sides.append([rows.groupby("session")[column].mean() for _, rows in own.groupby("seed", sort=True)])
    ours, theirs = sides
    found = _difference(ours, theirs, seed)
    a, b = (float(np.mean(side)) if side else None for side in (found.ours, found.theirs))
    return Row(column, system, reference, direction, a, b, found, None, "untested", validation)


def _difference(ours: Sequence[pd.Series], theirs: Sequence[pd.Series], seed: int) -> PairedDifference:
    """`paired_within` on the span from least to largest figure, which is what it takes a figure's range for."""
    every = pd.concat([*ours, *theirs]).dropna()
    low, span = (float(every.min()), float(every.max() - every.min())) if len(every) else (0.0, 0.0)
    scale = span or 1.0
    found = paired_within(
        [(side - low) / scale for side in ours], [(side - low) / scale for side in theirs], "session", seed=seed
    )
    sized = {
        name: None if value is None else value * scale
        for name in ("value", "low", "high", "sampling_sd", "seed_sd", "minimal_detectable")
        for value in [getattr(found, name)]
    }
    raw = {name: tuple(low + scale * value for value in getattr(found, name)) for name in ("ours", "theirs")}
    return replace(found, **sized, **raw)  # type: ignore[arg-type]


def _corrected(rows: Sequence[Row], alpha: float) -> list[Row]:
    adjusted = holm({str(number): row.difference.p for number, row in enumerate(rows)})
    out = []
    for number, row in enumerate(rows):
        p = adjusted[str(number)]
        found = verdict(row.difference, p, alpha=alpha, higher_is_better=row.direction > 0)
        out.append(replace(row, p_holm=p, verdict=found))
    return out


def _scored(measured: pd.DataFrame) -> pd.DataFrame:
    grouped = measured.groupby("system", sort=False)
    return pd.DataFrame(
        {
            "replies": grouped.size(),
            "scored": grouped["status"].agg(lambda status: int((status == SCORED).sum())),
            "trainings": grouped["seed"].nunique(),
            "sessions": grouped["session"].nunique(),
        }
    ).reset_index()
