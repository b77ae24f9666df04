"""Figures of all trials of a study; states differ in line style as well as in colour."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from reports.figures._axes import (
    BLUE,
    GREEN,
    INK,
    ORANGE,
    PURPLE,
    QUIET,
    SERIES,
    SKY,
    SMALL,
    VERMILION,
    axes_row,
    legend,
    name_x,
    name_y,
    plain_decades,
    style,
    whole_numbers,
)
from reports.records import TrialState

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_RUNNERS_UP: Final = (BLUE, GREEN, SKY)  # of the best trials by place; the chosen one is orange
_TOP: Final = 0.96  # where a scatter has its crosses, as a share of its height
_CROWDED: Final = 24  # letters along x, above which the names of levels are set smaller
_OVERFULL: Final = 40  # above which they are set aslant


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One trial's metric by epoch.

    Attributes:
        best: the chosen trial, which is drawn in front.
        place: among the complete trials; the first few have a colour and a name of their own.
    """

    number: int
    state: TrialState
    points: tuple[tuple[int, float], ...]
    best: bool = False
    place: int | None = None

    @property
    def named(self) -> bool:
        """Whether it is told apart from the others of its state."""
        return self.best or (self.place is not None and self.place <= len(_RUNNERS_UP))


@dataclass(frozen=True, kw_only=True)
class Dot:
    """One trial in a scatter; a diverged one is a cross at the upper border: its y is a bound, not a measurement.

    A marked one is a larger diamond with an edge, so that it is told from the others without colour too.
    """

    x: float
    y: float
    group: str
    diverged: bool = False
    marked: bool = False


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One small scatter: a parameter or a measure against the objective.

    Attributes:
        title: what stands along x.
        dots: the trials.
        ticks: names of the levels 0, 1, 2 … of a choice; empty for numbers.
        log: whether x is logarithmic.
        means: (x, mean objective) a level or bin.
    """

    title: str
    dots: tuple[Dot, ...]
    ticks: tuple[str, ...] = ()
    log: bool = False
    means: tuple[tuple[float, float], ...] = ()


def curves_figure(
    curves: Sequence[Curve], *, objective: str, guess: float | None = None, limit: float | None = None
) -> "Figure":
    """Every trial's objective by epoch; the best few are named, the others grey, pruned and diverged styled apart.

    Args:
        curves: a line each.
        objective: what stands along y.
        guess: a level to draw, that of scores that say nothing.
        limit: where y ends, so that one bad trial does not squeeze the others; None shows all.
    """
    figure, (axis,) = axes_row(1, width=8.6, height=3.5, top=0.48)
    named: set[str] = set()
    for curve in sorted(curves, key=_prominence):
        if curve.points:
            _draw_curve(axis, curve, named)
    if guess is not None:
        axis.axhline(guess, color=QUIET, linewidth=1, linestyle=(0, (1, 2)), label="scores that say nothing")
    if limit is not None:
        least = min(value for curve in curves for _, value in curve.points)
        axis.set_ylim(least - 0.05 * (limit - least), limit)
    name_x([axis], "epoch")
    name_y(axis, objective)
    whole_numbers(axis)
    legend(axis)
    return figure


def scatter_figure(panels: Sequence[Panel], *, objective: str, columns: int = 3) -> "Figure":
    """Small scatters of the objective against parameters or measures, with the mean of each level."""
    from matplotlib.figure import Figure

    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    slanted = 0.45 if any(map(_is_overfull, panels)) else 0.0  # inches below each row
    height = (2.3 + slanted) * rows
    grouped = any(
        len({dot.group for dot in panel.dots}) > 1 for panel in panels
    )  # then the legend takes the title's place
    figure = Figure(figsize=(8.6, height), dpi=100)
    axes = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
    figure.subplots_adjust(
        left=0.085,
        right=0.985,
        top=1 - 0.42 / height,
        bottom=((0.48 if grouped else 0.25) + slanted) / height,
        hspace=0.45 + slanted / 1.5,
        wspace=0.12,
    )
    settled = [dot.y for panel in panels for dot in panel.dots if not dot.diverged]
    if settled:
        margin = 0.06 * (max(settled) - min(settled)) or 0.1
        axes[0].set_ylim(min(settled) - margin, max(settled) + 3 * margin)  # room for the crosses
    for axis, panel in zip(axes, panels, strict=False):
        style(axis)
        _draw_panel(axis, panel)
    for axis in axes[len(panels) :]:
        axis.remove()
    for axis in axes[: len(panels) : columns]:
        name_y(axis, objective)
    return figure


def _prominence(curve: Curve) -> tuple[bool, bool, int]:
    """Order of the legend: the chosen one, the named by place, the others."""
    return (not curve.best, not curve.named, curve.place or 0)


def _draw_curve(axis: "Axes", curve: Curve, named: set[str]) -> None:
    name, colour, style, width = _curve_style(curve)
    steps, values = zip(*curve.points, strict=True)
    label = name if name not in named else "_"  # a leading underscore keeps it out of the legend
    named.add(name)
    alpha, order = (1.0, 4 if curve.best else 3) if curve.named else (0.6, 2)
    axis.plot(steps, values, color=colour, linestyle=style, linewidth=width, alpha=alpha, zorder=order, label=label)
    if curve.state is TrialState.DIVERGED:
        axis.plot(steps[-1:], values[-1:], marker="x", color=colour, markersize=6, linestyle="none")


def _curve_style(curve: Curve) -> tuple[str, str, str, float]:
    if curve.best:
        return f"trial {curve.number}, chosen", ORANGE, "-", 2.4
    if curve.named and curve.place is not None:
        return f"trial {curve.number}", _RUNNERS_UP[curve.place - 1], "-", 1.4
    if curve.state is TrialState.PRUNED:
        return "pruned", QUIET, "--", 1.0
    if curve.state is TrialState.DIVERGED:
        return "diverged", VERMILION, ":", 1.6
    if curve.state is TrialState.COMPLETE:
        return "complete", QUIET, "-", 1.0
    return "running, stopped or failed", PURPLE, "-.", 1.0


def _draw_panel(axis: "Axes", panel: Panel) -> None:
    groups = sorted({dot.group for dot in panel.dots})
    for colour, group in zip(SERIES * (1 + len(groups) // len(SERIES)), groups, strict=False):
        here = [dot for dot in panel.dots if dot.group == group]
        plain = [dot for dot in here if not (dot.diverged or dot.marked)]
        marked = [dot for dot in here if dot.marked]
        diverged = [dot for dot in here if dot.diverged]
        xs, ys = [dot.x for dot in plain], [dot.y for dot in plain]
        name = "_" if marked else group or "_"  # a group is named once
        axis.scatter(xs, ys, s=20, color=colour, alpha=0.8, linewidth=0, label=name)
        if marked:
            xs, ys = [dot.x for dot in marked], [dot.y for dot in marked]
            axis.scatter(xs, ys, s=34, color=colour, marker="D", edgecolor=INK, linewidth=0.8, label=group, zorder=3)
        xs = [dot.x for dot in diverged]
        axis.plot(
            xs, [_TOP] * len(xs), "x", color=VERMILION, markersize=5, transform=axis.get_xaxis_transform(), label="_"
        )
    if panel.means:
        xs, ys = [x for x, _ in panel.means], [y for _, y in panel.means]
        axis.plot(xs, ys, color=INK, linestyle="none", marker="_", markersize=20, markeredgewidth=2)
    _x_axis(axis, panel)
    if len(groups) > 1:
        legend(axis)
        axis.set_xlabel(panel.title, fontsize=SMALL, color=INK)
    else:
        axis.set_title(panel.title, fontsize=SMALL, color=INK, loc="left", y=1.0)


def _is_overfull(panel: Panel) -> bool:
    return sum(map(len, panel.ticks)) > _OVERFULL


def _x_axis(axis: "Axes", panel: Panel) -> None:
    if panel.ticks:
        axis.set_xticks(range(len(panel.ticks)), panel.ticks)
        axis.set_xlim(-0.6, len(panel.ticks) - 0.4)
        if sum(map(len, panel.ticks)) > _CROWDED:
            axis.tick_params(axis="x", labelsize=SMALL - 1.5)
        if _is_overfull(panel):
            axis.set_xticks(range(len(panel.ticks)), panel.ticks, rotation=30, ha="right", rotation_mode="anchor")
    elif panel.log:
        axis.set_xscale("log")
        plain_decades(axis.xaxis)
    elif all(float(dot.x).is_integer() for dot in panel.dots):
        whole_numbers(axis)
