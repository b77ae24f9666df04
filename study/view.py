"""What the user sees while a study runs: a live table in a terminal, plain lines elsewhere."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from reports.records import TRAIN_LOSS, VAL_C_AVG, SearchedParameter, TrialState
from reports.wording import count
from study.active import ActiveTrial, Outcome
from study.params import in_words
from study.trials import TrialSummary, best_trial, front

MAX_FRONT = 12
MOST_ROWS = 50
STATES_SHOWN = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAILED, TrialState.DIVERGED)


@dataclass(frozen=True, kw_only=True)
class SlotRow:
    """What one slot is doing."""

    slot: str
    number: int | None = None
    epoch: int = 0
    max_epochs: int = 0
    loss: float | None = None
    c_avg: float | None = None
    objective: float | None = None

    @classmethod
    def of(cls, slot: str, trial: ActiveTrial | None) -> Self:
        """The row of a slot and the trial on it."""
        if trial is None:
            return cls(slot=slot)
        return cls(
            slot=slot,
            number=trial.number,
            epoch=trial.last_epoch + 1,
            max_epochs=trial.config.training.max_epochs,
            loss=trial.latest(TRAIN_LOSS),
            c_avg=trial.latest(VAL_C_AVG),
            objective=trial.best_objective,
        )


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A study at one moment."""

    study: str
    objective: str
    num_trials: int
    elapsed_s: float
    left_s: float | None
    slots: tuple[SlotRow, ...]
    trials: tuple[TrialSummary, ...]
    is_stopping: bool
    further: tuple[str, ...] = ()

    @property
    def counts(self) -> Counter[TrialState]:
        """Trials by state."""
        return Counter(trial.state for trial in self.trials)

    @property
    def num_done(self) -> int:
        """Trials that have ended."""
        return len(self.trials) - self.counts[TrialState.RUNNING]

    @property
    def best(self) -> TrialSummary | None:
        """The best complete trial."""
        return best_trial(self.trials)

    @property
    def front(self) -> str:
        """One line for the trials that no other dominates; "" where there is one objective, or no result yet."""
        numbers = [trial.number for trial in front(self.trials)] if self.further else []
        return front_line(numbers, (self.objective, *self.further)) if numbers else ""


class View(Protocol):
    """Where a coordinator shows its study."""

    def update(self, snapshot: Snapshot) -> None:
        """The study as it stands; called a few times a second."""

    def message(self, text: str) -> None:
        """One line that should stay."""

    def trial_ended(self, trial: ActiveTrial, outcome: Outcome) -> None:
        """A trial has ended and is recorded."""


class PlainView:
    """One line a trial, for logs and pipes."""

    def __init__(self, write: Callable[[str], None], *, searched: Sequence[SearchedParameter] = ()) -> None:
        self._write = write
        self._searched = searched

    def update(self, snapshot: Snapshot) -> None:
        """Plain lines are written when something ends, not all the time."""

    def message(self, text: str) -> None:
        """Writes it."""
        self._write(text)

    def trial_ended(self, trial: ActiveTrial, outcome: Outcome) -> None:
        """Writes how it ended."""
        self._write(ending(trial, outcome, searched=self._searched))


