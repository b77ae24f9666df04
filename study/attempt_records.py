"""What became of each attempt of a trial, read from the attempts' own files."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from reports.records import FailureClass, TrialState
from study.events import Ended, Started, read_events
from study.judgement import INTERRUPTED, PRUNED, SILENT, TIMED_OUT
from study.launchers._base import exit_record
from study.spec import EVENTS_FILE, EXIT_FILE, EXIT_STORAGE_FULL, SPEC_FILE, STOP_FILE
from study.workspace import TrialFolder, read_whole_json


@dataclass(frozen=True, kw_only=True)
class AttemptRecord:
    """One attempt, as its run in MLflow says.

    Attributes:
        attempt: 0 for the first.
        state: how it ended, or RUNNING.
        start_ms: when it started, milliseconds since 1970.
        end_ms: when it ended, or None while it runs.
        host: where it ran, "" if it never said.
        device: on what.
        failure_class: a FailureClass, disk_full, or "".
        failure: one line, or "".
    """

    attempt: int
    state: TrialState
    start_ms: int
    end_ms: int | None
    host: str = ""
    device: str = ""
    failure_class: str = ""
    failure: str = ""


class _End(NamedTuple):
    state: TrialState
    failure_class: str = ""
    failure: str = ""


ENDED: Final = {
    "complete": (TrialState.COMPLETE, ""),
    "diverged": (TrialState.DIVERGED, ""),
    "failed": (TrialState.FAILED, FailureClass.DEFECT),
    "out_of_memory": (TrialState.FAILED, FailureClass.OUT_OF_MEMORY),
}
STOPPED: Final = {
    PRUNED: _End(TrialState.PRUNED),
    INTERRUPTED: _End(TrialState.INTERRUPTED),
    TIMED_OUT: _End(TrialState.TIMED_OUT, FailureClass.TIMED_OUT, "it trained for longer than its limit"),
    SILENT: _End(TrialState.FAILED, FailureClass.LOST, "it said nothing for too long"),
}


def attempt_records(folder: TrialFolder, *, is_running: bool) -> list[AttemptRecord]:
    """A record an attempt, oldest first; none where one attempt was enough, since its trial's run says all of it.

    Args:
        folder: the trial's files.
        is_running: whether the last attempt still runs.
    """
    attempts = [attempt for attempt in folder.attempts() if (attempt / SPEC_FILE).exists()]
    if len(attempts) < 2:  # noqa: PLR2004
        return []
    return [_record(attempt, is_running=is_running and attempt == attempts[-1]) for attempt in attempts]


def _record(folder: Path, *, is_running: bool) -> AttemptRecord:
    events = read_events(folder / EVENTS_FILE)
    started = next((event for event in events if isinstance(event, Started)), None)
    ended = next((event for event in events if isinstance(event, Ended)), None)
    end = _End(TrialState.RUNNING) if is_running else _end(folder, ended)
    exited_ms = _modified_ms(folder / EXIT_FILE)
    last_ms = ended.time_ms if ended else exited_ms or (events[-1].time_ms if events else _modified_ms(folder))
    return AttemptRecord(
        attempt=int(folder.name.removeprefix("attempt-")),
        state=end.state,
        start_ms=started.time_ms if started else _modified_ms(folder / SPEC_FILE),
        end_ms=None if is_running else last_ms,
        host=started.host if started else "",
        device=started.device if started else "",
        failure_class=end.failure_class,
        failure=end.failure,
    )


def _end(folder: Path, ended: Ended | None) -> _End:
    if ended is not None:
        return _End(*ENDED[ended.outcome], ended.failure)
    if (stop := read_whole_json(folder / STOP_FILE)) is not None:
        return STOPPED[str(stop["reason"])]
    record = exit_record(folder)
    status = None if record is None else record.exit_status
    if status == EXIT_STORAGE_FULL:
        return _End(TrialState.FAILED, "disk_full", "the workspace could not be written")
    if record is not None and record.out_of_memory:
        return _End(TrialState.FAILED, FailureClass.OUT_OF_MEMORY, "the kernel killed it for want of memory")
    if status is None or status < 0:
        return _End(TrialState.FAILED, FailureClass.LOST, "its process was lost")
    return _End(TrialState.FAILED, FailureClass.DEFECT, f"its process ended without a result, with status {status}")


def _modified_ms(path: Path) -> int:
    """When a file was written, 0 if it is not there."""
    return int(path.stat().st_mtime * 1000) if path.exists() else 0
