"""Optuna's side of a study: proposals, resumption, and journals that broke."""

import errno
import os
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lightning_modules.errors import StorageError
from reports.records import TrialState
from search_spaces.space import Space, load_space
from study.config import StudyConfig
from study.opening import open_trial_store, read_trials
from study.sampler_config import TPEConfig
from study.trial_store import TrialStore
from study.workspace import StudyFolder
from tests.study.stores import asked

CONFIG = StudyConfig(name="stored", space="demo", trials=20, sampler=TPEConfig(startup_trials=3))


@pytest.fixture(scope="module")
def space() -> Space:
    return load_space("demo")


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    return StudyFolder(tmp_path / "studies" / "stored")


def run_trials(store: TrialStore, count: int) -> list[dict[str, Any]]:
    """Asks and tells in turn; the value depends on the parameters alone."""
    proposals = []
    for _ in range(count):
        number, params = asked(store)
        proposals.append(params)
        store.report(number, epoch=0, objective=params["optimizer.learning_rate"])
        store.tell(number, TrialState.COMPLETE, value=params["optimizer.learning_rate"] + params["encoder.hidden_size"])
    return proposals


def test_telling_twice_changes_nothing(folder: StudyFolder, space: Space) -> None:
    store = open_trial_store(folder, CONFIG, space)
    number, _ = asked(store)
    store.tell(number, TrialState.COMPLETE, value=1.0)
    store.tell(number, TrialState.FAILED, value=None)
    assert [(trial.state, trial.value) for trial in store.trials()] == [(TrialState.COMPLETE, 1.0)]


def test_a_running_trial_can_be_taken_over(folder: StudyFolder, space: Space) -> None:
    number, params = asked(open_trial_store(folder, CONFIG, space))
    store = open_trial_store(folder, CONFIG, space)
    store.attach(number)
    store.report(number, epoch=0, objective=2.0)
    store.report(number, epoch=0, objective=9.0)  # a replayed event: the first report stays
    store.tell(number, TrialState.DIVERGED, value=4.6)
    (trial,) = read_trials(folder)
    assert (trial.state, trial.value, trial.params, trial.reports) == (TrialState.DIVERGED, 4.6, params, {0: 2.0})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_no_value_that_is_not_finite_reaches_optuna(folder: StudyFolder, space: Space, value: float) -> None:
    store = open_trial_store(folder, CONFIG, space)
    number, _ = asked(store)
    with pytest.raises(ValueError, match="finite"):
        store.tell(number, TrialState.COMPLETE, value=value)


def test_a_torn_last_line_is_cut_and_the_study_goes_on(folder: StudyFolder, space: Space) -> None:
    journal = folder.journal
    run_trials(open_trial_store(folder, CONFIG, space), 2)
    with journal.open("ab") as file:
        file.write(b'{"op_code": 5, "worker')
    store = open_trial_store(folder, CONFIG, space)
    run_trials(store, 1)
    assert len(read_trials(folder)) == 3


def test_a_journal_of_rubbish_is_one_clear_error(folder: StudyFolder, space: Space) -> None:
    folder.root.mkdir(parents=True)
    folder.journal.write_text("rubbish\nand more\n")
    with pytest.raises(StorageError, match="journal"):
        open_trial_store(folder, CONFIG, space)


def test_reading_beside_a_coordinator_writes_nothing(folder: StudyFolder, space: Space) -> None:
    journal = folder.journal
    run_trials(open_trial_store(folder, CONFIG, space), 1)
    before = journal.read_bytes()
    read_trials(folder)
    assert journal.read_bytes() == before
    assert read_trials(StudyFolder(folder.root / "absent")) == []


def test_the_median_pruner_stops_a_hopeless_trial(folder: StudyFolder, space: Space) -> None:
    store = open_trial_store(folder, CONFIG, space)
    for value in (1.0, 1.1, 1.2, 1.3):
        number, _ = asked(store)
        for epoch in range(4):
            store.report(number, epoch=epoch, objective=value)
        store.tell(number, TrialState.COMPLETE, value=value)
    number, _ = asked(store)
    for epoch in range(4):
        store.report(number, epoch=epoch, objective=2.0)
    assert store.should_prune(number)


def test_a_store_that_cannot_sync_closes_all_the_same(
    folder: StudyFolder, space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_trial_store(folder, CONFIG, space)
    asked(store)
    store.report(0, epoch=0, objective=1.0)
    closed: list[str] = []
    for part in ("proposer", "storage"):
        monkeypatch.setattr(getattr(store, f"_{part}"), "close", partial(closed.append, part))

    def fail(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output"):
        store.close()
    assert closed == ["proposer", "storage"]
