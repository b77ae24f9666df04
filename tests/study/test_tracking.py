"""MLflow's side: telling the same thing twice changes nothing, and the store's errors are one line."""

import math
import random
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests
from mlflow.tracking import MlflowClient

from lightning_modules.config import TrialConfig
from lightning_modules.errors import StorageError
from reports.load import load_study
from reports.records import (
    TAG_COMMIT,
    TAG_DIFF,
    TAG_FAILURE_CLASS,
    TAG_HOST,
    TAG_KIND,
    TAG_STATE,
    TAG_TRIAL,
    StudyManifest,
    StudyState,
    TrialState,
)
from study.attempt_records import AttemptRecord
from study.backlog import Backlog
from study.events import Started
from study.mlflow_opening import open_tracker
from study.mlflow_runs import Runs
from study.params import flat
from study.recording import AttemptStarted
from study.tracking import Tracker
from study.workspace import Workspace
from tests.study.helpers import catch_up

MANIFEST = StudyManifest(
    name="tracked",
    question="Is it told once?",
    objective="val/cllr_calibrated",
    objective_bound=4.6,
    num_trials=2,
    parameters=(),
    config={},
    space={},
    languages=("en", "es"),
    corpus={"name": "prompts", "data_hash": "abc"},
    command="lidstudy sweep tracked",
    versions={},
    seed=0,
)


STARTED = AttemptStarted(
    number=0,
    num_attempts=1,
    started=Started(
        time_ms=10, pid=1, host="here", device="cpu", num_threads=1, num_parameters=7, resumed_epoch=0, warm=True
    ),
)


ATTEMPTS = (
    AttemptRecord(
        attempt=0, state=TrialState.FAILED, start_ms=10, end_ms=50, host="here", device="cpu", failure_class="lost"
    ),
    AttemptRecord(attempt=1, state=TrialState.COMPLETE, start_ms=60, end_ms=200, host="here", device="cpu"),
)


def opened(root: Path) -> Tracker:
    return open_tracker(Workspace(root), MANIFEST, tags={"lidstudy.commit": "c0ffee"}, data_hash="abc")


def tell_all(tracker: Tracker) -> None:
    tracker.open_trial(0, TrialConfig())
    tracker.log_attempt(STARTED)
    for epoch in range(3):
        tracker.log_epoch(0, {"val/cllr_calibrated": 2.0 - epoch, "train/loss": 1.0}, epoch=epoch, time_ms=100 + epoch)
    tracker.finish_trial(
        0,
        TrialState.COMPLETE,
        end_ms=200,
        objective=0.0,
        best_epoch=2,
        metrics={"best/accuracy": 0.5},
        failure="",
        artifacts={"config.json": "{}"},
    )
    tracker.finish_study(StudyState.COMPLETE)


def num_points(root: Path) -> int:
    with sqlite3.connect(Workspace(root).mlflow / "mlflow.db") as connection:
        return int(connection.execute("select count(*) from metrics").fetchone()[0])


def test_a_second_telling_adds_no_run_and_no_point(workspace: Path) -> None:
    tell_all(opened(workspace))
    first, points = load_study("tracked", tracking_uri=Workspace(workspace).tracking_uri), num_points(workspace)
    tell_all(opened(workspace))
    assert num_points(workspace) == points
    assert load_study("tracked", tracking_uri=Workspace(workspace).tracking_uri) == first
    assert [run.state for run in first.trials] == [TrialState.COMPLETE]


def test_a_trials_latency_is_what_its_first_attempt_measured(workspace: Path) -> None:
    first = STARTED.started.model_copy(update={"latency_ms": 2.5})
    again = STARTED.started.model_copy(update={"latency_ms": 9.0, "time_ms": 90})
    tracker = opened(workspace)
    tracker.open_trial(0, TrialConfig())
    for attempt in (replace(STARTED, started=first), replace(STARTED, started=again, measured=first)):
        tracker.log_attempt(attempt)
    tracker.flush()
    (run,) = load_study("tracked", tracking_uri=Workspace(workspace).tracking_uri).trials
    assert run.metrics["model/latency_ms"] == 2.5
    assert run.metrics["model/num_parameters"] == 7


def test_the_hash_of_a_change_goes_once_the_change_is_committed(workspace: Path) -> None:
    def tags(given: dict[str, str]) -> dict[str, str]:
        tracker = open_tracker(
            Workspace(workspace), MANIFEST, tags=given, data_hash="abc", url=Workspace(workspace).tracking_uri
        )
        tracker.finish_study(StudyState.COMPLETE)
        return load_study("tracked", tracking_uri=Workspace(workspace).tracking_uri).tags

    assert tags({TAG_COMMIT: "1", TAG_DIFF: "f00"})[TAG_DIFF] == "f00"
    after = tags({TAG_COMMIT: "2"})
    assert after[TAG_COMMIT] == "2"
    assert TAG_DIFF not in after


