"""The figure of gradient flow over time: what its lines look like, as the page gets them."""

import re
from collections.abc import Sequence
from typing import NamedTuple

import pytest

from reports.figures import FlowLine, flow_figure, to_svg

NETWORKS = ("rnn_tanh", "rnn_relu", "gru", "lstm", "output_recurrent", "hierarchical", "tdnn", "ecapa_tdnn")
RULES = ("none", "norm", "layer_norm", "value", "autoclip", "agc", "skip", "recurrent")
VALUES = tuple(0.9**t for t in range(30))


class Drawn(NamedTuple):
    """A line in the SVG: its stroke's colour, dashes and width, and the segments that it has."""

    colour: str
    dashes: str
    width: float
    num_segments: int


def drawn(panels: dict[str, list[FlowLine]]) -> list[Drawn]:
    """The data's lines in the order of drawing; unlike a grid's or a legend's they have many points."""
    paths = re.findall(r'<path d="([^"]*)"[^>]*style="([^"]*)"', to_svg(flow_figure(panels)))
    lines = [(data.count("L"), dict(re.findall(r"([\w-]+): ([^;]+)", style))) for data, style in paths]
    return [
        Drawn(style["stroke"], style.get("stroke-dasharray", ""), float(style["stroke-width"]), num_segments)
        for num_segments, style in lines
        if num_segments > 10
    ]


def arms(networks: Sequence[str], rules: Sequence[str]) -> list[FlowLine]:
    return [FlowLine(network=network, clipping=rule, values=VALUES) for network in networks for rule in rules]


def legends(panels: dict[str, list[FlowLine]]) -> list[list[str]]:
    return [[text.get_text() for text in legend.get_texts()] for legend in flow_figure(panels).legends]


def test_the_colour_says_the_network_and_the_style_the_rule() -> None:
    lines = drawn({"before": arms(NETWORKS, RULES[:3])})
    by_rule = [lines[first : first + len(NETWORKS)] for first in range(0, len(lines), len(NETWORKS))]
    assert [len({line[1:] for line in same}) for same in by_rule] == [1, 1, 1], "a rule has one style"
    assert len({same[0][1:] for same in by_rule}) == 3
    assert [[line.colour for line in same] for same in by_rule] == [[line.colour for line in by_rule[0]]] * 3
    assert len({line.colour for line in lines}) == len(NETWORKS)
    assert len(set(lines)) == len(lines) == 24


def test_no_clipping_lies_under_the_others_as_a_wider_line() -> None:
    unclipped = FlowLine(network="gru", clipping="none", values=VALUES[:20])
    under, *over = drawn({"before": [*arms(["gru"], ["agc", "norm", "value"]), unclipped]})
    assert (under.dashes, under.num_segments) == ("", 19)
    assert all(line.dashes and line.width < under.width for line in over)


@pytest.mark.parametrize("rules", [["norm"], ["agc", "norm"]])
def test_the_first_rule_is_solid_where_all_clip(rules: list[str]) -> None:
    first, *others = drawn({"before": arms(["gru"], rules)})
    assert not first.dashes
    assert all(line.dashes for line in others)


def test_both_panels_draw_an_arm_alike() -> None:
    lines = drawn({"before": arms(["gru", "lstm"], ["none", "norm"]), "after": arms(["lstm", "gru"], ["norm", "none"])})
    assert len(lines) == 8
    assert set(lines[:4]) == set(lines[4:])
    assert len(set(lines)) == 4


def test_every_rule_there_is_has_a_style_of_its_own() -> None:
    assert len(set(drawn({"before": arms(["gru"], RULES)}))) == len(RULES)


def test_a_network_and_a_rule_are_named_once() -> None:
    before, after = arms(NETWORKS, ["norm", "none", "agc"]), arms(NETWORKS, ["norm"])
    assert legends({"before": before, "after": after}) == [
        list(NETWORKS),
        ["clipping none", "clipping agc", "clipping norm"],
    ]


def test_one_rule_needs_no_name() -> None:
    assert legends({"before": arms(["gru", "lstm"], ["norm"])}) == [["gru", "lstm"]]


def test_both_panels_have_the_same_scale() -> None:
    small = [FlowLine(network="gru", clipping="none", values=(0.5, 0.6))]
    large = [FlowLine(network="gru", clipping="none", values=(1e-6, 1.0))]
    before, after = flow_figure({"before": small, "after": large}).axes
    assert before.get_ylim() == after.get_ylim()
    assert [label.get_text() for label in before.get_yticklabels()] == [
        label.get_text() for label in after.get_yticklabels()
    ]
