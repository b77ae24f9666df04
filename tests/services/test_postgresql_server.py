"""The tests' own PostgreSQL does what other tests rely on."""

import psycopg
import pytest

from tests.services.postgresql import PostgresServer

pytestmark = pytest.mark.services


def test_it_answers_its_own_password_alone_and_comes_back_after_a_stop(postgresql: PostgresServer) -> None:
    url = postgresql.new_database()
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept (x int)")
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(url.replace("s3cret", "wrong"))
    postgresql.stop()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)
    postgresql.start()
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)
