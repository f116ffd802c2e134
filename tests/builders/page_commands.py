"""The commands that pages show, as a shell reads them."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
PAGES: Final = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "experiments").glob("**/README.md")),
    ROOT / "benchmarks" / "README.md",
]
SUBTEXT: Final = ("data", "extract", "train", "sweep", "evaluate", "compare", "predict", "robustness", "vlm", "replies")
OTHERS: Final = ("make", "pip", "conda", "source", "python", "bash", "pre-commit", "optuna-dashboard")
_BLOCK: Final = re.compile(
    r"(?:<!-- (?P<mark>[^>]*) -->\n\n)?(?P<block>(?:(?:^ {4,}[^\n]*)?\n)*^ {4}[^\n]*\n)", flags=re.MULTILINE
)
_SHELL: Final = re.compile(
    rf"^ {{4}}(?:(?:\.venv/bin/)?(?:subtext-\w+|{'|'.join(OTHERS)}) |[A-Z]=|for |export )", flags=re.MULTILINE
)
_STUB: Final = 'print_arguments() { printf "%s\\0" "$@"; printf "\\n\\0"; }\n'


@dataclass(frozen=True)
class Block:
    """Commands that stand together.

    Attributes:
        page: where.
        text: as they stand there, without their indentation.
        mark: what the comment before them says.
    """

    page: Path
    text: str
    mark: str

    @property
    def composed_only(self) -> bool:
        """Whether it says that it takes what no test has."""
        return self.mark.startswith("composed only: ") or self.page.parent.parent.name == "experiments"


def blocks_of(page: Path) -> list[Block]:
    """The blocks of shell commands of a page, in its order."""
    found = []
    for match in _BLOCK.finditer(re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)):
        if _SHELL.search(match["block"]):
            found.append(Block(page, re.sub(r"^ {4}", "", match["block"], flags=re.MULTILINE), match["mark"] or ""))
    return found


def commands_of(page: Path, folder: Path) -> list[tuple[Block, list[str]]]:
    """What a shell in a folder makes of a page's blocks, one after the other: of each command its words.

    Args:
        page: read whole.
        folder: where patterns such as `ratings/*.csv` find files; those that find none stay as they are.
    """
    found = []
    before = ""
    for block in blocks_of(page):
        stubs = [
            f'{name}() {{ print_arguments {name} "$@"; }}' for name in (*(f"subtext-{s}" for s in SUBTEXT), *OTHERS)
        ]
        script = "\n".join([_STUB, "set -u", *stubs, before, "printf '\\1'", block.text.replace(".venv/bin/", "")])
        shell = shutil.which("bash") or "bash"
        done = subprocess.run(
            [shell, "-c", script], cwd=folder, capture_output=True, text=True, check=False, timeout=20
        )
        assert done.returncode == 0, f"{page}: {done.stderr}"
        assert done.stderr == "", f"{page}: {done.stderr}"
        said = done.stdout.rpartition("\1")[2]
        found += [(block, part.split("\0")[:-1]) for part in said.split("\n\0") if part]
        before += "".join(f"{line}\n" for line in block.text.splitlines() if re.match(r"[A-Z]=", line))
    return found
