"""The coordinator: the one process that owns a study's state.

It asks Optuna for configurations, starts attempts on free slots, tails their event logs, prunes, and tells Optuna and
MLflow how each trial ended. Everything it knows can be read back from the workspace: when it dies, attempts go on,
and the next coordinator adopts or reaps them.

A trial is committed in this order: its configuration file (before it, the trial never started) · its event log ·
Optuna · MLflow.
"""

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable

from lightning_modules.config import TrialConfig
from lightning_modules.errors import StorageError, TrialError
from reports.records import TrialState
from study.active import ActiveTrial, Outcome, outcome_of
from study.attempt_records import attempt_records
from study.backlog import Backlog
from study.evaluation import evaluate_champion
from study.events import EpochEnded
from study.launchers._base import Launcher, Life, Status
from study.plan import StudyPlan
from study.recording import attempt_started, trial_artifacts
from study.recovery import Recovered, recover
from study.spec import EXIT_STORAGE_FULL, STOP_FILE, AttemptSpec
from study.storage import TrialStore, best_trial
from study.tracking import Tracker
from study.view import RemainingTime, SlotRow, Snapshot, View
from study.workspace import StudyFolder, write_json

MAX_LOST_ATTEMPTS = 3
MAX_DEFECTS_IN_A_ROW = 3
TICK_S = 0.02
GRACE_S = 5.0
NOT_TOLD = "event logs keep it, and the same command tells it when MLflow is back"
STOPPING = "stopping: attempts end now, their last epochs are kept; the same command goes on from there"
VIEW_S = 0.25


