"""Optuna's journal file, which waits for the disk where its caller says so, and not at each line.

A line is in the kernel's hands when it is written, so a coordinator that is killed loses none. Only a power cut could,
and all that is derived from a line must not outlive it: `sync` is called before an attempt starts on a trial that was
asked for, and before MLflow is told of an end. What a power cut undoes otherwise, the next coordinator finds in the
event logs and tells again.
"""

import json
import os
import threading
from io import FileIO
from pathlib import Path
from typing import Any, Final

from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock, get_lock_file
from optuna.storages.journal._storage import JournalOperation

OF_A_STUDY: Final = frozenset(
    {
        JournalOperation.CREATE_STUDY,
        JournalOperation.DELETE_STUDY,
        JournalOperation.SET_STUDY_USER_ATTR,
        JournalOperation.SET_STUDY_SYSTEM_ATTR,
    }
)
"""These wait for the disk at once: they are few."""


class Journal(JournalFileBackend):
    """Optuna's own, but for the syncing: at each report and each end, a thousand attempts would wait for it in turn."""

    def __init__(self, path: str, lock: BaseJournalFileLock) -> None:
        super().__init__(path, lock_obj=lock)
        self._syncing = threading.Lock()
        self._is_dirty = True  # an earlier process may have died before it could sync

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Appends lines, all of them or none: behind half a line, no later one could be read."""
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode()
        with get_lock_file(self._lock), Path(self._file_path).open("ab", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            try:
                _write_all(file, lines)
                if any(log["op_code"] in OF_A_STUDY for log in logs):
                    os.fsync(file.fileno())
            except OSError:
                file.truncate(size)
                raise
        self._is_dirty = True

    def sync(self) -> None:
        """Waits until the disk has all lines that were appended before; from any thread."""
        with self._syncing:
            if not self._is_dirty:
                return
            self._is_dirty = False  # before the disk is asked: a line that is written meanwhile may miss it
            descriptor = os.open(self._file_path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            except OSError:
                self._is_dirty = True
                raise
            finally:
                os.close(descriptor)


def _write_all(file: FileIO, content: bytes) -> None:
    """A write to a disk that is nearly full takes what has room; only the next one fails."""
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) :]
