"""Attention over time: what an utterance sounds like above, and the weight of each step below, on one time axis."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from reports.figures._axes import BLUE, INK, QUIET, RULE, SMALL, axes_row, name_x, name_y

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_HEIGHT: Final = 3.9
_TOP: Final = 2.05
_GAP: Final = 0.1
_TITLE: Final = 0.28


@dataclass(frozen=True, kw_only=True)
class RelevancePanel:
    """One utterance.

    Attributes:
        title: above it.
        duration_s: of its steps and columns together.
        bands: columns in time order, a value a band, low to high; none are drawn where there are none.
        weights: of each step, as multiples of an even share.
        noise_until_s: the second at which noise ends; 0 where there is none.
    """

    title: str
    duration_s: float
    bands: tuple[tuple[float, ...], ...]
    weights: tuple[float, ...]
    noise_until_s: float = 0.0


def relevance_figure(panels: Sequence[RelevancePanel]) -> "Figure":
    """Panels side by side, their weights on one scale; what lies under noise is shaded."""
    figure, axes = axes_row(len(panels), width=9.0, height=_HEIGHT, top=_TOP)
    most = max(max(panel.weights) for panel in panels)
    for axis, panel in zip(axes, panels, strict=True):
        _weights(axis, panel, most=most)
        left, bottom, width, height = axis.get_position().bounds
        above = figure.add_axes(
            (left, bottom + height + _GAP / _HEIGHT, width, (_TOP - _GAP - _TITLE) / _HEIGHT), sharex=axis
        )
        _spectrogram(above, panel)
        if axis is axes[0]:
            name_y(above, "bands")
    name_x(axes, "seconds")
    name_y(axes[0], "weight / even share")
    return figure


def _weights(axis: "Axes", panel: RelevancePanel, *, most: float) -> None:
    num_steps = len(panel.weights)
    edges = [panel.duration_s * place / num_steps for place in range(num_steps + 1)]
    if panel.noise_until_s:
        axis.axvspan(0.0, panel.noise_until_s, color=RULE, linewidth=0)
    axis.axhline(1.0, color=QUIET, linewidth=0.9)
    axis.stairs(panel.weights, edges, color=BLUE, linewidth=1.3, baseline=None)
    axis.set_xlim(0.0, panel.duration_s)
    axis.set_ylim(0.0, 1.05 * max(most, 1.0))


def _spectrogram(axis: "Axes", panel: RelevancePanel) -> None:
    import numpy as np

    if panel.bands:
        bands = np.array(panel.bands).T
        axis.imshow(
            bands,
            origin="lower",
            aspect="auto",
            extent=(0.0, panel.duration_s, 0.0, float(len(bands))),
            cmap="cividis",
            interpolation="nearest",
        )
    axis.set_title(panel.title, fontsize=SMALL, color=INK, loc="left")
    axis.tick_params(labelbottom=False, labelleft=False, length=0)
    axis.spines[:].set_visible(False)
