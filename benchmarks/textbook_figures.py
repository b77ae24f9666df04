"""Figures of docs/gradient-flow.md, from what benchmarks/textbook_effects.py has measured."""

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Final

from benchmarks.textbook_arms import CELLS, TASKS, Initialisation, Result
from reports.figures import BLUE, INK, ORANGE, QUIET, RULE, SERIES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

IMAGES: Final = Path(__file__).parents[1] / "docs" / "images"
STATE: Final = "layer0/forward"
LEAST: Final = 1e-40
"""What the figures show; the smallest number of single precision is 1e-45."""
UNDERFLOW: Final = 1e-300
"""Below it, double precision ends too."""
INITIALISATIONS: Final[dict[Initialisation, str]] = {"orthogonal": "-", "uniform": "--"}
CELL_NAMES: Final = {"rnn_tanh": "tanh", "rnn_relu": "ReLU", "gru": "GRU", "lstm": "LSTM"}
SMALL: Final = 8.5
Curve = dict[int, float]


def draw_all(results: Sequence[Result]) -> None:
    """Writes all figures."""
    save(start_figure(results), IMAGES / "gradient-at-start.svg")
    save(trained_figure(results, memory=50), IMAGES / "gradient-trained.svg")
    save(trained_figure(results, memory=400), IMAGES / "gradient-trained-400.svg")


def start_figure(results: Sequence[Result]) -> "Figure":
    """Networks as they begin: a row a problem, a column a T, a colour a cell, a line style an initialisation."""
    begun = [result for result in results if result.arm.optimizer == "none"]
    memories = sorted({result.arm.memory for result in begun})
    figure, axes = _grid(len(TASKS), len(memories))
    for row, task in zip(axes, TASKS, strict=True):
        for axis, memory in zip(row, memories, strict=True):
            here = [result for result in begun if (result.arm.task, result.arm.memory) == (task, memory)]
            for colour, cell in zip(SERIES, CELLS, strict=False):
                for initialisation, style in INITIALISATIONS.items():
                    curve = mean_curve(of(here, cell=cell, initialisation=initialisation))
                    _line(axis, curve, colour, style=style, label=f"{CELL_NAMES[cell]}, {initialisation}")
            _title(axis, f"{task}, T = {memory}")
    _finish(figure, axes, lowest=LEAST)
    return figure


def trained_figure(results: Sequence[Result], *, memory: int) -> "Figure":
    """Before and after training with Adam: a row a problem, a column a cell, a line style an initialisation."""
    figure, axes = _grid(len(TASKS), len(CELLS))
    for row, task in zip(axes, TASKS, strict=True):
        for axis, cell in zip(row, CELLS, strict=True):
            for initialisation, style in INITIALISATIONS.items():
                here = [
                    result
                    for result in of(results, cell=cell, initialisation=initialisation)
                    if (result.arm.task, result.arm.memory) == (task, memory)
                ]
                begun = [each for each in here if each.arm.optimizer == "none"]
                _line(axis, mean_curve(begun), QUIET, style=style, label=f"before, {initialisation}")
                for each in here:
                    if each.arm.optimizer == "adam" and each.gradient is not None:
                        clipping = "no clipping" if each.arm.clipping == "none" else "norm 1"
                        colour = ORANGE if each.arm.clipping == "none" else BLUE
                        name = f"after, {initialisation}, {clipping}"
                        _line(axis, each.gradient[STATE], colour, style=style, label=name)
            _title(axis, f"{task}, {CELL_NAMES[cell]}")
    _finish(figure, axes, lowest=1e-24)
    return figure


def save(figure: "Figure", path: Path) -> None:
    """As SVG on white, its text as text; equal figures give equal files."""
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "lidstudy"}):
        FigureCanvasSVG(figure).print_svg(path, metadata={"Date": None})  # type: ignore[no-untyped-call]


def _grid(rows: int, columns: int) -> "tuple[Figure, list[list[Axes]]]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 2.1 * rows + 0.7), dpi=100)
    axes = figure.subplots(rows, columns, squeeze=False, sharey=True).tolist()
    figure.subplots_adjust(left=0.07, right=0.99, top=0.83, bottom=0.1, hspace=0.42, wspace=0.1)
    return figure, axes


def _line(axis: "Axes", curve: Curve, colour: str, *, label: str, style: str = "-") -> None:
    lags = sorted(curve)
    values = [max(curve[lag], LEAST / 1e3) for lag in lags]
    axis.plot(lags, values, color=colour, linestyle=style, linewidth=1.4, label=label)


def _title(axis: "Axes", text: str) -> None:
    axis.set_title(text, fontsize=SMALL, color=INK, loc="left")


def _finish(figure: "Figure", axes: "list[list[Axes]]", *, lowest: float) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    for axis in [axis for row in axes for axis in row]:
        axis.set_yscale("log")
        axis.set_ylim(lowest, 1e2)
        axis.yaxis.set_major_locator(LogLocator(numticks=6))
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0e}"))
        axis.yaxis.set_minor_locator(NullLocator())
        axis.grid(visible=True, color=RULE, linewidth=0.7)
        axis.spines[["top", "right"]].set_visible(False)
        axis.spines[["left", "bottom"]].set_color(QUIET)
        axis.tick_params(colors=INK, labelsize=SMALL - 1, length=0, which="both")
    for row in axes:
        row[0].set_ylabel("|dL/dh|", fontsize=SMALL, color=INK)
    for axis in axes[-1]:
        axis.set_xlabel("steps before the last", fontsize=SMALL, color=INK)
    named = {
        name: line for row in axes for axis in row for line, name in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        list(named.values()), list(named), fontsize=SMALL, frameon=False, labelcolor=INK, loc="upper left", ncols=4
    )


def mean_curve(results: Sequence[Result]) -> Curve:
    """Geometric mean over seeds at each lag."""
    curves = [result.gradient[STATE] for result in results if result.gradient is not None]
    return {lag: geometric_mean(curve[lag] for curve in curves) for lag in curves[0]} if curves else {}


def geometric_mean(values: Iterable[float]) -> float:
    return math.exp(fmean(math.log(max(value, UNDERFLOW)) for value in values))


def of(results: Sequence[Result], *, cell: str, initialisation: str) -> list[Result]:
    return [each for each in results if (each.arm.cell, each.arm.initialisation) == (cell, initialisation)]
