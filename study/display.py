"""What a coordinator shows, a few times a second."""

from collections.abc import Callable

from reports.records import TrialState
from study.attempts import Attempts
from study.ending import Ending
from study.plan import StudyPlan
from study.trial_store import TrialStore
from study.view import RemainingTime, SlotRow, Snapshot, View

SHOW_S = 0.25
SHARE = 0.05  # of the loop's time, at most: a thousand slots take long to show


class Display:
    """Snapshots of a study for its view."""

    def __init__(
        self,
        plan: StudyPlan,
        *,
        view: View,
        store: TrialStore,
        attempts: Attempts,
        ending: Ending,
        monotonic: Callable[[], float],
    ) -> None:
        self._plan = plan
        self._view = view
        self._store = store
        self._attempts = attempts
        self._ending = ending
        self._monotonic = monotonic
        self._shown_at = float("-inf")
        self._took_s = 0.0
        self._remaining = RemainingTime(clock=monotonic)

    def show(self, *, force: bool = False) -> None:
        """Shows the study as it stands, unless that was done a moment ago."""
        now = self._monotonic()
        if force or now - self._shown_at >= max(SHOW_S, self._took_s / SHARE):
            self._shown_at = now
            self._view.update(self._snapshot())
            self._took_s = self._monotonic() - now

    def _snapshot(self) -> Snapshot:
        config, attempts = self._plan.config, self._attempts
        trials = tuple(self._store.trials())
        num_done = sum(trial.state is not TrialState.RUNNING for trial in trials)
        return Snapshot(
            study=config.name,
            objective=config.objective,
            further=config.further_objectives,
            num_trials=config.trials,
            elapsed_s=self._ending.elapsed_s,
            left_s=self._remaining.estimate(num_done=num_done, num_trials=config.trials),
            slots=tuple(SlotRow.of(name, attempts.on(name)) for name in attempts.slot_names()),
            trials=trials,
            is_stopping=self._ending.is_stopping or self._ending.is_draining,
        )
