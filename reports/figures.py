"""Figures of studies and trials: matplotlib without pyplot, so that nothing is global and nothing has to be closed.

The tracker stores them as PNG beside a trial, the report sets them as SVG into its page. In the SVG the ink and the
colours are CSS variables with the printed colour as fallback, so that one figure serves a light and a dark page. The
palette is Okabe and Ito's (2008), which stays apart for colour-blind readers; states differ in line style as well.
"""

import html
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from reports.records import (
    GRAD_NORM_AFTER,
    GRAD_NORM_BEFORE,
    GRAD_NORM_MAX,
    OBJECTIVE,
    TRAIN_LOSS,
    VAL_LOSS,
    MetricPoint,
    TrialState,
)

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
_VARIABLES: Final = {
    INK: "ink",
    QUIET: "quiet",
    RULE: "rule",
    BLUE: "blue",
    ORANGE: "orange",
    GREEN: "green",
    VERMILION: "vermilion",
    PURPLE: "purple",
    SKY: "sky",
}
_RUNNERS_UP: Final = (BLUE, GREEN, SKY)  # of the best trials by place; the chosen one is orange
_SMALL: Final = 8.5
_TOP: Final = 0.96  # where a scatter has its crosses, as a share of its height
_NARROW: Final = 5.0  # a logarithmic axis over a smaller ratio has even ticks
_ROOM: Final = 1.6  # beside the values of a narrow axis, so that at least one of 1, 2 and 5 falls on it
_WIDE: Final = 20.0  # a logarithmic axis over a larger ratio names only its decades
_NAMES_A_ROW: Final = 5
_STYLES: Final = ("-", "--", ":", "-.")
_CROWDED: Final = 24  # letters along x, above which the names of levels are set smaller
_CELL: Final = "#0072b3"  # blue, but no variable: white text must stay readable on it on a dark page too
_SCREEN_REM_PER_POINT: Final = 0.09  # one scale for all figures of a page, so that their text is of one size
_DARK_CELL: Final = 0.55  # share above which a cell of the confusion matrix wants white text


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


@dataclass(frozen=True, kw_only=True)
class FlowLine:
    """Gradient norms by step, under a name."""

    name: str
    values: tuple[float, ...]


# --- one trial --------------------------------------------------------------------------------------------------------


def learning_curves(history: Mapping[str, Sequence[MetricPoint]], *, objective: str = OBJECTIVE) -> "Figure":
    """Loss, objective and gradient norm of one trial by epoch; what was not logged is left out."""
    figure, axes = _row(2, width=8.0, height=2.9, top=0.48)
    shown = {
        "training loss": (TRAIN_LOSS, BLUE),
        "development loss": (VAL_LOSS, ORANGE),
        f"objective, {objective.removeprefix('val/')}": (objective, GREEN),
    }
    _draw_histories(axes[0], history, shown)
    norms = {
        "largest before clipping": (GRAD_NORM_MAX, QUIET),
        "mean before clipping": (GRAD_NORM_BEFORE, BLUE),
        "mean after clipping": (GRAD_NORM_AFTER, ORANGE),
    }
    if _draw_histories(axes[1], history, norms):
        axes[1].set_yscale("log")
        _plain_decades(axes[1].yaxis)
    _name_x(axes, "epoch")
    return figure


def confusion_figure(counts: Sequence[Sequence[int]], languages: Sequence[str]) -> "Figure":
    """A confusion matrix: a row a spoken language, a column a recognised one; the shade is the share of the row."""
    from matplotlib.patches import Rectangle

    size = max(2.6, 0.5 * len(languages) + 1.0)
    figure, (axis,) = _row(1, width=size + 0.3, height=size)
    for i, row in enumerate(counts):
        for j, count in enumerate(row):
            share = count / max(1, sum(row))
            axis.add_patch(
                Rectangle((j - 0.48, i - 0.48), 0.96, 0.96, facecolor=_CELL, alpha=max(share, 0.02), linewidth=0)
            )
            if count:
                colour = "white" if share > _DARK_CELL else INK
                axis.text(j, i, str(count), ha="center", va="center", fontsize=_SMALL, color=colour)
    axis.set(xlim=(-0.5, len(languages) - 0.5), ylim=(len(languages) - 0.5, -0.5))
    axis.set_xticks(range(len(languages)), languages)
    axis.set_yticks(range(len(languages)), languages)
    axis.grid(visible=False)
    axis.spines[:].set_visible(False)
    _name_x([axis], "recognised")
    _name_y(axis, "spoken")
    return figure


