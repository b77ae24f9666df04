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
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import assert_never

from lightning_modules.errors import StorageError, TrialError
from reports.records import PEAK_MEMORY_MB, FailureClass, StudyState, TrialState
from study.active import ActiveTrial, Outcome
from study.asking import AskAhead, Asking
from study.backlog import Backlog
from study.control import Stop, consume, forget_stops, pending
from study.devices import Slot
from study.evaluation import evaluate_champion
from study.events import EpochEnded
from study.judgement import INTERRUPTED, PRUNED, SILENT, TIMED_OUT, Again, Settled, StorageFull, judge
from study.launchers._base import Launcher, Life, Status
from study.ordering import InOrder
from study.patience import Patience
from study.plan import StudyPlan
from study.recording import attempt_started, record_trial
from study.recovery import Recovered, recover
from study.spec import STOP_FILE, AttemptSpec
from study.tracking import Tracker
from study.trial_store import TrialStore
from study.trials import best_trial
from study.view import RemainingTime, SlotRow, Snapshot, View
from study.workspace import StudyFolder, write_json

TICK_S = 0.02
TICK_OF_EACH_S = 0.0002  # a thousand attempts are looked at five times a second, which leaves the core to the rest
FILL_S = 0.25
CONTROL_S = 0.25
GRACE_S = 5.0
NOT_TOLD = "event logs keep it, and the same command tells it when MLflow is back"
VIEW_S = 0.25
SLOW_ASK_S = 0.05
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
        self._active: dict[str, ActiveTrial] = {}  # by slot
        self._waiting: deque[ActiveTrial] = deque()  # trials that need an attempt
        self._stop_asked = stop or threading.Event()
        self._patience = Patience(
            is_stopping=self._stop_asked.is_set, message=view.message, sleep=sleep, monotonic=monotonic
        )
        self._asking = Asking(plan, folder=folder, store=store)
        self._order: InOrder | None = None
        self._ask_ahead: AskAhead | None = None  # once asking takes long
        self._backlog = Backlog()  # all that MLflow is told, in order
        self._defects_in_a_row = 0
        self._is_draining = False
        self._said_so = False
        self._started_at = monotonic()
        self._viewed_at = self._controlled_at = float("-inf")
        self._remaining = RemainingTime(clock=monotonic)

    def request_stop(self) -> None:
        """Asks the loop to stop its attempts and return."""
        self._stop_asked.set()

    def run(self) -> StudyState:
        """Runs until the budget is spent (COMPLETE), a stop is asked for, or too many trials in a row fail.

        Raises:
            StorageError: the workspace cannot be written; attempts are stopped first, and nothing is lost.
            TrialError: the champion could not be scored on test data.
        """
        try:
            self._take_up(recover(self._folder, store=self._store, tracker=self._tracker, plan=self._plan))
            self._show(force=True)  # the first attempt waits some seconds for the warm forkserver
            while self._is_busy():
                self._tick()
            self._leave_what_has_not_ended()
            self._catch_up()
            if self._end_state() is StudyState.COMPLETE and self._plan.config.evaluate:
                self._evaluate_champion()
                self._catch_up()
            state = self._finish(self._end_state())
        except (StorageError, OSError):
            self._end_attempts()
            self._end_runs()
            raise
        except TrialError:
            self._finish(StudyState.FAILED)
            raise
        finally:
            self._backlog.close()
        self._show(force=True)
        return state

    def _finish(self, state: StudyState) -> StudyState:
        """Ends the study's own run; a study of which MLflow does not know everything is not complete."""
        self._backlog.add(self._tracker.finish_study, state)
        if self._catch_up():
            return state
        self._view.message(f"MLflow has not been told everything: {NOT_TOLD}")
        return StudyState.INTERRUPTED

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

    def _leave_what_has_not_ended(self) -> None:
        """Trials that the next coordinator takes up."""
        if self._ask_ahead is not None and (asked := self._ask_ahead.close()) is not None:
            self._enter(asked)
        for trial in (*self._waiting, *(self._order.held if self._order else ())):
            self._settle_run(trial, Outcome(state=TrialState.INTERRUPTED))

    def _end_runs(self) -> None:
        """Leaves no run RUNNING in MLflow, if MLflow itself still takes that."""
        self._backlog.close()
        with contextlib.suppress(StorageError, OSError):
            self._tracker.finish_study(StudyState.INTERRUPTED)

    def _end_attempts(self) -> None:
        """Stops what runs where nothing can be recorded any more; what cannot be stopped now is adopted by the next."""
        deadline = self._monotonic() + GRACE_S
        while self._active and self._monotonic() < deadline:
            for slot, trial in list(self._active.items()):
                assert trial.spec is not None
                with contextlib.suppress(OSError):  # there may be no room for a stop file; then it counts as lost
                    self._stop(trial, INTERRUPTED)
                self._launcher.kill(trial.spec)
                if self._launcher.poll(trial.spec).is_over:
                    del self._active[slot]
            self._sleep(TICK_S)

    # --- one round ---------------------------------------------------------------------------------------------------

    def _is_busy(self) -> bool:
        if self._active:
            return True
        return not self._is_ending() and (bool(self._waiting) or self._is_asking_ahead() or self._wants_more())

    def _wants_more(self) -> bool:
        """Whether more trials are asked for."""
        return self._starts_new() and self._asking.has_more()

    def _starts_new(self) -> bool:
        """Whether new trials are started; a budget of time that is spent ends that."""
        return not self._is_draining and not self._is_out_of_time()

    def _is_asking_ahead(self) -> bool:
        """Whether a trial was asked for beside the loop that is still to be started."""
        return self._ask_ahead is not None and self._ask_ahead.is_under_way and self._starts_new()

    def _is_out_of_time(self) -> bool:
        budget_s = self._plan.time_budget_s
        return budget_s is not None and self._monotonic() - self._started_at >= budget_s

    @property
    def _stopping(self) -> bool:
        return self._stop_asked.is_set()

    def _is_ending(self) -> bool:
        return self._stopping or self._defects_in_a_row >= self._plan.config.limits.defects_in_a_row

    def _tick(self) -> None:
        self._obey()
        for slot, trial in list(self._active.items()):
            self._follow(slot, trial)
        if self._stopping and not self._said_so:
            self._said_so = True
            self._view.message(STOPPING)
        if self._is_ending():
            for trial in self._active.values():
                self._stop(trial, INTERRUPTED)
        else:
            self._fill_slots()
        self._hear_backlog()
        if not self._backlog:
            self._backlog.add(self._tracker.flush_if_due)
        self._show()
        self._sleep(max(TICK_S, TICK_OF_EACH_S * len(self._active)))

    def _obey(self) -> None:
        """Carries out what users asked for."""
        if self._monotonic() - self._controlled_at < CONTROL_S:
            return
        self._controlled_at = self._monotonic()
        for name, command in pending(self._folder):
            if isinstance(command, Stop):
                consume(self._folder, name)
                self._end_early(now=command.now)
            else:
                self._asking.queue(name, command)

    def _end_early(self, *, now: bool) -> None:
        if now:
            self.request_stop()
        elif not self._is_draining:
            self._view.message(DRAINING)
        self._is_draining = True

    def _follow(self, slot: str, trial: ActiveTrial) -> None:
        """Reads what an attempt said, and settles the trial once its process is gone."""
        assert trial.spec is not None
        status = self._launcher.poll(trial.spec)  # before reading: a gone process has written all it will
        data = self._launcher.read(trial.spec, trial.reader.offset)
        self._take(trial, data)
        if status.is_over:
            del self._active[slot]
            self._judge(trial, status)
            return
        if data or status.life is Life.WAITING:
            trial.heard_at = self._monotonic()
        if status.life is Life.WAITING:
            trial.began_at = self._monotonic()
        self._check_limits(trial)
        if trial.stop:
            self._launcher.kill(trial.spec)

    def _check_limits(self, trial: ActiveTrial) -> None:
        limits, now = self._plan.config.limits, self._monotonic()
        if limits.trial_s is not None and trial.trained_s + now - trial.began_at > limits.trial_s:
            self._stop(trial, TIMED_OUT)
        elif now - trial.heard_at > limits.silence_s:
            self._stop(trial, SILENT)

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
        is_last = event.epoch + 1 >= trial.config.training.max_epochs
        if not is_last and trial.ended is None and self._is_hopeless(trial, event):
            self._stop(trial, PRUNED, epoch=event.epoch)

    def _is_hopeless(self, trial: ActiveTrial, event: EpochEnded) -> bool:
        seen = self._order.seen_by(trial.number) if self._order else None
        if self._store.at_epoch is None:
            return self._patience.call(self._store.should_prune, trial.number, seen=seen)
        if event.epoch != self._store.at_epoch:
            return False
        return self._patience.call(self._store.report_sources, trial.number, event.sources, seen=seen)

    def _stop(self, trial: ActiveTrial, reason: str, *, epoch: int | None = None) -> None:
        """Writes down why before it kills, so that the next coordinator knows."""
        if trial.stop is None:
            assert trial.spec is not None
            write_json(trial.spec.folder / STOP_FILE, {"reason": reason, "epoch": epoch})
            trial.stop, trial.pruned_after = reason, epoch
            self._launcher.kill(trial.spec)

    # --- starting ----------------------------------------------------------------------------------------------------

    def _fill_slots(self) -> None:
        """Starts what there is room for; where that takes long, the next round goes on with it."""
        began = self._monotonic()
        for slot in self._launcher.free_slots():
            if slot.name in self._active:
                continue
            if len(self._active) >= len(self._launcher.slots):
                return  # some were adopted from slots that there are no more
            if not self._waiting and not self._ask():
                return
            self._launch(self._waiting.popleft(), slot)
            if self._is_ending() or self._monotonic() - began > FILL_S:
                return

    def _ask(self) -> bool:
        """Puts one more trial in line; False where there is none to be had now."""
        if not self._is_asking_ahead() and not self._wants_more():
            return False
        if self._order is not None and not self._order.may_ask(self._asking.num_asked):
            return False
        trial = self._ask_here() if self._ask_ahead is None or self._order is not None else self._ask_ahead.take()
        if trial is None:
            return False
        self._enter(trial)
        return True

    def _ask_here(self) -> ActiveTrial:
        """Asks in the event loop; once that takes long, it is done beside the loop from then on."""
        began = self._monotonic()
        trial = self._patience.call(self._asking.next)
        if self._monotonic() - began > SLOW_ASK_S:
            ask = partial(self._patience.call, self._asking.next)
            self._ask_ahead = AskAhead(ask, more=lambda: self._wants_more() and not self._is_ending())
        return trial

    def _enter(self, trial: ActiveTrial) -> None:
        """A new trial gets its run in MLflow and waits for a slot."""
        self._backlog.add(self._tracker.open_trial, trial.number, trial.config)
        self._waiting.append(trial)

    def _launch(self, trial: ActiveTrial, slot: Slot) -> None:
        attempt = len(trial.folder.attempts())
        spec = AttemptSpec(
            number=trial.number,
            attempt=attempt,
            folder=trial.folder.root / f"attempt-{attempt}",
            trial_folder=trial.folder.root,
            workspace=self._plan.workspace.root,
            objective=self._plan.config.objective,
            slot=slot,
            memory_mb=self._plan.config.limits.memory_mb,
            micro_batches=trial.micro_batches,
            config=trial.config,
        )
        if self._launcher.submit(spec):
            trial.begin(spec)
            trial.began_at = trial.heard_at = self._monotonic()
            self._active[slot.name] = trial
        else:
            self._waiting.appendleft(trial)

    # --- ending ------------------------------------------------------------------------------------------------------

    def _judge(self, trial: ActiveTrial, status: Status, *, adopted: bool = False) -> None:
        """Carries out what the end of an attempt means for its trial."""
        assert trial.spec is not None
        trial.trained_s += self._monotonic() - trial.began_at if trial.began_at else 0.0
        output = self._launcher.output_tail(trial.spec)
        limits, bound = self._plan.config.limits, self._plan.objective_bound
        verdict = judge(trial, status, limits=limits, bound=bound, output=output)
        match verdict:
            case Settled(outcome=outcome):
                self._launcher.fetch(trial.spec)
                self._settle(trial, outcome)
            case Again():
                self._again(trial, verdict)
            case StorageFull():
                self._waiting.append(trial)
                if not adopted:
                    raise StorageError(
                        f"workspace {self._plan.workspace.root} cannot be written any more (is the disk full?); "
                        "mend that and run the same command again: nothing is lost."
                    )
            case _:
                assert_never(verdict)

    def _again(self, trial: ActiveTrial, verdict: Again) -> None:
        trial.num_lost += verdict.is_lost
        if verdict.message:
            trial.micro_batches = verdict.micro_batches
            self._view.message(verdict.message)
        if self._is_ending():
            self._settle_run(trial, Outcome(state=TrialState.INTERRUPTED))
        else:
            self._waiting.append(trial)

    def _settle(self, trial: ActiveTrial, outcome: Outcome) -> None:
        self._size_slots(trial)
        if self._order is None:
            self._tell(trial, outcome)
            return
        self._order.hold(trial, outcome)
        # One ask after each tell, or a study that goes on later would ask with more known: so what is not followed by
        # an ask any more is told by the next coordinator.
        while not self._is_ending() and not self._is_draining and (turn := self._order.release()) is not None:
            self._tell(*turn)
            self._ask()

    def _tell(self, trial: ActiveTrial, outcome: Outcome) -> None:
        self._patience.call(self._store.tell, trial.number, outcome.state, value=outcome.value)
        is_defect = outcome.failure_class is FailureClass.DEFECT
        self._defects_in_a_row = self._defects_in_a_row + 1 if is_defect else 0
        self._settle_run(trial, outcome)

    def _settle_run(self, trial: ActiveTrial, outcome: Outcome) -> None:
        self._backlog.add(record_trial, self._tracker, trial, outcome)
        self._view.trial_ended(trial, outcome)
        if outcome.failure:
            self._view.message(f"trial {trial.number} {outcome.state.value}: {outcome.failure}")

    def _size_slots(self, trial: ActiveTrial) -> None:
        """On GPUs, as many slots as the trials so far leave room for."""
        peak_mb = trial.latest(PEAK_MEMORY_MB)
        if self._plan.sizing is not None and peak_mb is not None:
            slots = self._plan.sizing.observe(peak_mb)
            if slots is not None and slots != self._launcher.slots:
                self._launcher.resize(slots)
                self._view.message(f"{len(slots)} slots: the largest trial took {peak_mb:,.0f} MB of its GPU")

    def _end_state(self) -> StudyState:
        if self._stopping:
            return StudyState.STOPPED if self._is_draining else StudyState.INTERRUPTED
        if self._is_ending() or self._all_failed():
            return StudyState.FAILED
        return StudyState.STOPPED if self._is_draining and self._asking.has_more() else StudyState.COMPLETE

    def _all_failed(self) -> bool:
        """Whether trials have ended and none has a result."""
        states = {trial.state for trial in self._store.trials()} - {TrialState.RUNNING}
        return bool(states) and states <= {TrialState.FAILED, TrialState.TIMED_OUT}

    # --- before and after --------------------------------------------------------------------------------------------

    def _take_up(self, recovered: Recovered) -> None:
        """Adopts what still runs, judges what ended in the meantime, and records what MLflow does not know."""
        for summary, config in recovered.known:
            self._asking.know(summary, config)
        forget_stops(self._folder)  # they were meant for the coordinator before
        self._obey()
        if self._plan.config.deterministic:
            self._order = InOrder(self._plan.config.window, num_told=recovered.num_told)
        for ended, outcome in recovered.unrecorded:
            self._backlog.add(record_trial, self._tracker, ended, outcome)
        for asked in recovered.unstarted:
            self._enter(self._asking.start(asked))
        for trial in recovered.unsettled:
            self._adopt(trial)
        while self._order and self._ask():
            pass
        if recovered.known:
            self._view.message(
                f"resumed: {len(recovered.known)} trials are known, {len(self._active)} of them had not ended"
            )

    def _adopt(self, trial: ActiveTrial) -> None:
        if trial.spec is None:
            self._waiting.append(trial)
            return
        status = self._launcher.poll(trial.spec)
        if status.is_over:
            self._judge(trial, status, adopted=True)
        elif trial.spec.slot.name not in self._active:
            spent_s = 0.0 if trial.started is None else max(0.0, self._clock() - trial.started.time_ms / 1000)
            trial.heard_at = self._monotonic()
            trial.began_at = trial.heard_at - spent_s
            self._active[trial.spec.slot.name] = trial
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
            patient=self._patience.call,
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
        now = self._monotonic()
        if not force and now - self._viewed_at < VIEW_S:
            return
        self._viewed_at = now
        trials = tuple(self._store.trials())
        num_done = sum(trial.state is not TrialState.RUNNING for trial in trials)
        self._view.update(
            Snapshot(
                study=self._plan.config.name,
                objective=self._plan.config.objective,
                num_trials=self._plan.config.trials,
                elapsed_s=now - self._started_at,
                left_s=self._remaining.estimate(num_done=num_done, num_trials=self._plan.config.trials),
                slots=tuple(SlotRow.of(name, self._active.get(name)) for name in self._slot_names()),
                trials=trials,
                is_stopping=self._stopping or self._is_draining,
            )
        )

    def _slot_names(self) -> list[str]:
        """Slots of the launcher, and those that are gone but still at work."""
        return list(dict.fromkeys([*(slot.name for slot in self._launcher.slots), *sorted(self._active)]))
