"""The gradient's norm over time, an arm a line: a colour a network, a style a clipping rule.

Before training, arms of one network have nearly the same curve whatever the rule. So that none hides another, the
first rule is a wide pale line under the others, and the dots of the third fall into the gaps of the second.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from reports.figures._axes import (
    INK,
    QUIET,
    ROOM,
    SERIES,
    SKY,
    SMALL,
    axes_row,
    name_x,
    name_y,
    plain_decades,
    whole_numbers,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

T = TypeVar("T")
UNCLIPPED: Final = "none"
_COLOURS: Final = (*(colour for colour in SERIES if colour != SKY), INK, QUIET, SKY)
"""Sky last: a line without clipping is half transparent, and blue then looks like it."""
_PLAIN: Final[dict[str, Any]] = {"linestyle": "-", "linewidth": 1.6}
_STYLES: Final[tuple[dict[str, Any], ...]] = (  # in line widths; the first dashes and the dots share no place
    {"linestyle": "-", "linewidth": 3.4, "alpha": 0.5},
    {"linestyle": (0, (3.5, 2.75)), "linewidth": 1.6},
    {"linestyle": (1.6, (1, 4)), "linewidth": 2.0},
    {"linestyle": (0, (1, 1.2)), "linewidth": 1.6},
    {"linestyle": (0, (9, 1.5)), "linewidth": 1.6},
    {"linestyle": (0, (6, 1.5, 1, 1.5)), "linewidth": 1.6},
    {"linestyle": (0, (6, 1.5, 1, 1.5, 1, 1.5)), "linewidth": 1.6},
    {"linestyle": (0, (2, 5)), "linewidth": 1.6},
)
_NETWORKS_A_ROW: Final = 8
_LETTERS_A_ROW: Final = 130
_HANDLE_LETTERS: Final = 6  # as wide as a legend's line and the gap after its name
_RULES_A_ROW: Final = 4
_LEGEND_ROW: Final = 0.2  # inches


@dataclass(frozen=True, kw_only=True)
class FlowLine:
    """Gradient norms by step, of one kind of network under one clipping rule."""

    network: str
    clipping: str
    values: tuple[float, ...]


def flow_figure(panels: Mapping[str, Sequence[FlowLine]]) -> "Figure":
    """Gradient norms by step on one logarithmic axis, a panel a title."""
    lines = [line for here in panels.values() for line in here]
    colours = _given(dict.fromkeys(line.network for line in lines), _COLOURS)
    rules = sorted({line.clipping for line in lines}, key=lambda rule: (rule != UNCLIPPED, rule))
    styles = _given(rules, _STYLES if len(rules) > 1 else (_PLAIN,))
    named = styles if len(rules) > 1 else {}  # one rule is no matter of comparison
    networks_a_row = max(1, min(_NETWORKS_A_ROW, _LETTERS_A_ROW // (_HANDLE_LETTERS + max(map(len, colours)))))
    network_rows = -(-len(colours) // networks_a_row)
    top = 0.34 + _LEGEND_ROW * (network_rows + -(-len(named) // _RULES_A_ROW))
    figure, axes = axes_row(len(panels), width=8.6, height=2.56 + top, top=top)
    for axis, (title, here) in zip(axes, panels.items(), strict=True):
        for line in sorted(here, key=lambda line: rules.index(line.clipping)):
            axis.plot(line.values, color=colours[line.network], **styles[line.clipping])
        _scale(axis, [value for line in lines for value in line.values])
        axis.set_title(title, fontsize=SMALL, color=INK, loc="right", y=0.99)
    name_x(axes, "step t")
    name_y(axes[0], "|dL/dh_t|")
    _legend(figure, [{"label": name, "color": each} for name, each in colours.items()], columns=networks_a_row)
    if named:
        shown = [{"label": f"clipping {rule}", "color": INK, **style} for rule, style in named.items()]
        _legend(figure, shown, columns=_RULES_A_ROW, below=network_rows, length=3.4)
    return figure


def _given(names: Iterable[str], looks: Sequence[T]) -> dict[str, T]:
    """A look a name, in order; again from the first where they run out."""
    return dict(zip(names, itertools.cycle(looks), strict=False))


def _scale(axis: "Axes", values: Sequence[float]) -> None:
    axis.set_yscale("log")
    axis.set_ylim(min(values) / ROOM, max(values) * ROOM)
    plain_decades(axis.yaxis, of=(min(values), max(values)))
    whole_numbers(axis)


def _legend(
    figure: "Figure", looks: Sequence[dict[str, Any]], *, columns: int, below: int = 0, length: float = 1.6
) -> None:
    """In rows from the top of the figure, below so many rows of another legend."""
    from matplotlib.lines import Line2D

    figure.legend(
        handles=[Line2D([], [], **{"linewidth": 2.4, **look}) for look in looks],
        fontsize=SMALL - 0.5,
        frameon=False,
        labelcolor=INK,
        loc="upper left",
        bbox_to_anchor=(0.0, 1 - below * _LEGEND_ROW / figure.get_figheight()),
        ncols=columns,
        handlelength=length,
        columnspacing=1.2,
        handletextpad=0.5,
    )
