"""Attempts without processes: records whose events appear in memory as a clock goes on.

What an attempt would do itself (events, scores, checkpoint) is made here too, and the time that it takes is kept apart
in `own_s` (CPU) and `own_wall_s`, so that a benchmark can take it off the coordinator's.
"""

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from study.devices import Slot
from study.events import Ended, EpochEnded, Event, Started
from study.launchers._base import Life, Status
from study.spec import EVENTS_FILE, SPEC_FILE, AttemptSpec
from study.workspace import TrialFolder, write_json

METRICS = (
    *(f"train/{key}" for key in ("loss", "accuracy")),
    *(f"grad/{key}" for key in ("norm_before_clipping", "norm_after_clipping", "norm_max", "share_clipped")),
    *(f"val/{key}" for key in ("loss", "accuracy", "error_rate", "c_avg", "c_primary", "c_primary_calibrated")),
    *(f"val/{key}" for key in ("eer", "cllr", "cllr_calibrated")),
    *(f"time/{key}" for key in ("train_s", "validation_s")),
)
"""As a real attempt has them."""
RUNNING = Status(Life.RUNNING)
NUM_UTTERANCES = 200
CHECKPOINT_BYTES = 200_000


@dataclass
class Attempt:
    """One simulated attempt; times in seconds on the launcher's clock."""

    spec: AttemptSpec
    began: float
    num_epochs: int
    next_at: float
    log: bytes = b""
    num_said: int = 0
    status: Status = RUNNING

    @property
    def last_epoch(self) -> int:
        """The last epoch that it spoke of, -1 for none."""
        return min(self.num_said - 1, self.num_epochs) - 1


