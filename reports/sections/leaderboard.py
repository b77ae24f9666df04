"""Configurations in order of the objective; means over replicates, and a spread only where there are several."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Final

from reports import selection as select
from reports.records import (
    BEST_PREFIX,
    GRAD_SHARE_CLIPPED,
    NUM_PARAMETERS,
    SearchedParameter,
    StudyRecord,
    TrialRecord,
    TrialState,
    chosen,
)
from reports.sections._blocks import Block, Cell, Column, Section, Table, Text, numeric
from reports.sections._parameters import ParameterColumn, parameter_columns
from reports.statistics import Interval, mean_sd, t_interval
from reports.wording import NOTHING, count, duration, listing, number, significant, spread, states_text

SHOWN: Final = 50


@dataclass(frozen=True, kw_only=True)
class Row:
    """One configuration.

    Attributes:
        n: replicates with an objective; the means are over these.
        sd: None for n = 1.
        interval: 95 % t-interval of the mean over replicates; None for n = 1.
        share_clipped: share of steps whose gradient was clipped, over complete trials; None where unknown.
        rank: place by mean objective, which equals share; None without one, as of a pruned or failed configuration.
        separated: its interval lies below the interval of every other configuration that has an objective.
    """

    configuration_hash: str
    numbers: tuple[int, ...]
    params: dict[str, object]
    states: Counter[str]
    n: int
    objective: float | None
    sd: float | None
    interval: Interval | None
    c_primary: float | None
    accuracy: float | None
    num_parameters: float | None
    seconds: float | None
    share_clipped: float | None = None
    rank: int | None = None
    separated: bool = False

    @property
    def state(self) -> str:
        """`complete`, `pruned`; with counts where the replicates differ or are several."""
        return next(iter(self.states)) if len(self.numbers) == 1 else states_text(self.states)


@dataclass(frozen=True, kw_only=True)
class Leaderboard:
    """All configurations, best first.

    Attributes:
        parameters: the columns of what was searched.
        bound: the objective's, what larger values count as.
        is_cut: whether any did.
    """

    objective_name: str
    parameters: tuple[ParameterColumn, ...]
    rows: tuple[Row, ...]
    bound: float
    is_cut: bool

    @property
    def replicated(self) -> bool:
        """Whether any configuration has an interval: without one its column says nothing."""
        return any(row.n > 1 for row in self.rows)

    @property
    def ties(self) -> tuple[tuple[Row, ...], ...]:
        """Configurations that reached the very same objective."""
        groups = (tuple(rows) for _, rows in groupby(self.rows, key=lambda row: row.rank))
        return tuple(rows for rows in groups if len(rows) > 1 and rows[0].rank is not None)


def summarise(study: StudyRecord) -> Leaderboard:
    """Configurations by mean objective; those without one come last."""
    searched = study.manifest.parameters
    groups: dict[str, list[TrialRecord]] = defaultdict(list)
    for trial in study.trials:
        groups[trial.configuration_hash].append(trial)
    rows = [_row(key, trials, searched) for key, trials in groups.items()]
    rows.sort(key=lambda row: (row.objective is None, row.objective or 0.0, row.numbers))
    return Leaderboard(
        objective_name=study.manifest.objective,
        parameters=parameter_columns(study.manifest.parameters),
        rows=_separate(_rank(rows)),
        bound=study.manifest.objective_bound,
        is_cut=any(_is_cut(trial, study.manifest.objective_bound) for trial in study.trials),
    )


def _is_cut(trial: TrialRecord, bound: float) -> bool:
    return trial.state is TrialState.COMPLETE and trial.objective is not None and trial.objective >= bound


def _row(key: str, trials: Sequence[TrialRecord], searched: Sequence[SearchedParameter]) -> Row:
    complete = [t for t in trials if t.state is TrialState.COMPLETE and select.is_finite(t.objective)]
    objectives = select.objectives(complete)
    middle = mean_sd(objectives) if objectives else None
    return Row(
        configuration_hash=key,
        numbers=tuple(trial.number for trial in trials),
        params=chosen(searched, trials[0].params),
        states=Counter(trial.state.value for trial in trials),
        n=len(objectives),
        objective=middle.mean if middle else None,
        sd=middle.sd if middle else None,
        interval=t_interval(objectives) if objectives else None,
        c_primary=_mean(complete, BEST_PREFIX + "c_primary"),
        accuracy=_mean(complete, BEST_PREFIX + "accuracy"),
        num_parameters=_mean(trials, NUM_PARAMETERS),
        seconds=select.mean(select.seconds(trial) for trial in complete),
        share_clipped=select.mean(
            value for trial in complete for value in select.values(trial.history.get(GRAD_SHARE_CLIPPED))
        ),
    )


def _mean(trials: Sequence[TrialRecord], metric: str) -> float | None:
    return select.mean(trial.metrics.get(metric) for trial in trials)


def _rank(rows: Sequence[Row]) -> list[Row]:
    """A place for those that have an objective, one for equals; the rows are sorted already."""
    places: dict[float, int] = {}
    for i, row in enumerate(rows, start=1):
        if row.objective is not None:
            places.setdefault(row.objective, i)
    return [replace(row, rank=None if row.objective is None else places[row.objective]) for row in rows]


def _separate(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Mark the first row if its interval separates it: only then may it stand out."""
    if not rows or rows[0].interval is None:
        return tuple(rows)
    others = [row for row in rows[1:] if row.objective is not None]
    high = rows[0].interval.high
    separated = bool(others) and all(row.interval is not None and high < row.interval.low for row in others)
    return (replace(rows[0], separated=separated), *rows[1:])


