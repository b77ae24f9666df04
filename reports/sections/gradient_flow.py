"""How much of the loss's gradient reaches each step, |dL/dh_t| against t, before and after training.

Trials of one cell (or encoder) and clipping rule are an arm; where these differ in what else the curves depend on, also
of one route from the loss back to the states (a pooling, a decoder's attention), one kind of feedback, direction and
initialisation. The section names what they have in common; it says what was measured, and promises nothing.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from reports.figures import FlowLine, flow_figure
from reports.records import FlowCurve, GradientFlow, StudyRecord, TrialRecord, heard_of
from reports.sections._blocks import Block, Cell, Column, Drawing, Section, Table, Text, numeric
from reports.selection import network
from reports.wording import count, listing, parameter, significant

BACKWARD: Final = "/backward"
CELL_STATE: Final = "/cell"
FORWARD: Final = "/forward"
LEAST: Final = 1e-45  # the smallest number of single precision: what has vanished counts as this much
READS_ONE_STATE: Final = "pooling last"
EVERY_STEP: Final = "a loss at every step"
MOST_NETWORKS: Final = 8  # that a figure can tell by colour


@dataclass(frozen=True, kw_only=True)
class Arm:
    """Trials that are alike in how gradients come back, and one recurrence in them.

    Attributes:
        network: the cell or encoder, and of route and feedback what differs between trials.
        clipping: the rule.
        states: the recurrence's or layer's name.
        n: trials.
        before: geometric mean over trials of |dL/dh_t| at t = 0, 1, …, before the first step.
        after: after the last epoch that was measured.
        is_main: whether the figure shows it: the last recurrence that reads forwards.
    """

    network: str
    clipping: str
    states: str
    n: int
    before: tuple[float, ...]
    after: tuple[float, ...]
    is_main: bool

    @property
    def name(self) -> str:
        """`lstm, norm`."""
        return f"{self.network}, {self.clipping}"

    @property
    def ratio_before(self) -> float:
        """Mean over the tenth of the steps that is read first, over the mean of the tenth that is read last."""
        return _ratio(self.before, is_backward=BACKWARD in self.states)

    @property
    def ratio_after(self) -> float:
        """The same after training."""
        return _ratio(self.after, is_backward=BACKWARD in self.states)


@dataclass(frozen=True, kw_only=True)
class Flow:
    """All arms, and under which conditions they were measured.

    Attributes:
        arms: those of one cell side by side.
        routes: `pooling last`, `attention dot`: how the loss reaches the states.
        directions: `one way` or `both ways`, where the encoder has any.
        has_other_encoders: whether there are encoders that have none.
        initialisations: that occur, where the encoder has a choice.
        not_finite: trials whose gradient overflowed, which are left out.
        heard: what has a loss of its own, `utterance` or `recording`.
        is_in_parts: whether any trial trained its batches in parts, the first of which was measured.
    """

    arms: tuple[Arm, ...]
    routes: tuple[str, ...]
    directions: tuple[str, ...]
    has_other_encoders: bool
    initialisations: tuple[str, ...]
    not_finite: tuple[int, ...]
    heard: str
    is_in_parts: bool = False

    @property
    def shown(self) -> tuple[Arm, ...]:
        """What the figure has a line of."""
        return tuple(arm for arm in self.arms if arm.is_main)


def summarise(study: StudyRecord) -> Flow:
    """Trials with a curve from before the first step and a later one."""
    flows = {number: flow for number, flow in study.gradient_flow.items() if _is_whole(flow)}
    measured = [trial for trial in study.trials if trial.number in flows]
    not_finite = tuple(trial.number for trial in measured if not _is_finite(flows[trial.number]))
    trials = [trial for trial in measured if trial.number not in not_finite]
    conditions = (_route, _feedback, _directions, _initialisation)
    differing = [of for of in conditions if len({of(trial) for trial in trials} - {""}) > 1]
    groups: dict[_Key, list[TrialRecord]] = {}
    for trial in trials:
        curve = flows[trial.number].curves[0]
        for states, values in curve.norms.items():
            name = ", ".join(filter(None, [network(trial), *(of(trial) for of in differing)]))
            clipping = str(trial.params.get("clipping.kind", "?"))
            key = _Key(name, clipping, states, len(values), is_main=states == _main(curve))
            groups.setdefault(key, []).append(trial)
    return Flow(
        arms=tuple(_summary(key, group, flows, _lengths(key, groups)) for key, group in sorted(groups.items())),
        routes=tuple(sorted({_route(trial) for trial in trials})),
        directions=tuple(sorted({_directions(trial) for trial in trials} - {""})),
        is_in_parts=any(trial.params.get("training.accumulation", 1) != 1 for trial in trials),
        initialisations=_levels(trials, "encoder.initialisation"),
        has_other_encoders=any("encoder.bidirectional" not in trial.params for trial in trials),
        not_finite=not_finite,
        heard=heard_of(study.manifest.task),
    )


def _is_whole(flow: GradientFlow) -> bool:
    return len(flow.curves) > 1 and flow.curves[0].epochs_trained == 0


def _is_finite(flow: GradientFlow) -> bool:
    ends = (flow.curves[0], flow.curves[-1])
    return all(math.isfinite(value) for curve in ends for values in curve.norms.values() for value in values)


class _Key(NamedTuple):
    """What the trials of an arm have in common."""

    network: str
    clipping: str
    states: str
    num_steps: int
    is_main: bool


def _route(trial: TrialRecord) -> str:
    """What is built between the encoder's states and the loss."""
    task, attention = trial.params.get("task.kind"), trial.params.get("task.attention", "none")
    if task == "labelling":
        return EVERY_STEP
    route = f"pooling {trial.params.get('pooling.kind', '?')}"
    if task == "sequence" and attention != "none":
        route = f"attention {attention}"
    return f"{route} with {EVERY_STEP}" if trial.params.get("encoder.kind") == "output_recurrent" else route


