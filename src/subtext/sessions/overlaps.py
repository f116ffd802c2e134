"""Where two people speak at once."""

from collections.abc import Sequence

Interval = tuple[float, float]
"""Start and end in s."""


def overlaps(turns: Sequence[Interval], owners: Sequence[str]) -> list[list[tuple[int, Interval]]]:
    """For each turn the stretches in which somebody else speaks too.

    Args:
        turns: start and end of each.
        owners: who speaks in each.

    Returns:
        For each turn pairs of the other turn's number and the common stretch, in order of time.
    """
    order = sorted(range(len(turns)), key=lambda number: turns[number])
    found: list[list[tuple[int, Interval]]] = [[] for _ in turns]
    running: list[int] = []  # turns that have begun and may go on
    for number in order:
        start, end = turns[number]
        running = [other for other in running if turns[other][1] > start]
        for other in running:
            if owners[other] != owners[number]:
                common = (start, min(end, turns[other][1]))
                if common[1] > common[0]:
                    found[number].append((other, common))
                    found[other].append((number, common))
        running.append(number)
    return [sorted(pairs, key=lambda pair: pair[1]) for pairs in found]


def union(stretches: Sequence[Interval]) -> list[Interval]:
    """The stretches without what they have in common."""
    joined: list[Interval] = []
    for start, end in sorted(stretches):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return joined


def longest_free(turn: Interval, taken: Sequence[Interval]) -> Interval | None:
    """The longest part of a turn outside the stretches, the earlier one of equals; None where nothing is left."""
    at, parts = turn[0], []
    for start, end in union(taken):
        parts.append((at, min(start, turn[1])))
        at = max(at, end)
    parts.append((at, turn[1]))
    free = [part for part in parts if part[1] > part[0]]
    return max(free, key=lambda part: part[1] - part[0]) if free else None
