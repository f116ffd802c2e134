"""RAVDESS swapped: within-actor AUROC of trained runs beside the posterior baseline, all pairs and kind by kind.

    python experiments/ravdess_swap/results.py emotion
    python experiments/ravdess_swap/results.py polarity

Reads `posterior_baseline.csv` under `runs/ravdess_swap`, and what was trained: a folder a variant and fusion, in it a
run a seed (`emotion/crossmodal/seed-0` ...). A figure of several seeds is the mean of
each actor's figures over the seeds; intervals are t intervals over the 24 actors. Kinds of pairs are compared with the
congruent pairs that share their face or their voice, so that a system which knows one half alone gets 0.5. Writes
`results_VARIANT.csv` and `.md` beside itself.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from subtext.corpora.ravdess_swap import VARIANTS
from subtext.evaluation.intervals import Interval, Units, mean_interval, mean_of, ranking_interval
from subtext.evaluation.metrics import auroc
from subtext.evaluation.within import auroc_by_unit

HERE = Path(__file__).parent
RUNS = Path("runs/ravdess_swap")
KINDS = ("opposite_polarity", "same_polarity", "calm", "surprise")
CLIPS = ("face_clip", "voice_clip")
LABEL, UNIT = "incongruent", "speaker"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("variant", choices=VARIANTS)
    variant = parser.parse_args().variant
    baseline = pd.read_csv(RUNS / "posterior_baseline.csv")
    baseline = baseline[baseline["variant"] == variant]
    posterior = {condition: [rows] for condition, rows in baseline.groupby("condition", sort=False)}
    pairs = posterior["headline"][0].drop(columns="score")
    systems = {fusion.name: trained(fusion, pairs) for fusion in sorted((RUNS / variant).glob("*"))}
    systems["posterior baseline"] = posterior.pop("headline")
    rows = [row for name, tables in systems.items() for row in figures(name, tables)]
    names = list(systems)
    for one, other in ((one, other) for place, other in enumerate(names) for one in names[:place]):
        rows += differences(f"{one} less {other}", systems[one], systems[other])
    for name in list(systems)[:-1]:
        rows += figures(f"{name}, halves permuted", trained(RUNS / variant / name, pairs, "permuted"))
    for condition, tables in posterior.items():
        rows += figures(f"posterior baseline, {condition}", tables)
    found = pd.DataFrame(rows)
    found.insert(0, "variant", variant)
    target = HERE / f"results_{variant}.csv"
    found.to_csv(target, index=False, float_format="%.6f")
    target.with_suffix(".md").write_text(markdown(found), encoding="utf-8")


def trained(folder: Path, pairs: pd.DataFrame, control: str | None = None) -> list[pd.DataFrame]:
    """The test rows of every seed's run, one table a seed; each pair is judged by the fold that left its actor out."""
    tables = []
    for run in sorted(folder.glob("seed-*")):
        rows = pd.read_parquet(run / ("predictions.parquet" if control is None else "controls.parquet"))
        if control is not None:
            rows = rows[rows["control"] == control]
        rows = rows[rows["split"] == "test"][["id", f"prob_{LABEL}"]].rename(columns={f"prob_{LABEL}": "score"})
        merged = pairs.merge(rows, on="id", validate="one_to_one")
        if len(merged) != len(pairs):
            raise SystemExit(f"{run} judges {len(merged)} of {len(pairs)} pairs; finish it")
        tables.append(merged)
    return tables


def each_actor(tables: list[pd.DataFrame], kind: str | None) -> pd.Series:
    """Each actor's figure, mean over seeds."""
    found = []
    for table in tables:
        chosen = table if kind is None else table[table["pair_kind"].isin([kind, "congruent"])]
        found.append(auroc_by_unit(chosen, LABEL, "score", UNIT, () if kind is None else CLIPS))
    return pd.concat(found, axis=1).mean(axis=1)


def figures(name: str, tables: list[pd.DataFrame]) -> list[dict[str, object]]:
    """Pooled and within-actor figures of one system, then the kinds."""
    labels = tables[0][LABEL].to_numpy(dtype=bool)
    pooled = mean_of([auroc(labels, table["score"].to_numpy()) for table in tables])
    rows = [row(name, "pooled", ranking_interval(pooled, Units.of(tables[0], [UNIT])), len(tables))]
    for part, kind in parts(tables[0]).items():
        rows.append(row(name, part, mean_interval(each_actor(tables, kind).to_list(), UNIT), len(tables)))
    return rows


def differences(name: str, tables: list[pd.DataFrame], other: list[pd.DataFrame]) -> list[dict[str, object]]:
    """Each actor's figure less that of another system."""
    rows = []
    for part, kind in parts(tables[0]).items():
        gaps = each_actor(tables, kind) - each_actor(other, kind)
        rows.append(row(name, part, mean_interval(gaps.to_list(), UNIT, low=-1.0), len(tables)))
    return rows


def parts(table: pd.DataFrame) -> Mapping[str, str | None]:
    """What is looked at: all pairs within actors, and each kind that there is."""
    return {"within actor": None, **{kind: kind for kind in KINDS if (table["pair_kind"] == kind).any()}}


def row(name: str, part: str, found: Interval, seeds: int) -> dict[str, object]:
    return {"system": name, "part": part, "auroc": found.value, "low": found.low, "high": found.high, "runs": seeds}


def markdown(found: pd.DataFrame) -> str:
    """One line a system, the parts side by side."""
    cells = found.assign(cell=[f"{r.auroc:.3f} [{r.low:.3f}, {r.high:.3f}]" for r in found.itertuples()])
    wide = cells.pivot(index="system", columns="part", values="cell")
    wide = wide.loc[list(dict.fromkeys(found["system"])), list(dict.fromkeys(found["part"]))].fillna("").reset_index()
    lines = ["| " + " | ".join(wide.columns) + " |", "|" + "---|" * len(wide.columns)]
    lines += ["| " + " | ".join(line) + " |" for line in wide.itertuples(index=False)]
    return "\n".join(lines).replace("_", " ") + "\n"


if __name__ == "__main__":
    main()
