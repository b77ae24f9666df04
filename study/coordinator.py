"""The coordinator: the one process that owns a study's state.

It asks Optuna for configurations, starts attempts on free slots, tails their event logs, prunes, and tells Optuna and
MLflow how each trial ended. Everything it knows can be read back from the workspace: when it dies, attempts go on,
and the next coordinator adopts or reaps them.

A trial is committed in this order: Optuna's record of its parameters · its configuration file · its event log ·
Optuna's record of its end · MLflow.
"""

import contextlib
import threading
import time
from collections.abc import Callable
from typing import assert_never

from lightning_modules.errors import StorageError, TrialError
from reports.records import PEAK_MEMORY_MB, StudyState, TrialState
from study.active import ActiveTrial, Outcome
from study.asking import Asking
from study.attempts import Attempts
from study.backlog import Backlog
from study.calm import calm
from study.control import Stop, consume, pending, wants_stop_now
from study.display import Display
from study.ending import Ending
from study.evaluation import evaluate_champion
from study.events import EpochEnded
from study.judgement import INTERRUPTED, PRUNED, Again, Settled, StorageFull, judge
from study.launchers._base import Launcher, Status
from study.line import Line
from study.ordering import InOrder, seen_by
from study.patience import Patience
from study.plan import StudyPlan
from study.recording import attempt_started, record_trial
from study.recovery import Recovered, recover
from study.sampler_config import DesignConfig
from study.tracking import Tracker
from study.trial_store import TrialStore
from study.trials import best_trial
from study.view import View
from study.workspace import StudyFolder, write_json

