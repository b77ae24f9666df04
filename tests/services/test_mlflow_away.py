"""MLflow goes away in mid-sweep and comes back: Optuna, MLflow and the event logs agree, and nothing waits for it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reports.records import TAG_KIND, TrialState
from study.mlflow_store import connect
from study.workspace import StudyFolder, Workspace
from tests.conftest import write_tiny_study
from tests.faults.test_kill_and_resume import check_that_all_agree, finish, has_come_to, living_trainers, num_epochs
from tests.services.mlflow_server import MlflowServer
from tests.services.postgresql import PostgresServer, postgresql
from tests.study.helpers import record_of, until

__all__ = ["postgresql"]
pytestmark = [pytest.mark.services, pytest.mark.timeout(400)]
AWAY_S = 10.0
Sweep = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return write_tiny_study(tmp_path, trials=5, epochs=12, steps=8)


@pytest.fixture
def folder(workspace: Path) -> StudyFolder:
    return Workspace(workspace).study("tiny")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MlflowServer]:
    """A server on an SQLite file."""
    server = MlflowServer(tmp_path, backend=f"sqlite:///{tmp_path / 'server.db'}")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def sweep(study: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sweep]:
    """Starts `lidstudy sweep` with its records at a URL; whatever is left of it afterwards is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(url: str) -> "subprocess.Popen[str]":
        monkeypatch.setenv("LIDSTUDY_MLFLOW", url)  # also for who reads the records afterwards
        command = [sys.executable, "-c", "from study.cli import main; main()", "sweep", str(study)]
        process = subprocess.Popen(
            [*command, "--workspace", str(workspace), "--slots", "2"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def lidstudy(command: str, workspace: Path, *arguments: str) -> str:
    """Output of another command."""
    program = [sys.executable, "-c", "from study.cli import main; main()", command, *arguments]
    done = subprocess.run(
        [*program, "--workspace", str(workspace)], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def passed(seconds: float) -> Callable[[], bool]:
    """Whether a time has passed, as outages have a length."""
    end = time.monotonic() + seconds
    return lambda: time.monotonic() > end


def running(url: str) -> list[str]:
    """Kinds of the runs that MLflow calls RUNNING."""
    client = connect(url)
    experiment = client.get_experiment_by_name("tiny")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], "attributes.status = 'RUNNING'")
    return [run.data.tags[TAG_KIND] for run in runs]


def check_outage_was_told(output: str) -> None:
    assert output.count("MLflow is away since ") == 1, output
    assert output.count("MLflow is back after ") == 1, output
    assert "Traceback" not in output


def check(workspace: Path, folder: StudyFolder, url: str) -> None:
    check_that_all_agree(workspace, folder)
    assert running(url) == []
    record = record_of(workspace)
    assert record.ledger
    assert record.scores_dev is not None
    assert record.scores_test is not None


def test_a_server_that_is_killed_and_comes_back(
    sweep: Sweep, server: MlflowServer, workspace: Path, folder: StudyFolder
) -> None:
    process = sweep(server.url)
    until(lambda: num_epochs(folder) >= 5)
    server.kill()
    seen = num_epochs(folder)
    until(passed(AWAY_S))
    assert num_epochs(folder) > seen + 5, "attempts go on"
    server.start()
    check_outage_was_told(finish(process))
    check(workspace, folder, server.url)
    view = lidstudy("ui", workspace)
    assert view.startswith(f"tiny: {server.url}/#/experiments/")
    assert "report.md" in lidstudy("report", workspace, "tiny")
    artifacts = {path.name for path in (server.folder / "artifacts").rglob("*") if path.is_file()}
    assert {"study.json", "best.ckpt", "events.jsonl", "confusion.png", "ledger.jsonl"} <= artifacts
    assert not (workspace / "mlflow" / "artifacts").exists()


def test_a_database_that_restarts_behind_the_server(
    sweep: Sweep, postgresql: PostgresServer, workspace: Path, folder: StudyFolder, tmp_path: Path
) -> None:
    server = MlflowServer(tmp_path, backend=postgresql.new_database())
    server.start()
    try:
        process = sweep(server.url)
        until(lambda: num_epochs(folder) >= 5)
        server.kill()
        postgresql.stop()
        until(passed(AWAY_S / 2))
        postgresql.start()
        until(passed(AWAY_S / 2))
        server.start()
        until(lambda: has_come_to(folder, 40))
        postgresql.stop()  # the server is there, its database is not
        until(passed(AWAY_S / 2))
        postgresql.start()
        output = finish(process)
        assert output.count("MLflow is away since ") == output.count("MLflow is back after ") >= 1, output
        check(workspace, folder, server.url)
    finally:
        server.kill()


def test_postgresql_without_a_server(
    sweep: Sweep, postgresql: PostgresServer, workspace: Path, folder: StudyFolder
) -> None:
    url = postgresql.new_database()
    process = sweep(url)
    until(lambda: num_epochs(folder) >= 5)
    postgresql.stop()
    until(passed(AWAY_S))
    postgresql.start()
    output = finish(process)
    check_outage_was_told(output)
    check(workspace, folder, url)
    assert list((workspace / "mlflow" / "artifacts").rglob("best.ckpt"))
    secret = url.partition("@")[0].rpartition(":")[2]
    assert secret not in output
    assert "report.md" in lidstudy("report", workspace, "tiny")
    written = [path for path in workspace.rglob("*") if path.suffix in (".json", ".jsonl", ".html", ".md", ".csv")]
    assert any(path.name == "study.json" for path in written)
    assert [path for path in written if secret in path.read_text(errors="replace")] == []


def test_ctrl_c_ends_a_sweep_whose_server_is_away(
    sweep: Sweep, server: MlflowServer, workspace: Path, folder: StudyFolder
) -> None:
    process = sweep(server.url)
    until(lambda: num_epochs(folder) >= 5)
    server.kill()
    until(lambda: num_epochs(folder) >= 9)
    asked = time.monotonic()
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert time.monotonic() - asked < 20.0, "it ends within seconds"
    assert process.returncode == 130, output
    assert "MLflow has not been told everything" in output
    assert living_trainers(folder) == []

    again = sweep(server.url)
    output, _ = again.communicate(timeout=60)
    assert again.returncode == 2, output
    (error,) = [line for line in output.splitlines() if line.startswith("lidstudy: error: ")]
    assert "MLflow cannot be reached (Connection refused)" in error

    server.start()
    finish(sweep(server.url))
    check(workspace, folder, server.url)


def test_the_end_of_a_sweep_waits_for_its_server(
    sweep: Sweep, server: MlflowServer, workspace: Path, folder: StudyFolder
) -> None:
    process = sweep(server.url)
    until(lambda: num_epochs(folder) >= 5)
    server.kill()
    until(lambda: has_come_to(folder, 60))
    until(passed(3.0))
    assert process.poll() is None
    server.start()
    check_outage_was_told(finish(process))
    check(workspace, folder, server.url)


def test_a_killed_coordinator_leaves_runs_that_the_next_sweep_ends(
    sweep: Sweep, server: MlflowServer, workspace: Path, folder: StudyFolder
) -> None:
    process = sweep(server.url)
    until(lambda: num_epochs(folder) >= 5)
    process.kill()
    process.wait()
    for pid in living_trainers(folder):
        os.kill(pid, signal.SIGKILL)
    assert "trial" in running(server.url)
    finish(sweep(server.url))
    check(workspace, folder, server.url)
    states = {trial.state for trial in record_of(workspace).trials}
    assert states == {TrialState.COMPLETE}
