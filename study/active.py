"""A trial in the coordinator's hands: what its event logs have said so far, over all its attempts."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import assert_never

from lightning_modules.config import TrialConfig
from reports.records import MetricPoint, TrialState
from study.events import AnyEvent, Ended, EpochEnded, EventReader, Started
from study.spec import AttemptSpec
from study.workspace import TrialFolder


@dataclass
class ActiveTrial:
    """One trial and its present attempt.

    Attributes:
        number: the trial's number.
        config: its frozen configuration.
        folder: its files.
        spec: the present attempt; None before the first and between two.
        reader: of the present attempt's log.
        started: the last attempt's first word.
        ended: the last word, once it is spoken.
        history: every metric by epoch; an epoch that a resumed attempt repeats is taken once.
        best_objective: the best so far, and `best_epoch` where it was seen.
        last_time_ms: time of the last event.
        stop: why the coordinator stops the attempt (`pruned`, `interrupted`), or None.
        num_lost: attempts that were lost.
    """

    number: int
    config: TrialConfig
    folder: TrialFolder
    spec: AttemptSpec | None = None
    reader: EventReader = field(default_factory=EventReader)
    started: Started | None = None
    ended: Ended | None = None
    history: dict[str, list[MetricPoint]] = field(default_factory=lambda: defaultdict(list))
    last_epoch: int = -1
    best_objective: float | None = None
    best_epoch: int | None = None
    best_metrics: dict[str, float] = field(default_factory=dict)
    last_time_ms: int = 0
    stop: str | None = None
    num_lost: int = 0

    def begin(self, spec: AttemptSpec) -> None:
        """A new attempt takes over."""
        self.spec = spec
        self.reader = EventReader()
        self.ended = None
        self.stop = None

    def take(self, events: Iterable[AnyEvent]) -> list[EpochEnded]:
        """Takes events in order; returns the epochs that are new."""
        fresh: list[EpochEnded] = []
        for event in events:
            self.last_time_ms = max(self.last_time_ms, event.time_ms)
            match event:
                case Started():
                    self.started = event
                case EpochEnded() if event.epoch > self.last_epoch:
                    self._take_epoch(event)
                    fresh.append(event)
                case Ended():
                    self.ended = event
        return fresh

    def _take_epoch(self, event: EpochEnded) -> None:
        self.last_epoch = event.epoch
        for key, value in event.metrics.items():
            self.history[key].append(MetricPoint(step=event.epoch, value=value, time_ms=event.time_ms))
        if self.best_objective is None or event.objective < self.best_objective:
            self.best_objective = event.objective
            self.best_epoch = event.epoch
            self.best_metrics = {f"best/{key[4:]}": v for key, v in event.metrics.items() if key.startswith("val/")}

    def latest(self, metric: str) -> float | None:
        """The last value of a metric, or None."""
        points = self.history.get(metric)
        return points[-1].value if points else None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a trial ended, as Optuna and MLflow are told.

    Attributes:
        state: how it ended.
        value: what Optuna is told: the best objective, or the bound for a diverged trial.
        failure: one line, or "".
        details: traceback or output of a failed attempt, or "".
    """

    state: TrialState
    value: float | None = None
    failure: str = ""
    details: str = ""


def outcome_of(trial: ActiveTrial, *, bound: float, output: str) -> Outcome:
    """What Optuna and MLflow are told of a trial whose last attempt is gone.

    Args:
        trial: the trial, with all its events taken.
        bound: upper bound of the objective, what a diverged trial counts as.
        output: the end of what the attempt printed.
    """
    if trial.ended is not None:
        return _outcome_of_word(trial, trial.ended, bound=bound)
    if trial.stop == "pruned":
        return Outcome(state=TrialState.PRUNED)
    last_line = output.strip().splitlines()[-1] if output.strip() else "it said nothing"
    if trial.num_lost:
        failure = f"its process was lost {trial.num_lost} times; the last words: {last_line}"
        return Outcome(state=TrialState.FAILED, failure=failure, details=output)
    return Outcome(state=TrialState.FAILED, failure=f"its process ended without a result: {last_line}", details=output)


def _outcome_of_word(trial: ActiveTrial, ended: Ended, *, bound: float) -> Outcome:
    match ended.outcome:
        case "complete":
            assert trial.best_objective is not None, "a trial that says complete has trained an epoch"
            return Outcome(state=TrialState.COMPLETE, value=min(trial.best_objective, bound))
        case "diverged":
            return Outcome(state=TrialState.DIVERGED, value=bound, failure=ended.failure)
        case "failed":
            return Outcome(state=TrialState.FAILED, failure=ended.failure, details=ended.traceback)
        case _:
            assert_never(ended.outcome)