TICK_S = 0.02
TICK_OF_EACH_S = 0.0002  # a thousand attempts are looked at five times a second, which leaves the core to the rest
FILL_S = 0.25
CONTROL_S = 0.25
GRACE_S = 5.0
NOT_TOLD = "event logs keep it, and the same command tells it when MLflow is back"
STOPPING = "stopping: attempts end now, their last epochs are kept; the same command goes on from there"
DRAINING = "stopping: what runs is waited for, nothing more is started"


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
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._plan = plan
        self._folder = folder
        self._store = store
        self._tracker = tracker
        self._launcher = launcher
        self._view = view
        self._clock = clock
        self._monotonic = monotonic  # durations are measured by it: a clock can be set back
        self._sleep = sleep
        self._backlog = Backlog()  # all that MLflow is told, in order
        self._ending = Ending(plan, stop=stop or threading.Event(), monotonic=monotonic)
        self._patience = Patience(is_stopping=self._is_stopping, message=view.message, sleep=sleep, monotonic=monotonic)
        self._attempts = Attempts(plan, launcher=launcher, monotonic=monotonic)
        self._asking = Asking(plan, folder=folder, store=store)
        self._line = Line(
            self._asking,
            ending=self._ending,
            patience=self._patience,
            is_apart=store.proposes_apart,
            opened=self._open_new,
            monotonic=monotonic,
        )
        self._display = Display(
            plan, view=view, store=store, attempts=self._attempts, ending=self._ending, monotonic=monotonic
        )
        self._controlled_at = float("-inf")
        self._listened_at = float("-inf")
        self._said_so = False

    def request_stop(self) -> None:
        """Asks the loop to stop its attempts and return."""
        self._ending.stop_now()

    def run(self) -> StudyState:
        """Runs until the budget is spent (COMPLETE), a stop is asked for, or too many trials in a row fail.

        Raises:
            StorageError: the workspace cannot be written; attempts are stopped first, and nothing is lost.
            TrialError: the champion could not be scored on test data.
        """
        self._folder.ending.unlink(missing_ok=True)
        try:
            found = recover(
                self._folder, store=self._store, tracker=self._tracker, plan=self._plan, consider=self._consider
            )
            self._take_up(found)
            self._display.show(force=True)  # the first attempt waits some seconds for the warm forkserver
            with calm():
                while self._is_busy():
                    self._tick()
            for trial in self._line.close():  # the next coordinator takes them up
                self._settle_run(trial, Outcome(state=TrialState.INTERRUPTED))
            self._catch_up()
            if self._ending.is_time_spent and self._asking.has_more():
                self._view.message("the budget of time is spent before all trials have begun; the same command goes on")
            if not self._is_stopping() and self._end_state() is StudyState.COMPLETE and self._plan.config.evaluate:
                self._evaluate_champion()
                self._catch_up()
            state = self._finish(self._end_state())
        except (StorageError, OSError):
            self._ending.stop_now()  # whoever asks beside the loop waits for no database any more
            self._attempts.end_all(within_s=GRACE_S, sleep=lambda: self._sleep(TICK_S))
            self._end_runs()
            raise
        except TrialError:
            self._attempts.end_all(within_s=GRACE_S, sleep=lambda: self._sleep(TICK_S))
            self._finish(StudyState.FAILED)
            raise
        finally:
            self._backlog.close()
            self._line.stop()
        self._display.show(force=True)
        return state

    def _finish(self, state: StudyState) -> StudyState:
        """Ends the study's own run; a study of which MLflow does not know everything is not complete."""
        self._backlog.add(self._tracker.finish_study, state)
        if not self._catch_up():
            self._view.message(f"MLflow has not been told everything: {NOT_TOLD}")
            state = StudyState.INTERRUPTED
        write_json(self._folder.ending, {"state": state.value})
        return state

    def _catch_up(self) -> bool:
        """Waits until MLflow knows everything; False if it is away and the user will not wait for it."""
        while self._backlog:
            self._hear_backlog()
            if self._is_stopping() and self._backlog.is_stuck:
                return False
            self._sleep(TICK_S)
        self._hear_backlog()
        return True

    def _is_stopping(self) -> bool:
        """Whether somebody wants an end now: for whoever waits outside the rounds, which listen themselves."""
        if not self._ending.is_stopping and self._monotonic() - self._listened_at >= CONTROL_S:
            self._listened_at = self._monotonic()
            if wants_stop_now(self._folder):
                self._end_early(now=True)
        return self._ending.is_stopping

    def _hear_backlog(self) -> None:
        self._backlog.check()
        for line in self._backlog.news():
            self._view.message(line)

    def _end_runs(self) -> None:
        """Leaves no run RUNNING in MLflow, if MLflow itself still takes that.

        Where the backlog's thread hangs in a call, the tracker is its own: the next sweep ends the runs, as after a
        kill.
        """
        if not self._backlog.close():
            self._view.message(f"MLflow does not answer, and has not been told everything: {NOT_TOLD}")
            return
        with contextlib.suppress(StorageError, OSError):
            self._tracker.finish_study(StudyState.INTERRUPTED)

    def _end_state(self) -> StudyState:
        return self._ending.state(self._store.trials(), has_more=self._asking.has_more())

    # --- one round ---------------------------------------------------------------------------------------------------

    def _is_busy(self) -> bool:
        return bool(self._attempts) or (not self._ending.is_near and self._line.has_more)

    def _tick(self) -> None:
        self._obey()
        for trial in self._attempts:
            self._follow(trial)
        if self._ending.is_stopping and not self._said_so:
            self._said_so = True
            self._view.message(STOPPING)
        if self._ending.is_near:
            for trial in self._attempts:
                self._attempts.stop(trial, INTERRUPTED)
        else:
            self._fill_slots()
        self._hear_backlog()
        if not self._backlog:
            self._backlog.add(self._tracker.flush_if_due)
        self._display.show()
        self._sleep(max(TICK_S, TICK_OF_EACH_S * len(self._attempts)))

    def _obey(self) -> None:
        """Carries out what users asked for."""
        if self._monotonic() - self._controlled_at < CONTROL_S:
            return
        self._controlled_at = self._monotonic()
        for name, command in pending(self._folder):
            if isinstance(command, Stop):
                consume(self._folder, name)
                self._end_early(now=command.now)
            elif refusal := self._asking.queue(name, command):
                self._view.message(refusal)

    def _end_early(self, *, now: bool) -> None:
        if now:
            self.request_stop()
        elif not self._ending.is_draining:
            self._view.message(DRAINING)
        self._ending.is_draining = True

    def _follow(self, trial: ActiveTrial) -> None:
        """Reads what an attempt said, and settles the trial once its process is gone."""
        status, data = self._attempts.look(trial)
        self._take(trial, data)
        if status.is_over:
            self._attempts.let_go(trial)
            self._judge(trial, status)
        else:
            self._attempts.watch(trial, status, has_spoken=bool(data))

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
        if not trial.is_told(event.epoch):
            return
        self._patience.call(self._store.report, trial.number, epoch=event.epoch, objective=event.objective)
        self._consider(trial, event)

    def _consider(self, trial: ActiveTrial, event: EpochEnded) -> None:
        """Stops a trial that the pruner would stop after this epoch.

        One that has ended already keeps its result, and one that is being interrupted goes on later, unless the study
        is deterministic: there it must not matter how soon the event was read.
        """
        is_last = event.epoch + 1 >= trial.config.training.max_epochs
        is_open = trial.ended is None and trial.stop is None
        if self._plan.config.deterministic:
            is_open = trial.stop in (None, INTERRUPTED)
        if not is_last and is_open and self._is_hopeless(trial, event):
            self._attempts.stop(trial, PRUNED, epoch=event.epoch)

    def _is_hopeless(self, trial: ActiveTrial, event: EpochEnded) -> bool:
        config = self._plan.config
        seen = seen_by(trial.number, window=config.window) if config.deterministic else None
        if self._store.at_epoch is None:
            return self._patience.call(self._store.should_prune, trial.number, seen=seen)
        if event.epoch != self._store.at_epoch:
            return False
        return self._patience.call(self._store.report_sources, trial.number, event.sources, seen=seen)

    # --- starting ----------------------------------------------------------------------------------------------------

    def _fill_slots(self) -> None:
        """Starts what there is room for; where that takes long, the next round goes on with it."""
        began = self._monotonic()
        free = self._attempts.free_slots()
        for place, slot in enumerate(free):
            trial = self._line.next(num_free=len(free) - place)
            if trial is None:
                return
            if not self._attempts.start(trial, slot):
                self._line.put_back(trial)
            if self._ending.is_near or self._monotonic() - began > FILL_S:
                return

    def _open_new(self, trial: ActiveTrial) -> None:
        """A new trial gets its run in MLflow, which says when it began, however late MLflow hears of it."""
        now_ms = int(self._clock() * 1000)
        self._backlog.add(self._tracker.open_trial, trial.number, trial.config, is_new=True, start_ms=now_ms)

    # --- ending ------------------------------------------------------------------------------------------------------

    def _judge(self, trial: ActiveTrial, status: Status, *, adopted: bool = False) -> None:
        """Carries out what the end of an attempt means for its trial."""
        assert trial.spec is not None
        plan = self._plan
        verdict = judge(
            trial,
            status,
            limits=plan.config.limits,
            bound=plan.objective_bound,
            further=plan.further,
            output=self._launcher.output_tail(trial.spec),
            is_paired=isinstance(plan.config.sampler, DesignConfig),
        )
        match verdict:
            case Settled(outcome=outcome):
                self._launcher.fetch(trial.spec)
                self._settle(trial, outcome)
            case Again():
                self._again(trial, verdict)
            case StorageFull():
                self._line.add(trial)
                if not adopted:
                    raise StorageError(
                        f"workspace {plan.workspace.root} cannot be written any more (is the disk full?); "
                        "mend that and run the same command again: nothing is lost."
                    )
            case _:
                assert_never(verdict)

    def _again(self, trial: ActiveTrial, verdict: Again) -> None:
        trial.num_lost += verdict.is_lost
        if verdict.message:
            trial.micro_batches = verdict.micro_batches
            self._view.message(verdict.message)
        if self._ending.is_near:
            self._settle_run(trial, Outcome(state=TrialState.INTERRUPTED))
        else:
            self._line.add(trial)

    def _settle(self, trial: ActiveTrial, outcome: Outcome) -> None:
        self._size_slots(trial)
        order = self._line.order
        if order is None:
            self._tell(trial, outcome)
            return
        order.hold(trial, outcome)
        # One ask after each tell, or a study that goes on later would ask with more known: so what is not followed by
        # an ask any more is told by the next coordinator.
        while self._may_tell() and (turn := order.release()) is not None:
            self._tell(*turn)
            self._line.ask()

    def _may_tell(self) -> bool:
        return not self._ending.is_near and not (self._ending.is_draining and self._asking.has_more())

    def _tell(self, trial: ActiveTrial, outcome: Outcome) -> None:
        further = tuple(outcome.further.values())
        self._patience.call(self._store.tell, trial.number, outcome.state, value=outcome.value, further=further)
        self._backlog.add(self._store.sync)  # a power cut must not undo what MLflow knows
        self._ending.count(outcome)
        self._settle_run(trial, outcome)

    def _settle_run(self, trial: ActiveTrial, outcome: Outcome) -> None:
        self._backlog.add(record_trial, self._tracker, trial, outcome)
        self._view.trial_ended(trial, outcome)
        if outcome.failure:
            self._view.message(f"trial {trial.number} {outcome.state.in_words}: {outcome.failure}")

    def _size_slots(self, trial: ActiveTrial) -> None:
        """On GPUs, as many slots as the trials so far leave room for."""
        peak_mb = trial.latest(PEAK_MEMORY_MB)
        if self._plan.sizing is not None and peak_mb is not None:
            slots = self._plan.sizing.observe(peak_mb)
            if slots is not None and slots != self._launcher.slots:
                self._launcher.resize(slots)
                self._view.message(f"{len(slots)} slots: the largest trial took {peak_mb:,.0f} MB of its GPU")

    # --- before and after --------------------------------------------------------------------------------------------

    def _take_up(self, recovered: Recovered) -> None:
        """Adopts what still runs, judges what ended in the meantime, and records what MLflow does not know."""
        if recovered.known:
            num_open = len(recovered.unsettled) + len(recovered.unstarted)
            self._view.message(f"resumed; trials known: {len(recovered.known)}, not ended yet: {num_open}")
        self._asking.know_all(recovered.known, unstarted=recovered.unstarted)
        self._obey()
        if self._plan.config.deterministic:
            self._line.order = InOrder(self._plan.config.window, num_told=recovered.num_told)
        for ended, outcome in recovered.unrecorded:
            self._backlog.add(record_trial, self._tracker, ended, outcome)
        for asked in recovered.unstarted:
            if not asked.fits:
                self._patience.call(self._store.tell, asked.number, TrialState.FAILED, value=None)
                self._view.message(f"trial {asked.number} was never started, and is not in the search space any more")
                continue
            trial = self._asking.start(asked)
            self._backlog.add(self._tracker.open_trial, trial.number, trial.config)
            self._line.add(trial)
        while self._line.order and self._line.ask():
            pass  # what the coordinator before had no time for, with what it knew: adopting may tell more
        for trial in recovered.unsettled:
            self._adopt(trial)

    def _adopt(self, trial: ActiveTrial) -> None:
        if trial.spec is None:
            self._line.add(trial)
            return
        status = self._launcher.poll(trial.spec)
        if status.is_over:
            self._judge(trial, status, adopted=True)
            return
        running_s = 0.0 if trial.started is None else max(0.0, self._clock() - trial.started.time_ms / 1000)
        if not self._attempts.take_over(trial, running_s=running_s):
            self._line.add(trial)  # two cannot hold one slot: this one died before its supervisor signed in

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
            patient=self._patience.call,
            launcher=self._launcher,
            message=self._view.message,
            wait=self._wait,
        )

    def _wait(self) -> bool:
        """One tick of somebody else's loop; False once a stop was asked for."""
        self._sleep(TICK_S)
        return not self._is_stopping()
