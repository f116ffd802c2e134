"""Which measures tell counselling of high quality from low, in AnnoMI's sessions, and by how much more than length.

A session's figure is the mean of a measure over its counsellor's replies, times the measure's direction, so that an
AUROC above 0.5 says that it does what its claim says. Intervals and tests are clustered by video. Sessions of low
quality are few and mostly staged, and the number of turns alone tells quality: so each measure is also joined with the
log number of turns in a logistic regression fitted inside folds, and the gain over length alone is tested.

A measure that has an interval that includes 0.5 enters no sum. Which ones do is decided on the training folds for the
figure of a sum (`Sum`), and on all sessions for later use on systems' replies.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from subtext.errors import ManifestError
from subtext.evaluation.intervals import FEWEST_CLUSTERS, Interval, Units, ranking_interval
from subtext.evaluation.metrics import Bools, UndefinedMetricError, auroc
from subtext.evaluation.multiple import holm
from subtext.evaluation.paired import PairedDifference, paired_auroc
from subtext.manifest import Manifest
from subtext.replies.coder import COLUMNS as CODE_COLUMNS
from subtext.replies.coder import HEADS
from subtext.replies.coder_check import HeadCheck, check_coder
from subtext.replies.embedding import Embedder
from subtext.replies.exchanges import HUMAN, counsellor_turns
from subtext.replies.measured import measure_replies
from subtext.replies.measures import BY_NAME, CLAIMS, MEASURES, Measure

Floats = npt.NDArray[np.float64]
Codes = Literal["", "human", "predicted"]
Verdict = Literal["holds", "includes 0.5", "against its claim", "too few to tell", "no figure"]

LENGTH: Final = "counsellor_turns"
_FEWEST: Final = 20
"""Sessions that a measure needs a figure in."""


@dataclass(frozen=True)
class Validation:
    """One measure on sessions.

    Attributes:
        measure: its name.
        codes: whose codes it rests on: people's, the coder's out of fold, or none.
        sessions: with a figure.
        auroc: of the figure in the direction of the claim, for high quality.
        p: two-sided, of an AUROC of 0.5.
        p_holm: corrected for all rows of the table.
        verdict: what the interval says.
        length: AUROC of the log number of turns on the same sessions.
        with_length: of both in a logistic regression, out of fold.
        gain: the latter less the former, out of fold.
        mean: of the undirected figure over sessions.
        sd: of it.
    """

    measure: str
    codes: Codes
    sessions: int
    auroc: Interval
    p: float | None
    p_holm: float | None
    verdict: Verdict
    length: Interval
    with_length: Interval
    gain: PairedDifference
    mean: float
    sd: float

    @property
    def name(self) -> str:
        """The measure, and whose codes it rests on."""
        return f"{self.measure} ({self.codes} codes)" if self.codes else self.measure

    def as_dict(self) -> dict[str, Any]:
        """Plain types for JSON."""
        out: dict[str, Any] = {
            "measure": self.measure,
            "claim": BY_NAME[self.measure].claim,
            "codes": self.codes,
            "direction": BY_NAME[self.measure].direction,
            "sessions": self.sessions,
            "p": self.p,
            "p_holm": self.p_holm,
            "verdict": self.verdict,
            "mean": self.mean if np.isfinite(self.mean) else None,
            "sd": self.sd if np.isfinite(self.sd) else None,
        }
        return out | {k: getattr(self, k).as_dict() for k in ("auroc", "length", "with_length", "gain")}


@dataclass(frozen=True)
class Sum:
    """The measures of a claim together, each standardised, chosen on training folds only.

    Attributes:
        claim: of the measures.
        auroc: of the mean of the chosen measures, out of fold.
        members: measure -> in how many folds it was chosen.
        gain: in AUROC, of sum and length over length alone, out of fold.
    """

    claim: str
    auroc: Interval
    members: Mapping[str, int]
    gain: PairedDifference

    def as_dict(self) -> dict[str, Any]:
        """Plain types for JSON."""
        return {
            "claim": self.claim,
            "auroc": self.auroc.as_dict(),
            "members": dict(self.members),
            "gain": self.gain.as_dict(),
        }


@dataclass(frozen=True)
class Validated:
    """What `validate` found.

    Attributes:
        rows: measures, in the order of the table; those on people's codes before those on predicted ones.
        sums: of each claim.
        coder_cost: measure on codes -> AUROC with predicted codes less that with people's; empty without people's.
        length: AUROC of the number of counsellor turns on all sessions.
        sessions: all, and of high quality.
    """

    rows: tuple[Validation, ...]
    sums: tuple[Sum, ...]
    coder_cost: Mapping[str, PairedDifference]
    length: Interval
    sessions: tuple[int, int]

    def as_dict(self) -> dict[str, Any]:
        """Plain types for JSON."""
        return {
            "sessions": self.sessions[0],
            "high": self.sessions[1],
            "length": self.length.as_dict(),
            "measures": [row.as_dict() for row in self.rows],
            "sums": [found.as_dict() for found in self.sums],
            "coder_cost": {name: cost.as_dict() for name, cost in self.coder_cost.items()},
        }


def validate(
    human: pd.DataFrame | None,
    predicted: pd.DataFrame,
    *,
    group: str = "source",
    folds: int = 5,
    seed: int = 0,
) -> Validated:
    """Validate every measure on sessions with `mi_quality`.

    Args:
        human: `measure_replies` of counsellors' turns with people's codes; None where there are none.
        predicted: the same turns with codes predicted out of fold.
        group: column of what is not independent.
        folds: of the regressions on length and of the sums.
        seed: of the folds.

    Raises:
        ManifestError: there is no quality to tell, or of one kind only.
    """
    sessions = session_figures(predicted, group)
    labels = (sessions["mi_quality"] == "high").to_numpy(dtype=bool)
    if labels.all() or not labels.any():
        raise ManifestError("mi_quality is the same in all sessions; validation needs high and low ones")
    tables: list[tuple[Codes, pd.DataFrame]] = [("predicted", sessions)]
    if human is not None:
        tables.insert(0, ("human", session_figures(human, group)))
    length = np.log(sessions[LENGTH].to_numpy(dtype=np.float64))
    units = Units.of(sessions, [group])
    splits = _folds(labels, sessions[group].to_numpy(dtype=object), folds, seed)
    rows = []
    for measure in MEASURES:
        for codes, table in tables:
            if "codes" in measure.needs or codes == "predicted":
                kind: Codes = codes if "codes" in measure.needs else ""
                rows.append(_validate(measure, kind, table, labels, length, units, splits))
    adjusted = holm({row.name: row.p for row in rows})
    rows = [replace(row, p_holm=adjusted[row.name]) for row in rows]
    sums = tuple(_sum(claim, sessions, labels, length, units, splits) for claim in CLAIMS)
    cost = {}
    for measure in MEASURES if human is not None else ():
        if "codes" in measure.needs:
            people, coder = (table[measure.name].to_numpy(dtype=np.float64) for _, table in tables)
            cost[measure.name] = paired_auroc(labels, [coder * measure.direction], [people * measure.direction], units)
    alone = _interval(labels, length, units)
    return Validated(tuple(rows), sums, cost, alone, (len(labels), int(labels.sum())))


def validate_corpus(
    manifest: Manifest, embed: Embedder, *, folds: int = 5, n_bootstrap: int = 2000, seed: int = 0
) -> tuple[dict[str, HeadCheck], Validated]:
    """Check the behaviour coder on a corpus like AnnoMI, then validate the measures with people's and its codes.

    Args:
        manifest: AnnoMI, or a corpus with its columns.
        embed: the sentence model.
        folds: of the coder, of the regressions and of the sums.
        n_bootstrap: resamples of films for the coder's F1.
        seed: of folds, resamples and draws.

    Raises:
        ManifestError: the corpus lacks what is needed.
    """
    turns = counsellor_turns(manifest).assign(system=HUMAN)
    checks = check_coder(turns, embed, folds=folds, n_bootstrap=n_bootstrap, seed=seed)

    def measured(codes: Mapping[str, pd.Series]) -> pd.DataFrame:
        kinds = {kind: codes[kind].astype(object) for kind in HEADS}
        for kind in ("question", "reflection"):
            kinds[kind] = kinds[kind].where((kinds["behaviour"] == kind).fillna(False).astype(bool), None)
        # Within a session: how alike one counsellor's replies are.
        return measure_replies(turns.assign(**kinds), embed=embed, pool=("session",), seed=seed)

    human = measured({kind: turns[column] for kind, column in CODE_COLUMNS.items()})
    return checks, validate(human, measured({k: c.predicted for k, c in checks.items()}), folds=folds, seed=seed)


def session_figures(measured: pd.DataFrame, group: str = "source") -> pd.DataFrame:
    """A row a session: the mean of each measure over its replies, their number, its quality and group.

    Raises:
        ManifestError: a column is missing.
    """
    for column in ("mi_quality", group):
        if column not in measured:
            raise ManifestError(f"there is no column '{column}'; validation needs AnnoMI's sessions")
    known = measured[measured["mi_quality"].notna()]
    grouped = known.groupby("session", sort=False)
    figures = grouped[[measure.name for measure in MEASURES]].mean()
    return figures.assign(
        **{LENGTH: grouped.size(), "mi_quality": grouped["mi_quality"].first(), group: grouped[group].first()}
    )


def _validate(
    measure: Measure,
    codes: Codes,
    table: pd.DataFrame,
    labels: Bools,
    length: Floats,
    units: Units,
    splits: Sequence[tuple[Any, Any]],
) -> Validation:
    figures = table[measure.name].to_numpy(dtype=np.float64)
    known = np.isfinite(figures)
    mean, sd = (float(f(figures[known])) if known.any() else float("nan") for f in (np.mean, np.std))
    none = Interval(None, reason=f"{known.sum()} sessions have a figure, or all the same; {_FEWEST} are needed")
    if known.sum() < _FEWEST or sd == 0:
        missing = PairedDifference(None, reason=none.reason)
        return Validation(
            measure.name, codes, int(known.sum()), none, None, None, "no figure", none, none, missing, mean, sd
        )
    score = np.where(known, figures * measure.direction, np.nan)
    own = units.take(known)
    area = _interval(labels[known], score[known], own)
    test = paired_auroc(labels[known], [score[known]], [np.zeros(int(known.sum()))], own)
    # A session without a figure stands at the mean of those with one.
    filled = np.where(known, score, mean * measure.direction)
    both, alone = (_out_of_fold(inputs, labels, splits) for inputs in ([length, filled], [length]))
    return Validation(
        measure=measure.name,
        codes=codes,
        sessions=int(known.sum()),
        auroc=area,
        p=test.p,
        p_holm=None,
        verdict=_verdict(area),
        length=_interval(labels[known], length[known], own),
        with_length=_interval(labels[known], both[known], own),
        gain=paired_auroc(labels[known], [both[known]], [alone[known]], own),
        mean=mean,
        sd=sd,
    )


def _verdict(area: Interval) -> Verdict:
    if area.low is None or area.high is None:
        return "no figure"
    if min((area.clusters or {}).values(), default=FEWEST_CLUSTERS) < FEWEST_CLUSTERS:
        return "too few to tell"
    return "holds" if area.low > 0.5 else "against its claim" if area.high < 0.5 else "includes 0.5"


def _interval(labels: Bools, score: Floats, units: Units) -> Interval:
    try:
        estimate = auroc(labels, score)
    except UndefinedMetricError as error:
        return Interval(None, reason=str(error))
    return ranking_interval(estimate, units, lambda rows: auroc(labels[rows], score[rows]).value)


def _folds(labels: Bools, groups: npt.NDArray[Any], folds: int, seed: int) -> list[tuple[Any, Any]]:
    from sklearn.model_selection import StratifiedGroupKFold

    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    return list(splitter.split(labels, labels, groups))


def _out_of_fold(inputs: Sequence[Floats], labels: Bools, splits: Sequence[tuple[Any, Any]]) -> Floats:
    """Slopes times inputs, without the intercept.

    A fold with more of one quality trains an intercept that leans to the other, which would rank the folds' sessions
    against each other the wrong way round.
    """
    from sklearn.linear_model import LogisticRegression

    matrix = np.column_stack(inputs)
    out = np.zeros(len(labels))
    for train, test in splits:
        mean, sd = matrix[train].mean(axis=0), matrix[train].std(axis=0) + 1e-12
        model = LogisticRegression(class_weight="balanced").fit((matrix[train] - mean) / sd, labels[train])
        # Divided by the spread of the training folds' scores, so that folds are on one scale.
        slopes = model.coef_[0] / sd
        out[test] = (matrix[test] - matrix.mean(axis=0)) @ slopes / max(float(np.std(matrix[train] @ slopes)), 1e-12)
    return out


def _sum(
    claim: str,
    sessions: pd.DataFrame,
    labels: Bools,
    length: Floats,
    units: Units,
    splits: Sequence[tuple[Any, Any]],
) -> Sum:
    members: dict[str, int] = {}
    total = np.zeros(len(labels))
    # What a system's single reply cannot have, the client's next turn, is in no sum.
    own = [measure for measure in MEASURES if measure.claim == claim and "next" not in measure.needs]
    for train, test in splits:
        parts = []
        for measure in own:
            figures = sessions[measure.name].to_numpy(dtype=np.float64) * measure.direction
            known = train[np.isfinite(figures[train])]
            if len(known) < _FEWEST or np.std(figures[known]) == 0:
                continue
            if _verdict(_interval(labels[known], figures[known], units.take(known))) != "holds":
                continue
            members[measure.name] = members.get(measure.name, 0) + 1
            z = (figures[test] - np.mean(figures[known])) / np.std(figures[known])
            parts.append(np.where(np.isfinite(z), z, 0.0))
        if parts:
            total[test] = np.mean(parts, axis=0)
    if not members:
        missing = "no measure of this claim holds on the training folds"
        return Sum(claim, Interval(None, reason=missing), {}, PairedDifference(None, reason=missing))
    both, alone = (_out_of_fold(inputs, labels, splits) for inputs in ([length, total], [length]))
    return Sum(claim, _interval(labels, total, units), members, paired_auroc(labels, [both], [alone], units))