# --- all trials -------------------------------------------------------------------------------------------------------


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
    figure, (axis,) = _row(1, width=8.6, height=3.5, top=0.48)
    named: set[str] = set()
    for curve in sorted(curves, key=_prominence):
        if curve.points:
            _draw_curve(axis, curve, named)
    if guess is not None:
        axis.axhline(guess, color=QUIET, linewidth=1, linestyle=(0, (1, 2)), label="scores that say nothing")
    if limit is not None:
        least = min(value for curve in curves for _, value in curve.points)
        axis.set_ylim(least - 0.05 * (limit - least), limit)
    _name_x([axis], "epoch")
    _name_y(axis, objective)
    _whole_epochs(axis)
    _legend(axis)
    return figure


def scatter_figure(panels: Sequence[Panel], *, objective: str, columns: int = 3) -> "Figure":
    """Small scatters of the objective against parameters or measures, with the mean of each level."""
    from matplotlib.figure import Figure

    columns = min(columns, len(panels))
    rows = -(-len(panels) // columns)
    height = 2.3 * rows
    grouped = any(
        len({dot.group for dot in panel.dots}) > 1 for panel in panels
    )  # then the legend takes the title's place
    figure = Figure(figsize=(8.6, height), dpi=100)
    axes = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
    figure.subplots_adjust(
        left=0.085,
        right=0.985,
        top=1 - 0.42 / height,
        bottom=(0.48 if grouped else 0.25) / height,
        hspace=0.45,
        wspace=0.12,
    )
    settled = [dot.y for panel in panels for dot in panel.dots if not dot.diverged]
    if settled:
        margin = 0.06 * (max(settled) - min(settled)) or 0.1
        axes[0].set_ylim(min(settled) - margin, max(settled) + 3 * margin)  # room for the crosses
    for axis, panel in zip(axes, panels, strict=False):
        _style(axis)
        _draw_panel(axis, panel)
    for axis in axes[len(panels) :]:
        axis.remove()
    for axis in axes[: len(panels) : columns]:
        _name_y(axis, objective)
    return figure


def flow_figure(panels: "Mapping[str, Sequence[FlowLine]]") -> "Figure":
    """Gradient norms by step on one logarithmic axis; a colour a name, and line styles where colours run out."""
    names = list(dict.fromkeys(line.name for lines in panels.values() for line in lines))
    legend_rows = -(-len(names) // _NAMES_A_ROW)
    figure, axes = _row(len(panels), width=8.6, height=2.9 + 0.2 * legend_rows, top=0.34 + 0.2 * legend_rows)
    values = [value for lines in panels.values() for line in lines for value in line.values]
    for axis, (title, lines) in zip(axes, panels.items(), strict=True):
        for line in lines:
            place = names.index(line.name)
            style = _STYLES[place // len(SERIES) % len(_STYLES)]
            axis.plot(line.values, color=SERIES[place % len(SERIES)], linestyle=style, linewidth=1.4, label=line.name)
        axis.set_yscale("log")
        axis.set_ylim(min(values) / _ROOM, max(values) * _ROOM)
        _plain_decades(axis.yaxis)
        _whole_epochs(axis)
        axis.set_title(title, fontsize=_SMALL, color=INK, loc="right", y=0.99)
    _name_x(axes, "step t")
    _name_y(axes[0], "|dL/dh_t|")
    figure.legend(
        *axes[0].get_legend_handles_labels(),
        fontsize=_SMALL - 0.5,
        frameon=False,
        labelcolor=INK,
        loc="upper left",
        ncols=_NAMES_A_ROW,
        handlelength=1.6,
    )
    return figure


# --- out --------------------------------------------------------------------------------------------------------------


def to_png(figure: "Figure") -> bytes:
    """The figure on white, as PNG bytes; equal figures give equal bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer, metadata={"Software": None})  # type: ignore[no-untyped-call]
    return buffer.getvalue()


def to_svg(figure: "Figure", *, key: str = "figure", alt: str = "") -> str:
    """The figure as an SVG element for a page: transparent, its text as text, its colours as CSS variables.

    Args:
        figure: what to draw.
        key: begins every id in the element, so that several of them can stand on one page.
        alt: what a reader who cannot see it is told.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    buffer = io.StringIO()
    # Both settings are read while drawing and have no argument; the context puts them back.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "lidstudy"}):
        figure.patch.set_visible(False)  # the page shows through
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None})  # type: ignore[no-untyped-call]
        figure.patch.set_visible(True)
    return _for_page(buffer.getvalue(), key, alt)


def _for_page(svg: str, key: str, alt: str) -> str:
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>\s*|<style type.*?</style>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg [^>]*?)width="[^"]*" height="[^"]*"|(<svg [^>]*?)height="[^"]*"', r"\1\2", svg, count=1)
    width = float(svg.split('viewBox="0 0 ')[1].split(" ")[0])
    svg = re.sub(r' xmlns(:xlink)?="[^"]*"', "", svg).replace("xlink:href", "href")
    svg = re.sub(r'\bid="', f'id="{key}-', svg)
    svg = re.sub(r'href="#', f'href="#{key}-', svg)
    svg = svg.replace("url(#", f"url(#{key}-")
    svg = re.sub(r"font: ([\d.]+px) 'DejaVu Sans'[^;\"]*", r"font-size: \1", svg)  # the page's own family
    svg = re.sub(r"font-family: 'DejaVu Sans'[^;\"]*", "", svg)
    for colour, name in _VARIABLES.items():
        svg = re.sub(colour, f"var(--{name}, {colour})", svg, flags=re.IGNORECASE)
    style = f"max-width: {width * _SCREEN_REM_PER_POINT:.2f}rem"
    return svg.replace("<svg ", f'<svg role="img" aria-label="{html.escape(alt)}" style="{style}" ', 1).strip()