def _feedback(trial: TrialRecord) -> str:
    """What an encoder that recurs through its output is fed back; "" for others."""
    return str(trial.params.get("encoder.feedback.kind", "")).replace("_", " ")


def _directions(trial: TrialRecord) -> str:
    """`one way`, `both ways`; "" for encoders that have no direction."""
    is_hierarchy = trial.params.get("encoder.kind") == "hierarchical"
    name = "encoder.top.bidirectional" if is_hierarchy else "encoder.bidirectional"
    return {"true": "both ways", "false": "one way"}.get(parameter(trial.params.get(name)), "")


def _initialisation(trial: TrialRecord) -> str:
    return str(trial.params.get("encoder.initialisation", ""))


def _lengths(key: "_Key", groups: Iterable["_Key"]) -> set[int]:
    """The numbers of steps of arms that are alike but for these."""
    return {each.num_steps for each in groups if each._replace(num_steps=0) == key._replace(num_steps=0)}


def _levels(trials: Iterable[TrialRecord], path: str) -> tuple[str, ...]:
    return tuple(sorted({parameter(trial.params[path]) for trial in trials if trial.params.get(path) is not None}))


def _summary(key: _Key, trials: Sequence[TrialRecord], flows: dict[int, GradientFlow], lengths: set[int]) -> Arm:
    curves = [flows[trial.number].curves for trial in trials]
    return Arm(
        network=f"{key.network}, {key.num_steps} steps" if len(lengths) > 1 else key.network,
        clipping=key.clipping,
        states=key.states,
        n=len(trials),
        before=_middle([each[0].norms[key.states] for each in curves]),
        after=_middle([each[-1].norms[key.states] for each in curves]),
        is_main=key.is_main,
    )


def _main(curve: FlowCurve) -> str:
    """The last recurrence that reads forwards, whose states pooling reads; the last layer where there is none."""
    names = [name for name in curve.norms if not name.endswith(CELL_STATE)]
    return [name for name in names if name.endswith(FORWARD) or not name.endswith(BACKWARD)][-1]


