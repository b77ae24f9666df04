"""The gradient's norm over time, an arm a line."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from reports.figures._axes import INK, QUIET, ROOM, SERIES, SMALL, axes_row, name_x, name_y, plain_decades, whole_epochs

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

_NAMES_A_ROW: Final = 5
STYLES: Final = ("--", ":", "-.")
COLOURS: Final = (*SERIES, INK, QUIET)


@dataclass(frozen=True, kw_only=True)
class FlowLine:
    """Gradient norms by step, of one kind of network under one clipping rule."""

    network: str
    clipping: str
    values: tuple[float, ...]


def flow_figure(panels: "Mapping[str, Sequence[FlowLine]]") -> "Figure":
    """Gradient norms by step on one logarithmic axis: the colour says the network, the line's style the clipping rule.

    Before training, rules of one network have the same curve.
    """
    lines = [line for each in panels.values() for line in each]
    networks = dict.fromkeys(line.network for line in lines)
    colours = {name: COLOURS[place % len(COLOURS)] for place, name in enumerate(networks)}
    strokes = _strokes(list(dict.fromkeys(line.clipping for line in lines)))
    handles = _handles(colours, strokes)
    top = 0.34 + 0.2 * -(-len(handles) // _NAMES_A_ROW)
    figure, axes = axes_row(len(panels), width=8.6, height=2.56 + top, top=top)
    for axis, (title, drawn) in zip(axes, panels.items(), strict=True):
        for line in drawn:
            axis.plot(line.values, color=colours[line.network], **strokes[line.clipping])
        axis.set_yscale("log")
        values = [value for line in lines for value in line.values]
        axis.set_ylim(min(values) / ROOM, max(values) * ROOM)
        plain_decades(axis.yaxis)
        whole_epochs(axis)
        axis.set_title(title, fontsize=SMALL, color=INK, loc="right", y=0.99)
    name_x(axes, "step t")
    name_y(axes[0], "|dL/dh_t|")
    figure.legend(
        handles=handles,
        fontsize=SMALL - 0.5,
        frameon=False,
        labelcolor=INK,
        loc="upper left",
        ncols=_NAMES_A_ROW,
        handlelength=2.2,
    )
    return figure


def _strokes(rules: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Rule -> a style of its own; where there are several the first is wide and pale, and a line on it can be seen."""
    if len(rules) == 1:
        return {rules[0]: {"linewidth": 1.4}}
    thin = [{"linestyle": style, "linewidth": 1.2} for style in STYLES]
    strokes: list[dict[str, Any]] = [{"linestyle": "-", "linewidth": 3.2, "alpha": 0.45}, *thin]
    return {rule: strokes[place % len(strokes)] for place, rule in enumerate(rules)}


def _handles(colours: Mapping[str, str], strokes: Mapping[str, Mapping[str, Any]]) -> "list[Line2D]":
    """The legend's: a colour a network; then a style a rule, where there are several."""
    from matplotlib.lines import Line2D

    networks = [Line2D([], [], color=colour, label=name) for name, colour in colours.items()]
    if len(strokes) == 1:
        return networks
    return networks + [Line2D([], [], color=INK, label=f"clipping {name}", **each) for name, each in strokes.items()]
