"""The order in which people list names with numbers in them: 1, 2, 10."""

import re
from typing import Any

_NUMBERS = re.compile(r"([0-9]+)")


def natural(name: object) -> tuple[Any, ...]:
    """A key to sort by: numbers inside of a name count as numbers, all else as text.

    Example:
        >>> sorted(["speaker 10", "speaker 2", "speaker 1"], key=natural)
        ['speaker 1', 'speaker 2', 'speaker 10']
    """
    # Text and digits alternate. Digits are compared by their count first, since no number is too long for a name.
    parts = _NUMBERS.split(str(name))
    digits = [part.lstrip("0") for part in parts[1::2]]
    return (*zip(parts[::2], [*((len(each), each) for each in digits), (0, "")], strict=True), str(name))