def _middle(curves: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """Geometric mean at each step: gradients differ by orders of magnitude."""
    return tuple(
        math.exp(sum(math.log(max(value, LEAST)) for value in values) / len(values))
        for values in zip(*curves, strict=True)
    )


def _ratio(values: Sequence[float], *, is_backward: bool) -> float:
    tenth = max(1, len(values) // 10)
    first, last = sum(values[:tenth]), sum(values[-tenth:])
    return last / first if is_backward else first / last


def present(flow: Flow) -> tuple[Block, ...]:
    """What was measured and how, a figure and a table; nothing where no trial measured it."""
    if not flow.arms:
        return ()
    shown = flow.shown
    table = Table(
        caption="The gradient of the steps that are read first, as a ratio to that of those read last",
        columns=(
            Column("network, clipping", numeric=False),
            Column("states", numeric=False, hint="a recurrence and its direction, or a layer"),
            Column("n", hint="trials"),
            Column("before training", hint="mean over the first tenth of the steps / mean over the last tenth"),
            Column("after training"),
        ),
        rows=tuple(_cells(arm) for arm in flow.arms),
    )
    states = listing(sorted({arm.states for arm in shown}))
    left_out = len({arm.network for arm in shown}) - MOST_NETWORKS
    drawn = [arm for arm in shown if arm.network in sorted({each.network for each in shown})[:MOST_NETWORKS]]
    drawing = Drawing(
        key="gradient-flow",
        alt=f"Gradient norm of each state by step, before and after training, of {count(len(drawn), 'arm')}.",
        caption=f"|dL/dh_t| against t of {states}: a colour a network, a line style a clipping "
        f"rule; each line is the geometric mean of its trials.{_undrawn(left_out)}",
        draw=lambda: flow_figure(
            {
                "before training": [_line(arm, arm.before) for arm in drawn],
                "after training": [_line(arm, arm.after) for arm in drawn],
            }
        ),
    )
    return (Text(_sentence(shown)), Text(_conditions(flow), tone="quiet"), drawing, table)


def _undrawn(number: int) -> str:
    return f" There was no room for {count(number, 'network')}, which the table has." if number > 0 else ""


def _line(arm: Arm, values: tuple[float, ...]) -> FlowLine:
    return FlowLine(network=arm.network, clipping=arm.clipping, values=values)


def in_a_sentence(flow: Flow) -> str:
    """What was found, for those who read no further; "" where nothing was measured."""
    return _sentence(flow.shown) if flow.arms else ""


def _sentence(arms: Sequence[Arm]) -> str:
    """The extremes before training, and what became of them."""
    least, most = (pick(arms, key=lambda arm: arm.ratio_before) for pick in (min, max))
    said = (
        f"Before training, the first tenth of the steps got {_times(least.ratio_before)} the gradient of the last tenth"
    )
    if len(arms) == 1:
        return f"{said} ({least.name}); after training {_times(least.ratio_after)}."
    if _times(least.ratio_before) == _times(most.ratio_before):
        least, most = (pick(arms, key=lambda arm: arm.ratio_after) for pick in (min, max))
        after = " to ".join(dict.fromkeys(_times(arm.ratio_after) for arm in (least, most)))
        return f"{said} with each of {count(len(arms), 'arm')}; after training {after}."
    return (
        f"{said} with {least.name} and {_times(most.ratio_before)} with {most.name}; "
        f"after training {_times(least.ratio_after)} and {_times(most.ratio_after)}."
    )


def _times(ratio: float) -> str:
    return f"{significant(ratio, 2)} times"


def _conditions(flow: Flow) -> str:
    conditions = [listing(flow.routes)]
    of_encoder = []
    if flow.directions:
        of_encoder.append(f"reading {listing(flow.directions)}")
    if flow.initialisations:
        of_encoder.append(f"initialisation {listing(flow.initialisations)}")
    if of_encoder and flow.has_other_encoders:
        of_encoder[-1] += " where the encoder has these"
    conditions += of_encoder
    batch = "one training batch" + (" (the first part of one that is trained in parts)" if flow.is_in_parts else "")
    said = (
        f"Measured on {batch} without dropout, under {', '.join(conditions)}. The norm is that of each "
        f"{flow.heard}'s own loss, averaged over {flow.heard}s; t counts the encoder's steps. Compared is each "
        "network's last layer that reads forwards."
    )
    if set(flow.routes) != {READS_ONE_STATE}:
        said += (
            " Where the loss is made of every state, by pooling, by attention or at every step, each state has a "
            "gradient of its own, whatever the recurrence carries back."
        )
    if flow.not_finite:
        noun = "trial" if len(flow.not_finite) == 1 else "trials"
        said += f" Left out, since a gradient was not finite: {noun} {listing(map(str, flow.not_finite))}."
    return said


def _cells(arm: Arm) -> tuple[Cell, ...]:
    return (
        Cell(arm.name),
        Cell(arm.states),
        numeric(arm.n, str(arm.n)),
        numeric(arm.ratio_before, significant(arm.ratio_before)),
        numeric(arm.ratio_after, significant(arm.ratio_after)),
    )


SECTION = Section(key="gradient_flow", title="Gradient flow over time", summarise=summarise, present=present)
