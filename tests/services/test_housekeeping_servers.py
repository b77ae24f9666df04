"""The doctor, `clean` and `archive` with a real PostgreSQL and a real MLflow server."""

import json
import tarfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect, text

from reports.records import StudyState
from study.archive import archive_study
from study.doctor._base import Finding
from study.doctor.stores import look_at_stores
from study.evaluation import read_ledger
from study.housekeeping import clean_study
from study.workspace import Workspace
from tests.conftest import write_tiny_study
from tests.services.mlflow_server import MlflowServer
from tests.services.postgresql import PASSWORD, PostgresServer
from tests.study.helpers import record_of, run_study, trials_of

pytestmark = [pytest.mark.services, pytest.mark.timeout(300)]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[MlflowServer]:
    server = MlflowServer(folder=tmp_path, backend=f"sqlite:///{tmp_path}/server.db")
    server.start()
    yield server
    server.kill()


def by_name(folder: Path) -> dict[str, Finding]:
    return {finding.name: finding for finding in look_at_stores(folder)}


def test_postgresql_is_examined_and_left_as_it_was(
    postgresql: PostgresServer, workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    optuna, mlflow = postgresql.new_database(), postgresql.new_database()
    monkeypatch.setenv("LIDSTUDY_OPTUNA_STORAGE", optuna)
    monkeypatch.setenv("LIDSTUDY_MLFLOW", mlflow)
    empty = by_name(workspace)
    assert [finding.mend for finding in empty.values()] == ["", ""], empty
    assert all("empty" in finding.seen and finding.seen.endswith("writable") for finding in empty.values())
    assert all(PASSWORD not in repr(finding) for finding in empty.values())
    for url in (optuna, mlflow):
        engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
        assert inspect(engine).get_table_names() == []
        engine.dispose()
    run_study(write_tiny_study(tmp_path, trials=1), workspace)
    used = by_name(workspace)
    assert all("migrated" in finding.seen and not finding.mend for finding in used.values()), used


def test_a_user_of_postgresql_who_may_not_write(
    postgresql: PostgresServer, workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgresql.new_database()
    monkeypatch.setenv("LIDSTUDY_OPTUNA_STORAGE", url)
    run_study(write_tiny_study(tmp_path, trials=1), workspace)
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        connection.execute(text("DROP ROLE IF EXISTS reader"))
        connection.execute(text("CREATE ROLE reader LOGIN PASSWORD 'reads'"))
        connection.execute(text("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader"))
    engine.dispose()
    monkeypatch.setenv("LIDSTUDY_OPTUNA_STORAGE", f"postgresql://reader:reads@{url.rpartition('@')[2]}")
    assert "permission denied for table trials" in by_name(workspace)["optuna"].mend


def test_a_server_of_mlflow_is_examined_without_a_trace(
    server: MlflowServer, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIDSTUDY_MLFLOW", server.url)
    finding = by_name(workspace)["mlflow"]
    assert (finding.mend, finding.hint) == ("", "")
    assert finding.seen.endswith("answers and takes writes")
    with urllib.request.urlopen(f"{server.url}/api/2.0/mlflow/experiments/search?max_results=9") as answer:  # noqa: S310 - loopback
        experiments = json.loads(answer.read())["experiments"]
    assert [(each["name"], each.get("tags", [])) for each in experiments] == [("Default", [])]


def test_a_study_on_a_server_is_cleaned_archived_and_comes_back(
    server: MlflowServer, workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIDSTUDY_MLFLOW", server.url)
    assert run_study(write_tiny_study(tmp_path, trials=2), workspace) is StudyState.COMPLETE
    place, before = Workspace(workspace), record_of(workspace)
    folder, out = place.study("tiny"), tmp_path / "tiny.tar.gz"
    champion = read_ledger(folder)[-1].trial
    assert [leftover.path.parent.name for leftover in clean_study(folder, dry_run=False).leftovers] == [
        f"{1 - champion:05d}"
    ]
    archive_study(place, folder, out=out, checkpoints=True, remove=True)
    with tarfile.open(out) as tar:
        names = tar.getnames()
        (run_id,) = {trial.run_id for trial in before.trials if trial.number == 1 - champion}
        file = tar.extractfile(f"records/tiny/runs/{run_id}.json")
        assert file is not None
        points = json.loads(file.read())["metrics"]["val/loss"]
        tar.extractall(workspace, filter="data")
    assert f"records/tiny/artifacts/{run_id}/checkpoint/best.ckpt" in names
    history = next(trial for trial in before.trials if trial.run_id == run_id).history["val/loss"]
    assert [point["value"] for point in points] == [point.value for point in history]
    assert run_study(write_tiny_study(tmp_path, trials=3), workspace) is StudyState.COMPLETE
    assert len(trials_of(workspace)) == len(record_of(workspace).trials) == 3
