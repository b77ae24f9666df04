"""Whether a study goes on, and how it has ended."""

import threading
from collections.abc import Callable, Sequence

from reports.records import FailureClass, StudyState, TrialState
from study.active import Outcome
from study.plan import StudyPlan
from study.trials import TrialSummary

NO_RESULT = {TrialState.FAILED, TrialState.TIMED_OUT}


class Ending:
    """What ends a study: its user, now or once what runs is over; its budget of time; defects one after the other.

    Args:
        plan: the study.
        stop: set by whoever wants it to end now.
        monotonic: a clock that cannot be set back; the budget of time runs from here.
    """

    def __init__(self, plan: StudyPlan, *, stop: threading.Event, monotonic: Callable[[], float]) -> None:
        self._plan = plan
        self._stop = stop
        self._monotonic = monotonic
        self._started_at = monotonic()
        self._num_defects = 0  # in a row
        self.is_draining = False
        """What runs is waited for, nothing more is started."""

    @property
    def is_stopping(self) -> bool:
        """Whether somebody wants it to end now."""
        return self._stop.is_set()

    @property
    def is_near(self) -> bool:
        """Whether attempts are to end now, whoever wants it."""
        return self.is_stopping or self._num_defects >= self._plan.config.limits.defects_in_a_row

    @property
    def elapsed_s(self) -> float:
        """Seconds since this coordinator began."""
        return self._monotonic() - self._started_at

    @property
    def is_time_spent(self) -> bool:
        """Whether the study has a budget of time, and it is spent."""
        budget_s = self._plan.time_budget_s
        return budget_s is not None and self.elapsed_s >= budget_s

    @property
    def starts_new(self) -> bool:
        """Whether new trials are started; a budget of time that is spent ends that."""
        return not self.is_draining and not self.is_time_spent

    def stop_now(self) -> None:
        """Has attempts end, and the study with them."""
        self._stop.set()

    def count(self, outcome: Outcome) -> None:
        """Counts defects in a row."""
        self._num_defects = self._num_defects + 1 if outcome.failure_class is FailureClass.DEFECT else 0

    def state(self, trials: Sequence[TrialSummary], *, has_more: bool) -> StudyState:
        """How the study has ended.

        Args:
            trials: all of them; those that nobody has told the end of go on under the next coordinator.
            has_more: whether there was anything left to start.
        """
        if self.is_stopping:
            return StudyState.STOPPED if self.is_draining else StudyState.INTERRUPTED
        states = {trial.state for trial in trials} - {TrialState.RUNNING}
        if self.is_near or (states and states <= NO_RESULT):
            return StudyState.FAILED
        is_open = has_more or any(trial.state is TrialState.RUNNING for trial in trials)
        return StudyState.STOPPED if self.is_draining and is_open else StudyState.COMPLETE
