"""Where MLflow keeps records: the study's file, the environment, the workspace; and no password anywhere."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lightning_modules.errors import ConfigError
from study.config import load_study_config
from study.mlflow_place import mlflow_tracking_uri, mlflow_url, records_url
from study.storage_config import StorageConfig
from study.workspace import Workspace, write_json
from tests.conftest import write_tiny_study
from tests.study.helpers import run_study

SECRET_URL = "postgresql://lid:s3cret@db.example/records"  # noqa: S105 - of nobody
REFUSED = ["mlflow.db", "ftp://host/x", "mysql://u:s3cret@h/d", "databricks", "http://", "http://h/a b"]


def with_mlflow(folder: Path, url: str) -> Path:
    return write_tiny_study(folder, changes=f'\n[storage]\nmlflow = "{url}"\n')


def test_the_file_decides_then_the_environment_then_the_workspace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Workspace(tmp_path / "workspace")
    named = load_study_config(str(with_mlflow(tmp_path, "http://127.0.0.1:5000"))).storage.mlflow
    assert mlflow_url(None, workspace) == workspace.tracking_uri
    monkeypatch.setenv("LIDSTUDY_MLFLOW", SECRET_URL)
    assert mlflow_url(None, workspace) == SECRET_URL
    assert mlflow_url(named, workspace) == "http://127.0.0.1:5000"
    assert mlflow_url("sqlite:///records/own.db", workspace) == f"sqlite:///{workspace.root}/records/own.db"
    assert mlflow_url("sqlite:////var/own.db", workspace) == "sqlite:////var/own.db"


@pytest.mark.parametrize("url", REFUSED)
def test_other_places_are_refused_without_their_password(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=r"storage\.mlflow: .*\.") as caught:
        load_study_config(str(with_mlflow(tmp_path, url)))
    assert "s3cret" not in str(caught.value)
    monkeypatch.setenv("LIDSTUDY_MLFLOW", url)
    with pytest.raises(ConfigError, match=r"^\$LIDSTUDY_MLFLOW: ") as caught:
        mlflow_url(None, Workspace(tmp_path))
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("url", ["sqlite:///../own.db", "sqlite:///a/../../own.db"])
def test_a_relative_path_stays_in_the_workspace(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = Workspace(tmp_path / "workspace")
    with pytest.raises(ConfigError, match=r"^key storage\.mlflow: a relative path is inside the workspace"):
        mlflow_url(url, workspace)
    monkeypatch.setenv("LIDSTUDY_MLFLOW", url)
    with pytest.raises(ConfigError, match=r"^\$LIDSTUDY_MLFLOW: a relative path"):
        mlflow_url(None, workspace)
    with pytest.raises(ConfigError, match=r"^\$LIDSTUDY_MLFLOW: a relative path"):
        records_url(workspace, "of_another_machine")


def test_what_is_written_down_has_no_password() -> None:
    storage = StorageConfig(mlflow=SECRET_URL)
    assert storage.model_dump(mode="json")["mlflow"] == "postgresql://lid:***@db.example/records"
    assert "s3cret" not in repr(storage)
    assert "s3cret" not in storage.model_dump_json()


def test_a_store_of_its_own_is_found_again_and_does_not_settle_the_study(tmp_path: Path, workspace: Path) -> None:
    database = tmp_path / "elsewhere" / "records.db"
    run_study(with_mlflow(tmp_path, f"sqlite:///{database}"), workspace)
    assert database.is_file()
    assert records_url(Workspace(workspace), "tiny") == f"sqlite:///{database}"
    assert list((workspace / "mlflow" / "artifacts" / "tiny").rglob("best.ckpt"))
    run_study(write_tiny_study(tmp_path), workspace)  # the study moves: all of it is recorded again
    assert records_url(Workspace(workspace), "tiny") == Workspace(workspace).tracking_uri


def test_a_password_comes_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    workspace = Workspace(tmp_path)
    write_json(workspace.study("tiny").manifest, {"manifest": {}, "mlflow": "postgresql://lid:***@db.example/records"})
    assert records_url(workspace, "tiny") == "postgresql://lid@db.example/records"
    monkeypatch.setenv("LIDSTUDY_MLFLOW", "http://127.0.0.1:5000")
    assert records_url(workspace, "tiny") == "postgresql://lid@db.example/records"
    monkeypatch.setenv("LIDSTUDY_MLFLOW", SECRET_URL)
    assert records_url(workspace, "tiny") == SECRET_URL
    assert records_url(workspace, "of_another_machine") == SECRET_URL


def test_mlflow_gets_a_servers_password_where_it_never_shows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("USERNAME", "PASSWORD"):
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", "")
    import os

    assert mlflow_tracking_uri("https://lid:s3%2Fcret@host:5000/base/") == "https://host:5000/base"
    assert (os.environ["MLFLOW_TRACKING_USERNAME"], os.environ["MLFLOW_TRACKING_PASSWORD"]) == ("lid", "s3/cret")


def test_a_database_is_given_up_after_some_seconds() -> None:
    assert mlflow_tracking_uri("postgresql://h/d") == "postgresql+psycopg://h/d?connect_timeout=10"
    assert mlflow_tracking_uri("postgresql+psycopg://h/d?a=b") == "postgresql+psycopg://h/d?a=b&connect_timeout=10"
    assert mlflow_tracking_uri("postgres://h/d?connect_timeout=3") == "postgresql+psycopg://h/d?connect_timeout=3"


@pytest.mark.parametrize("first", ["study.mlflow_records", "study.backlog", "study.mlflow_opening"])
def test_whichever_module_imports_mlflow_first_nothing_is_told_to_its_makers(first: str) -> None:
    ask = "from mlflow.telemetry.client import get_telemetry_client; print(get_telemetry_client())"
    bare = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}  # no sign of a test or CI
    done = subprocess.run(
        [sys.executable, "-c", f"import {first}; {ask}"], capture_output=True, text=True, check=True, env=bare
    )
    assert done.stdout == "None\n"