# --- parts ------------------------------------------------------------------------------------------------------------


def _row(columns: int, *, width: float, height: float, top: float = 0.28) -> "tuple[Figure, list[Axes]]":
    """Axes side by side at fixed places: laying them out by measuring text would take longer than drawing."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=100)
    left, bottom, gap = 0.7 / width, 0.48 / height, 0.6 / width
    each = (1 - left - 0.12 / width - gap * (columns - 1)) / columns
    shape = (each, 1 - bottom - top / height)
    axes = [figure.add_axes((left + i * (each + gap), bottom, *shape)) for i in range(columns)]
    for axis in axes:
        _style(axis)
    return figure, axes


def _style(axis: "Axes") -> None:
    from matplotlib.ticker import MaxNLocator

    axis.set_facecolor("none")
    axis.yaxis.set_major_locator(MaxNLocator(nbins=5))
    axis.grid(visible=True, color=RULE, linewidth=0.7)
    axis.set_axisbelow(True)
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["left", "bottom"]].set_color(QUIET)
    axis.tick_params(colors=INK, labelsize=_SMALL - 0.5, length=0, which="both")


def _name_x(axes: "Sequence[Axes]", name: str) -> None:
    for axis in axes:
        axis.set_xlabel(name, fontsize=_SMALL, color=INK)


def _name_y(axis: "Axes", name: str) -> None:
    """Further from the ticks than matplotlib measures: the page's font may be wider than the one it measured."""
    axis.set_ylabel(name, fontsize=_SMALL, color=INK, labelpad=7)


def _draw_histories(
    axis: "Axes", history: Mapping[str, Sequence[MetricPoint]], shown: Mapping[str, tuple[str, str]]
) -> bool:
    drawn = False
    for name, (key, colour) in shown.items():
        points = history.get(key, ())
        if points:
            steps, values = [point.step for point in points], [point.value for point in points]
            axis.plot(steps, values, color=colour, linewidth=1.6, marker="o", markersize=3, label=name)
            drawn = True
    if drawn:
        _legend(axis, columns=2)
    _whole_epochs(axis)
    return drawn


def _whole_epochs(axis: "Axes") -> None:
    from matplotlib.ticker import MaxNLocator

    axis.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))


def _plain_decades(axis: "Axis") -> None:
    """Powers of ten as plain numbers: 10⁻³ set as mathematics takes most of a figure's time to draw."""
    from matplotlib.axis import XAxis
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

    low, high = axis.get_data_interval()  # the view is not known before the figure is drawn
    if high / low < _NARROW and isinstance(axis, XAxis):  # even ticks crowd towards the right: 1, 2 and 5 do not
        axis.axes.set_xlim(low / _ROOM, high * _ROOM)
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0), numticks=6))
    elif high / low < _NARROW:
        axis.set_major_locator(MaxNLocator(nbins=5))
    else:
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if high / low < _WIDE else (1.0,), numticks=6))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())


def _legend(axis: "Axes", *, columns: int = 6) -> None:
    """Above the axes, where it covers no curve."""
    if not axis.get_legend_handles_labels()[0]:
        return
    axis.legend(
        fontsize=_SMALL - 0.5,
        frameon=False,
        labelcolor=INK,
        loc="lower left",
        bbox_to_anchor=(-0.01, 0.98),
        ncols=columns,
        handlelength=1.6,
        columnspacing=1.1,
        handletextpad=0.5,
    )


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
        _legend(axis)
        axis.set_xlabel(panel.title, fontsize=_SMALL, color=INK)
    else:
        axis.set_title(panel.title, fontsize=_SMALL, color=INK, loc="left", y=1.0)


def _x_axis(axis: "Axes", panel: Panel) -> None:
    if panel.ticks:
        axis.set_xticks(range(len(panel.ticks)), panel.ticks)
        axis.set_xlim(-0.6, len(panel.ticks) - 0.4)
        if sum(map(len, panel.ticks)) > _CROWDED:
            axis.tick_params(axis="x", labelsize=_SMALL - 1.5)
    elif panel.log:
        axis.set_xscale("log")
        _plain_decades(axis.xaxis)
