"""The attempts that are under way, at most one a slot: started, watched, stopped, and let go of."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from lightning_modules.config import FRESH, TrialConfig
from study.active import ActiveTrial
from study.devices import Slot
from study.judgement import INTERRUPTED, PRUNED, SILENT, TIMED_OUT
from study.launchers._base import Launcher, Life, Status
from study.plan import StudyPlan
from study.spec import STOP_FILE, AttemptSpec
from study.workspace import write_json


class Attempts:
    """What the launcher runs for a coordinator.

    Args:
        plan: the study; its limits are watched here.
        launcher: where attempts run.
        monotonic: a clock that cannot be set back.
    """

    def __init__(self, plan: StudyPlan, *, launcher: Launcher, monotonic: Callable[[], float]) -> None:
        self._plan = plan
        self._launcher = launcher
        self._monotonic = monotonic
        self._trials: dict[str, ActiveTrial] = {}  # by slot

    def __len__(self) -> int:
        return len(self._trials)

    def __iter__(self) -> Iterator[ActiveTrial]:
        """The trials as they are now; attempts may start and end meanwhile."""
        return iter(list(self._trials.values()))

    def on(self, slot: str) -> ActiveTrial | None:
        """The trial on a slot, or None."""
        return self._trials.get(slot)

    def slot_names(self) -> list[str]:
        """Slots of the launcher, and those that are gone but still at work."""
        return list(dict.fromkeys([*(slot.name for slot in self._launcher.slots), *sorted(self._trials)]))

    def free_slots(self) -> list[Slot]:
        """Slots that can take an attempt now; as many fewer as attempts go on on slots that there are no more."""
        free = [slot for slot in self._launcher.free_slots() if slot.name not in self._trials]
        return free[: max(0, len(self._launcher.slots) - len(self._trials))]

    def start(self, trial: ActiveTrial, slot: Slot) -> bool:
        """Starts the trial's next attempt; False if the slot is not free any more."""
        spec = self._spec(trial, slot)
        if not self._launcher.submit(spec):
            return False
        trial.begin(spec)
        trial.began_at = trial.heard_at = self._monotonic()
        self._trials[slot.name] = trial
        return True

    def take_over(self, trial: ActiveTrial, *, running_s: float) -> bool:
        """Adopts an attempt of an earlier coordinator that has run so long; False if another has its slot."""
        assert trial.spec is not None
        if trial.spec.slot.name in self._trials:
            return False
        trial.heard_at = self._monotonic()
        trial.began_at = trial.heard_at - running_s
        self._trials[trial.spec.slot.name] = trial
        return True

    def look(self, trial: ActiveTrial) -> tuple[Status, bytes]:
        """How its process is, and what is new in its event log."""
        assert trial.spec is not None
        status = self._launcher.poll(trial.spec)  # before reading: a gone process has written all it will
        return status, self._launcher.read(trial.spec, trial.reader.offset)

    def watch(self, trial: ActiveTrial, status: Status, *, has_spoken: bool) -> None:
        """Holds an attempt that goes on against the study's limits, and kills it again where it was stopped."""
        now = self._monotonic()
        if has_spoken or status.life is Life.WAITING:
            trial.heard_at = now
        if status.life is Life.WAITING:
            trial.began_at = now
        self._check_limits(trial, now)
        if trial.stop:
            assert trial.spec is not None
            self._launcher.kill(trial.spec)

    def stop(self, trial: ActiveTrial, reason: str, *, epoch: int | None = None) -> None:
        """Writes down why before it kills, so that the next coordinator knows; of two reasons the first stands.

        Unless it was only interrupted, and its last epochs say that it is to be pruned.
        """
        if trial.stop is None or (trial.stop, reason) == (INTERRUPTED, PRUNED):
            assert trial.spec is not None
            write_json(trial.spec.folder / STOP_FILE, {"reason": reason, "epoch": epoch})
            trial.stop, trial.pruned_after = reason, epoch
            self._launcher.kill(trial.spec)

    def let_go(self, trial: ActiveTrial) -> None:
        """The attempt is over."""
        assert trial.spec is not None
        del self._trials[trial.spec.slot.name]

    def end_all(self, *, within_s: float, sleep: Callable[[], None]) -> None:
        """Stops what runs where nothing can be recorded any more; what cannot be stopped now is adopted by the next."""
        deadline = self._monotonic() + within_s
        while self._trials and self._monotonic() < deadline:
            for slot, trial in list(self._trials.items()):
                assert trial.spec is not None
                with contextlib.suppress(OSError):  # there may be no room for a stop file; then it counts as lost
                    self.stop(trial, INTERRUPTED)
                self._launcher.kill(trial.spec)
                if self._launcher.poll(trial.spec).is_over:
                    del self._trials[slot]
            sleep()

    def _begins_with(self, config: TrialConfig) -> Path | None:
        """The study's copy of the weights that a configuration names."""
        trial = config.training.pretrained
        if trial == FRESH:
            return None
        return self._plan.workspace.study(self._plan.config.name).pretrained(trial).best_checkpoint

    def _check_limits(self, trial: ActiveTrial, now: float) -> None:
        limits = self._plan.config.limits
        if limits.trial_s is not None and trial.trained_s + now - trial.began_at > limits.trial_s:
            self.stop(trial, TIMED_OUT)
        elif now - trial.heard_at > limits.silence_s:
            self.stop(trial, SILENT)

    def _spec(self, trial: ActiveTrial, slot: Slot) -> AttemptSpec:
        number = len(trial.folder.attempts())
        return AttemptSpec(
            number=trial.number,
            attempt=number,
            folder=trial.folder.root / f"attempt-{number}",
            trial_folder=trial.folder.root,
            checkpoint=self._begins_with(trial.config),
            workspace=self._plan.workspace.root,
            objective=self._plan.config.objective,
            slot=slot,
            memory_mb=self._plan.config.limits.memory_mb,
            micro_batches=trial.micro_batches,
            latency=self._plan.latency if trial.measured is None else None,
            config=trial.config,
        )
