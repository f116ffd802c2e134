"""Headers that were meant for one of our columns: a slip of the keys must not leave a column out unseen."""

import re
from collections.abc import Collection, Iterable, Sequence
from difflib import SequenceMatcher
from typing import Final

_SHORT: Final = 5
_LONG: Final = 9
_SEPARATORS: Final = str.maketrans("", "", " _-.\t")


def misspelt(header: Sequence[str], ours: Collection[str], others: Collection[str] = ()) -> tuple[str, int] | None:
    """The first column that has nearly one of our names, where none has the name itself.

    Names that differ in case, blanks, dots, hyphens or underscores only are nearly the same; so are longer ones after a
    slip of the keys: letters left out, doubled or exchanged. A name that holds one of ours and says more
    (`visual_polarity_rater2`, `speaker_id`, `start_frame`), has a figure in it, or begins with another letter
    (`congruent`) is one of its own.

    Args:
        header: names of the columns, in the file's order.
        ours: names that would be read.
        others: further names that are known, and mean something else.

    Returns:
        Our name, and the number of the header cell, from 1; None where all is well.

    Example:
        >>> misspelt(["id", "visual_polarty", "speaker_id"], ["id", "visual_polarity", "speaker"])
        ('visual_polarity', 2)
    """
    absent = [name for name in ours if name not in header]
    for number, cell in enumerate(header, start=1):
        if cell in ours or cell in others:
            continue
        near = [name for name in absent if _is_slip(str(cell), name)]
        if near:
            return max(near, key=lambda name: SequenceMatcher(None, _plain(str(cell)), _plain(name)).ratio()), number
    return None


def did_you_mean(found: tuple[str, int]) -> str:
    """The question and the remedy, as part of an error; our name only, for what stands in the cell is the file's."""
    ours, number = found
    return f"did you mean {ours}? (header cell {number}) Call it so, or give it a name less like that"


def _is_slip(cell: str, ours: str) -> bool:
    written, meant = _plain(cell), _plain(ours)
    if written == meant:
        return True
    if len(meant) < _SHORT or written[:1] != meant[:1] or not written.isalpha() or _says_more(cell, ours):
        return False
    blocks: Iterable[tuple[int, int, int]] = SequenceMatcher(None, written, meant, autojunk=False).get_matching_blocks()
    changed = len(written) + len(meant) - 2 * sum(size for *_, size in blocks)
    if changed == 2 and sorted(written) == sorted(meant):
        return True
    # A letter put for another counts twice, since among short names it makes another word (context, content), as one
    # left out does among the shortest (rater, rate).
    return changed <= (3 if len(meant) >= _LONG else 1) and (len(meant) > _SHORT or len(written) > len(meant))


def _says_more(cell: str, ours: str) -> bool:
    """Whether the name is one of ours with further words before or behind."""
    words = re.findall(r"[A-Z]?[^A-Z\W_]+|[A-Z]+", cell)
    return f"_{ours}_" in f"_{'_'.join(words).lower()}_" and len(words) > len(ours.split("_"))


def _plain(name: str) -> str:
    return name.lower().translate(_SEPARATORS)
