"""Table and figure: published vision-language models of full size beside a light run. `run.py RUN MODELS`."""

import sys
from pathlib import Path
from typing import Any, Final

import matplotlib.pyplot as plt
import pandas as pd
from omegaconf import OmegaConf

from subtext.cli.hydra_app import conf_folder
from subtext.vlm.cost import published_cost
from subtext.vlm.light import light_cost
from subtext.vlm.spec import VlmSpec

HERE: Final = Path(__file__).parent
SECONDS: Final = (2.0, 10.0)
"""A turn of the studio's length, and a long one."""
LARGE: Final = (7.0e9, 9.0e9)
"""Parameters of the families that the goals are about, rounded to billions as in their names."""
GOALS: Final = {"flops": 0.001, "parameters": 0.01}


def families() -> pd.DataFrame:
    """A row a family."""
    rows = []
    for path in sorted((conf_folder() / "vlm").glob("*.yaml")):
        own: Any = OmegaConf.to_container(OmegaConf.load(path))
        cost = published_cost(VlmSpec(**own, path="", device="cpu", dtype="bfloat16"))
        rows.append({"family": path.stem, "note": own.get("note", ""), **cost.as_dict()})
    return pd.DataFrame(rows)


def shares(table: pd.DataFrame, light: dict[float, dict[str, Any]]) -> pd.DataFrame:
    """The light model's share of each family, and whether the goals are met where they apply."""
    out = table.copy()
    out["has_goal"] = out["parameters"].between(LARGE[0] - 0.5e9, LARGE[1] + 0.5e9)
    out["parameter_share"] = light[SECONDS[0]]["total"]["parameters"] / out["parameters"]
    for seconds in SECONDS:
        share = light[seconds]["total"]["flops"] / out["flops_per_prompt"]
        out[f"flops_share_{seconds:g}s"] = share
        out[f"flops_goal_{seconds:g}s"] = (share <= GOALS["flops"]).where(out["has_goal"])
    out["parameter_goal"] = (out["parameter_share"] <= GOALS["parameters"]).where(out["has_goal"])
    return out


def draw(table: pd.DataFrame, light: dict[float, dict[str, Any]], path: Path) -> None:
    """Parameters against operations, both logarithmic."""
    figure, axes = plt.subplots(figsize=(7.2, 4.6), layout="constrained")
    large = table[table["has_goal"]]
    for rows, colour, label in (
        (large, "C0", "published, 7 to 9 billion"),
        (table[~table["has_goal"]], "C7", "published, small"),
    ):
        axes.scatter(rows["parameters"], rows["flops_per_prompt"], color=colour, label=label, zorder=3)
    ranked = table.sort_values("flops_per_prompt")
    for n, row in enumerate(ranked.itertuples()):
        left = n % 2 == 0
        axes.annotate(
            row.family,
            (row.parameters, row.flops_per_prompt),
            xytext=(-6 if left else 6, 0),
            textcoords="offset points",
            ha="right" if left else "left",
            va="center",
            fontsize=7,
        )
    for seconds, marker in zip(SECONDS, ("o", "s"), strict=True):
        total = light[seconds]["total"]
        axes.scatter(
            total["parameters"],
            total["flops"],
            color="C3",
            marker=marker,
            zorder=3,
            label=f"light model, {seconds:g} s",
        )
    x, y = GOALS["parameters"] * large["parameters"].min(), GOALS["flops"] * large["flops_per_prompt"].min()
    axes.fill_between([1e7, x], 1e9, y, color="C2", alpha=0.15, lw=0, label="goals met against every large family")
    axes.set(xscale="log", yscale="log", xlim=(1e7, 4e10), ylim=(1e9, 1e14))
    axes.set_xlabel("parameters")
    axes.set_ylabel("operations: one clip, one prompt")
    axes.legend(fontsize=7, loc="upper left")
    figure.savefig(path, dpi=130)


def markdown(table: pd.DataFrame) -> str:
    """The README's table."""
    lines = [
        "| family | published model | parameters | adapter (rank 8) | tokens | TFLOP a prompt | bf16 GiB | float32 GiB | light / its parameters | light / its FLOPs, 2 s | 10 s |"
    ]
    lines.append("|" + "---|" * 11)
    for row in table.sort_values("parameters").itertuples():
        met = {True: " (met)", False: " (**missed**)"}
        goals = [
            met.get(g, "") if row.has_goal else "" for g in (row.parameter_goal, row.flops_goal_2s, row.flops_goal_10s)
        ]
        lines.append(
            f"| {row.family} | {row.model} | {row.parameters / 1e9:.2f} B | {row.adapter_parameters / 1e6:.2f} M | {row.tokens:,} | "
            f"{row.flops_per_prompt / 1e12:.2f} | {row.memory_bf16_gib:.1f} | {row.memory_float32_gib:.1f} | "
            f"{row.parameter_share:.2%}{goals[0]} | {row.flops_share_2s:.3%}{goals[1]} | {row.flops_share_10s:.3%}{goals[2]} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Count, write and draw."""
    run, models = map(Path, sys.argv[1:3])
    light = {seconds: light_cost(run, models, seconds) for seconds in SECONDS}
    table = shares(families(), light)
    table.to_csv(HERE / "families.csv", index=False)
    parts = [{"seconds": s, "part": part, **found} for s, each in light.items() for part, found in each.items()]
    pd.DataFrame(parts).to_csv(HERE / "light.csv", index=False)
    (HERE / "table.md").write_text(markdown(table) + "\n", encoding="utf-8")
    draw(table, light, HERE / "cost.png")
    print(markdown(table))
    print(pd.DataFrame(parts).to_string(index=False))


if __name__ == "__main__":
    main()
