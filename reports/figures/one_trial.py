"""Figures of one trial, which the tracker stores as PNG beside it."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from reports.figures._axes import (
    BLUE,
    GREEN,
    INK,
    ORANGE,
    QUIET,
    SMALL,
    axes_row,
    legend,
    name_x,
    name_y,
    plain_decades,
    whole_numbers,
)
from reports.records import (
    GRAD_NORM_AFTER,
    GRAD_NORM_BEFORE,
    GRAD_NORM_MAX,
    OBJECTIVE,
    TRAIN_LOSS,
    VAL_LOSS,
    MetricPoint,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CELL: Final = "#0072b3"  # blue, but no variable: white text must stay readable on it on a dark page too
_DARK_CELL: Final = 0.55  # share above which a cell of the confusion matrix wants white text


def learning_curves(history: Mapping[str, Sequence[MetricPoint]], *, objective: str = OBJECTIVE) -> "Figure":
    """Loss, objective and gradient norm of one trial by epoch; what was not logged is left out.

    So is a norm of zero, as after an epoch whose steps were all dropped: its axis is logarithmic.
    """
    figure, axes = axes_row(2, width=8.0, height=2.9, top=0.48)
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
    positive = {key: [point for point in history.get(key, ()) if point.value > 0] for key, _ in norms.values()}
    if _draw_histories(axes[1], positive, norms):
        axes[1].set_yscale("log")
        plain_decades(axes[1].yaxis)
    name_x(axes, "epoch")
    name_y(axes[0], "loss and objective")
    name_y(axes[1], "gradient norm")
    return figure


def confusion_figure(counts: Sequence[Sequence[int]], languages: Sequence[str]) -> "Figure":
    """A confusion matrix: a row a spoken language, a column a recognised one; the shade is the share of the row."""
    from matplotlib.patches import Rectangle

    size = max(2.6, 0.5 * len(languages) + 1.0)
    figure, (axis,) = axes_row(1, width=size + 0.3, height=size)
    for i, row in enumerate(counts):
        for j, count in enumerate(row):
            share = count / max(1, sum(row))
            axis.add_patch(
                Rectangle((j - 0.48, i - 0.48), 0.96, 0.96, facecolor=_CELL, alpha=max(share, 0.02), linewidth=0)
            )
            if count:
                colour = "white" if share > _DARK_CELL else INK
                axis.text(j, i, str(count), ha="center", va="center", fontsize=SMALL, color=colour)
    axis.set(xlim=(-0.5, len(languages) - 0.5), ylim=(len(languages) - 0.5, -0.5))
    axis.set_xticks(range(len(languages)), languages)
    axis.set_yticks(range(len(languages)), languages)
    axis.grid(visible=False)
    axis.spines[:].set_visible(False)
    name_x([axis], "recognised")
    name_y(axis, "spoken")
    return figure


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
        legend(axis, columns=2)
    whole_numbers(axis)
    return drawn
