"""MLflow's store, opened: a server, PostgreSQL, or an SQLite file, and a study's experiment and parent run in it."""

import fcntl
import logging
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

from mlflow.entities import RunTag
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from requests.exceptions import RequestException
from sqlalchemy import create_engine, event, text
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from lightning_modules.errors import StorageError
from reports.records import TAG_DIFF, TAG_KIND, TAG_STATE, TAG_STUDY, StudyManifest
from study.mlflow_place import is_server, mlflow_tracking_uri
from study.outage import MlflowAwayError, is_away, reason
from study.workspace import Workspace

SQLITE: Final = "sqlite:///"
MIGRATION_LOCK: Final = 7_239_410_615  # of PostgreSQL's advisory locks
PAGE: Final = 1000
SETTINGS: Final = {  # that MLflow reads at each request
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # the backlog waits for a server that is away, and says so
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}


@contextmanager
def store_errors() -> Iterator[None]:
    """Turns MLflow's errors into one clear line: MlflowAwayError if the store will come back, else StorageError."""
    try:
        yield
    except (MlflowException, SQLAlchemyError, RequestException) as error:
        if is_away(error):
            raise MlflowAwayError(reason(error)) from error
        raise StorageError(
            f"MLflow's store cannot be used: {reason(error)}; mend that and run the same command again: "
            "nothing is lost."
        ) from error


def connect(url: str) -> MlflowClient:
    """A client of a store that answers; a database is made and migrated first, by one process at a time.

    Raises:
        MlflowAwayError: it does not answer now.
        StorageError: it cannot be used.
    """
    for chatty in ("mlflow.store.db.utils", "alembic"):  # they tell every migration, and print tracebacks of what
        logging.getLogger(chatty).setLevel(logging.CRITICAL)  # they raise
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    uri = mlflow_tracking_uri(url)
    with store_errors():
        if is_server(uri):
            return _greeted(uri)
        if uri.startswith(SQLITE):
            return _open_sqlite(uri)
        return _open_postgresql(uri)


def _greeted(uri: str) -> MlflowClient:
    client = MlflowClient(tracking_uri=uri)
    client.search_experiments(max_results=1)
    return client


def _open_sqlite(uri: str) -> MlflowClient:
    """With a write-ahead log, so that readers, as the UI, and the writer do not wait for each other."""
    path = Path(uri.removeprefix(SQLITE).partition("?")[0])
    path.parent.mkdir(parents=True, exist_ok=True)
    with (path.parent / "migration.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            _make_sqlite(path)
        with _raw(uri) as connection:
            connection.execute(text("PRAGMA journal_mode=WAL"))  # fails at once where MLflow would try for minutes
        _FAST.add(str(path.resolve()))
        return _greeted(uri)


def _make_sqlite(path: Path) -> None:
    """Made whole under another name: a migration that a full disk cuts off can be neither finished nor repeated."""
    for leftover in path.parent.glob(f".{path.name}.new-*"):
        leftover.unlink()
    new = path.with_name(f".{path.name}.new-{os.getpid()}-{time.monotonic_ns()}")
    _greeted(f"{SQLITE}{new}")
    new.replace(path)


def _raw(uri: str) -> Connection:
    return create_engine(uri, poolclass=NullPool).connect()


def _open_postgresql(uri: str) -> MlflowClient:
    try:
        connection = _raw(uri)  # fails at once where MLflow would try for minutes
    except ModuleNotFoundError as error:
        raise StorageError(
            f"PostgreSQL needs the package {error.name}; install it with `pip install 'lidstudy[postgres]'`."
        ) from None
    with connection:
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": MIGRATION_LOCK})
        return _greeted(uri)  # the lock goes with the connection


_FAST: set[str] = set()
"""Database files with a write-ahead log, which need no fsync at each commit."""


@event.listens_for(Engine, "connect")
def _sync_less(connection: Any, _record: Any) -> None:
    """A power cut may then undo the last commits; the next sweep reads the event logs and makes them again."""
    if _FAST and isinstance(connection, sqlite3.Connection):
        files = [row[2] for row in connection.execute("PRAGMA database_list")]
        if any(file in _FAST for file in files):
            connection.execute("PRAGMA synchronous=NORMAL")


def find_experiment(url: str, name: str) -> str | None:
    """Id of a study's experiment, or None."""
    client = connect(url)
    with store_errors():
        experiment = client.get_experiment_by_name(name)
        return None if experiment is None else str(experiment.experiment_id)


def open_experiment(client: MlflowClient, workspace: Workspace, name: str) -> str:
    """A study's experiment, found, restored or created; a server keeps its artifacts itself."""
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        own = None if is_server(client.tracking_uri) else (workspace.mlflow / "artifacts" / name).as_uri()
        tags = {"mlflow.experimentKind": "custom_model_development"}
        return str(client.create_experiment(name, artifact_location=own, tags=tags))
    if experiment.lifecycle_stage == "deleted":
        client.restore_experiment(experiment.experiment_id)
    return str(experiment.experiment_id)


def open_parent_run(client: MlflowClient, experiment_id: str, manifest: StudyManifest, tags: Mapping[str, str]) -> str:
    """A study's own run, found or created, and set to RUNNING."""
    condition = f"tags.`{TAG_KIND}` = 'study' and tags.`{TAG_STUDY}` = '{manifest.name}'"
    runs = client.search_runs([experiment_id], condition, order_by=["attributes.start_time ASC"])
    own = {TAG_KIND: "study", TAG_STUDY: manifest.name, TAG_STATE: "running", "mlflow.note.content": manifest.question}
    if not runs:
        return str(client.create_run(experiment_id, tags={**tags, **own}, run_name=manifest.name).info.run_id)
    run_id = str(runs[0].info.run_id)
    client.update_run(run_id, status="RUNNING")
    if TAG_DIFF in runs[0].data.tags and TAG_DIFF not in tags:  # the change of an earlier session is committed now
        client.delete_tag(run_id, TAG_DIFF)
    client.log_batch(run_id, tags=[RunTag(key, value) for key, value in {**tags, **own}.items()])
    return run_id
