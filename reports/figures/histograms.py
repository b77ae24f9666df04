"""Histograms of scores: those of the language that is spoken, and those of all others."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports.figures._axes import BLUE, INK, ORANGE, QUIET, SMALL, axes_row, legend, name_x, name_y

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True)
class ScoreHistogram:
    """One set of scores.

    Attributes:
        title: above it.
        edges: of the bins, in nats; the first and the last bin hold what lies beyond them too.
        spoken: share of the scores of spoken languages in each bin.
        others: share of the scores of languages that were not spoken.
    """

    title: str
    edges: tuple[float, ...]
    spoken: tuple[float, ...]
    others: tuple[float, ...]


def score_histograms(shown: Sequence[ScoreHistogram]) -> "Figure":
    """A panel a set of scores, all on the same axes; the dotted line is where a score favours neither."""
    figure, axes = axes_row(len(shown), width=8.6, height=2.9, top=0.48)
    most = max(max(*each.spoken, *each.others) for each in shown)
    for axis, each in zip(axes, shown, strict=True):
        axis.stairs(each.others, each.edges, fill=True, color=ORANGE, alpha=0.35)
        axis.stairs(each.others, each.edges, color=ORANGE, linewidth=1.2, label="other languages")
        axis.stairs(each.spoken, each.edges, color=BLUE, linewidth=1.6, label="the spoken language")
        axis.axvline(0.0, color=QUIET, linewidth=0.9, linestyle=":")
        axis.set(xlim=(each.edges[0], each.edges[-1]), ylim=(0.0, 1.05 * most))
        axis.set_title(each.title, fontsize=SMALL, color=INK, loc="right", y=1.0)
    name_x(axes, "log-likelihood ratio, nats")
    name_y(axes[0], "share of the scores")
    legend(axes[0])
    return figure
