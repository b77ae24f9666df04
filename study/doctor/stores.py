"""Optuna's and MLflow's stores, as the environment names them: whether they answer, are migrated and can be written.

Nothing is made or migrated here, and what is written is rolled back.
"""

import importlib.util
import os
import secrets
from dataclasses import dataclass
from http import HTTPStatus
from importlib.metadata import version
from pathlib import Path
from typing import Final

import requests
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from lightning_modules.errors import LidstudyError
from study.doctor._base import Finding
from study.mlflow_place import MLFLOW_VARIABLE, is_server, mlflow_tracking_uri, mlflow_url
from study.storage_config import OPTUNA_VARIABLE, StorageConfig, place_of
from study.urls import masked
from study.workspace import Workspace

TIMEOUT_S: Final = 10
_SQLITE: Final = "sqlite:///"
_API: Final = "api/2.0/mlflow/experiments"


@dataclass(frozen=True)
class Schema:
    """How a library keeps its tables.

    Attributes:
        scripts: folder of its migrations, inside the package.
        table: that it always has.
        upgrade: the command that migrates, but for the URL.
    """

    package: str
    scripts: str
    table: str
    upgrade: str

    def head(self) -> str | None:
        """The newest revision that the installed library knows."""
        spec = importlib.util.find_spec(self.package)
        assert spec is not None
        assert spec.submodule_search_locations is not None
        return ScriptDirectory(str(Path(spec.submodule_search_locations[0]) / self.scripts)).get_current_head()


OPTUNA: Final = Schema("optuna", "storages/_rdb/alembic", "trials", "optuna storage upgrade --storage")
MLFLOW: Final = Schema("mlflow", "store/db_migrations", "experiments", "mlflow db upgrade")


def look_at_stores(folder: Path) -> list[Finding]:
    """Both stores."""
    workspace = Workspace(folder.absolute())
    return [_optuna(workspace), _mlflow(workspace)]


def _optuna(workspace: Workspace) -> Finding:
    try:
        place = place_of(StorageConfig(), workspace=workspace.root, journal=workspace.root / "optuna.journal")
    except LidstudyError as error:
        return Finding("optuna", f"${OPTUNA_VARIABLE}", str(error))
    if place.url is None:
        return Finding("optuna", f"a journal in each study's folder (${OPTUNA_VARIABLE} is not set)")
    return database("optuna", place.url, OPTUNA)


def _mlflow(workspace: Workspace) -> Finding:
    try:
        uri = mlflow_tracking_uri(mlflow_url(None, workspace))
    except LidstudyError as error:
        return Finding("mlflow", f"${MLFLOW_VARIABLE}", str(error))
    return server(uri) if is_server(uri) else database("mlflow", uri, MLFLOW)


def database(name: str, url: str, schema: Schema) -> Finding:
    """A database: SQLite or PostgreSQL."""
    shown = masked(url)
    path = Path(url.removeprefix(_SQLITE).partition("?")[0]) if url.startswith(_SQLITE) else None
    if path is not None and not path.exists():
        return _not_made_yet(name, shown, path)
    seconds = {"timeout": TIMEOUT_S} if path is not None else {"connect_timeout": TIMEOUT_S}
    try:
        with create_engine(url, poolclass=NullPool, connect_args=seconds).connect() as connection:
            return _examine(name, shown, connection, schema)
    except ModuleNotFoundError as error:
        return Finding(name, f"{shown} needs {error.name}", "pip install 'lidstudy[postgres]' -c constraints.txt")
    except SQLAlchemyError as error:
        why = error.orig if isinstance(error, DBAPIError) else error
        return Finding(name, shown, f"it cannot be used: {masked(' '.join(str(why).split()))[:300]}")


def _not_made_yet(name: str, shown: str, path: Path) -> Finding:
    """The first sweep makes it; where it is to lie must be writable."""
    parent = next(folder for folder in path.parents if folder.exists())
    mend = "" if os.access(parent, os.W_OK | os.X_OK) else f"{parent} cannot be written"
    return Finding(name, f"{shown}, which the first sweep makes", mend)


def _examine(name: str, shown: str, connection: Connection, schema: Schema) -> Finding:
    tables = set(inspect(connection).get_table_names())
    connection.rollback()
    if "alembic_version" in tables and schema.table in tables:
        found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
        connection.rollback()
        if found != (head := schema.head()):
            mend = f"back it up, then `{schema.upgrade} URL`; where it is newer, install a newer {schema.package}"
            return Finding(name, f"{shown} has tables of version {found}, {schema.package} needs {head}", mend)
        seen = f"{shown}, migrated ({found})"
    else:
        seen = f"{shown}, empty: the first sweep makes its tables"
    _write(connection, schema.table if schema.table in tables else None)
    return Finding(name, f"{seen}, writable")


def _write(connection: Connection, table: str | None) -> None:
    """Writes, and rolls it back; raises what the database raises."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        connection.exec_driver_sql("CREATE TABLE lidstudy_doctor (number INTEGER)")
    elif table is None:
        connection.exec_driver_sql("CREATE TABLE lidstudy_doctor (number INTEGER)")
    else:
        connection.exec_driver_sql(f"LOCK TABLE {table} IN ROW EXCLUSIVE MODE")  # needs the right to write
        connection.exec_driver_sql(f"DELETE FROM {table} WHERE false")  # noqa: S608 - a name of ours
    connection.rollback()


def server(uri: str) -> Finding:
    """A server of MLflow's: a tag for an experiment that there is not tells what it makes of writing."""
    auth = (os.environ.get("MLFLOW_TRACKING_USERNAME", ""), os.environ.get("MLFLOW_TRACKING_PASSWORD", ""))
    tag = {"experiment_id": str(10**15 + secrets.randbelow(10**15)), "key": "lidstudy", "value": "doctor"}
    try:
        with requests.Session() as session:
            session.auth = auth if auth[0] else None
            read = session.get(f"{uri}/{_API}/search", params={"max_results": "1"}, timeout=TIMEOUT_S)
            write = session.post(f"{uri}/{_API}/set-experiment-tag", json=tag, timeout=TIMEOUT_S)
            theirs = session.get(f"{uri}/version", timeout=TIMEOUT_S)
    except requests.RequestException as error:
        why = masked(" ".join(str(error).split()))[:200]
        return Finding("mlflow", masked(uri), f"it does not answer: {why}; start it, or mend ${MLFLOW_VARIABLE}")
    refused = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
    if read.status_code != HTTPStatus.OK:
        return Finding("mlflow", masked(uri), f"it answers HTTP {read.status_code}; mend ${MLFLOW_VARIABLE}")
    if write.status_code in refused:
        return Finding("mlflow", masked(uri), f"it refuses writing (HTTP {write.status_code}): ask for that right")
    if write.status_code != HTTPStatus.NOT_FOUND:
        return Finding("mlflow", masked(uri), f"it cannot write (HTTP {write.status_code}): see its log")
    text = theirs.text.strip() if theirs.ok else "unknown"
    same = "" if text == version("mlflow") else f"this machine has MLflow {version('mlflow')}"
    return Finding("mlflow", f"{masked(uri)}, version {text}, answers and takes writes", hint=same)
