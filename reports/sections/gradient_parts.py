"""What gradients did within the networks: by layer, and by gate of the recurrent ones, at the end of training.

A study's trials differ in more than their cell, so that a number is the median over trials and layers, with the least
and the largest beside it; docs/gradient-flow.md says how each is measured.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Final

from reports.records import GRAD_FLOW_PREFIX, StudyRecord, TrialRecord
from reports.sections._blocks import Block, Cell, Column, Section, Table, Text, numeric
from reports.selection import network
from reports.wording import NOTHING, share, significant

NORM, UPDATE_RATIO = "norm", "update_ratio"
GATE_NORM, RADIUS, SATURATION = "gate_norm", "spectral_radius", "saturation"
OF_GATES: Final = (GATE_NORM, RADIUS, SATURATION)
ENCODER: Final = "encoder"


@dataclass(frozen=True)
class Spread:
    """A median, and what it is of."""

    least: float
    median: float
    most: float


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of the networks of one kind, or a gate of their recurrent layers.

    Attributes:
        network: the cell or encoder.
        name: `encoder`, `head`; of a gate `forget`, and `decoder forget` outside the encoder.
        n: trials that measured it.
        measures: name -> over trials and layers.
    """

    network: str
    name: str
    n: int
    measures: Mapping[str, Spread]


@dataclass(frozen=True, kw_only=True)
class Parts:
    """All parts, and all gates."""

    parts: tuple[Part, ...]
    gates: tuple[Part, ...]


def summarise(study: StudyRecord) -> Parts:
    """Last values of each trial, of those that are finite."""
    values: dict[tuple[bool, str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    trials: dict[tuple[bool, str, str], set[int]] = defaultdict(set)
    for trial in study.trials:
        for measure, layer, gate, value in _measured(trial):
            part = layer.partition(".")[0]
            key = (bool(gate), network(trial), _named(gate, part) if gate else part)
            values[key][measure].append(value)
            trials[key].add(trial.number)
    found = [
        (is_gate, Part(network=net, name=name, n=len(trials[is_gate, net, name]), measures=_spreads(measures)))
        for (is_gate, net, name), measures in sorted(values.items())
    ]
    return Parts(
        parts=tuple(part for is_gate, part in found if not is_gate),
        gates=tuple(part for is_gate, part in found if is_gate),
    )


def _measured(trial: TrialRecord) -> Iterable[tuple[str, str, str, float]]:
    """Measure, layer, gate or "", and value."""
    for key, value in trial.metrics.items():
        if key.startswith(GRAD_FLOW_PREFIX) and math.isfinite(value):
            measure, layer, *gate = key.removeprefix(GRAD_FLOW_PREFIX).split("/")
            yield measure, layer, gate[0] if gate else "", value


def _named(gate: str, part: str) -> str:
    """A gate of the encoder by itself; others with the part that they are of."""
    return gate if part == ENCODER else f"{part} {gate}"


def _spreads(measures: Mapping[str, list[float]]) -> dict[str, Spread]:
    return {name: Spread(min(values), median(values), max(values)) for name, values in measures.items()}


def present(parts: Parts) -> tuple[Block, ...]:
    """A sentence and two tables; nothing where nothing was measured."""
    if not parts.parts:
        return ()
    of_layers = Table(
        caption="Layers, in the last epoch of each trial: median over trials and layers (least to largest)",
        columns=(
            Column("network", numeric=False),
            Column("part", numeric=False),
            Column("n", hint="trials"),
            Column("gradient norm", hint="of a layer, before clipping"),
            Column("update / weights", hint="how far a step moved a layer's weights, over their norm"),
        ),
        rows=tuple(_cells(part, (NORM, UPDATE_RATIO)) for part in parts.parts),
    )
    of_gates = Table(
        caption="Gates of the recurrent layers, in the last epoch of each trial: median (least to largest)",
        columns=(
            Column("network", numeric=False),
            Column("gate", numeric=False),
            Column("n", hint="trials"),
            Column("gradient norm", hint="of a gate's recurrent weights, before clipping"),
            Column("spectral radius", hint="largest absolute eigenvalue of a gate's recurrent weights"),
            Column("saturated", hint="share of an encoder's gate's activations below 0.1 or above 0.9"),
        ),
        rows=tuple(_cells(part, OF_GATES) for part in parts.gates),
    )
    return (Text(_sentence(parts)), of_layers, *((of_gates,) if parts.gates else ()))


def _sentence(parts: Parts) -> str:
    """The extremes of what moved, of what recurs, and of what is saturated."""
    said = []
    if moved := {part.network: part.measures[UPDATE_RATIO].median for part in parts.parts if _has(part, UPDATE_RATIO)}:
        said.append(f"In the last epoch a step moved the encoder's weights by {_extremes(moved)} of their norm.")
    if radii := _of_gates(parts, RADIUS):
        said.append(f"The encoders' recurrent blocks had a spectral radius of {_extremes(radii, digits=3)}.")
    if saturated := _of_gates(parts, SATURATION):
        most = max(saturated, key=lambda name: saturated[name])
        said.append(f"The gate that was saturated most is {most}, in {share(saturated[most])} of its activations.")
    return " ".join([*said, "These are medians over trials, which differ in more than their cell."])


def _has(part: Part, measure: str) -> bool:
    return part.name == ENCODER and measure in part.measures


def _of_gates(parts: Parts, measure: str) -> dict[str, float]:
    """Of the encoders' gates."""
    return {
        f"{gate.network} {gate.name}": gate.measures[measure].median
        for gate in parts.gates
        if measure in gate.measures and " " not in gate.name
    }


def _extremes(values: Mapping[str, float], *, digits: int = 2) -> str:
    """`0.001 (gru) to 0.003 (lstm)`."""
    ends = dict.fromkeys(pick(values, key=lambda name: values[name]) for pick in (min, max))
    return " to ".join(f"{significant(values[name], digits)} ({name})" for name in ends)


def _cells(part: Part, measures: Iterable[str]) -> tuple[Cell, ...]:
    return (
        Cell(part.network),
        Cell(part.name),
        numeric(part.n, str(part.n)),
        *(_measure(part.measures.get(measure), is_share=measure == SATURATION) for measure in measures),
    )


def _measure(spread: Spread | None, *, is_share: bool) -> Cell:
    if spread is None:
        return Cell(NOTHING)
    least, middle, most = (
        share(value) if is_share else significant(value) for value in (spread.least, spread.median, spread.most)
    )
    return numeric(spread.median, middle if least == most else f"{middle} ({least} to {most})")


SECTION = Section(key="gradient_parts", title="Gradients in layers and gates", summarise=summarise, present=present)
