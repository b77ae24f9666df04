"""Away or broken: what an error of MLflow's store says about the store.

A store that is away (connection refused, HTTP 5xx, a locked file, a database that restarts) comes back by itself, so
its callers wait. A store that is broken (no permission, a damaged file, a full disk) needs somebody to mend it.
"""

import re
import sqlite3
from collections.abc import Iterator
from typing import Any, Final

import requests
from mlflow.exceptions import ERROR_CODE_TO_HTTP_STATUS, RestException
from sqlalchemy.exc import DBAPIError, OperationalError

from lightning_modules.errors import StoreAwayError
from study.urls import masked

_SERVER_ERROR: Final = 500
_TOO_MANY_REQUESTS: Final = 429
_SQLITE_WAITS: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_DISK_FULL: Final = "53100"
_POSTGRES_WAITS: Final = ("08", "40", "53", "57")
"""Classes of SQLSTATE: connection, rolled back (deadlock), resources (too many connections), operator (shutdown)."""

_NEVER_MENDS: Final = ("authentication failed", "does not exist", "no pg_hba.conf entry", "permission denied")
"""Why PostgreSQL refuses a connection for good: it gives no SQLSTATE then."""


class MlflowAwayError(StoreAwayError):
    """MLflow's store does not answer now; `why` says so in a few words."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"MLflow cannot be reached ({why}); start it or wait for it, and run the same command again: "
            "nothing is lost."
        )
        self.why = why


def is_away(error: BaseException) -> bool:
    """Whether the store that raised this, directly or inside MLflow, will answer again by itself."""
    return any(_says_away(link) for link in _chain(error)) and not any(_says_broken(link) for link in _chain(error))


def reason(error: BaseException) -> str:
    """A few words for an error: what the operating system, the server or the database said."""
    text = masked(" ".join(str(error).split()))
    if found := re.search(r"\[Errno -?\d+\] ([^'\")\]]+)", text):
        return found[1].strip()
    if found := re.search(r"too many (\d+) error responses", text):
        return f"HTTP {found[1]}"
    if "timed out" in text.lower():
        return "no answer in time"
    return re.sub(r"^\([\w.]+\) ", "", text).split(" [SQL:")[0].split(" (Background on")[0][:300]


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _says_away(error: BaseException) -> bool:
    if isinstance(error, DBAPIError):
        return _database_is_away(error)
    if isinstance(error, requests.exceptions.HTTPError):
        return error.response is not None and _waits(error.response.status_code)
    if isinstance(error, requests.exceptions.RequestException):
        kinds = (
            requests.exceptions.ConnectionError,
            requests.exceptions.Timeout,
            requests.exceptions.RetryError,
            requests.exceptions.ChunkedEncodingError,
        )
        return isinstance(error, kinds)
    if isinstance(error, RestException):
        return _waits(ERROR_CODE_TO_HTTP_STATUS.get(error.error_code, _SERVER_ERROR)) or _is_lost_connection(str(error))
    return False


def _says_broken(error: BaseException) -> bool:
    """A certificate that is refused counts as a connection error, but it will not mend."""
    return isinstance(error, requests.exceptions.SSLError)


def _waits(status: Any) -> bool:
    return bool(status >= _SERVER_ERROR or status == _TOO_MANY_REQUESTS)


def _is_lost_connection(text: str) -> bool:
    """MLflow's server answers 400 where the database behind it drops a connection at certain moments."""
    return "sqlalche.me" in text and "connection" in text.lower()


def _database_is_away(error: DBAPIError) -> bool:
    if isinstance(error.orig, sqlite3.Error):
        return int(getattr(error.orig, "sqlite_errorcode", 0)) & 0xFF in _SQLITE_WAITS
    state = getattr(error.orig, "sqlstate", None)
    if state:
        return state != _DISK_FULL and str(state).startswith(_POSTGRES_WAITS)
    if not (error.connection_invalidated or isinstance(error, OperationalError)):
        return False
    return all(phrase not in str(error) for phrase in _NEVER_MENDS)
