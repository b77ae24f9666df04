"""Several objectives: the trials than which no other is as good in all of them and better in one."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from reports import selection as select
from reports.figures import Dot, Panel, scatter_figure
from reports.pareto import non_dominated
from reports.records import TAG_DEVICE, TAG_HOST, SearchedParameter, StudyRecord, TrialRecord, chosen
from reports.sections._blocks import Block, Cell, Column, Drawing, Section, Table, Text, numeric
from reports.sections._parameters import ParameterColumn, parameter_columns
from reports.wording import count, listing, number

LATENCY: Final = "latency"
PARAMETERS: Final = "parameters"
SHOWN: Final = 50
_LOG_FROM: Final = 10.0  # ratio of the largest to the smallest value from which an axis is logarithmic


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One objective: its name in the study's file, and what it is."""

    name: str
    meaning: str

    @property
    def title(self) -> str:
        """With its unit."""
        return f"{self.name}, ms" if self.name == LATENCY else self.name


@dataclass(frozen=True, kw_only=True)
class Result:
    """Trials that are equal in every objective; most often one.

    Attributes:
        numbers: the trials.
        values: of the objectives, in the order of the axes.
        on_front: no other result dominates it.
        params: the first trial's configuration.
    """

    numbers: tuple[int, ...]
    values: tuple[float, ...]
    on_front: bool
    params: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Front:
    """All complete trials, by the first objective.

    Attributes:
        axes: the objectives, the first one first; none where the study has only one.
        results: sorted by their values.
        num_left_out: complete trials that lack a value.
        machines: hosts and devices that the trials ran on.
        parameters: columns of what was searched.
    """

    axes: tuple[Axis, ...] = ()
    results: tuple[Result, ...] = ()
    num_left_out: int = 0
    machines: tuple[str, ...] = ()
    parameters: tuple[ParameterColumn, ...] = ()

    @property
    def front(self) -> tuple[Result, ...]:
        """Those that no other dominates."""
        return tuple(result for result in self.results if result.on_front)

    @property
    def num_trials(self) -> int:
        """Trials that were compared."""
        return sum(len(result.numbers) for result in self.results)


def summarise(study: StudyRecord) -> Front:
    """Complete trials alone: a diverged one has bounds for scores, not measurements."""
    further = study.manifest.further_objectives
    if not further:
        return Front()
    groups: dict[tuple[float, ...], list[TrialRecord]] = defaultdict(list)
    scored = select.scored(study)
    for trial in scored:
        values = tuple(value for metric in further if (value := trial.metrics.get(metric.metric)) is not None)
        if len(values) == len(further) and trial.objective is not None:
            groups[(trial.objective, *values)].append(trial)
    points = sorted(groups)
    places = set(non_dominated(points))
    first = Axis(name=study.manifest.objective.removeprefix("val/"), meaning="it chooses each trial's epoch")
    return Front(
        axes=(first, *(Axis(name=each.name, meaning=each.meaning) for each in further)),
        results=tuple(
            _result(groups[point], point, on_front=place in places, searched=study.manifest.parameters)
            for place, point in enumerate(points)
        ),
        num_left_out=len(scored) - sum(map(len, groups.values())),
        machines=tuple(sorted({_machine(trial) for trials in groups.values() for trial in trials} - {""})),
        parameters=parameter_columns(study.manifest.parameters),
    )


def _result(
    trials: list[TrialRecord],
    values: tuple[float, ...],
    *,
    on_front: bool,
    searched: Iterable[SearchedParameter],
) -> Result:
    params = chosen(searched, trials[0].params)
    numbers = tuple(trial.number for trial in trials)
    return Result(numbers=numbers, values=values, on_front=on_front, params=params)


def _machine(trial: TrialRecord) -> str:
    return " ".join(trial.tags[tag] for tag in (TAG_HOST, TAG_DEVICE) if tag in trial.tags)


def present(front: Front) -> tuple[Block, ...]:
    """What it means, the front as a table, and all trials as a figure."""
    if not front.results:
        return ()
    columns = (
        Column("trial", numeric=False),
        *(Column(axis.title, hint=f"{axis.meaning}; lower is better") for axis in front.axes),
        *(Column(column.title, numeric=False, hint=column.hint) for column in front.parameters),
    )
    names = listing(axis.name for axis in front.axes)
    rows = tuple(_cells(result, front) for result in front.front[:SHOWN])
    return (
        Text(_note(front)),
        *_latency_notes(front),
        Table(caption=f"The front of {names}, by the first", columns=columns, rows=rows),
        _figure(front),
    )


def _note(front: Front) -> str:
    num_on_front = sum(len(result.numbers) for result in front.front)
    text = (
        f"The front holds {num_on_front} of {count(front.num_trials, 'complete trial')}: no other trial is as good in "
        "every objective and better in one. Each is one training under one seed, and another seed may put it on the "
        "front or take it off."
    )
    text += "".join(
        f" Trials {listing(map(str, result.numbers))} are equal in every objective and share a row."
        for result in front.front
        if len(result.numbers) > 1
    )
    if len(front.front) > SHOWN:
        text += f" The first {SHOWN} are shown."
    if front.num_left_out:
        text += f" {count(front.num_left_out, 'complete trial')} without a value of every objective left out."
    return text


def _latency_notes(front: Front) -> tuple[Text, ...]:
    """Whose time it is: without that, a number of milliseconds says nothing."""
    axis = next((axis for axis in front.axes if axis.name == LATENCY), None)
    if axis is None:
        return ()
    where = f" ({front.machines[0]})" if len(front.machines) == 1 else ""
    text = (
        f"Latency: {axis.meaning}. It is of the machine that the trials ran on{where}, measured once a trial while "
        "others may have run beside it: a small difference may be chance, also between two trials of one model, and on "
        "another machine the order may be another."
    )
    if len(front.machines) <= 1:
        return (Text(text, tone="quiet"),)
    mixed = f"Trials ran on {listing(front.machines)}: their latencies compare within one of these alone."
    return (Text(text, tone="quiet"), Text(mixed, tone="warn"))


def _cells(result: Result, front: Front) -> tuple[Cell, ...]:
    return (
        Cell(", ".join(map(str, result.numbers)), sort=float(result.numbers[0])),
        *(numeric(value, _text(axis, value)) for axis, value in zip(front.axes, result.values, strict=True)),
        *(column.cell(result.params) for column in front.parameters),
    )


def _text(axis: Axis, value: float) -> str:
    if axis.name == PARAMETERS:
        return f"{value:,.0f}"
    return number(value, 2) if axis.name == LATENCY else number(value)


def _figure(front: Front) -> Drawing:
    first, *others = front.axes
    panels = tuple(_panel(axis, place, front) for place, axis in enumerate(others, start=1))
    names = listing(axis.name for axis in others)
    return Drawing(
        key="front",
        alt=f"{first.name} of every complete trial against {names}, the front marked.",
        caption=f"Complete trials: {first.name} against {names}; diamonds are on the front of all objectives together",
        draw=lambda: scatter_figure(panels, objective=first.name),
    )


def _panel(axis: Axis, place: int, front: Front) -> Panel:
    dots = tuple(
        Dot(
            x=result.values[place],
            y=result.values[0],
            group="on the front" if result.on_front else "dominated",
            marked=result.on_front,
        )
        for result in front.results
    )
    low, high = min(dot.x for dot in dots), max(dot.x for dot in dots)
    return Panel(title=axis.title, dots=dots, log=0.0 < low * _LOG_FROM <= high)


SECTION = Section(key="front", title="Several objectives", summarise=summarise, present=present)