def test_what_is_recorded_is_known_to_the_next_coordinator(workspace: Path) -> None:
    tracker = opened(workspace)
    tracker.open_trial(0, TrialConfig())
    tracker.open_trial(1, TrialConfig(seed=1))
    tracker.finish_trial(
        1, TrialState.PRUNED, end_ms=5, objective=None, best_epoch=None, metrics={}, failure="", artifacts={}
    )
    assert opened(workspace).recorded() == {1}


def test_a_run_whose_maker_died_early_gets_its_params(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Runs, "describe", lambda *_, **__: None)
        opened(workspace).open_trial(0, TrialConfig())
    opened(workspace).open_trial(0, TrialConfig())
    (run,) = load_study("tracked", tracking_uri=Workspace(workspace).tracking_uri).trials
    assert run.params["encoder.hidden_size"] == 64


def test_the_database_has_a_write_ahead_log(tmp_path: Path) -> None:
    opened(tmp_path)
    with sqlite3.connect(Workspace(tmp_path).mlflow / "mlflow.db") as connection:
        assert connection.execute("pragma journal_mode").fetchone() == ("wal",)


def test_a_broken_store_is_one_clear_error(tmp_path: Path) -> None:
    database = Workspace(tmp_path).mlflow / "mlflow.db"
    database.parent.mkdir(parents=True)
    database.write_text("rubbish" * 1000)
    with pytest.raises(StorageError, match="MLflow's store cannot be used") as caught:
        opened(tmp_path)
    assert "\n" not in str(caught.value)


def test_params_are_the_flat_configuration() -> None:
    content = flat(TrialConfig().model_dump(mode="json"))
    assert content["encoder.hidden_size"] == 64
    assert content["data.languages"] == ["en", "es", "fr", "it", "ru"]
    assert content["data.features.num_bands"] == 40


class LosesAnswers:
    """A client whose calls take effect, but of which some answers are lost on the way back."""

    def __init__(self, client: MlflowClient, *, seed: int) -> None:
        self._client = client
        self._chance = random.Random(seed)
        self.num_lost = 0

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def call(*arguments: object, **keywords: object) -> Any:
            answer = method(*arguments, **keywords)
            if self._chance.random() < 0.3:
                self.num_lost += 1
                raise requests.exceptions.ConnectionError("[Errno 104] Connection reset by peer")
            return answer

        return call


def tell_through_backlog(root: Path, *, seed: int | None) -> int:
    """Tells three trials, the last of two attempts; returns how many answers were lost."""
    tracker = opened(root)
    client = LosesAnswers(tracker._runs._client, seed=seed or 0)
    if seed is not None:
        vars(tracker._runs)["_client"] = client
    backlog = Backlog(first_pause_s=0.0001)
    for number in range(3):
        backlog.add(tracker.open_trial, number, TrialConfig(seed=number), is_new=True)
        backlog.add(tracker.log_attempt, replace(STARTED, number=number))
        for epoch in range(3):
            metrics = {"val/cllr_calibrated": 2.0 - epoch, "val/loss": math.nan, "val/cllr": math.inf}
            backlog.add(tracker.log_epoch, number, metrics, epoch=epoch, time_ms=100 + epoch)
            backlog.add(tracker.flush)
        backlog.add(
            tracker.finish_trial,
            number,
            TrialState.COMPLETE,
            end_ms=200,
            objective=0.0,
            best_epoch=2,
            metrics={"best/accuracy": 0.5},
            failure="",
            artifacts={"config.json": "{}"},
            attempts=ATTEMPTS if number == 2 else (),
        )
    backlog.add(tracker.finish_study, TrialState.COMPLETE)
    catch_up(backlog)
    backlog.close()
    return client.num_lost


def rows(root: Path) -> dict[str, int]:
    tables = ("runs", "metrics", "latest_metrics", "params", "tags", "inputs", "datasets")
    with sqlite3.connect(Workspace(root).mlflow / "mlflow.db") as connection:
        return {table: connection.execute(f"select count(*) from {table}").fetchone()[0] for table in tables}  # noqa: S608


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_calls_whose_answer_is_lost_are_made_again_and_add_nothing(
    another_workspace: Callable[[], Path], seed: int
) -> None:
    calm, disturbed = another_workspace(), another_workspace()
    tell_through_backlog(calm, seed=None)
    assert tell_through_backlog(disturbed, seed=seed) > 10
    assert rows(disturbed) == rows(calm)
    assert runs_of(disturbed, "attributes.status = 'RUNNING'") == []


def runs_of(root: Path, condition: str) -> list[Any]:
    runs: list[Any] = opened(root)._runs.search(condition)  # opening sets the parent run to RUNNING
    return [run for run in runs if run.data.tags[TAG_KIND] != "study"]


