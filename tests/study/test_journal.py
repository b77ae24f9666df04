"""When Optuna's journal waits for the disk: before anything that follows from a line could outlive it."""

import json
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from optuna.storages.journal._storage import JournalOperation

from reports.records import TrialState
from search_spaces.space import load_space
from study.config import StudyConfig
from study.journal import Journal
from study.opening import open_trial_store, read_trials
from study.sampler_config import RandomConfig
from study.storage import _Flock
from study.tracking import Tracker
from study.trial_store import TrialStore
from study.workspace import StudyFolder, Workspace
from tests.study.helpers import run_study
from tests.study.stores import asked

ENDED = JournalOperation.SET_TRIAL_STATE_VALUES
CONFIG = StudyConfig(name="stored", space="demo", trials=20, sampler=RandomConfig())


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    return StudyFolder(tmp_path / "studies" / "stored")


class Disk:
    """Notes how much of the journal is on it."""

    def __init__(self, journal: Path, patch: pytest.MonkeyPatch) -> None:
        self.synced = 0
        self.num_syncs = 0
        self._journal = journal
        self._fsync = os.fsync
        patch.setattr(os, "fsync", self.sync)

    def sync(self, descriptor: int) -> None:
        self._fsync(descriptor)
        if self._journal.exists() and os.path.samestat(os.fstat(descriptor), self._journal.stat()):
            self.synced = self._journal.stat().st_size
            self.num_syncs += 1

    @property
    def has_all(self) -> bool:
        return self.synced == self._journal.stat().st_size


@pytest.fixture
def store(folder: StudyFolder) -> TrialStore:
    return open_trial_store(folder, CONFIG, load_space("demo"))


def test_a_trial_that_was_asked_for_is_on_disk(
    store: TrialStore, folder: StudyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(folder.journal, monkeypatch)
    asked(store)
    assert disk.has_all


def test_reports_and_ends_wait_for_the_next_sync(
    store: TrialStore, folder: StudyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    number, _ = asked(store)
    disk = Disk(folder.journal, monkeypatch)
    store.report(number, epoch=0, objective=1.0)
    store.tell(number, TrialState.COMPLETE, value=1.0)
    assert disk.num_syncs == 0
    store.sync()
    assert disk.has_all
    store.sync()
    assert disk.num_syncs == 1


def test_what_is_not_synced_yet_outlives_its_process(store: TrialStore, folder: StudyFolder) -> None:
    number, _ = asked(store)
    store.report(number, epoch=0, objective=1.0)
    store.tell(number, TrialState.COMPLETE, value=0.5)
    (trial,) = read_trials(folder)  # from the file, as another process would
    assert (trial.state, trial.value, trial.reports) == (TrialState.COMPLETE, 0.5, {0: 1.0})


def test_a_store_that_is_opened_syncs_what_its_predecessor_could_not(
    store: TrialStore, folder: StudyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    number, _ = asked(store)
    store.tell(number, TrialState.COMPLETE, value=0.5)
    disk = Disk(folder.journal, monkeypatch)
    open_trial_store(folder, CONFIG, load_space("demo"))
    assert disk.has_all


def test_an_end_is_on_disk_before_mlflow_is_told(
    workspace: Path, tiny_study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Workspace(workspace).study("tiny").journal
    synced: dict[int, bool] = {}
    finish_trial = Tracker.finish_trial

    def note(tracker: Tracker, number: int, *arguments: Any, **keywords: Any) -> None:
        lines = [json.loads(line) for line in journal.read_bytes()[: disk.synced].splitlines()]
        synced[number] = any(line["op_code"] == ENDED and line["trial_id"] == number for line in lines)
        finish_trial(tracker, number, *arguments, **keywords)

    disk = Disk(journal, monkeypatch)
    monkeypatch.setattr(Tracker, "finish_trial", note)
    run_study(tiny_study, workspace)
    assert synced == dict.fromkeys(range(4), True)


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """No file of this process grows beyond a size, as on a disk that is nearly full: the system cuts a write short."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("operation", [JournalOperation.SET_TRIAL_USER_ATTR, JournalOperation.SET_STUDY_USER_ATTR])
def test_lines_that_had_no_room_leave_nothing_behind(tmp_path: Path, operation: JournalOperation) -> None:
    path = tmp_path / "optuna.journal"
    journal = Journal(str(path), _Flock(path))
    journal.append_logs([{"op_code": operation, "number": 0}])
    with room_for(path.stat().st_size + 10), pytest.raises(OSError, match="too large"):
        journal.append_logs([{"op_code": operation, "number": 1}])
    for number in (2, 3):
        journal.append_logs([{"op_code": operation, "number": number}])
    assert [log["number"] for log in Journal(str(path), _Flock(path)).read_logs(0)] == [0, 2, 3]
