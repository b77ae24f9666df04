"""What a database says when a call fails: that it is away for now, or that trying again will not help."""

from typing import Final

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from lightning_modules.errors import StorageError, StoreAwayError
from study.storage_config import OPTUNA_VARIABLE, Place
from study.urls import masked

_AWAY_CLASSES: Final = ("08", "40", "57")
"""SQLSTATE classes: connection lost, transaction rolled back by a deadlock, operator intervention (a shutdown)."""
_TOO_MANY: Final = "53300"
_REFUSED: Final = (
    "authentication failed",
    "no password supplied",
    "does not exist",
    "no pg_hba.conf entry",
    "readonly",
    "unable to open",
    "is full",
    "malformed",
    "not a database",
    "no such",
)
"""Words in messages that carry no SQLSTATE: SQLite's, and PostgreSQL's while connecting."""


def as_storage_error(error: BaseException, place: Place) -> StorageError:
    """Our error for a database's: StoreAwayError where waiting may help."""
    cause = _cause(error)
    why = masked(" ".join(str(cause.orig if isinstance(cause, DBAPIError) else cause).split()))
    if isinstance(cause, DBAPIError) and _is_away(cause):
        return StoreAwayError(f"{place.shown} does not answer: {why}")
    hint = f" A password may also come from ${OPTUNA_VARIABLE}, PGPASSWORD or ~/.pgpass." if "password" in why else ""
    return StorageError(f"{place.shown} cannot be used: {why}.{hint}")


def _cause(error: BaseException) -> BaseException:
    """The database's own error; Optuna wraps what fails in a transaction."""
    while not isinstance(error, DBAPIError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _is_away(error: DBAPIError) -> bool:
    state = getattr(error.orig, "sqlstate", None)
    if state is not None:
        return str(state).startswith(_AWAY_CLASSES) or state == _TOO_MANY
    if error.connection_invalidated:
        return True
    return isinstance(error, OperationalError | InterfaceError) and not any(
        word in str(error.orig) for word in _REFUSED
    )
