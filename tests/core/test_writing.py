"""Files appear whole or not at all, and nothing is left of those that were not finished."""

import ast
import os
import time
from pathlib import Path

import pytest

from builders.dead_processes import being_written, content, full_disk, left_by_the_dead
from subtext.core import writing
from subtext.core.writing import UNFINISHED, remove_leftovers, replacing, write_bytes, write_text

SOURCE = Path(writing.__file__).parents[1]


def test_a_file_is_whole_or_as_it_was(tmp_path: Path) -> None:
    path = write_text(tmp_path / "new" / "rows.csv", "id\n")

    def fails() -> None:
        with replacing(path) as place:
            assert (place.parent, place.suffix) == (path.parent, ".csv")
            place.write_text("i")
            raise ValueError("half")

    with pytest.raises(ValueError, match="half"):
        fails()
    assert content(tmp_path) == {"new/rows.csv": b"id\n"}


def test_a_full_disk_leaves_what_was_there_and_nothing_else(tmp_path: Path) -> None:
    path = write_bytes(tmp_path / "rows", b"old")
    with full_disk(1000), pytest.raises(OSError, match="too large"):
        write_bytes(path, b"new" * 1000)
    assert content(tmp_path) == {"rows": b"old"}


def test_what_the_dead_left_goes_at_once_and_what_the_living_write_stays(tmp_path: Path) -> None:
    dead = left_by_the_dead(tmp_path / "model.safetensors")
    with being_written(tmp_path / "model.safetensors") as living, replacing(tmp_path / "own.csv") as own:
        own.touch()
        remove_leftovers(tmp_path)
        assert sorted(tmp_path.iterdir()) == sorted([living, own])
        assert not dead.exists()
    remove_leftovers(tmp_path)
    assert content(tmp_path) == {"own.csv": b""}


def test_a_later_process_of_the_same_number_is_another_one(tmp_path: Path) -> None:
    with replacing(tmp_path / "rows.csv") as own:
        own.touch()
        machine, pid, start, rest = own.name.removeprefix(UNFINISHED).split("-")
    assert (int(pid), start.isdecimal()) == (os.getpid(), True)
    left = tmp_path / f"{UNFINISHED}{machine}-{pid}-{int(start) - 1}-{rest}"
    left.touch()
    remove_leftovers(tmp_path)
    assert content(tmp_path) == {"rows.csv": b""}


@pytest.mark.parametrize("name", ["0a1b2c3d-1-5-ffffffff.mp4", "0123abcd.parquet", "studio-000001.1.mp4", "x--", ""])
def test_of_another_machine_s_it_is_not_known_so_they_stay_a_day(tmp_path: Path, name: str) -> None:
    left, other = tmp_path / f"{UNFINISHED}{name}", tmp_path / "thesis.part-1.doc"
    for place in (left, other):
        place.touch()
        os.utime(place, (time.time() - 23 * 3600,) * 2)
    remove_leftovers(tmp_path)
    assert left.exists()
    for place in (left, other):
        os.utime(place, (time.time() - 25 * 3600,) * 2)
    remove_leftovers(tmp_path)
    assert (left.exists(), other.exists()) == (False, True)


def test_a_leftover_that_is_a_link_goes_and_what_it_leads_to_stays(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("id")
    left = left_by_the_dead(tmp_path / "rows.csv")
    left.unlink()
    left.symlink_to(tmp_path / "mine.csv")
    remove_leftovers(tmp_path)
    assert not left.is_symlink()
    assert (tmp_path / "mine.csv").read_text() == "id"


def test_the_first_file_of_a_process_in_a_folder_removes_leftovers(tmp_path: Path) -> None:
    left = left_by_the_dead(tmp_path / "rows.csv")
    write_text(tmp_path / "other.csv", "id")
    assert not left.exists()


ELSEWHERE = {
    "corpora/studio/write.py": "writes to the place that it is given",
    "replies/convert.py": "in a folder for the time being",
}
WRITERS = {"write_text", "write_bytes", "to_parquet", "to_csv", "savefig", "save_file", "save_image"}


def written_in_place(path: Path) -> list[int]:
    """Lines that write a file at once and elsewhere than to a place that `replacing` gives."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    places = {
        item.optional_vars.id
        for node in ast.walk(tree)
        if isinstance(node, ast.With)
        for item in node.items
        if isinstance(item.optional_vars, ast.Name) and "replacing" in ast.dump(item.context_expr)
    }
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        names = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
        given = [*node.args, *(keyword.value for keyword in node.keywords)]
        modes = [a.value for a in given if isinstance(a, ast.Constant) and isinstance(a.value, str)]
        opens = node.func.attr == "open" and any(mode[:1] in ("w", "x") for mode in modes)
        # A run folder's own methods name one of its files; without arguments a table gives its text.
        writes = node.func.attr in WRITERS and node.args and not names & {"RunFile", "self"}
        if (opens or writes) and not names & places:
            found.append(node.lineno)
    return sorted(found)


def test_every_file_is_written_whole_or_not_at_all() -> None:
    found = {path.relative_to(SOURCE).as_posix(): written_in_place(path) for path in sorted(SOURCE.rglob("*.py"))}
    assert {name: lines for name, lines in found.items() if lines}.keys() == ELSEWHERE.keys()


def test_a_file_that_is_written_in_place_is_found(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(
        "with replacing(path) as place:\n    place.write_text('x')\n    table.to_parquet(place)\n"
        "path.write_text('x')\ntable.to_parquet(path)\nwith path.open('w') as file:\n    pass\nfigure.savefig(path)\n"
    )
    assert written_in_place(path) == [4, 5, 6, 8]
