"""What a model is asked when it is to reply to a client, and what it may be told of the client's face and voice."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import pandas as pd

from subtext.errors import ConfigError, ManifestError

Hint = Literal["none", "told", "placebo"]

VERSION: Final = 1
"""Raised whenever the wording changes."""
TASK: Final = "You are a person-centred counsellor. Reply to the client in one or two short sentences."
TOLD: Final[Mapping[bool, str]] = {
    True: "Note on this turn: a classifier found that the client's face or voice does not fit the words.",
    False: "Note on this turn: a classifier found that the client's face and voice do fit the words well.",
}
PLACEBO: Final = "Note on this turn: a technician found that the recording was made in a room with a window."
"""As long as what is told, and about nothing: what a hint does merely by being there."""
DECIDED: Final = 0.5
"""Calibrated probability from which on a turn counts as incongruent, where the prediction table decides nothing."""


@dataclass(frozen=True)
class Prompt:
    """What a generator replies to.

    Attributes:
        id: the client's turn.
        messages: `role` (system, user, assistant) and `content`, as chat templates take them.
        row: the turn's row, for a generator that also sees or hears it.
    """

    id: str
    messages: tuple[Mapping[str, str], ...]
    row: Mapping[str, Any]


def make_prompts(turns: pd.DataFrame, hint: Hint = "none", predictions: pd.DataFrame | None = None) -> list[Prompt]:
    """One prompt a client's turn.

    Args:
        turns: as `client_turns` gives them.
        hint: what is added to the task: nothing, the detected incongruence, or the placebo.
        predictions: with `told`: a prediction table with `id` and `prob_incongruent`.

    Raises:
        ConfigError: `told` without predictions, or predictions without `told`.
        ManifestError: the table lacks a column, or a turn has no prediction in it.
    """
    if (hint == "told") != (predictions is not None):
        raise ConfigError("a prediction table goes with the hint 'told', and the other way round; give both or neither")
    found = None if predictions is None else _found(predictions, turns)
    prompts = []
    for number, row in enumerate(turns.to_dict("records")):
        note = "" if hint == "none" else f" {PLACEBO}" if found is None else f" {TOLD[found[number]]}"
        before = _merged([("user" if role == "client" else "assistant", words) for role, words in row["before"]])
        said = _merged([*before, ("user", row["client"])])
        # A chat begins with its user: what the counsellor said before is no answer to anything.
        said = said[1:] if said[0][0] == "assistant" else said
        messages = [("system", TASK + note), *said]
        named = {str(key): value for key, value in row.items()}
        prompts.append(Prompt(str(row["id"]), tuple({"role": r, "content": w} for r, w in messages), named))
    return prompts


def _found(predictions: pd.DataFrame, turns: pd.DataFrame) -> list[bool]:
    for column in ("id", "prob_incongruent"):
        if column not in predictions:
            raise ManifestError(f"the prediction table has no column '{column}'; take predictions.parquet of a run")
    if predictions["id"].duplicated().any():
        twice = int(predictions["id"].duplicated().to_numpy().argmax()) + 1
        raise ManifestError(
            f"row {twice} of the prediction table has the id of one before; take the table of one training"
        )
    known = pd.to_numeric(predictions.set_index(predictions["id"].astype(str))["prob_incongruent"], errors="coerce")
    of_turn = known.reindex(turns["id"].astype(str))
    if of_turn.isna().any():
        missing = int(of_turn.isna().to_numpy().argmax()) + 1
        raise ManifestError(
            f"{int(of_turn.isna().sum())} of {len(turns)} turns have no prob_incongruent in the prediction table, the "
            f"first is turn {missing}; predict them, or choose the split that was predicted"
        )
    return [bool(probability >= DECIDED) for probability in of_turn]


def _merged(said: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Turns of one person after another as one: chat templates want them to alternate."""
    out: list[tuple[str, str]] = []
    for role, words in said:
        if out and out[-1][0] == role:
            out[-1] = (role, f"{out[-1][1]}\n{words}")
        else:
            out.append((role, words))
    return out