def present(board: Leaderboard) -> tuple[Block, ...]:
    """One table; the longest tail is left to the CSV."""
    if not board.rows:
        return ()
    shown = board.rows[:SHOWN]
    rows = tuple(_cells(row, parameters=board.parameters, replicated=board.replicated) for row in shown)
    table = Table(
        caption=f"Configurations on development data, best first; the objective is {board.objective_name}",
        columns=columns(board),
        rows=rows,
    )
    return (Text(_note(board), tone="quiet"), table)


def columns(board: Leaderboard) -> tuple[Column, ...]:
    """What tells configurations apart at a glance stands left, what they are made of after it."""
    several = (
        Column("95 %", numeric=False, hint="t-interval of the mean over replicates"),
        Column("n", hint="replicates in the mean, of all where others ended otherwise"),
    )
    return (
        Column("#", hint="rank by mean objective, or how a configuration without a complete trial ended"),
        Column("trials" if board.replicated else "trial", numeric=False),
        Column("objective", hint=f"{board.objective_name}: mean ± standard deviation over replicates; lower is better"),
        *(several if board.replicated else ()),
        Column("accuracy", hint="mean over languages, raw scores; higher is better"),
        *(Column(column.title, numeric=False, hint=column.hint) for column in board.parameters),
        Column("C_primary", hint="raw scores; lower is better"),
        Column("weights", hint="parameters of the model"),
        Column("time", hint="mean a complete trial"),
    )


def _note(board: Leaderboard) -> str:
    text = "Means are over complete trials. "
    if board.is_cut:
        text += f"An objective of {number(board.bound)} stands for that and more, which is all counted as one. "
    if board.replicated:
        text += "± is the standard deviation over seeds; the interval is a t-interval over seeds, for these sources. "
    else:
        text += "Every configuration has one seed, so no spread is known and no order among them is shown to be real. "
    first_is_clear = board.rows[0].separated
    text += (
        "The first is bold: its interval lies below all others. "
        if first_is_clear
        else "No interval separates the first. "
    )
    if len(board.rows) > SHOWN:
        text += f"The best {SHOWN} of {count(len(board.rows), 'configuration')} are shown; all are in trials.csv."
    return " ".join([text.strip(), *map(_tie, board.ties)])


def _tie(rows: tuple[Row, ...]) -> str:
    if any(row.n > 1 for row in rows):
        which = listing(f"of trials {', '.join(map(str, row.numbers))}" for row in rows)
        text = f"The configurations {which} have the very same mean objective, {number(rows[0].objective)}, and"
    else:
        numbers = listing(str(number) for row in rows for number in row.numbers)
        text = f"Trials {numbers} have the very same objective, {number(rows[0].objective)}, and"
    text += " share a rank"
    if all(row.share_clipped == 0 for row in rows) and len({_unclipped(row) for row in rows}) == 1:
        text += ": none of their gradients was ever clipped, and a threshold that is never reached changes nothing"
    return f"{text}."


def _unclipped(row: Row) -> tuple[tuple[str, str], ...]:
    """What was searched, without what clipping is made of."""
    return tuple(sorted((path, str(value)) for path, value in row.params.items() if not path.startswith("clipping.")))


def _cells(row: Row, *, parameters: tuple[ParameterColumn, ...], replicated: bool) -> tuple[Cell, ...]:
    interval = f"{number(row.interval.low)} to {number(row.interval.high)}" if row.interval else NOTHING
    several = (
        Cell(interval, sort=row.interval.low if row.interval else None),
        numeric(row.n, str(row.n) if row.n in {0, len(row.numbers)} else f"{row.n} of {len(row.numbers)}"),
    )
    return (
        Cell(row.state, tone="quiet") if row.rank is None else numeric(row.rank, str(row.rank)),
        Cell(", ".join(str(n) for n in row.numbers), sort=float(row.numbers[0])),
        numeric(row.objective, spread(row.objective, row.sd), strong=row.separated),
        *(several if replicated else ()),
        numeric(row.accuracy, number(row.accuracy)),
        *(column.cell(row.params) for column in parameters),
        numeric(row.c_primary, number(row.c_primary)),
        numeric(row.num_parameters, significant(row.num_parameters)),
        numeric(row.seconds, duration(row.seconds)),
    )


SECTION = Section(key="leaderboard", title="Leaderboard", summarise=summarise, present=present)