class SimulatedLauncher:
    """So many slots, whose attempts need no time of this machine.

    Args:
        num_slots: attempts at a time.
        epoch_s: seconds between two epochs of an attempt.
        clock: seconds since 1970.
        seed: of each trial's objective, and of its length: between one epoch and all that its configuration allows.
    """

    def __init__(
        self, num_slots: int, *, epoch_s: float, clock: Callable[[], float] = time.time, seed: int = 0
    ) -> None:
        self.slots = tuple(Slot(name=f"simulated-{number}") for number in range(num_slots))
        self.own_s = self.own_wall_s = 0.0
        self.num_reports = 0
        self._epoch_s = epoch_s
        self._clock = clock
        self._seed = seed
        self._attempts: dict[str, Attempt] = {}  # by key
        self._by_slot: dict[str, Attempt] = {}

    @property
    def num_running(self) -> int:
        """Attempts that run."""
        return len(self._by_slot)

    def warm_up(self) -> None:
        """Nothing would have to be waited for."""

    def free_slots(self) -> tuple[Slot, ...]:
        """Slots without an attempt."""
        return tuple(slot for slot in self.slots if slot.name not in self._by_slot)

    def resize(self, slots: tuple[Slot, ...]) -> None:
        """From now on, attempts are submitted to these."""
        self.slots = slots

    def submit(self, spec: AttemptSpec) -> bool:
        """Begins an attempt; the files are those that a launcher writes."""
        if spec.slot.name in self._by_slot:
            return False
        spec.folder.mkdir(parents=True, exist_ok=True)
        write_json(spec.folder / SPEC_FILE, spec.model_dump(mode="json"))
        draw = random.Random(f"{self._seed}-{spec.number}")
        now = self._clock()
        attempt = Attempt(spec, now, draw.randint(1, spec.config.training.max_epochs), now)
        self._attempts[spec.key] = self._by_slot[spec.slot.name] = attempt
        return True

    def poll(self, spec: AttemptSpec) -> Status:
        """Whether it has said its last word."""
        attempt = self._attempts.get(spec.key)
        if attempt is None:
            return Status(Life.LOST)
        self._go_on(attempt)
        return attempt.status

    def kill(self, spec: AttemptSpec) -> None:
        """Ends it."""
        attempt = self._attempts[spec.key]
        if not attempt.status.is_over:
            self._end(attempt, Status(Life.EXITED, -signal.SIGKILL))

    def read(self, spec: AttemptSpec, offset: int) -> bytes:
        """Its log from an offset on."""
        return self._attempts[spec.key].log[offset:]

    def fetch(self, spec: AttemptSpec) -> None:
        """Writes what a real attempt would have left; the attempt itself is forgotten."""
        attempt = self._attempts.pop(spec.key, None)
        if attempt is None:
            return  # an earlier launcher's
        with self._apart():
            self._write_log(attempt)
            folder = TrialFolder(spec.trial_folder)
            write_json(folder.scores, scores(attempt.last_epoch, spec.config.data.languages))
            folder.best_checkpoint.write_bytes(os.urandom(CHECKPOINT_BYTES))

    def output_tail(self, spec: AttemptSpec) -> str:  # noqa: ARG002 - the protocol's signature
        """It printed nothing."""
        return ""

    def close(self) -> None:
        """Writes the logs of attempts that still run, as real ones would have."""
        for attempt in self._attempts.values():
            self._write_log(attempt)

    def _go_on(self, attempt: Attempt) -> None:
        """Says what is due by now."""
        now = self._clock()
        if now < attempt.next_at or attempt.status.is_over:
            return
        with self._apart():
            while now >= attempt.next_at and not attempt.status.is_over:
                attempt.log += said(attempt, time_ms=int(attempt.next_at * 1000))
                attempt.num_said += 1
                self.num_reports += 1 < attempt.num_said <= attempt.num_epochs + 1
                attempt.next_at += self._epoch_s if attempt.num_said <= attempt.num_epochs else 0.0
                if attempt.num_said == attempt.num_epochs + 2:
                    self._end(attempt, Status(Life.EXITED, 0))

    def _end(self, attempt: Attempt, status: Status) -> None:
        attempt.status = status
        del self._by_slot[attempt.spec.slot.name]

    def _write_log(self, attempt: Attempt) -> None:
        (attempt.spec.folder / EVENTS_FILE).write_bytes(attempt.log)

    @contextmanager
    def _apart(self) -> Iterator[None]:
        began, began_wall = time.thread_time(), time.perf_counter()
        try:
            yield
        finally:
            self.own_s += time.thread_time() - began
            self.own_wall_s += time.perf_counter() - began_wall


def said(attempt: Attempt, *, time_ms: int) -> bytes:
    """The next line of its log: that it started, an epoch that is better than the last, that it is complete."""
    event: Event
    if attempt.num_said == 0:
        event = Started(
            time_ms=time_ms, pid=1, host="simulated", device="cpu", num_threads=1, num_parameters=1000,
            resumed_epoch=0, warm=True,
        )  # fmt: skip
    elif attempt.num_said > attempt.num_epochs:
        event = Ended(time_ms=time_ms, outcome="complete")
    else:
        epoch = attempt.num_said - 1
        objective = 0.5 + 1.0 / (epoch + 2) + random.Random(attempt.spec.number).random()
        metrics = dict.fromkeys(METRICS, objective)
        event = EpochEnded(time_ms=time_ms, epoch=epoch, objective=objective, metrics=metrics)
    return event.model_dump_json().encode() + b"\n"


def scores(epoch: int, languages: tuple[str, ...]) -> dict[str, object]:
    """A ScoreTable as an attempt writes it."""
    rows = range(NUM_UTTERANCES)
    return {
        "epoch": epoch,
        "utterance": [f"utterance-{row}" for row in rows],
        "language": [languages[row % len(languages)] for row in rows],
        "source": [f"source-{row % 10}" for row in rows],
        "speaker": [f"speaker-{row % 20}" for row in rows],
        "duration_s": [8.0 for _ in rows],
        "targets": list(languages),
        "llr": [[float(row % len(languages) == place) for place in range(len(languages))] for row in rows],
    }