class Coordinator:
    """Runs one study to its end, or to the first Ctrl-C."""

    def __init__(
        self,
        plan: StudyPlan,
        *,
        folder: StudyFolder,
        store: TrialStore,
        tracker: Tracker,
        launcher: Launcher,
        view: View,
        stop: threading.Event | None = None,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._plan = plan
        self._folder = folder
        self._store = store
        self._tracker = tracker
        self._launcher = launcher
        self._view = view
        self._clock = clock
        self._sleep = sleep
        self._active: dict[str, ActiveTrial] = {}  # by slot
        self._waiting: deque[ActiveTrial] = deque()  # trials that need another attempt
        self._backlog = Backlog()  # all that MLflow is told, in order
        self._configurations: dict[str, int] = {}  # configuration hash -> how often it was started
        self._num_started = 0
        self._defects_in_a_row = 0
        self._stop_asked = stop or threading.Event()
        self._said_so = False
        self._started_at = clock()
        self._viewed_at = 0.0
        self._remaining = RemainingTime(clock=clock)

    def request_stop(self) -> None:
        """Asks the loop to stop its attempts and return."""
        self._stop_asked.set()

    def run(self) -> TrialState:
        """Runs until the budget is spent (COMPLETE), a stop is asked for (INTERRUPTED), or three trials in a row fail.

        Raises:
            StorageError: the workspace cannot be written; attempts are stopped first, and nothing is lost.
            TrialError: the champion could not be scored on test data.
        """
        try:
            bound = self._plan.objective_bound
            self._take_up(recover(self._folder, store=self._store, tracker=self._tracker, bound=bound))
            self._show(force=True)  # the first attempt waits some seconds for the warm forkserver
            while self._is_busy():
                self._tick()
            for trial in self._waiting:
                self._settle_run(trial, Outcome(state=TrialState.INTERRUPTED))
            self._catch_up()
            if self._end_state() is TrialState.COMPLETE and self._plan.config.evaluate:
                self._evaluate_champion()
                self._catch_up()
            state = self._finish(self._end_state())
        except (StorageError, OSError):
            self._end_attempts()
            raise
        except TrialError:
            self._finish(TrialState.FAILED)
            raise
        finally:
            self._backlog.close()
        self._show(force=True)
        return state

    def _finish(self, state: TrialState) -> TrialState:
        """Ends the study's own run; a study of which MLflow does not know everything is not complete."""
        self._backlog.add(self._tracker.finish_study, state)
        if self._catch_up():
            return state
        self._view.message(f"MLflow has not been told everything: {NOT_TOLD}")
        return TrialState.INTERRUPTED

    def _catch_up(self) -> bool:
        """Waits until MLflow knows everything; False if it is away and the user will not wait for it."""
        while self._backlog:
            self._hear_backlog()
            if self._stopping and self._backlog.is_stuck:
                return False
            self._sleep(TICK_S)
        self._hear_backlog()
        return True

    def _hear_backlog(self) -> None:
        self._backlog.check()
        for line in self._backlog.news():
            self._view.message(line)

    def _end_attempts(self) -> None:
        """Stops what runs where nothing can be recorded any more; what cannot be stopped now is adopted by the next."""
        deadline = self._clock() + GRACE_S
        while self._active and self._clock() < deadline:
            for slot, trial in list(self._active.items()):
                assert trial.spec is not None
                with contextlib.suppress(OSError):  # there may be no room for a stop file; then it counts as lost
                    self._stop(trial, "interrupted")
                self._launcher.kill(trial.spec)
                if self._launcher.poll(trial.spec).life is not Life.RUNNING:
                    del self._active[slot]
            self._sleep(TICK_S)

    # --- one round ---------------------------------------------------------------------------------------------------

    def _is_busy(self) -> bool:
        if self._active:
            return True
        return not self._is_ending() and bool(self._waiting or self._num_started < self._plan.config.trials)

    @property
    def _stopping(self) -> bool:
        return self._stop_asked.is_set()

    def _is_ending(self) -> bool:
        return self._stopping or self._defects_in_a_row >= MAX_DEFECTS_IN_A_ROW

    def _tick(self) -> None:
        for slot, trial in list(self._active.items()):
            self._follow(slot, trial)
        if self._stopping and not self._said_so:
            self._said_so = True
            self._view.message(STOPPING)
        if self._is_ending():
            for trial in self._active.values():
                self._stop(trial, "interrupted")
        else:
            self._fill_slots()
        self._hear_backlog()
        if not self._backlog:
            self._backlog.add(self._tracker.flush_if_due)
        self._show()
        self._sleep(TICK_S)

    def _follow(self, slot: str, trial: ActiveTrial) -> None:
        """Reads what an attempt said, and settles the trial once its process is gone."""
        assert trial.spec is not None
        status = self._launcher.poll(trial.spec)  # before reading: a gone process has written all it will
        self._take(trial, self._launcher.read(trial.spec, trial.reader.offset))
        if status.life is Life.RUNNING:
            if trial.stop:
                self._launcher.kill(trial.spec)
            return
        del self._active[slot]
        self._judge(trial, status)

    def _take(self, trial: ActiveTrial, data: bytes) -> None:
        before = trial.started
        epochs = trial.take(trial.reader.feed(data))
        if trial.started is not None and trial.started is not before:
            self._backlog.add(self._tracker.log_attempt, attempt_started(trial))
        for event in epochs:
            self._report(trial, event)

    def _report(self, trial: ActiveTrial, event: EpochEnded) -> None:
        told = {"epoch": event.epoch, "time_ms": event.time_ms}
        self._backlog.add(self._tracker.log_epoch, trial.number, event.metrics, **told)
        self._store.report(trial.number, epoch=event.epoch, objective=event.objective)
        is_last = event.epoch + 1 >= trial.config.training.max_epochs
        if not is_last and trial.ended is None and self._store.should_prune(trial.number):
            self._stop(trial, "pruned")

    def _stop(self, trial: ActiveTrial, reason: str) -> None:
        """Writes down why before it kills, so that the next coordinator knows."""
        if trial.stop is None:
            assert trial.spec is not None
            write_json(trial.spec.folder / STOP_FILE, {"reason": reason})
            trial.stop = reason
            self._launcher.kill(trial.spec)

    # --- starting ----------------------------------------------------------------------------------------------------

    def _fill_slots(self) -> None:
        for slot in self._launcher.free_slots():
            if slot in self._active:
                continue
            if self._waiting:
                self._launch(self._waiting.popleft(), slot)
            elif self._num_started < self._plan.config.trials:
                self._launch(self._ask(), slot)

    def _ask(self) -> ActiveTrial:
        number, params = self._store.ask(self._plan.space)
        base = self._plan.config.trial.model_dump(mode="json")
        config = self._plan.space.apply(base, params)
        replicate = self._configurations.get(config.configuration_hash(), 0)
        config = config.model_copy(update={"seed": self._plan.config.seed + replicate})
        trial = ActiveTrial(number=number, config=config, folder=self._folder.trial(number))
        write_json(trial.folder.config, config.model_dump(mode="json"))
        self._count(config)
        self._backlog.add(self._tracker.open_trial, number, config)
        return trial

    def _count(self, config: TrialConfig) -> None:
        self._num_started += 1
        key = config.configuration_hash()
        self._configurations[key] = self._configurations.get(key, 0) + 1

    def _launch(self, trial: ActiveTrial, slot: str) -> None:
        attempt = len(trial.folder.attempts())
        spec = AttemptSpec(
            number=trial.number,
            attempt=attempt,
            folder=trial.folder.root / f"attempt-{attempt}",
            trial_folder=trial.folder.root,
            workspace=self._plan.workspace.root,
            objective=self._plan.config.objective,
            num_threads=self._plan.num_threads,
            slot=slot,
            config=trial.config,
        )
        if self._launcher.submit(spec):
            trial.begin(spec)
            self._active[slot] = trial
        else:
            self._waiting.appendleft(trial)

    # --- ending ------------------------------------------------------------------------------------------------------

    def _judge(self, trial: ActiveTrial, status: Status, *, adopted: bool = False) -> None:
        """Decides what the end of an attempt means for its trial."""
        if trial.ended is None and trial.stop == "interrupted":
            self._interrupted(trial)
            return
        if trial.ended is None and status.exit_status == EXIT_STORAGE_FULL:
            self._waiting.append(trial)
            if not adopted:
                raise StorageError(
                    f"workspace {self._plan.workspace.root} cannot be written any more (is the disk full?); "
                    "mend that and run the same command again: nothing is lost."
                )
            return
        if trial.ended is None and trial.stop is None and _is_lost(status):
            trial.num_lost += 1
            if trial.num_lost < MAX_LOST_ATTEMPTS:
                self._view.message(f"trial {trial.number}: its process was lost; it goes on from its last checkpoint")
                self._waiting.append(trial)
                return
        assert trial.spec is not None
        outcome = outcome_of(trial, bound=self._plan.objective_bound, output=self._launcher.output_tail(trial.spec))
        self._settle(trial, outcome)

    def _interrupted(self, trial: ActiveTrial) -> None:
        """An attempt that was stopped: by this coordinator, which is ending, or by one before it."""
        if self._is_ending():
            self._settle_run(trial, Outcome(state=TrialState.INTERRUPTED))
        else:
            self._waiting.append(trial)

    def _settle(self, trial: ActiveTrial, outcome: Outcome) -> None:
        self._store.tell(trial.number, outcome.state, value=outcome.value)
        self._defects_in_a_row = self._defects_in_a_row + 1 if outcome.state is TrialState.FAILED else 0
        self._settle_run(trial, outcome)

    def _settle_run(self, trial: ActiveTrial, outcome: Outcome) -> None:
        self._backlog.add(self._record, trial, outcome)
        self._view.trial_ended(trial, outcome)
        if outcome.failure:
            self._view.message(f"trial {trial.number} {outcome.state.value}: {outcome.failure}")

    def _record(self, trial: ActiveTrial, outcome: Outcome) -> None:
        """Tells MLflow how a trial ended; runs in the backlog."""
        is_measured = outcome.state is not TrialState.FAILED
        self._tracker.finish_trial(
            trial.number,
            outcome.state,
            end_ms=trial.last_time_ms or None,
            objective=outcome.value,
            best_epoch=trial.best_epoch if is_measured else None,
            metrics=trial.best_metrics if is_measured else {},
            failure=outcome.failure,
            artifacts=trial_artifacts(trial, outcome),
            attempts=attempt_records(trial.folder, is_running=False),
        )
        if outcome.state is not TrialState.INTERRUPTED:
            trial.folder.last_checkpoint.unlink(missing_ok=True)  # nobody resumes it any more

    def _end_state(self) -> TrialState:
        if self._stopping:
            return TrialState.INTERRUPTED
        return TrialState.FAILED if self._defects_in_a_row >= MAX_DEFECTS_IN_A_ROW else TrialState.COMPLETE

    # --- before and after --------------------------------------------------------------------------------------------

    def _take_up(self, recovered: Recovered) -> None:
        """Adopts what still runs, judges what ended in the meantime, and records what MLflow does not know."""
        for config in recovered.configs:
            self._count(config)
        for ended, outcome in recovered.unrecorded:
            self._backlog.add(self._record, ended, outcome)
        for trial in recovered.unsettled:
            self._adopt(trial)
        if recovered.configs:
            self._view.message(
                f"resumed: {len(recovered.configs)} trials are known, {len(self._active)} of them still run"
            )

    def _adopt(self, trial: ActiveTrial) -> None:
        if trial.spec is None:
            self._waiting.append(trial)
            return
        status = self._launcher.poll(trial.spec)
        if status.life is not Life.RUNNING:
            self._judge(trial, status, adopted=True)
        elif trial.spec.slot not in self._active:
            self._active[trial.spec.slot] = trial
        else:  # two cannot hold one slot: this one died before its supervisor signed in
            self._waiting.append(trial)

    def _evaluate_champion(self) -> None:
        champion = best_trial(self._store.trials())
        if champion is None:
            self._view.message("no trial is complete: nothing is scored on test data")
            return
        evaluate_champion(
            champion.number,
            plan=self._plan,
            folder=self._folder,
            tracker=self._tracker,
            tell=self._backlog.add,
            launcher=self._launcher,
            message=self._view.message,
            wait=self._wait,
        )

    def _wait(self) -> bool:
        """One tick of somebody else's loop; False once a stop was asked for."""
        self._sleep(TICK_S)
        return not self._stopping

    # --- the view ----------------------------------------------------------------------------------------------------

    def _show(self, *, force: bool = False) -> None:
        if not force and self._clock() - self._viewed_at < VIEW_S:
            return
        self._viewed_at = self._clock()
        trials = tuple(self._store.trials())
        num_done = sum(trial.state is not TrialState.RUNNING for trial in trials)
        self._view.update(
            Snapshot(
                study=self._plan.config.name,
                objective=self._plan.config.objective,
                num_trials=self._plan.config.trials,
                elapsed_s=self._clock() - self._started_at,
                left_s=self._remaining.estimate(num_done=num_done, num_trials=self._plan.config.trials),
                slots=tuple(SlotRow.of(slot, self._active.get(slot)) for slot in self._launcher.slots),
                trials=trials,
                is_stopping=self._stopping,
            )
        )


def _is_lost(status: Status) -> bool:
    return status.life is Life.LOST or (status.exit_status is not None and status.exit_status < 0)
