"""Optuna's journal file, which waits for the disk where its caller says so, and not at each line.

A line is in the kernel's hands when it is written, so a coordinator that is killed loses none. Only a power cut could,
and all that is derived from a line must not outlive it: `sync` is called before an attempt starts on a trial that was
asked for, and before MLflow is told of an end. What a power cut undoes otherwise, the next coordinator finds in the
event logs and tells again.
"""

import json
import os
import threading
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
        """Appends lines."""
        if any(log["op_code"] in OF_A_STUDY for log in logs):
            super().append_logs(logs)
            return
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        with get_lock_file(self._lock), open(self._file_path, "ab") as file:  # noqa: PTH123 - a str, as Optuna keeps it
            file.write(lines.encode())
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
