"""What became of an extraction, in a few lines for the terminal."""

from subtext.features.index import FeatureIndex


def summarise(index: FeatureIndex, name: str) -> str:
    """Counts per modality, and each reason for a missing stream with how many rows it concerns.

    Args:
        index: the results.
        name: the corpus's name.
    """
    lines = [f"{name}: {index.table['id'].nunique()} rows"]
    counts = index.summary()
    for modality in index.modalities:
        of_it = counts[counts["modality"] == modality]
        total = of_it.groupby("status")["rows"].sum()
        shown = ", ".join(f"{total.get(status, 0)} {status}" for status in ("ok", "absent", "failed"))
        lines.append(f"  {modality}: {shown}")
        for row in of_it[of_it["status"] != "ok"].itertuples():
            lines.append(f"    {row.rows} {row.status}: {row.reason} (first: {row.example})")
    return "\n".join(lines)
