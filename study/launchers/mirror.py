"""The coordinator's copy of an attempt that runs on another machine.

An agent beside the attempt answers reports: new bytes of the event log, checkpoints that changed, and how it ended.
They are written into the local folders of the spec, so that recovery, status and figures read files as they always do.
Once an attempt is declared lost its copy is closed for good: what it still says is not written any more.
"""

from pathlib import Path
from typing import TypedDict

from study.launchers._base import Life, Status, exit_record
from study.launchers.relocate import BEST, FLOW, LAST, SCORES
from study.spec import EVENTS_FILE, EXIT_FILE, LOST_FILE, OUTPUT_FILE, AttemptSpec
from study.workspace import write_atomic, write_json


class ShippedFile(TypedDict):
    """One file: `version` changes whenever its content does."""

    version: str
    content: bytes


class Report(TypedDict):
    """What an agent says of an attempt.

    Attributes:
        life: a `Life` by value.
        exit_status: once it has exited.
        out_of_memory: whether the kernel killed processes there for want of memory.
        events: the event log's bytes from the offset that was asked for.
        files: by name in the trial's folder; those whose version the asker does not have.
        output: the end of what it printed, once it is over.
    """

    life: str
    exit_status: int | None
    out_of_memory: bool
    events: bytes
    files: dict[str, ShippedFile]
    output: bytes


class Mirror:
    """Local copy of one attempt.

    Attributes:
        spec: the attempt.
        status: what is known; says that it is over only when everything it left is here.
        wants_kill: whether the coordinator wants it to end.
    """

    def __init__(self, spec: AttemptSpec) -> None:
        self.spec = spec
        self.status = settled_status(spec.folder) or Status(Life.WAITING)
        self.wants_kill = False
        self._versions: dict[str, str] = {}

    @property
    def offset(self) -> int:
        """How much of the event log is here."""
        log = self.spec.folder / EVENTS_FILE
        return log.stat().st_size if log.exists() else 0

    @property
    def versions(self) -> dict[str, str]:
        """Files that are here, and which state of them."""
        return dict(self._versions)

    def take(self, report: Report) -> None:
        """Writes down what is new; events before checkpoints, so that no checkpoint is ahead of the log."""
        if self.status.is_over:
            return
        if report["events"]:
            with (self.spec.folder / EVENTS_FILE).open("ab") as file:
                file.write(report["events"])
        for name in (FLOW, SCORES, BEST, LAST):
            if name in report["files"]:
                write_atomic(self.spec.trial_folder / name, report["files"][name]["content"])
                self._versions[name] = report["files"][name]["version"]
        life = Life(report["life"])
        if life is Life.EXITED:
            write_atomic(self.spec.folder / OUTPUT_FILE, report["output"])
            record = {"status": report["exit_status"], "out_of_memory": report["out_of_memory"]}
            write_json(self.spec.folder / EXIT_FILE, record)
        if life is Life.LOST:
            self.lose(report["output"].decode(errors="replace"))
        else:
            self.status = Status(life, report["exit_status"], report["out_of_memory"])

    def lose(self, why: str) -> None:
        """Declares the attempt lost, for good: the next coordinator finds it so too."""
        if not self.status.is_over:
            write_atomic(self.spec.folder / OUTPUT_FILE, why)
            write_json(self.spec.folder / LOST_FILE, {"why": why.strip().splitlines()[-1:]})
            self.status = Status(Life.LOST)


def settled_status(folder: Path) -> Status | None:
    """How an attempt ended, if that is on file here."""
    ended = exit_record(folder)
    if ended is not None:
        return ended
    return Status(Life.LOST) if (folder / LOST_FILE).exists() else None
