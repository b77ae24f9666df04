"""How the search went: what each ending added, and which values the best trials share."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log
from typing import Any, Final

from reports import selection as select
from reports.figures.search import Coordinate, Ended, Line, history_figure, parallel_figure
from reports.records import SearchedParameter, StudyRecord, TrialRecord, TrialState
from reports.sections._blocks import Block, Drawing, Section, Text
from reports.wording import count, number, parameter, short_names, significant

FEWEST: Final = 4
"""Complete trials below which there is no course of a search to speak of."""
MOST_AXES: Final = 9
MOST_LINES: Final = 400
FRONT: Final = 0.25
"""Share of the complete trials that are drawn as the best."""
_ROOM: Final = (0.05, 0.95)


@dataclass(frozen=True, kw_only=True)
class History:
    """The course of a search.

    Attributes:
        ended: complete and diverged trials in the order of their endings.
        best: the trial with the least objective, and its place among the complete ones, from 1.
        first: the objective of the complete trial that ended first.
        coordinates: the searched parameters that vary, then the objective.
        lines: complete trials, best first.
        left_out: parameters for which there was no room.
    """

    objective_name: str
    ended: tuple[Ended, ...] = ()
    best: int | None = None
    place: int = 0
    num_complete: int = 0
    first: float | None = None
    least: float | None = None
    coordinates: tuple[Coordinate, ...] = ()
    lines: tuple[Line, ...] = ()
    num_best: int = 0
    left_out: int = 0


def summarise(study: StudyRecord) -> History:
    """Empty for a design of arms, which nobody searches, and for a few trials."""
    name = study.manifest.objective
    sampler = study.manifest.config.get("sampler", {})
    complete = sorted(select.scored(study), key=_ending)
    if len(complete) < FEWEST or (isinstance(sampler, dict) and sampler.get("kind") == "design"):
        return History(objective_name=name)
    diverged = select.with_state(study, TrialState.DIVERGED)
    ended = sorted([*complete, *diverged], key=_ending)
    ranked = sorted(complete, key=lambda trial: (trial.objective or 0.0, trial.number))
    varying = [each for each in study.manifest.parameters if _varies(each, complete)]
    shown = varying[: MOST_AXES - 1]
    chosen = select.chosen(study)
    objectives = [trial.objective or 0.0 for trial in ranked]
    num_best = max(1, round(FRONT * len(ranked)))
    names = short_names([each.path for each in study.manifest.parameters])
    return History(
        objective_name=name,
        ended=tuple(
            Ended(place=place, y=None if trial.state is TrialState.DIVERGED else trial.objective)
            for place, trial in enumerate(ended, start=1)
        ),
        best=ranked[0].number,
        place=complete.index(ranked[0]) + 1,
        num_complete=len(complete),
        first=complete[0].objective,
        least=ranked[0].objective,
        coordinates=(
            *(Coordinate(title=names[each.path], ticks=_ticks(each, complete)) for each in shown),
            Coordinate(title="objective", ticks=tuple((_between(y, objectives), number(y)) for y in _ends(objectives))),
        ),
        lines=tuple(
            Line(
                places=(
                    *(_place(each, trial, complete) for each in shown),
                    _between(trial.objective or 0.0, objectives),
                ),
                front=rank < num_best,
                chosen=chosen is not None and trial.number == chosen.number,
            )
            for rank, trial in enumerate(ranked[:MOST_LINES])
        ),
        num_best=num_best,
        left_out=len(varying) - len(shown),
    )


def _ending(trial: TrialRecord) -> tuple[int, int]:
    return (trial.end_ms or trial.start_ms, trial.number)


def _varies(searched: SearchedParameter, trials: Sequence[TrialRecord]) -> bool:
    """Over what was completed; a parameter that few trials have would cut most lines."""
    having = select.having(searched, trials)
    return 2 * len(having) >= len(trials) and len({str(each.params[searched.path]) for each in having}) > 1


def _place(searched: SearchedParameter, trial: TrialRecord, trials: Sequence[TrialRecord]) -> float | None:
    if not searched.exists(trial.params) or searched.path not in trial.params:
        return None
    value = trial.params[searched.path]
    if searched.kind == "choices":
        levels = [parameter(choice) for choice in searched.choices]
        shown = parameter(value)
        return _between(float(levels.index(shown)), range(len(levels))) if shown in levels else None
    values = [each.params[searched.path] for each in select.having(searched, trials)]
    return _between(_scaled(value, searched), [_scaled(each, searched) for each in values])


def _scaled(value: Any, searched: SearchedParameter) -> float:
    return log(value) if searched.log else float(value)


def _ticks(searched: SearchedParameter, trials: Sequence[TrialRecord]) -> tuple[tuple[float, str], ...]:
    """Every level of a choice, and the ends of a number's range among these trials."""
    if searched.kind == "choices":
        levels = range(len(searched.choices))
        return tuple((_between(float(i), levels), parameter(searched.choices[i])) for i in levels)
    values = [each.params[searched.path] for each in select.having(searched, trials)]
    scaled = [_scaled(each, searched) for each in values]
    return tuple((_between(_scaled(each, searched), scaled), significant(float(each))) for each in _ends(values))


def _ends(values: Sequence[Any]) -> tuple[Any, Any]:
    return min(values), max(values)


def _between(value: float, values: Sequence[float]) -> float:
    """The least at the bottom, the largest at the top, and room for their names."""
    low, high = min(values), max(values)
    share = (value - low) / (high - low) if high > low else 0.5
    return _ROOM[0] + (_ROOM[1] - _ROOM[0]) * share


def present(history: History) -> tuple[Block, ...]:
    """A sentence and two figures."""
    if history.best is None:
        return ()
    told = (
        f"Trial {history.best} has the least objective, {number(history.least)}; it was number {history.place} of "
        f"{history.num_complete:,} complete trials to end, the first of which had {number(history.first)}. "
    )
    later = count(history.num_complete - history.place, "complete trial")
    told += f"{later} ended after it." if history.place < history.num_complete else "None ended after it."
    blocks: list[Block] = [
        Text(told),
        Drawing(
            key="history",
            alt=f"{history.objective_name} of {count(len(history.ended), 'trial')} in the order in which they ended.",
            caption="Complete trials in the order in which they ended, and the least objective so far.",
            draw=lambda: history_figure(history.ended, objective=history.objective_name),
        ),
    ]
    if len(history.coordinates) > 1:
        left_out = count(history.left_out, "parameter")
        hidden = f" There was no room for {left_out}." if history.left_out else ""
        blocks.append(
            Drawing(
                key="parallel",
                alt=f"{count(len(history.lines), 'complete trial')} as lines over {len(history.coordinates)} axes.",
                caption=f"A line a complete trial: the best {history.num_best} in colour, the chosen one in front; "
                "dotted where it passes an axis that it has no value on. A "
                f"value that they share shows no effect: the sampler prefers what did well early.{hidden}",
                draw=lambda: parallel_figure(history.coordinates, history.lines),
            )
        )
    return tuple(blocks)


SECTION = Section(key="history", title="Course of the search", summarise=summarise, present=present)
