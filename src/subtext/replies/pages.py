"""What the commands show and write, from plain figures: tables for the terminal, Markdown, CSV."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from subtext.core.templates import one_line
from subtext.evaluation.multiple import VERDICT_WORDS
from subtext.replies.measures import CLAIMS, MEASURES
from subtext.report.markdown import markdown
from subtext.report.terminal import interval_text, number_text

if TYPE_CHECKING:
    from rich.table import Table

HEAD_TITLES: Final[Mapping[str, str]] = {
    "behaviour": "behaviour (4 codes)",
    "question": "open or closed",
    "reflection": "simple or complex",
}


def _name(row: Mapping[str, Any]) -> str:
    return f"{row['measure']} ({row['codes']})" if row["codes"] else str(row["measure"])


def _ends(figure: Mapping[str, Any], name: str) -> dict[str, Any]:
    return {name: figure["value"], f"{name}_low": figure.get("low"), f"{name}_high": figure.get("high")}


def validation_table(content: Mapping[str, Any]) -> pd.DataFrame:
    """A row a measure, and a sum of each claim."""
    rows = []
    for row in content["measures"]:
        plain = {k: row[k] for k in ("measure", "claim", "codes", "direction", "sessions", "p", "p_holm", "verdict")}
        parts = {"auroc": row["auroc"], "with_length": row["with_length"], "gain": row["gain"]}
        ends = {key: value for name, figure in parts.items() for key, value in _ends(figure, name).items()}
        rows.append({**plain, **ends, "gain_p": row["gain"].get("p")})
    for found in content["sums"]:
        ends = {**_ends(found["auroc"], "auroc"), **_ends(found["gain"], "gain")}
        rows.append({"measure": f"sum of {found['claim']}", "claim": found["claim"], "codes": "predicted", **ends})
    return pd.DataFrame(rows)


def coder_table(content: Mapping[str, Any]) -> pd.DataFrame:
    """A row a question of the coder."""
    parts = ("coder", "reference", "difference", "people", "coder_as_annotator", "less_people")
    rows = []
    for head, check in content["coder"].items():
        ends = {key: value for part in parts for key, value in _ends(check[part], part).items()}
        rows.append({"question": head, "replies": check["replies"], "ties": check["ties"], **ends})
    return pd.DataFrame(rows)


def validation_markdown(content: Mapping[str, Any]) -> str:
    """The whole page."""
    names = {"claims": CLAIMS, "titles": HEAD_TITLES, "name_of": _name}
    return markdown("replies/templates/validation.md.j2", content=content, **names)


def validation_overview(content: Mapping[str, Any]) -> "list[Table]":
    """For a terminal of 80 columns."""
    shown = _table(f"MI quality of {content['sessions']} sessions: AUROC", "measure", "AUROC", "interval")
    shown.add_row("length alone", _short(content["length"]), "")
    for claim, title in CLAIMS.items():
        shown.add_section()
        shown.add_row(title, "", "", style="bold")
        for row in content["measures"]:
            if row["claim"] == claim:
                shown.add_row(f"  {_name(row)}", _short(row["auroc"]), row["verdict"])
        found = next(found for found in content["sums"] if found["claim"] == claim)
        shown.add_row("  sum, chosen in folds", _short(found["auroc"]), "")
    coded = _table("Behaviour coder: macro-F1 out of fold", "question", "coder", "reference", "difference")
    for head, check in content["coder"].items():
        figures = [_short(check[part]) for part in ("coder", "reference")]
        coded.add_row(HEAD_TITLES[head], *figures, _short(check["difference"], signed=True))
    return [shown, coded]


def comparison_table(content: Mapping[str, Any]) -> pd.DataFrame:
    """A row a claim or measure and pair of systems."""
    rows = []
    for kind in ("claims", "measures"):
        for row in content[kind]:
            plain = {k: row[k] for k in ("name", "system", "reference", "direction", "ours", "theirs")}
            difference = row["difference"]
            rest = {k: row[k] for k in ("p_holm", "verdict", "validation")}
            rows.append({**plain, **_ends(difference, "difference"), "p": difference["p"], **rest})
    return pd.DataFrame(rows)


def comparison_markdown(content: Mapping[str, Any]) -> str:
    """The whole page."""
    return markdown("replies/templates/comparison.md.j2", content=content, words=VERDICT_WORDS)


def comparison_overview(content: Mapping[str, Any]) -> "list[Table]":
    """For a terminal of 80 columns: the claims, then what differs significantly."""
    out = []
    reference = content["reference"]
    for kind, title in (("claims", "E-THER's claims"), ("measures", "Measures that differ")):
        rows = [row for row in content[kind] if kind == "claims" or row["verdict"] in ("better", "worse")]
        if not rows:
            continue
        what = f"{title}, difference (system - {reference})"
        table = _table(what, "system", kind.removesuffix("s"), "difference", "verdict")
        for row in rows:
            figure, told = _short(row["difference"], signed=True), VERDICT_WORDS[row["verdict"]]
            table.add_row(_shown(row["system"]), row["name"], figure, told)
        out.append(table)
    return out


def measured_overview(measured: pd.DataFrame) -> "list[Table]":
    """Means over scored replies, for a terminal of 80 columns."""
    out = []
    for system, rows in measured.groupby("system", sort=False):
        scored = rows[rows["status"] == "scored"]
        table = _table(f"{system}: {len(scored)} of {len(rows)} replies scored", "measure", "mean", "replies", "better")
        for measure in MEASURES:
            known = scored[measure.name].dropna()
            if len(known):
                better = "more" if measure.direction > 0 else "less"
                table.add_row(measure.name, f"{known.mean():.3f}", str(len(known)), better)
        out.append(table)
    return out


def _table(title: str, *columns: str) -> "Table":
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=escape(title), title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _short(figure: Mapping[str, Any], signed: bool = False) -> str:
    return interval_text(figure, signed=signed, digits=2).replace("[", "\\[")


def _shown(text: object) -> str:
    """A system's name on the terminal, where it must not be markup."""
    from rich.markup import escape

    return escape(one_line(text))


def ratings_overview(content: Mapping[str, Any]) -> "list[Table]":
    """For a terminal of 80 columns."""
    strengths = _table(
        "Bradley-Terry log strengths, 0 = mean of the systems", "question", "system", "won", "log strength", "n"
    )
    last = None
    for row in content["strengths"]:
        if row["label"] != last:
            strengths.add_section()
        name, last = (row["label"] if row["label"] != last else ""), row["label"]
        strengths.add_row(
            name, _shown(row["system"]), f"{row['won']:.2f}", _short(row, signed=True), str(row["judgements"])
        )
    agreed = _table("Agreement of people", "question", "alpha", "items rated by several", "A chosen")
    for name, label in content["agreement"]["labels"].items():
        first = content["first"].get(name)
        agreed.add_row(name, _short(label["coefficients"]["alpha"]), str(label["shared"]), number_text(first))
    out = [strengths, agreed]
    if content["judges"]:
        judged = _table(
            "Judges that are models", "judge", "question", "items", "as most people", "people alike", "as the coder"
        )
        for row in content["judges"]:
            shares = [
                number_text(row["same"]),
                number_text(row["people"]),
                f"{number_text(row['with_coder'])} of {row['one_reflection']}",
            ]
            judged.add_row(_shown(row["judge"]), row["label"], str(row["items"]), *shares)
        out.append(judged)
    return out
