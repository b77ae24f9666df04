"""Which of several results none is better than, where each is measured by several numbers that should be small."""

from collections.abc import Sequence


def dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether one result is at least as good as another in every number, and better in one."""
    return one != other and all(ours <= theirs for ours, theirs in zip(one, other, strict=True))


def non_dominated(points: Sequence[Sequence[float]]) -> list[int]:
    """Places of the points that no other dominates, in order; equal points stand or fall together.

    In lexicographic order a point can only be dominated by one before it, and if it is, then by one of the front so
    far. So each is compared with the front alone: the live view looks at thousands of trials several times a second.
    """
    front: list[int] = []
    for place in sorted(range(len(points)), key=lambda place: tuple(points[place])):
        if not any(dominates(points[each], points[place]) for each in front):
            front.append(place)
    return sorted(front)
