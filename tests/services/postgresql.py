"""A real PostgreSQL of the tests' own: on the loopback, on a free port, in a temporary folder, stopped afterwards."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

USER = "lidstudy"
PASSWORD = "s3cret/p@ss"  # noqa: S105 - of a server that lives as long as the test; it needs escaping in a URL
ESCAPED_PASSWORD = "s3cret%2Fp%40ss"  # noqa: S105
PATIENCE_S = 60.0


@dataclass
class PostgresServer:
    """A server that a test may stop and start again.

    Attributes:
        folder: its cluster and log; owned by the system user that runs it.
        port: on the loopback.
    """

    folder: Path
    port: int
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _num_databases: int = 0

    def start(self) -> None:
        """Starts it and waits until it answers."""
        options = ["-p", str(self.port), "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
        command = [_binary("postgres"), "-D", str(self.folder / "data"), "-k", str(self.folder), *options]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(_as_system_user(command), stdout=log, stderr=log, cwd=self.folder)
        deadline = time.monotonic() + PATIENCE_S
        ready = [_binary("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        while subprocess.run(ready, check=False).returncode:
            if self._process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"PostgreSQL did not start: {(self.folder / 'log').read_text(errors='replace')}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Stops it at once; clients lose their connections."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)  # "fast": sessions are ended, data is kept
            self._process.wait(PATIENCE_S)
            self._process = None

    def new_database(self) -> str:
        """An empty database; its URL, with the password in it."""
        self._num_databases += 1
        name = f"test_{os.getpid()}_{self._num_databases}"
        connect = ["-h", "127.0.0.1", "-p", str(self.port), "-U", USER]
        environment = os.environ | {"PGPASSWORD": PASSWORD}
        subprocess.run([_binary("createdb"), *connect, name], check=True, env=environment)
        return f"postgresql://{USER}:{ESCAPED_PASSWORD}@127.0.0.1:{self.port}/{name}"


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresServer]:
    """One server a session; each test asks it for a database of its own."""
    folder = Path(tempfile.mkdtemp(prefix="lidstudy-postgresql-"))  # pytest's own folders are closed to other users
    server = PostgresServer(folder=folder, port=_free_port())
    try:
        _make_cluster(folder)
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)


def _make_cluster(folder: Path) -> None:
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
    password = folder / "password"
    password.write_text(PASSWORD)
    password.chmod(0o644)
    init = [
        _binary("initdb"),
        "-D",
        str(folder / "data"),
        "-U",
        USER,
        f"--pwfile={password}",
        "-E",
        "UTF8",
        "--no-sync",
    ]
    done = subprocess.run(
        _as_system_user([*init, "--auth=scram-sha-256", "--locale=C.UTF-8"]),
        check=False, capture_output=True, text=True, cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def _as_system_user(command: list[str]) -> list[str]:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return command
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "--", *command]


def _binary(name: str) -> str:
    """Debian keeps the server's programs away from PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    path = str(found[-1]) if found else shutil.which(name)
    assert path, f"{name} is missing: apt-get install postgresql"
    return path


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
