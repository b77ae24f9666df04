"""What the figures share: matplotlib without pyplot, so that nothing is global and nothing has to be closed.

The palette is Okabe and Ito's (2008), which stays apart for colour-blind readers.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

INK: Final = "#1f2a37"
QUIET: Final = "#8a94a3"
RULE: Final = "#dfe3e8"
BLUE: Final = "#0072b2"
ORANGE: Final = "#e69f00"
GREEN: Final = "#009e73"
VERMILION: Final = "#d55e00"
PURPLE: Final = "#cc79a7"
SKY: Final = "#56b4e9"
SERIES: Final = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILION)

SMALL: Final = 8.5
ROOM: Final = 1.6
"""Beside the values of a narrow axis, so that at least one of 1, 2 and 5 falls on it."""
_NARROW: Final = 5.0  # a logarithmic axis over a smaller ratio has even ticks
_WIDE: Final = 20.0  # a logarithmic axis over a larger ratio names only its decades


def axes_row(columns: int, *, width: float, height: float, top: float = 0.28) -> "tuple[Figure, list[Axes]]":
    """Axes side by side at fixed places: laying them out by measuring text would take longer than drawing."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=100)
    left, bottom, gap = 0.7 / width, 0.48 / height, 0.6 / width
    each = (1 - left - 0.12 / width - gap * (columns - 1)) / columns
    shape = (each, 1 - bottom - top / height)
    axes = [figure.add_axes((left + i * (each + gap), bottom, *shape)) for i in range(columns)]
    for axis in axes:
        style(axis)
    return figure, axes


def style(axis: "Axes") -> None:
    from matplotlib.ticker import MaxNLocator

    axis.set_facecolor("none")
    axis.yaxis.set_major_locator(MaxNLocator(nbins=5))
    axis.grid(visible=True, color=RULE, linewidth=0.7)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["left", "bottom"]].set_color(QUIET)
    axis.tick_params(colors=INK, labelsize=SMALL - 0.5, length=0, which="both")


def name_x(axes: "Sequence[Axes]", name: str) -> None:
    for axis in axes:
        axis.set_xlabel(name, fontsize=SMALL, color=INK)


def name_y(axis: "Axes", name: str) -> None:
    """Further from the ticks than matplotlib measures: the page's font may be wider than the one it measured."""
    axis.set_ylabel(name, fontsize=SMALL, color=INK, labelpad=7)


def whole_numbers(axis: "Axes") -> None:
    from matplotlib.ticker import MaxNLocator

    axis.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))


def plain_decades(axis: "Axis", *, of: tuple[float, float] | None = None) -> None:
    """Powers of ten as plain numbers: 10⁻³ set as mathematics takes most of a figure's time to draw.

    Args:
        axis: a logarithmic one.
        of: its least and largest value, where it shows more than its own.
    """
    from matplotlib.axis import XAxis
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

    low, high = of or axis.get_data_interval()  # the view is not known before the figure is drawn
    if high / low < _NARROW and isinstance(axis, XAxis):  # even ticks crowd towards the right: 1, 2 and 5 do not
        axis.axes.set_xlim(low / ROOM, high * ROOM)
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=6))
    elif high / low < _NARROW:
        axis.set_major_locator(MaxNLocator(nbins=5))
    else:
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high / low < _WIDE else (1.0,), numticks=6))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def legend(axis: "Axes", *, columns: int = 6) -> None:
    """Above the axes, where it covers no curve."""
    if not axis.get_legend_handles_labels()[0]:
        return
    axis.legend(
        fontsize=SMALL - 0.5,
        frameon=False,
        labelcolor=INK,
        loc="lower left",
        bbox_to_anchor=(-0.01, 0.98),
        ncols=columns,
        handlelength=1.6,
        columnspacing=1.1,
        handletextpad=0.5,
    )
