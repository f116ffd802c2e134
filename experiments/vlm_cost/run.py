"""Table and figure: published vision-language models of full size beside a light run. `run.py RUN MODELS`."""

import sys
from pathlib import Path
from typing import Any, Final

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.ticker import NullFormatter
from omegaconf import OmegaConf

from subtext.core.composition import conf_folder
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


def draw(table: pd.DataFrame, path: Path) -> None:
    """The light model's share of each family's parameters and operations, with the goals."""
    ranked = table.sort_values(["has_goal", "flops_share_2s"], ascending=[False, True])
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 3.9), sharey=True, layout="constrained")
    names = [
        name if has_goal else f"{name} (small)"
        for name, has_goal in zip(ranked["family"], ranked["has_goal"], strict=True)
    ]
    left.scatter(100 * ranked["parameter_share"], names, color="C0", zorder=3)
    for seconds, marker in zip(SECONDS, ("o", "s"), strict=True):
        share = 100 * ranked[f"flops_share_{seconds:g}s"]
        right.scatter(
            share, names, marker=marker, color="C0" if marker == "o" else "C1", zorder=3, label=f"{seconds:g} s"
        )
    for axes, goal, what in ((left, "parameters", "parameters"), (right, "flops", "operations, one prompt")):
        axes.axvline(100 * GOALS[goal], color="C2", lw=1.5, label=f"goal, at most {100 * GOALS[goal]:g} %")
        axes.set(xscale="log", xlabel=f"light model / family: {what}, %")
        axes.grid(axis="x", which="both", alpha=0.25)
        axes.legend(fontsize=8, loc="upper right" if axes is right else "lower left")
    left.set_xlim(0.2, 2)
    left.set_xticks([0.2, 0.5, 1, 2], ["0.2", "0.5", "1", "2"])
    right.set_xticks([0.02, 0.05, 0.1, 0.2, 0.5, 1], ["0.02", "0.05", "0.1", "0.2", "0.5", "1"])
    for axes in (left, right):
        axes.xaxis.set_minor_formatter(NullFormatter())
    left.invert_yaxis()
    figure.savefig(path, dpi=130)


HEADINGS: Final = (
    "family",
    "published model",
    "parameters",
    "adapter, rank 8",
    "tokens",
    "TFLOP",
    "bf16 GiB",
    "float32 GiB",
    "light / its parameters",
    "light / its FLOPs, 2 s",
    "10 s",
)


def markdown(table: pd.DataFrame) -> str:
    """The README's table."""
    lines = [f"| {' | '.join(HEADINGS)} |", "|" + "---|" * len(HEADINGS)]
    for row in table.sort_values("parameters").to_dict("records"):
        goals = {"parameter_share": "parameter_goal", **{f"flops_share_{s:g}s": f"flops_goal_{s:g}s" for s in SECONDS}}
        met = {True: " met", False: " **missed**"}
        cells = [
            row["family"],
            row["model"],
            f"{row['parameters'] / 1e9:.2f} B",
            f"{row['adapter_parameters'] / 1e6:.2f} M",
            f"{row['tokens']:,}",
            f"{row['flops_per_prompt'] / 1e12:.2f}",
            f"{row['memory_bf16_gib']:.1f}",
            f"{row['memory_float32_gib']:.1f}",
            *(f"{row[share]:.3%}{met[bool(row[goal])] if row['has_goal'] else ''}" for share, goal in goals.items()),
        ]
        lines.append(f"| {' | '.join(cells)} |")
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
    draw(table, HERE / "cost.png")
    print(markdown(table))
    print(pd.DataFrame(parts).to_string(index=False))


if __name__ == "__main__":
    main()
