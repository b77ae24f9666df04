"""Attempts in the coordinator's own process, one at a time: an attempt has ended when `submit` returns."""

import signal
import threading
from collections.abc import Callable

from study.devices import CPU, Slot
from study.events import AnyEvent
from study.judgement import INTERRUPTED
from study.launchers._base import Life, Status, read_from
from study.processes import hide_library_warnings
from study.spec import EVENTS_FILE, SPEC_FILE, STOP_FILE, AttemptSpec
from study.workspace import write_json


class InlineLauncher:
    """One slot, and no process to lose.

    Args:
        stop: set where Ctrl-C interrupts an attempt.
        watch: sees each event as it is written.
        devices: of the slot.
        num_threads: of the slot.
    """

    def __init__(
        self,
        *,
        stop: threading.Event | None = None,
        watch: Callable[[AnyEvent], None] = lambda _: None,
        devices: tuple[str, ...] = (CPU,),
        num_threads: int = 1,
    ) -> None:
        self.slots: tuple[Slot, ...] = (Slot(name="inline-0", devices=devices, num_threads=num_threads),)
        self._stop = stop or threading.Event()
        self._watch = watch
        self._exit_status: dict[str, int] = {}
        hide_library_warnings()

    def warm_up(self) -> None:
        """Nothing would have to be waited for."""

    def free_slots(self) -> tuple[Slot, ...]:
        """The slot is free whenever anyone can ask."""
        return self.slots

    def resize(self, slots: tuple[Slot, ...]) -> None:
        """There is this one process, whatever the devices."""

    def submit(self, spec: AttemptSpec) -> bool:
        """Runs the whole attempt; after Ctrl-C it looks like one that was killed."""
        from study.attempt import run_attempt

        spec.folder.mkdir(parents=True, exist_ok=True)
        write_json(spec.folder / SPEC_FILE, spec.model_dump(mode="json"))
        try:
            self._exit_status[spec.key] = run_attempt(spec, warm=False, watch=self._watch)
        except (KeyboardInterrupt, SystemExit):  # Lightning turns the first into the second
            write_json(spec.folder / STOP_FILE, {"reason": INTERRUPTED, "epoch": None})  # else it would count as lost
            self._exit_status[spec.key] = -signal.SIGINT
            self._stop.set()
        return True

    def poll(self, spec: AttemptSpec) -> Status:
        """Ended, or lost if it ran in another process that is gone."""
        status = self._exit_status.get(spec.key)
        return Status(Life.LOST) if status is None else Status(Life.EXITED, status)

    def kill(self, spec: AttemptSpec) -> None:
        """Nothing runs that could be killed."""

    def read(self, spec: AttemptSpec, offset: int) -> bytes:
        """The event log from an offset on."""
        return read_from(spec.folder / EVENTS_FILE, offset)

    def fetch(self, spec: AttemptSpec) -> None:
        """Everything is there already."""

    def output_tail(self, spec: AttemptSpec) -> str:  # noqa: ARG002 - the protocol's signature
        """It printed to this process's own terminal."""
        return ""

    def close(self) -> None:
        """Holds nothing."""