def test_values_that_are_no_numbers_come_back_as_they_were(workspace: Path) -> None:
    tell_through_backlog(workspace, seed=None)
    history = load_study("tracked", tracking_uri=Workspace(workspace).tracking_uri).trials[0].history
    assert [point.value for point in history["val/cllr"]] == [math.inf] * 3
    assert all(math.isnan(point.value) for point in history["val/loss"])
    assert [point.step for point in history["val/loss"]] == [0, 1, 2]


def test_a_trial_of_two_attempts_says_how_long_they_took_without_the_pause(workspace: Path) -> None:
    tell_through_backlog(workspace, seed=None)
    trials = load_study("tracked", tracking_uri=Workspace(workspace).tracking_uri).trials
    assert [trial.metrics.get("time/attempts_s") for trial in trials] == [None, None, 0.18]


def test_attempts_are_runs_below_their_trial_and_count_as_no_trials(workspace: Path) -> None:
    tell_through_backlog(workspace, seed=None)
    lost, last = runs_of(workspace, f"tags.`{TAG_KIND}` = 'attempt'")
    (trial,) = runs_of(workspace, f"tags.`{TAG_TRIAL}` = 'tracked/2'")
    assert {run.data.tags["mlflow.parentRunId"] for run in (lost, last)} == {trial.info.run_id}
    assert (lost.info.status, lost.info.start_time, lost.info.end_time) == ("FAILED", 10, 50)
    assert (lost.data.tags[TAG_FAILURE_CLASS], lost.data.tags[TAG_HOST]) == ("lost", "here")
    assert (last.info.status, last.data.tags[TAG_STATE]) == ("FINISHED", "complete")
    assert TAG_FAILURE_CLASS not in last.data.tags
    study = load_study("tracked", tracking_uri=Workspace(workspace).tracking_uri)
    assert [run.number for run in study.trials] == [0, 1, 2]
    assert opened(workspace).recorded() == {0, 1, 2}


def test_what_was_told_of_attempts_is_kept_until_their_trial_is_on_record(workspace: Path) -> None:
    tracker = opened(workspace)
    for number in range(3):
        tracker.open_trial(number, TrialConfig(seed=number))
        tracker.log_attempt(replace(STARTED, number=number, records=ATTEMPTS[:1]))
        assert list(tracker._attempts._told) == [number]
        tracker.finish_trial(
            number,
            TrialState.COMPLETE,
            end_ms=200,
            objective=0.0,
            best_epoch=2,
            metrics={},
            failure="",
            artifacts={},
            attempts=ATTEMPTS,
        )
        assert list(tracker._attempts._told) == []
    assert len(runs_of(workspace, f"tags.`{TAG_KIND}` = 'attempt'")) == 6


def test_a_run_on_which_nothing_works_is_ended_with_the_study(workspace: Path) -> None:
    tracker = opened(workspace)
    tracker.open_trial(0, TrialConfig())
    tracker.log_attempt(replace(STARTED, records=(replace(ATTEMPTS[0], end_ms=None, state=TrialState.RUNNING),)))
    tracker.finish_study(StudyState.INTERRUPTED)
    stray = runs_of(workspace, "attributes.status = 'KILLED'")
    assert [run.data.tags[TAG_KIND] for run in stray] == ["attempt", "trial"]
    assert {run.data.tags[TAG_STATE] for run in stray} == {"interrupted"}


def test_a_second_run_of_one_trial_is_deleted_by_the_next_sweep(workspace: Path) -> None:
    tell_through_backlog(workspace, seed=None)
    tracker = opened(workspace)
    (first,) = runs_of(workspace, f"tags.`{TAG_TRIAL}` = 'tracked/1'")
    tracker._create_run(1, TrialConfig(seed=1))  # a request that the server made good after everybody had given it up
    assert [run.info.run_id for run in runs_of(workspace, f"tags.`{TAG_TRIAL}` = 'tracked/1'")] == [first.info.run_id]


def test_runs_whose_trials_nobody_knows_are_strangers_until_they_are_deleted(workspace: Path) -> None:
    tell_through_backlog(workspace, seed=None)
    tracker = opened(workspace)
    assert tracker.strangers(range(3)) == set()
    assert tracker.strangers(range(1)) == {1, 2}
    for run in runs_of(workspace, f"tags.`{TAG_KIND}` = 'trial'"):
        tracker._runs.delete(run.info.run_id)
    assert tracker.strangers(()) == set()


def test_a_database_whose_making_was_cut_off_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class PowerCut(BaseException):
        pass

    def cut(_: object) -> None:
        raise PowerCut

    with monkeypatch.context() as patch:
        patch.setattr("mlflow.store.db.utils._verify_schema", cut)
        with pytest.raises(PowerCut):
            opened(tmp_path)
    assert not (Workspace(tmp_path).mlflow / "mlflow.db").exists()
    tell_all(opened(tmp_path))
    left = {path.name for path in Workspace(tmp_path).mlflow.iterdir()}
    assert left <= {"mlflow.db", "mlflow.db-wal", "mlflow.db-shm", "migration.lock", "artifacts"}
