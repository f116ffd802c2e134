"""Sessions of two people, each before a camera of their own, with turns and raters."""

import shutil
from pathlib import Path

from builders.talking_face import write_talking_face

SESSIONS = ("S01", "S02", "S03", "S04")
TURNS = 12


def write_study(folder: Path, *, splits: bool = False) -> Path:
    """Four sessions under `ether`, three raters who now and then skip or differ.

    Args:
        folder: what `paths.data` is to name.
        splits: whether sessions say in which split they are.
    """
    folder.mkdir(parents=True, exist_ok=True)
    clip = write_talking_face(folder / "clip.mp4", 16.0, width=160, height=120)
    for number, name in enumerate(SESSIONS):
        session = folder / "ether" / name
        (session / "ratings").mkdir(parents=True)
        turns = []
        for turn in range(TURNS):
            start = 0.25 * (number + 1) + 1.2 * turn  # No stretch of the clip is two sessions'.
            role = "counsellor" if turn % 2 == 0 else "client"
            turns.append(f"{turn},{start:.2f},{start + 1.0:.2f},{role},Turn {turn} of session {number}")
        (session / "turns.csv").write_text("\n".join(["turn,start,end,role,transcript", *turns]))
        split = f"split: {('train', 'train', 'val', 'test')[number]}\n" if splits else ""
        people = f"speakers: {{client: C{number}, counsellor: T{number}}}\n"
        (session / "session.yaml").write_text(people + split)
        for role in ("client", "counsellor"):
            shutil.copy(clip, session / f"{role}.mp4")
        for place, rater in enumerate(("ann", "bob", "cara")):
            rows = []
            for turn in range(1, TURNS, 2):
                value = (turn // 2 + number) % 2
                differs, skips = turn % 7 == place and place == 2, (turn + number) % 11 == place
                rows.append(f"{turn},{'' if skips else value ^ differs}")
            (session / "ratings" / f"{rater}.csv").write_text("\n".join(["turn,incongruent", *rows]))
    return folder
