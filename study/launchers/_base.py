"""The protocol of launchers.

The coordinator owns what a trial means; a launcher only knows processes, slots and files. An attempt is named by its
spec.
"""

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol

from study.devices import Slot
from study.spec import EXIT_FILE, AttemptSpec
from study.workspace import read_whole_json

OUTPUT_TAIL_BYTES = 4000


class Life(Enum):
    """What is known of an attempt's process."""

    WAITING = "waiting"
    """In a cluster's queue: it has a slot, but no process yet."""
    RUNNING = "running"
    EXITED = "exited"
    LOST = "lost"
    """Gone without an exit record: killed, or its machine went away."""


@dataclass(frozen=True)
class Status:
    """What is known of an attempt.

    Attributes:
        life: whether its process runs.
        exit_status: once it has exited; negative: the signal.
        out_of_memory: whether the kernel killed processes for want of memory while it ran.
    """

    life: Life
    exit_status: int | None = None
    out_of_memory: bool = False

    @property
    def is_over(self) -> bool:
        """Whether nothing of it can come any more."""
        return self.life in (Life.EXITED, Life.LOST)


def exit_record(folder: Path) -> Status | None:
    """What an attempt's exit record says, or None while there is none."""
    record = read_whole_json(folder / EXIT_FILE)
    if record is None:
        return None
    return Status(Life.EXITED, int(record["status"]), bool(record.get("out_of_memory", False)))


def read_from(path: Path, offset: int) -> bytes:
    """A growing file's bytes from an offset on; none while it is not there.

    It is opened each time: on a file system that machines share, its size alone may be what it was a minute ago.
    """
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read()
    except FileNotFoundError:
        return b""


def tail_of(path: Path) -> str:
    """The last lines of what a process printed, "" if it printed nothing."""
    try:
        return path.read_bytes()[-OUTPUT_TAIL_BYTES:].decode(errors="replace")
    except FileNotFoundError:
        return ""


class Launcher(Protocol):
    """Where attempts run."""

    @property
    def slots(self) -> tuple[Slot, ...]:
        """All slots, free or not; they may become more or fewer while a study runs."""

    def warm_up(self) -> None:
        """Begins with what the first attempt would have to wait for, and returns at once."""

    def free_slots(self) -> tuple[Slot, ...]:
        """Slots that no attempt holds, of this study or another."""

    def resize(self, slots: tuple[Slot, ...]) -> None:
        """Cuts the devices into other slots; attempts on slots that are gone run to their end."""

    def submit(self, spec: AttemptSpec) -> bool:
        """Starts an attempt on `spec.slot`; False if another took the slot in the meantime."""

    def poll(self, spec: AttemptSpec) -> Status:
        """Whether an attempt runs; also for attempts that an earlier coordinator started."""

    def kill(self, spec: AttemptSpec) -> None:
        """Ends an attempt, at once and for good; harmless when it has ended. Called again until `poll` says so."""

    def read(self, spec: AttemptSpec, offset: int) -> bytes:
        """The event log's bytes from an offset on."""

    def fetch(self, spec: AttemptSpec) -> None:
        """Brings what an ended attempt left (checkpoints, scores) into `spec.trial_folder`, if it is not there."""

    def output_tail(self, spec: AttemptSpec) -> str:
        """The last lines that the attempt printed."""

    def close(self) -> None:
        """Lets go of what the launcher itself holds; attempts go on."""
