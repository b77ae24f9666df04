"""MLflow's side: telling the same thing twice changes nothing, and the store's errors are one line."""

import sqlite3
from pathlib import Path

import pytest

from lightning_modules.config import TrialConfig
from lightning_modules.errors import StorageError
from reports.load import load_study
from reports.records import StudyManifest, TrialState
from study.events import Started
from study.mlflow_runs import Runs
from study.recording import AttemptStarted
from study.tracking import Tracker, flat, open_tracker
from study.workspace import Workspace

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
    tracker.finish_study(TrialState.COMPLETE)


def num_points(root: Path) -> int:
    with sqlite3.connect(Workspace(root).mlflow / "mlflow.db") as connection:
        return int(connection.execute("select count(*) from metrics").fetchone()[0])


def test_a_second_telling_adds_no_run_and_no_point(tmp_path: Path) -> None:
    tell_all(opened(tmp_path))
    first, points = load_study("tracked", tracking_uri=Workspace(tmp_path).tracking_uri), num_points(tmp_path)
    tell_all(opened(tmp_path))
    assert num_points(tmp_path) == points
    assert load_study("tracked", tracking_uri=Workspace(tmp_path).tracking_uri) == first
    assert [run.state for run in first.trials] == [TrialState.COMPLETE]


def test_what_is_recorded_is_known_to_the_next_coordinator(tmp_path: Path) -> None:
    tracker = opened(tmp_path)
    tracker.open_trial(0, TrialConfig())
    tracker.open_trial(1, TrialConfig(seed=1))
    tracker.finish_trial(
        1, TrialState.PRUNED, end_ms=5, objective=None, best_epoch=None, metrics={}, failure="", artifacts={}
    )
    assert opened(tmp_path).recorded() == {1}


def test_a_run_whose_maker_died_early_gets_its_params(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Runs, "describe", lambda *_, **__: None)
        opened(tmp_path).open_trial(0, TrialConfig())
    opened(tmp_path).open_trial(0, TrialConfig())
    (run,) = load_study("tracked", tracking_uri=Workspace(tmp_path).tracking_uri).trials
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
