"""A trial in the coordinator's hands: what its event logs have said so far, over all its attempts."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from lightning_modules.config import TrialConfig
from reports.records import FailureClass, MetricPoint, TrialState
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
        started: the present attempt's first word.
        measured: the first word of its first attempt that said one. Parameters and latency are taken from it, since
            what a trial counts as must not change with a later attempt.
        ended: the last word, once it is spoken.
        history: every metric by epoch; an epoch that a resumed attempt repeats is taken once.
        best_objective: the best so far, and `best_epoch` where it was seen.
        last_time_ms: time of the last event.
        stop: why the coordinator stops the attempt (`pruned`, `timed_out` …), or None.
        pruned_after: the epoch after which the pruner stopped it; what came later, Optuna is not told.
        num_lost: attempts that were lost.
        micro_batches: parts that the next attempt trains each batch in.
        spoke_ms: time of the present attempt's last event.
        trained_s: seconds that earlier attempts trained, from the first word of each to its last.
        began_at: when the present attempt began to run, on the coordinator's own clock.
        heard_at: when something was last heard of it, on the same clock.
    """

    number: int
    config: TrialConfig
    folder: TrialFolder
    spec: AttemptSpec | None = None
    reader: EventReader = field(default_factory=EventReader)
    started: Started | None = None
    measured: Started | None = None
    ended: Ended | None = None
    history: dict[str, list[MetricPoint]] = field(default_factory=lambda: defaultdict(list))
    last_epoch: int = -1
    best_objective: float | None = None
    best_epoch: int | None = None
    best_metrics: dict[str, float] = field(default_factory=dict)
    last_time_ms: int = 0
    stop: str | None = None
    pruned_after: int | None = None
    num_lost: int = 0
    micro_batches: int = 1
    spoke_ms: int = 0
    trained_s: float = 0.0
    began_at: float = 0.0
    heard_at: float = 0.0

    def begin(self, spec: AttemptSpec) -> None:
        """A new attempt takes over."""
        if self.started is not None:
            self.trained_s += max(0, self.spoke_ms - self.started.time_ms) / 1000
        self.spec = spec
        self.reader = EventReader()
        self.started = None
        self.ended = None
        self.stop = None
        self.micro_batches = spec.micro_batches

    def take(self, events: Iterable[AnyEvent]) -> list[EpochEnded]:
        """Takes events in order; returns the epochs that are new."""
        fresh: list[EpochEnded] = []
        for event in events:
            self.last_time_ms = max(self.last_time_ms, event.time_ms)
            self.spoke_ms = event.time_ms
            match event:
                case Started():
                    self.started = event
                    self.measured = self.measured or event
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

    def is_told(self, epoch: int) -> bool:
        """Whether Optuna hears of an epoch: not of those that a pruned attempt trained before it was gone."""
        return self.pruned_after is None or epoch <= self.pruned_after

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
        further: what it is told of further objectives, by their metric in MLflow and in the study's order.
        failure: one line, or "".
        details: traceback or output of a failed attempt, or "".
        failure_class: why there is no result, or None.
    """

    state: TrialState
    value: float | None = None
    further: Mapping[str, float] = field(default_factory=dict)
    failure: str = ""
    details: str = ""
    failure_class: FailureClass | None = None
