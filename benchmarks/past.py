"""A study of thousands of ended trials, written as files and rows: to run it would take hours."""

import sqlite3
import time
import uuid
from pathlib import Path

from benchmarks.scale_optuna import fill_journal, made
from benchmarks.simulated import SimulatedLauncher
from benchmarks.simulated_study import NAME, Enough, Gauges, SimulatedStudy, open_study
from reports.records import STUDY_OBJECTIVE, TAG_KIND, TAG_NUMBER, TAG_TRIAL, TrialState, trial_tag
from study.opening import study_place
from study.workspace import Workspace, write_json

NUM_RUNNING = 16
RUNNING_S = 3.0
EPOCH_S = 5.0
"""Long enough that the first attempts still run when the last slot is filled, a third of a second a proposal later."""
NUM_POINTS = 170
TABLES = ("tags", "params", "metrics", "latest_metrics")


def make_past(root: Path, speech: Path, *, count: int) -> None:
    """Makes the study: so many trials in Optuna's journal, their files, and MLflow's runs; then some that run."""
    study = open_study(root, speech, num_trials=2 * count)
    study.close()
    fill_journal(study_place(study.folder, study.plan.config), study.plan.config, study.plan.space, count)
    write_configs(study, count)
    write_runs(Workspace(root).mlflow / "mlflow.db", study, count)
    start_some(root, speech, count)


def write_configs(study: SimulatedStudy, count: int) -> None:
    """The frozen configuration of each trial."""
    base = study.plan.config.trial.model_dump(mode="json")
    for number in range(count):
        config = study.plan.space.apply(base, made(study.plan.space, number).params)
        write_json(study.folder.trial(number).config, config.model_dump(mode="json"))


def write_runs(database: Path, study: SimulatedStudy, count: int) -> None:
    """One run that the tracker writes, and copies of its rows."""
    study.tracker.open_trial(0, study.plan.config.trial)
    for step in range(NUM_POINTS // 17):
        metrics = {f"val/metric_{key}": float(step) for key in range(17)}
        study.tracker.log_epoch(0, metrics, epoch=step, time_ms=step)
    study.tracker.finish_trial(
        0, TrialState.COMPLETE, end_ms=1, objective=1.0, best_epoch=0, metrics={}, failure="", artifacts={}
    )
    with sqlite3.connect(database) as connection:
        [[first]] = connection.execute("select run_uuid from tags where key = ? and value = 'trial'", [TAG_KIND])
        ids = [(number, uuid.uuid4().hex) for number in range(1, count)]
        for table in ("runs", *TABLES):
            copy_rows(connection, table, first, ids)
        for number, run in ids:
            for key, value in ((TAG_NUMBER, str(number)), (TAG_TRIAL, trial_tag(NAME, number))):
                connection.execute("update tags set value = ? where run_uuid = ? and key = ?", [value, run, key])
        copy_objectives(connection, count)


def copy_rows(connection: sqlite3.Connection, table: str, run: str, ids: list[tuple[int, str]]) -> None:
    """Copies a run's rows of a table for other runs."""
    cursor = connection.execute(f"select * from {table} where run_uuid = ?", [run])  # noqa: S608 - our own table names
    place = [column[0] for column in cursor.description].index("run_uuid")
    rows = cursor.fetchall()
    marks = ", ".join("?" * len(cursor.description))
    copies = ((*row[:place], copy, *row[place + 1 :]) for _, copy in ids for row in rows)
    connection.executemany(f"insert into {table} values ({marks})", copies)  # noqa: S608


def copy_objectives(connection: sqlite3.Connection, count: int) -> None:
    """The parent run's metric that says which trials are recorded."""
    cursor = connection.execute("select * from metrics where key = ?", [STUDY_OBJECTIVE])
    place = [column[0] for column in cursor.description].index("step")
    [row] = cursor.fetchall()
    marks = ", ".join("?" * len(row))
    copies = ((*row[:place], number, *row[place + 1 :]) for number in range(1, count))
    connection.executemany(f"insert into metrics values ({marks})", copies)  # noqa: S608


def start_some(root: Path, speech: Path, count: int) -> None:
    """Lets a coordinator start some trials, and dies with it."""
    study = open_study(root, speech, num_trials=2 * count)
    launcher = SimulatedLauncher(NUM_RUNNING, epoch_s=EPOCH_S)
    try:
        study.coordinator(launcher, Briefly(launcher)).run()
    except Enough:
        launcher.close()
    finally:
        study.close()


class Briefly(Gauges):
    """Ends a coordinator some seconds after all its slots are busy."""

    def __init__(self, launcher: SimulatedLauncher) -> None:
        self._launcher = launcher
        self._busy_at: float | None = None

    def sleep(self, seconds: float) -> None:
        """Sleeps, or ends it."""
        if self._busy_at is None and self._launcher.num_running == NUM_RUNNING:
            self._busy_at = time.monotonic()
        if self._busy_at is not None and time.monotonic() - self._busy_at > RUNNING_S:
            raise Enough
        super().sleep(seconds)
