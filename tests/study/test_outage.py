"""Away or broken: only what comes back by itself is waited for."""

import sqlite3
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from sqlalchemy.exc import DatabaseError, OperationalError

from lightning_modules.errors import StorageError
from study.mlflow_store import connect, store_errors
from study.outage import MlflowAwayError, is_away
from study.workspace import Workspace


class PostgresError(Exception):
    """What psycopg raises, as far as anybody looks."""

    def __init__(self, text: str, sqlstate: str | None = None) -> None:
        super().__init__(text)
        self.sqlstate = sqlstate


def of_database(error: Exception) -> OperationalError:
    return OperationalError("SELECT 1", {}, error)


@pytest.fixture
def answers() -> Iterator[Any]:
    """A server that answers every request with one status; a function that starts it gives its URL."""
    servers = []

    def start(status: int) -> str:
        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                self.send_response(status)
                self.end_headers()
                self.wfile.write(b'{"error_code": "PERMISSION_DENIED", "message": "not yours"}')

            do_GET = do_POST = answer  # noqa: N815 - the library's names

            def log_message(self, *_: object) -> None:
                pass

        server = HTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_server_that_fails_is_away(answers: Any, status: int) -> None:
    with pytest.raises(MlflowAwayError, match=f"HTTP {status}"):
        connect(answers(status))


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_a_server_that_refuses_is_broken(answers: Any, status: int) -> None:
    with pytest.raises(StorageError, match="not yours") as caught:
        connect(answers(status))
    assert not isinstance(caught.value, MlflowAwayError)


def test_a_server_that_is_not_there_is_away_and_no_password_is_told() -> None:
    with pytest.raises(MlflowAwayError, match="Connection refused") as caught:
        connect("http://somebody:s3cret@127.0.0.1:9")
    assert "s3cret" not in str(caught.value)
    assert "s3cret" not in str(caught.value.__cause__)


def test_a_locked_file_is_away(tmp_path: Path) -> None:
    path = tmp_path / "locked.db"
    holder, other = sqlite3.connect(path), sqlite3.connect(path, timeout=0.0)
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(sqlite3.OperationalError) as caught:
        other.execute("CREATE TABLE t (x)")
    assert is_away(of_database(caught.value))
    holder.close()
    other.close()


def test_a_damaged_file_is_broken(tmp_path: Path) -> None:
    path = tmp_path / "damaged.db"
    path.write_text("rubbish" * 1000)
    connection = sqlite3.connect(path)
    with pytest.raises(sqlite3.DatabaseError) as caught:
        connection.execute("PRAGMA schema_version")
    assert not is_away(DatabaseError("PRAGMA schema_version", {}, caught.value))
    connection.close()


@pytest.mark.parametrize(
    ("text", "sqlstate"),
    [
        ("connection failed: Connection refused", None),
        ("FATAL: the database system is starting up", None),
        ("terminating connection due to administrator command", "57P01"),
        ("deadlock detected", "40P01"),
        ("sorry, too many clients already", "53300"),
    ],
)
def test_a_database_that_restarts_or_is_busy_is_away(text: str, sqlstate: str | None) -> None:
    assert is_away(of_database(PostgresError(text, sqlstate)))


@pytest.mark.parametrize(
    ("text", "sqlstate"),
    [
        ('FATAL: password authentication failed for user "x"', None),
        ('FATAL: database "x" does not exist', None),
        ("permission denied for table runs", "42501"),
        ("could not extend file: No space left on device", "53100"),
    ],
)
def test_a_database_that_refuses_or_is_full_is_broken(text: str, sqlstate: str | None) -> None:
    assert not is_away(of_database(PostgresError(text, sqlstate)))


def test_what_mlflow_wraps_is_unwrapped() -> None:
    from mlflow.exceptions import MlflowException

    def ask() -> None:
        try:
            raise of_database(PostgresError("the connection is lost"))
        except OperationalError as error:
            raise MlflowException(str(error)) from error

    with pytest.raises(MlflowAwayError), store_errors():
        ask()


def test_a_folder_that_cannot_hold_a_database_is_broken(tmp_path: Path) -> None:
    database = Workspace(tmp_path).mlflow / "mlflow.db"
    database.mkdir(parents=True)
    with pytest.raises(StorageError, match="unable to open database file") as caught:
        connect(Workspace(tmp_path).tracking_uri)
    assert not isinstance(caught.value, MlflowAwayError)
