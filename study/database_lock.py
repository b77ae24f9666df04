"""One at a time: several coordinators may be the first to use a database, and each would make its tables."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

SQLITE: Final = "sqlite:///"
_KEY: Final = 5_434_873_787  # any number that no other program locks; PostgreSQL's advisory locks have no names


@contextmanager
def alone(url: str, *, connect_arguments: dict[str, float]) -> Iterator[None]:
    """Holds a database for the making of its tables; let go of when the process dies.

    Args:
        url: of SQLite or PostgreSQL, as SQLAlchemy reads it.
        connect_arguments: of its driver.
    """
    if url.startswith(SQLITE):
        path = Path(url.removeprefix(SQLITE))
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_name(f"{path.name}.lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
        return
    engine = create_engine(url, poolclass=NullPool, connect_args=connect_arguments)
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": _KEY})
        yield
