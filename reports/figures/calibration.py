"""How far scores can be believed: reliability, detection error and cost over thresholds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from reports.figures._axes import BLUE, ORANGE, QUIET, SERIES, axes_row, legend, name_x, name_y

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS: Final = (BLUE, ORANGE)
LINE_STYLES: Final = ("-", "--", ":")
_RATES: Final = (0.02, 0.1, 0.3, 0.6, 0.9)
_LEAST_RATE: Final = 0.005


@dataclass(frozen=True, kw_only=True)
class Believed:
    """One set of scores.

    Attributes:
        name: raw, or calibrated.
        stated: probability of the recognised language, by bin.
        observed: share that was right.
        low: of observed.
        high: of observed.
        decisions_stated: probability of every language, by bin.
        decisions_observed: share that was true.
        p_miss: over thresholds.
        p_fa: over thresholds.
        eer: where both are equal.
        log_beta: natural logarithm of the weight of false alarms.
        actual: cost at the threshold for that weight, over what always saying no costs.
        least: cost at the best threshold.
    """

    name: str
    stated: tuple[float, ...]
    observed: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    decisions_stated: tuple[float, ...]
    decisions_observed: tuple[float, ...]
    p_miss: tuple[float, ...]
    p_fa: tuple[float, ...]
    eer: float
    log_beta: tuple[float, ...]
    actual: tuple[float, ...]
    least: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class DetLine:
    """Detection error of one system: `p_miss` and `p_fa` over thresholds, and `eer` where both are equal."""

    name: str
    p_miss: tuple[float, ...]
    p_fa: tuple[float, ...]
    eer: float


def det_figure(lines: Sequence[DetLine]) -> "Figure":
    """Misses against false alarms of several systems, on normal deviates; a dot at each EER."""
    figure, (axis,) = axes_row(1, width=5.2, height=4.2 + 0.16 * (len(lines) // 3), top=0.25 + 0.16 * (len(lines) // 3))
    for number, each in enumerate(lines):
        style = LINE_STYLES[number // len(SERIES) % len(LINE_STYLES)]
        _det(axis, each, SERIES[number % len(SERIES)], name=f"{each.name} ({each.eer:.3f})", style=style)
    _probits(axis)
    name_x([axis], "false alarms")
    name_y(axis, "misses")
    legend(axis, columns=min(3, len(lines)))
    return figure


def calibration_figure(shown: Sequence[Believed]) -> "Figure":
    """Three panels: stated against observed probability, misses against false alarms, cost against its weight."""
    figure, axes = axes_row(3, width=9.6, height=3.0, top=0.48)
    for number, (each, colour) in enumerate(zip(shown, COLOURS, strict=False)):
        _reliability(axes[0], each, colour)
        _det(axes[1], each, colour)
        _cost(axes[2], each, colour, is_named=number == 0)
    axes[0].plot([0, 1], [0, 1], color=QUIET, linewidth=0.9, linestyle=":")
    axes[0].set(xlim=(0, 1), ylim=(0, 1))
    _probits(axes[1])
    axes[2].set_ylim(0, min(3.0, max(max(each.actual) for each in shown) * 1.05))
    axes[2].axhline(1.0, color=QUIET, linewidth=0.9, linestyle=":")
    for axis, (x, y) in zip(
        axes,
        (("stated probability", "share right"), ("false alarms", "misses"), ("ln β", "cost over the default's")),
        strict=True,
    ):
        name_x([axis], x)
        name_y(axis, y)
    legend(axes[0])
    legend(axes[2])
    return figure


def _reliability(axis: "Axes", each: Believed, colour: str) -> None:
    axis.vlines(each.stated, each.low, each.high, color=colour, linewidth=1.0)
    axis.plot(each.stated, each.observed, color=colour, marker="o", markersize=3.0, linewidth=1.2, label=each.name)
    axis.plot(each.decisions_stated, each.decisions_observed, color=colour, linewidth=1.0, linestyle="--")


def _det(axis: "Axes", each: "Believed | DetLine", colour: str, *, name: str | None = None, style: str = "-") -> None:
    points = [(_probit(fa), _probit(miss)) for fa, miss in zip(each.p_fa, each.p_miss, strict=True)]
    axis.plot([x for x, _ in points], [y for _, y in points], color=colour, linewidth=1.3, linestyle=style, label=name)
    axis.plot([_probit(each.eer)], [_probit(each.eer)], color=colour, marker="o", markersize=4.5)


def _cost(axis: "Axes", each: Believed, colour: str, *, is_named: bool) -> None:
    for values, style, name in ((each.actual, "-", "actual"), (each.least, "--", "least")):
        axis.plot(each.log_beta, values, color=colour, linewidth=1.2, linestyle=style, label=name if is_named else None)


def _probits(axis: "Axes") -> None:
    ticks = [_probit(rate) for rate in _RATES]
    names = [f"{100 * rate:g}%" for rate in _RATES]
    axis.set_xticks(ticks, names)
    axis.set_yticks(ticks, names)
    edge = _probit(_LEAST_RATE)
    axis.set(xlim=(edge, -edge), ylim=(edge, -edge))
    axis.plot([edge, -edge], [edge, -edge], color=QUIET, linewidth=0.9, linestyle=":")


def _probit(rate: float) -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf(min(max(rate, _LEAST_RATE), 1.0 - _LEAST_RATE))
