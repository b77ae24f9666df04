"""A corpus at a glance: how long its recordings are, what it has of each language, and how noisy its sources are."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from reports.figures._axes import INK, SERIES, SMALL, axes_row, legend, name_x, name_y, plain_decades, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from lightning_modules.data.description import Description, SourceSound

SPLITS: Final = ("train", "dev", "test")
_BINS: Final = 24


def corpus_figure(description: "Description") -> "Figure":
    """Durations, hours and speakers a language, what splits share, and the range from quiet to loud of each source."""
    num_sources = len(description.sounds)
    figure, axes = axes_row(4, width=12.8, height=3.2 + 0.2 * num_sources, top=0.9 + 0.2 * num_sources)
    _durations(axes[0], description)
    languages = sorted({language for _, language in description.hours})
    _bars(axes[1], description.hours, languages)
    _bars(axes[2], description.speakers, languages)
    _shared(axes[3], description.shared)
    for axis, (x, y) in zip(
        axes, (("seconds", "recordings"), ("language", "hours"), ("language", "speakers"), ("number", "")), strict=True
    ):
        name_x([axis], x)
        name_y(axis, y)
    legend(axes[0])
    height = 3.2 + 0.2 * num_sources
    below = figure.add_axes((0.27, 1 - (0.35 + 0.2 * num_sources) / height, 0.7, 0.2 * num_sources / height))
    style(below)
    _ranges(below, description.sounds)
    return figure


def _durations(axis: "Axes", description: "Description") -> None:
    import numpy as np

    every = [seconds for values in description.durations_s.values() for seconds in values]
    edges = np.geomspace(max(min(every), 0.05), max(*every, 0.1) * 1.001, _BINS + 1)
    for split, colour in zip(SPLITS, SERIES, strict=False):
        if split in description.durations_s:
            counts, _ = np.histogram(description.durations_s[split], edges)
            axis.stairs(counts, edges, color=colour, linewidth=1.3, label=split)
    axis.set_xscale("log")
    plain_decades(axis.xaxis, of=(float(edges[0]), float(edges[-1])))


def _bars(axis: "Axes", values: Mapping[Any, float], languages: Sequence[str]) -> None:
    from matplotlib.ticker import MaxNLocator

    width = 0.8 / len(SPLITS)
    for number, (split, colour) in enumerate(zip(SPLITS, SERIES, strict=False)):
        heights = [values.get((split, language), 0.0) for language in languages]
        places = [place + (number - 1) * width for place in range(len(languages))]
        axis.bar(places, heights, width=width, color=colour)
    axis.set_xticks(range(len(languages)), languages)
    if all(isinstance(value, int) for value in values.values()):
        axis.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))


def _shared(axis: "Axes", shared: Mapping[str, int]) -> None:
    """With their numbers, so that none is seen to be none."""
    names, values = list(shared)[::-1], list(shared.values())[::-1]
    axis.barh(range(len(names)), values, height=0.25, color=SERIES[0])
    for place, (name, value) in enumerate(zip(names, values, strict=True)):
        axis.text(0, place + 0.22, f"{name}: {value}", va="bottom", fontsize=SMALL, color=INK)
    axis.set_xlim(0, max(*values, 1) * 1.25)
    axis.set_ylim(-0.5, len(names) - 0.2)
    axis.set_yticks([])
    axis.set_title("on both sides of a split", fontsize=SMALL, color=INK, loc="left")


def _ranges(axis: "Axes", sounds: "Sequence[SourceSound]") -> None:
    """A thin line from the 5th to the 95th percentile, a thick one over the middle half, and the median."""
    import numpy as np

    shown = [(f"{each.language} {each.source}", each.ranges_db or (0.0,)) for each in reversed(sounds)]
    for place, (_, values) in enumerate(shown):
        least, low, middle, high, most = np.percentile(values, [5, 25, 50, 75, 95])
        axis.hlines(place, least, most, color=INK, linewidth=0.9)
        axis.hlines(place, low, high, color=SERIES[0], linewidth=6.0)
        axis.plot([middle], [place], color=SERIES[1], marker="|", markersize=9, markeredgewidth=2.0)
    axis.set_ylim(-0.7, len(shown) - 0.3)
    axis.set_yticks(range(len(shown)), [name for name, _ in shown])
    axis.set_title("dB from the quietest to the loudest frames: small is noisy", fontsize=SMALL, color=INK, loc="left")
