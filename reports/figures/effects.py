"""Effects of an ablation: differences seed by seed, and the interval of their mean."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from reports.figures._axes import BLUE, INK, QUIET, SMALL, axes_row, name_x

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LINE: Final = 0.42  # inches
_NAMES: Final = 2.2
_LETTER: Final = 0.075  # of a name, inches, in the widest of the fonts that pages have


@dataclass(frozen=True, kw_only=True)
class EffectLine:
    """One comparison.

    Attributes:
        name: what is compared with the base.
        differences: one a seed, at least one.
        low: of the interval of their mean; None where there is none.
        high: of the interval.
    """

    name: str
    differences: tuple[float, ...]
    low: float | None
    high: float | None


def effects_figure(lines: Sequence[EffectLine], *, name: str) -> "Figure":
    """A line a comparison, the first at the top."""
    names = max(_NAMES, 0.2 + _LETTER * max(len(line.name) for line in lines))
    width, height = 7.6 - _NAMES + names, 0.9 + _LINE * len(lines)
    figure, (axis,) = axes_row(1, width=width, height=height, top=0.12)
    place = axis.get_position()
    axis.set_position((names / width, place.y0, 1 - (names + 0.2) / width, place.height))
    axis.axvline(0.0, color=QUIET, linewidth=1.0)
    for row, line in enumerate(reversed(lines)):
        axis.plot(line.differences, [row] * len(line.differences), "o", color=BLUE, alpha=0.35, markersize=4)
        mean = sum(line.differences) / len(line.differences)
        if line.low is not None and line.high is not None:
            axis.plot([line.low, line.high], [row, row], color=INK, linewidth=2.0, solid_capstyle="butt")
        axis.plot([mean], [row], "|", color=INK, markersize=11, markeredgewidth=2.0)
    axis.set_ylim(-0.6, len(lines) - 0.4)
    axis.set_yticks(range(len(lines)), [line.name for line in reversed(lines)], fontsize=SMALL)
    name_x([axis], name)
    return figure