class LiveView:
    """A table that is redrawn in place, with messages scrolling above it."""

    def __init__(self, console: Console, *, searched: Sequence[SearchedParameter] = ()) -> None:
        self._searched = searched
        self._live = Live(console=console, auto_refresh=False, transient=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def update(self, snapshot: Snapshot) -> None:
        """Redraws the table."""
        self._live.update(render(snapshot), refresh=True)

    def message(self, text: str) -> None:
        """Writes a line above the table."""
        self._live.console.print(Text(text, style="dim"))

    def trial_ended(self, trial: ActiveTrial, outcome: Outcome) -> None:
        """Writes a line above the table."""
        style = {TrialState.COMPLETE: "green", TrialState.FAILED: "red", TrialState.DIVERGED: "yellow"}.get(
            outcome.state, "dim"
        )
        self._live.console.print(Text(ending(trial, outcome, searched=self._searched), style=style))


def ending(trial: ActiveTrial, outcome: Outcome, *, searched: Sequence[SearchedParameter] = ()) -> str:
    """One line for a trial that has ended; it names what the space had it choose."""
    num_epochs = trial.last_epoch + 1
    epochs = count(num_epochs, "epoch")
    words = in_words(trial.config, searched)
    what = f"  ({words})" if words else ""
    scores = f"{_best(trial, outcome)}{further_text(outcome.further)}"
    return f"trial {trial.number:>3} {outcome.state.in_words:<11} {epochs}{scores}{what}"


def _best(trial: ActiveTrial, outcome: Outcome) -> str:
    """The best epoch; and what the trial counts as, where that is another number: the objective's bound."""
    if trial.best_objective is None:
        return ""
    best = f", best {trial.best_objective:.3f} at epoch {trial.best_epoch}"
    is_other = outcome.value is not None and outcome.value != trial.best_objective
    return f"{best}, counts as {outcome.value:.3f}" if is_other else best


def render(snapshot: Snapshot) -> Group:
    """The live table: progress, a row a slot, the best so far."""
    counts = snapshot.counts
    head = Text.assemble(
        (snapshot.study, "bold"),
        f"  {snapshot.num_done}/{snapshot.num_trials} trials  ",
        "  ".join(f"{counts[state]} {state.value}" for state in STATES_SHOWN),
        f"  {duration(snapshot.elapsed_s)} gone",
        f", about {duration(snapshot.left_s)} left" if snapshot.left_s is not None else "",
        ("  stopping…", "yellow") if snapshot.is_stopping else "",
    )
    bar = ProgressBar(total=snapshot.num_trials, completed=snapshot.num_done, width=60)
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("slot", "trial"):
        table.add_column(column)
    for column in ("epoch", "loss", "C_avg", snapshot.objective):
        table.add_column(column, justify="right")
    for row in snapshot.slots[:MOST_ROWS]:
        table.add_row(row.slot, *_cells(row))
    if (num_more := len(snapshot.slots) - MOST_ROWS) > 0:
        table.add_row(f"and {num_more:,} more")
    best = snapshot.best
    tail = Text("no trial is complete yet", style="dim")
    if best is not None:
        params = "  ".join(f"{key}={shown(value)}" for key, value in best.params.items())
        tail = Text.assemble(
            "best: trial ", (str(best.number), "bold"), f"  {snapshot.objective} {best.value:.3f}  ", (params, "dim")
        )
    return Group(head, Padding(bar), table, tail, *([Text(snapshot.front)] if snapshot.front else []))


def front_line(numbers: Sequence[int], objectives: Sequence[str]) -> str:
    """`front of c_primary, parameters: trials 1, 4, 7`; where they are many, how many more there are."""
    shown = ", ".join(map(str, numbers[:MAX_FRONT]))
    more = f" and {len(numbers) - MAX_FRONT} more" if len(numbers) > MAX_FRONT else ""
    names = ", ".join(name.removeprefix("val/") for name in objectives)
    return f"front of {names}: {'trial' if len(numbers) == 1 else 'trials'} {shown}{more}"


def further_text(values: Mapping[str, float]) -> str:
    """`, c_primary 0.912, latency 3.25 ms`; nothing for one objective. Names may be metrics."""
    return "".join(f", {_with_unit(name.rpartition('/')[2], value)}" for name, value in values.items())


def _with_unit(name: str, value: float) -> str:
    match name:
        case "parameters":
            return f"parameters {value:,.0f}"
        case "latency":
            return f"latency {value:.2f} ms"
        case _:
            return f"{name} {value:.3f}"


def duration(seconds: float) -> str:
    """Seconds as `4 s`, `3 min 20 s` or `2 h 05 min`."""
    whole = round(seconds)
    if whole < 60:  # noqa: PLR2004
        return f"{whole} s"
    if whole < 3600:  # noqa: PLR2004
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


class RemainingTime:
    """How long a study will still take, from the trials that ended while it was watched."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._started_at = clock()
        self._done_before: int | None = None

    def estimate(self, *, num_done: int, num_trials: int) -> float | None:
        """Seconds, or None before the first trial has ended."""
        if self._done_before is None:
            self._done_before = num_done
        ended = num_done - self._done_before
        if ended <= 0:
            return None
        return (self._clock() - self._started_at) / ended * max(0, num_trials - num_done)


def _cells(row: SlotRow) -> tuple[str, ...]:
    if row.number is None:
        return ("idle", "", "", "", "")
    numbers = (f"{value:.3f}" if value is not None else "" for value in (row.loss, row.c_avg, row.objective))
    return (str(row.number), f"{row.epoch}/{row.max_epochs}", *numbers)


def shown(value: object) -> str:
    """A parameter's value, with three digits."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
