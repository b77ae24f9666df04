"""Optuna's side of a study: proposals, resumption, and journals that broke."""

from pathlib import Path
from typing import Any

import pytest

from lightning_modules.errors import StorageError
from reports.records import TrialState
from search_spaces.space import Space, load_space
from study.config import StudyConfig, TPEConfig
from study.storage import TrialStore, open_trial_store, read_trials

CONFIG = StudyConfig(name="stored", space="demo", trials=20, sampler=TPEConfig(startup_trials=3))


@pytest.fixture(scope="module")
def space() -> Space:
    return load_space("demo")


def run_trials(store: TrialStore, space: Space, count: int) -> list[dict[str, Any]]:
    """Asks and tells in turn; the value depends on the parameters alone."""
    proposals = []
    for _ in range(count):
        asked = store.ask(space)
        number, params = asked.number, asked.params
        proposals.append(params)
        store.report(number, epoch=0, objective=params["optimizer.learning_rate"])
        store.tell(number, TrialState.COMPLETE, value=params["optimizer.learning_rate"] + params["encoder.hidden_size"])
    return proposals


def test_a_resumed_study_proposes_what_an_uninterrupted_one_would(tmp_path: Path, space: Space) -> None:
    whole = run_trials(open_trial_store(tmp_path / "whole", CONFIG), space, 12)
    first = run_trials(open_trial_store(tmp_path / "parts", CONFIG), space, 5)
    second = run_trials(open_trial_store(tmp_path / "parts", CONFIG), space, 7)
    assert first + second == whole


def test_a_resumed_study_does_not_repeat_its_first_proposals(tmp_path: Path, space: Space) -> None:
    first = run_trials(open_trial_store(tmp_path / "journal", CONFIG), space, 3)
    second = run_trials(open_trial_store(tmp_path / "journal", CONFIG), space, 3)
    assert not [params for params in second if params in first]


def test_telling_twice_changes_nothing(tmp_path: Path, space: Space) -> None:
    store = open_trial_store(tmp_path / "journal", CONFIG)
    number = store.ask(space).number
    store.tell(number, TrialState.COMPLETE, value=1.0)
    store.tell(number, TrialState.FAILED, value=None)
    assert [(trial.state, trial.value) for trial in store.trials()] == [(TrialState.COMPLETE, 1.0)]


def test_a_running_trial_can_be_taken_over(tmp_path: Path, space: Space) -> None:
    asked = open_trial_store(tmp_path / "journal", CONFIG).ask(space)
    number, params = asked.number, asked.params
    store = open_trial_store(tmp_path / "journal", CONFIG)
    store.attach(number)
    store.report(number, epoch=0, objective=2.0)
    store.report(number, epoch=0, objective=9.0)  # a replayed event: the first report stays
    store.tell(number, TrialState.DIVERGED, value=4.6)
    (trial,) = read_trials(tmp_path / "journal", "stored")
    assert (trial.state, trial.value, trial.params, trial.reports) == (TrialState.DIVERGED, 4.6, params, {0: 2.0})


def test_a_trial_whose_coordinator_died_early_gets_the_parameters_that_it_would_have_had(
    tmp_path: Path, space: Space
) -> None:
    whole = open_trial_store(tmp_path / "whole", CONFIG).ask(space)
    with_parameters = open_trial_store(tmp_path / "journal", CONFIG)
    asked = with_parameters.ask(space)
    assert asked.params == whole.params
    assert open_trial_store(tmp_path / "journal", CONFIG).take_up(asked.number, space) == asked
    lines = (tmp_path / "journal").read_text().splitlines(keepends=True)
    (tmp_path / "journal").write_text("".join(line for line in lines if '"op_code": 5' not in line))
    taken_up = open_trial_store(tmp_path / "journal", CONFIG).take_up(asked.number, space)
    assert taken_up.params == whole.params


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_no_value_that_is_not_finite_reaches_optuna(tmp_path: Path, space: Space, value: float) -> None:
    store = open_trial_store(tmp_path / "journal", CONFIG)
    number = store.ask(space).number
    with pytest.raises(ValueError, match="finite"):
        store.tell(number, TrialState.COMPLETE, value=value)


def test_a_torn_last_line_is_cut_and_the_study_goes_on(tmp_path: Path, space: Space) -> None:
    journal = tmp_path / "journal"
    run_trials(open_trial_store(journal, CONFIG), space, 2)
    with journal.open("ab") as file:
        file.write(b'{"op_code": 5, "worker')
    store = open_trial_store(journal, CONFIG)
    run_trials(store, space, 1)
    assert len(read_trials(journal, "stored")) == 3


def test_a_journal_of_rubbish_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "journal").write_text("rubbish\nand more\n")
    with pytest.raises(StorageError, match="journal"):
        open_trial_store(tmp_path / "journal", CONFIG)


def test_reading_beside_a_coordinator_writes_nothing(tmp_path: Path, space: Space) -> None:
    journal = tmp_path / "journal"
    run_trials(open_trial_store(journal, CONFIG), space, 1)
    before = journal.read_bytes()
    read_trials(journal, "stored")
    assert journal.read_bytes() == before
    assert read_trials(tmp_path / "absent", "stored") == []


def test_the_median_pruner_stops_a_hopeless_trial(tmp_path: Path, space: Space) -> None:
    store = open_trial_store(tmp_path / "journal", CONFIG)
    for value in (1.0, 1.1, 1.2, 1.3):
        number = store.ask(space).number
        for epoch in range(4):
            store.report(number, epoch=epoch, objective=value)
        store.tell(number, TrialState.COMPLETE, value=value)
    number = store.ask(space).number
    for epoch in range(4):
        store.report(number, epoch=epoch, objective=2.0)
    assert store.should_prune(number)
