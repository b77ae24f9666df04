"""What goes with each searched parameter, read off the sweep: marginal and observational, and called so."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from reports import selection as select
from reports.figures import Dot, Panel, scatter_figure
from reports.records import SearchedParameter, StudyRecord, TrialRecord, TrialState
from reports.sections._blocks import Block, Cell, Column, Drawing, Section, Table, Text, numeric
from reports.statistics import mean_sd
from reports.wording import number, parameter, short_names, spread, values_in_words

_JITTER: Final = (
    0.0,
    -0.12,
    0.12,
    -0.06,
    0.06,
    -0.18,
    0.18,
)  # dots of one level beside each other, the same every time


@dataclass(frozen=True, kw_only=True)
class Level:
    """One level of a choice, or one third of the values of a number.

    Attributes:
        n: complete trials, which the mean is over.
        diverged: counted apart: the bound that they were told as is no measurement.
        pruned: counted apart: their last value comes from fewer epochs.
        other: running, interrupted, failed or timed out.
    """

    name: str
    at: float
    n: int
    mean: float | None
    sd: float | None
    best: float | None
    diverged: int
    pruned: int
    other: int


@dataclass(frozen=True, kw_only=True)
class Effect:
    """One parameter."""

    path: str
    levels: tuple[Level, ...]
    panel: Panel


@dataclass(frozen=True, kw_only=True)
class Effects:
    """All searched parameters, in the order of the space; or all in which the arms of an ablation differ."""

    objective_name: str
    effects: tuple[Effect, ...]
    compares_arms: bool = False


def summarise(study: StudyRecord) -> Effects:
    """The levels of every searched parameter."""
    names = short_names([parameter.path for parameter in study.manifest.parameters])
    effects = (_effect(parameter, names[parameter.path], study) for parameter in study.manifest.parameters)
    return Effects(
        objective_name=study.manifest.objective,
        effects=tuple(effect for effect in effects if effect is not None),
        compares_arms=bool(study.manifest.config.get("ablation")),
    )


def _effect(searched: SearchedParameter, name: str, study: StudyRecord) -> Effect | None:
    trials = select.having(searched, study.trials)
    if not trials:
        return None
    if searched.kind == "choices":
        place = _places(searched)
        levels = tuple(
            _level(parameter(choice), float(i), [t for t in trials if t.params[searched.path] == choice])
            for i, choice in enumerate(searched.choices)
        )
        ticks = tuple(level.name for level in levels)
    else:
        bins = select.in_thirds(searched, trials)
        place, levels, ticks = _as_is, tuple(_bin(searched, found) for found in bins), ()
    means = tuple((level.at, level.mean) for level in levels if level.mean is not None)
    dots = tuple(
        _dot(trial, place(trial.params[searched.path], i), study) for i, trial in enumerate(trials) if _drawn(trial)
    )
    return Effect(
        path=searched.path,
        levels=levels,
        panel=Panel(title=name, dots=dots, ticks=ticks, log=searched.log, means=means),
    )


def _places(searched: SearchedParameter) -> Callable[[object, int], float]:
    index = {parameter(choice): i for i, choice in enumerate(searched.choices)}
    return lambda value, i: index.get(parameter(value), -1) + _JITTER[i % len(_JITTER)]


def _as_is(value: Any, _: int) -> float:
    return float(value)


def _drawn(trial: TrialRecord) -> bool:
    return trial.state in {TrialState.COMPLETE, TrialState.DIVERGED} and select.is_finite(trial.objective)


def _dot(trial: TrialRecord, x: float, study: StudyRecord) -> Dot:
    diverged = trial.state is TrialState.DIVERGED
    y = study.manifest.objective_bound if diverged else trial.objective
    return Dot(x=x, y=y or 0.0, group="", diverged=diverged)


def _bin(searched: SearchedParameter, trials: Sequence[TrialRecord]) -> Level:
    low, high = trials[0].params[searched.path], trials[-1].params[searched.path]
    name = values_in_words(low, high)
    middle = (low * high) ** 0.5 if searched.log else (low + high) / 2
    return _level(name, float(middle), trials)


def _level(name: str, at: float, trials: Sequence[TrialRecord]) -> Level:
    objectives = select.objectives(trial for trial in trials if trial.state is TrialState.COMPLETE)
    middle = mean_sd(objectives) if objectives else None
    diverged = sum(trial.state is TrialState.DIVERGED for trial in trials)
    pruned = sum(trial.state is TrialState.PRUNED for trial in trials)
    return Level(
        name=name,
        at=at,
        n=len(objectives),
        mean=middle.mean if middle else None,
        sd=middle.sd if middle else None,
        best=min(objectives, default=None),
        diverged=diverged,
        pruned=pruned,
        other=len(trials) - len(objectives) - diverged - pruned,
    )


def present(effects: Effects) -> tuple[Block, ...]:
    """A note on what this can show, small scatters and one table."""
    if not any(level.n or level.diverged for effect in effects.effects for level in effect.levels):
        return ()
    panels = [effect.panel for effect in effects.effects if effect.panel.dots]
    note = (
        "Marginal and observational: other parameters vary too, and the sampler visits good regions more often, so a "
        "difference between levels is no effect. Means are over complete trials. Diverged trials are counted apart and "
        "drawn as crosses at the upper border: their value is a bound, not a measurement. Pruned trials are only "
        "counted: they were stopped for their early values, so those that remain look better than their level is."
    )
    if effects.compares_arms:
        note = (
            "Means over all trainings that have a level, whatever else their arms have: what a change does is said "
            "above. Diverged trainings are counted apart and drawn as crosses at the upper border."
        )
    columns = (
        Column("parameter", numeric=False),
        Column("level", numeric=False),
        Column("n", hint="complete trials"),
        Column(
            "objective", hint=f"{effects.objective_name}: mean ± standard deviation over the level's complete trials"
        ),
        Column("best"),
        Column("diverged"),
        Column("pruned"),
        Column("other", hint="running, interrupted, failed or timed out"),
    )
    rows = tuple(_cells(effect.panel.title, level) for effect in effects.effects for level in effect.levels)
    drawing = Drawing(
        key="effects",
        alt=f"{effects.objective_name} of each trial against each searched parameter.",
        caption="A dot a complete trial, a cross a diverged one, a bar the mean of a level or a third of the values.",
        draw=lambda: scatter_figure(panels, objective=effects.objective_name),
    )
    return (
        Text(note, tone="quiet"),
        drawing,
        Table(
            caption=f"Levels of each parameter; the objective is {effects.objective_name}", columns=columns, rows=rows
        ),
    )


def _cells(name: str, level: Level) -> tuple[Cell, ...]:
    return (
        Cell(name),
        Cell(level.name, sort=level.at),
        numeric(level.n, str(level.n)),
        numeric(level.mean, spread(level.mean, level.sd)),
        numeric(level.best, number(level.best)),
        *(numeric(amount, str(amount)) for amount in (level.diverged, level.pruned, level.other)),
    )


SECTION = Section(key="effects", title="What goes with each parameter", summarise=summarise, present=present)
