"""What the study cost in time, and how much of it was spent outside training and validation."""

from dataclasses import dataclass
from statistics import median

from reports import selection as select
from reports.records import TIME_TRAIN_S, TIME_VALIDATION_S, StudyRecord, TrialRecord, TrialState
from reports.sections._blocks import Block, Cell, Column, Section, Table
from reports.wording import duration, number, share


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Seconds; None where nothing was measured.

    Attributes:
        wall: from the first start to the last end, pauses included.
        busy: the sum over ended trials.
        mean: mean seconds of a complete trial; `median` likewise.
        train: seconds in training, over ended trials that measured both parts.
        validation: seconds in validation, likewise.
        overhead: seconds of those trials that were spent on neither: start, data, checkpoints.
        pruned: seconds in pruned trials.
        wasted: seconds in trials that failed or timed out.
    """

    num_ended: int
    wall: float | None
    busy: float
    mean: float | None
    median: float | None
    train: float | None
    validation: float | None
    overhead: float | None
    pruned: float
    wasted: float

    @property
    def at_once(self) -> float | None:
        """Trials at the same time, on average."""
        return self.busy / self.wall if self.wall else None

    @property
    def overhead_share(self) -> float | None:
        """Overhead as a share of the trials that it was measured in."""
        if self.overhead is None or self.train is None or self.validation is None:
            return None
        total = self.overhead + self.train + self.validation
        return self.overhead / total if total else None


def summarise(study: StudyRecord) -> Cost:
    """Sums over trials that have ended and whose record says how long they took."""
    ended = [trial for trial in study.trials if select.seconds(trial) is not None]
    complete = [s for t in ended if t.state is TrialState.COMPLETE and (s := select.seconds(t)) is not None]
    measured = [trial for trial in ended if TIME_TRAIN_S in trial.history and TIME_VALIDATION_S in trial.history]
    train = sum(sum(select.values(trial.history[TIME_TRAIN_S])) for trial in measured)
    validation = sum(sum(select.values(trial.history[TIME_VALIDATION_S])) for trial in measured)
    return Cost(
        num_ended=len(ended),
        wall=(max(t.end_ms or 0 for t in ended) - min(t.start_ms for t in ended)) / 1000.0 if ended else None,
        busy=_sum(ended),
        mean=select.mean(complete),
        median=median(complete) if complete else None,
        train=train if measured else None,
        validation=validation if measured else None,
        overhead=_sum(measured) - train - validation if measured else None,
        pruned=_sum([trial for trial in ended if trial.state is TrialState.PRUNED]),
        wasted=_sum([trial for trial in ended if trial.state in {TrialState.FAILED, TrialState.TIMED_OUT}]),
    )


def _sum(trials: list[TrialRecord]) -> float:
    return sum(select.seconds(trial) or 0.0 for trial in trials)


def present(cost: Cost) -> tuple[Block, ...]:
    """One table of what there is."""
    if not cost.num_ended:
        return ()
    rows = (
        ("wall time, first start to last end, pauses included", duration(cost.wall)),
        ("sum over trials", duration(cost.busy)),
        ("trials at the same time, on average", number(cost.at_once, 2)),
        ("a complete trial, mean", duration(cost.mean)),
        ("a complete trial, median", duration(cost.median)),
        ("in training", duration(cost.train)),
        ("in validation", duration(cost.validation)),
        ("outside both: start, data, checkpoints", _overhead(cost)),
        ("in pruned trials", duration(cost.pruned)),
        ("in trials that failed or timed out", duration(cost.wasted)),
    )
    columns = (Column("what", numeric=False), Column("time"))
    table = Table(caption="Time", columns=columns, rows=tuple((Cell(what), Cell(text)) for what, text in rows))
    return (table,)


def _overhead(cost: Cost) -> str:
    ratio = cost.overhead_share
    return duration(cost.overhead) + (f" ({share(ratio)})" if ratio is not None else "")


SECTION = Section(key="cost", title="Cost", summarise=summarise, present=present)
