"""What became of each attempt, read from what it left behind."""

from pathlib import Path

import pytest

from lightning_modules.config import TrialConfig
from reports.records import TrialState
from study.attempt_records import AttemptRecord, attempt_records
from study.events import AnyEvent, Ended, EventLog, Started
from study.spec import EVENTS_FILE, EXIT_FILE, EXIT_STORAGE_FULL, SPEC_FILE, STOP_FILE
from study.workspace import TrialFolder, write_json
from tests.conftest import write_tiny_study
from tests.study.helpers import cut_off, record_of, run_study

STARTED = Started(
    time_ms=100, pid=1, host="here", device="cpu", num_threads=1, num_parameters=7, resumed_epoch=0, warm=True
)
ENDED = Ended(time_ms=900, outcome="complete")


@pytest.fixture
def trial(tmp_path: Path) -> TrialFolder:
    return TrialFolder(tmp_path)


def add_attempt(trial: TrialFolder, *events: AnyEvent, **files: object) -> Path:
    folder = trial.root / f"attempt-{len(trial.attempts())}"
    write_json(folder / SPEC_FILE, TrialConfig().model_dump(mode="json"))
    for event in events:
        EventLog(folder / EVENTS_FILE).append(event)
    names = {"exit": EXIT_FILE, "stop": STOP_FILE}
    for name, content in files.items():
        write_json(folder / names[name], content)
    return folder


def first(trial: TrialFolder) -> AttemptRecord:
    add_attempt(trial, STARTED, ENDED, exit={"status": 0})
    return attempt_records(trial, is_running=False)[0]


def test_one_attempt_needs_no_record_of_its_own(trial: TrialFolder) -> None:
    add_attempt(trial, STARTED, ENDED)
    assert attempt_records(trial, is_running=False) == []


def test_the_last_attempt_may_still_run(trial: TrialFolder) -> None:
    add_attempt(trial, STARTED, exit={"status": -9})
    add_attempt(trial, STARTED)
    lost, running = attempt_records(trial, is_running=True)
    assert (lost.attempt, lost.state, lost.failure_class) == (0, TrialState.FAILED, "lost")
    assert lost.end_ms is not None
    assert (running.attempt, running.state, running.end_ms) == (1, TrialState.RUNNING, None)
    assert (running.start_ms, running.host, running.device) == (100, "here", "cpu")


@pytest.mark.parametrize(
    ("status", "failure_class"), [(-9, "lost"), (1, "defect"), (EXIT_STORAGE_FULL, "disk_full")], ids=str
)
def test_an_attempt_without_a_last_word_is_judged_by_its_exit(
    trial: TrialFolder, status: int, failure_class: str
) -> None:
    add_attempt(trial, STARTED, exit={"status": status})
    record = first(trial)
    assert (record.state, record.failure_class) == (TrialState.FAILED, failure_class)
    assert record.failure


def test_an_attempt_that_left_nothing_is_lost(trial: TrialFolder) -> None:
    folder = add_attempt(trial)
    record = first(trial)
    assert (record.failure_class, record.host) == ("lost", "")
    assert record.start_ms == int((folder / SPEC_FILE).stat().st_mtime * 1000)


def test_an_attempt_that_was_stopped_says_why(trial: TrialFolder) -> None:
    add_attempt(trial, STARTED, stop={"reason": "interrupted"}, exit={"status": -15})
    record = first(trial)
    assert (record.state, record.failure_class) == (TrialState.INTERRUPTED, "")


@pytest.mark.parametrize(("outcome", "failure_class"), [("diverged", ""), ("failed", "defect")])
def test_an_attempt_that_spoke_is_believed(trial: TrialFolder, outcome: str, failure_class: str) -> None:
    ended = Ended.model_validate({"time_ms": 500, "outcome": outcome, "failure": "why"})
    add_attempt(trial, STARTED, ended, exit={"status": 0})
    record = first(trial)
    assert (record.state.value, record.failure_class, record.failure) == (outcome, failure_class, "why")
    assert (record.start_ms, record.end_ms) == (100, 500)


def test_a_trial_of_two_attempts_is_one_trial_with_two_runs_below_it(workspace: Path, tmp_path: Path) -> None:
    study = write_tiny_study(tmp_path, trials=1)
    cut_off(workspace, study, leave=lambda _: None)
    run_study(study, workspace)
    (run,) = record_of(workspace).trials
    assert run.state is TrialState.COMPLETE
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{workspace}/mlflow/mlflow.db")
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    children = client.search_runs([experiment.experiment_id], f"tags.mlflow.parentRunId = '{run.run_id}'")
    assert sorted(child.data.tags["lidstudy.attempt"] for child in children) == ["tiny/0/0", "tiny/0/1"]
    assert "RUNNING" not in {child.info.status for child in children}
