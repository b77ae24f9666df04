"""How a search went: the objective in the order in which trials ended, and each trial as a line over its parameters."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from reports.figures._axes import BLUE, INK, ORANGE, QUIET, RULE, SMALL, VERMILION, axes_row, legend, name_x, name_y

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CROSS: Final = 0.96  # where diverged trials have their crosses, as a share of the height
_FEW_LEVELS: Final = 9
_MOST_TITLE: Final = 14


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A trial in the order of endings, from 1; y is None of one that diverged."""

    place: int
    y: float | None


@dataclass(frozen=True, kw_only=True)
class Coordinate:
    """One upright axis.

    Attributes:
        title: its name.
        ticks: (place from 0 to 1, name) of its values.
    """

    title: str
    ticks: tuple[tuple[float, str], ...]


@dataclass(frozen=True, kw_only=True)
class Line:
    """A trial: where it crosses each axis, from 0 to 1; None where it has no such parameter.

    Attributes:
        front: whether it is among the best, and drawn in front.
        chosen: the one that development data chose.
    """

    places: tuple[float | None, ...]
    front: bool = False
    chosen: bool = False


def history_figure(ended: Sequence[Ended], *, objective: str) -> "Figure":
    """A dot a complete trial, the least value so far as a line, and a cross at the upper border for a diverged one."""
    figure, (axis,) = axes_row(1, width=8.6, height=2.9, top=0.48)
    measured = [(each.place, each.y) for each in ended if each.y is not None]
    places, values = [place for place, _ in measured], [y for _, y in measured]
    least = [min(values[: count + 1]) for count in range(len(values))]
    axis.scatter(places, values, s=20, color=BLUE, alpha=0.8, linewidth=0, label="complete")
    axis.step(places, least, where="post", color=ORANGE, linewidth=1.6, label="least so far")
    lost = [each.place for each in ended if each.y is None]
    if lost:
        axis.plot(
            lost, [_CROSS] * len(lost), "x", color=VERMILION, transform=axis.get_xaxis_transform(), label="diverged"
        )
    name_x([axis], "trials in the order in which they ended")
    name_y(axis, objective)
    legend(axis)
    return figure


def parallel_figure(coordinates: Sequence[Coordinate], lines: Sequence[Line]) -> "Figure":
    """Upright axes side by side, a line a trial over those that it has; the best in colour, the chosen one in front."""
    figure, (axis,) = axes_row(1, width=9.2, height=3.6, top=0.42)
    for line in sorted(lines, key=lambda line: (line.chosen, line.front)):
        _draw(axis, line)
    for place, coordinate in enumerate(coordinates):
        axis.axvline(place, color=RULE, linewidth=1.0, zorder=1)
        title = coordinate.title if len(coordinate.title) <= _MOST_TITLE else f"{coordinate.title[: _MOST_TITLE - 1]}…"
        axis.text(place, 1.05, title, ha="center", va="bottom", fontsize=SMALL - 1, color=INK)
        for height, name in coordinate.ticks if len(coordinate.ticks) <= _FEW_LEVELS else ():
            axis.text(
                place + 0.03, height + 0.012, name, ha="left", va="bottom", fontsize=SMALL - 1.5, color=INK, zorder=5
            )
    axis.set_xlim(-0.1, len(coordinates) - 0.55)
    axis.set_ylim(-0.05, 1.04)
    axis.axis("off")
    return figure


def _draw(axis: "Axes", line: Line) -> None:
    """From axis to axis that it has; dotted where it passes one that it has not."""
    met = [(place, height) for place, height in enumerate(line.places) if height is not None]
    colour, width, order = (QUIET, 0.8, 2)
    if line.front:
        colour, width, order = (BLUE, 1.3, 3)
    if line.chosen:
        colour, width, order = (ORANGE, 2.4, 4)
    for (left, low), (right, high) in pairwise(met):
        axis.plot(
            [left, right],
            [low, high],
            color=colour,
            linewidth=width,
            linestyle="-" if right == left + 1 else ":",
            solid_capstyle="round",
            zorder=order,
            alpha=0.9 if line.front or line.chosen else 0.5,
        )
