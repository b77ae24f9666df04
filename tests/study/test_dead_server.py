"""A sweep that ends in an error while its backlog hangs in a server that neither answers nor refuses."""

import errno
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reports.records import StudyState
from study.launchers.inline import InlineLauncher
from study.mlflow_runs import PointBuffer
from study.spec import AttemptSpec
from study.workspace import Workspace
from tests.study.helpers import RecordingView, record_of, run_study, until

pytestmark = pytest.mark.timeout(120)


class DeadServer:
    """Holds the backlog's first batch until the test lets go, and notes who else uses the buffer meanwhile."""

    def __init__(self) -> None:
        self.is_hung, self._let_go = threading.Event(), threading.Event()
        self.intruders: list[str] = []

    def hold(self) -> None:
        name = threading.current_thread().name
        if self._let_go.is_set():
            return
        if name != "backlog":
            self.intruders += [name] if self.is_hung.is_set() else []
        else:
            self.is_hung.set()
            self._let_go.wait()

    def let_go(self) -> None:
        """The call under way ends, and its thread with it."""
        self._let_go.set()
        until(lambda: all(thread.name != "backlog" for thread in threading.enumerate()))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[DeadServer]:
    monkeypatch.setattr("study.backlog.CLOSE_S", 0.1)
    server, flush_run = DeadServer(), PointBuffer.flush_run

    def flush_when_it_answers(buffer: PointBuffer, run_id: str, **rest: Any) -> None:
        server.hold()
        flush_run(buffer, run_id, **rest)

    monkeypatch.setattr(PointBuffer, "flush_run", flush_when_it_answers)
    yield server
    server.let_go()


class FullDisk(InlineLauncher):
    """The workspace is full once the server is dead."""

    def __init__(self, server: DeadServer) -> None:
        super().__init__()
        self._server = server

    def submit(self, spec: AttemptSpec) -> bool:
        if spec.number == 1:
            until(self._server.is_hung.is_set)
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().submit(spec)


def running(workspace: Path) -> int:
    with sqlite3.connect(Workspace(workspace).mlflow / "mlflow.db") as connection:
        return int(connection.execute("select count(*) from runs where status = 'RUNNING'").fetchone()[0])


def test_the_error_is_raised_and_nobody_else_uses_what_the_backlog_is_about_to_write(
    workspace: Path, tiny_study: Path, server: DeadServer
) -> None:
    view = RecordingView()
    with pytest.raises(OSError, match="No space left"):
        run_study(tiny_study, workspace, launcher=FullDisk(server), view=view)
    assert server.intruders == []
    assert view.messages[-1].startswith("MLflow does not answer, and has not been told everything")


def test_the_next_sweep_mends_what_was_left(workspace: Path, tiny_study: Path, server: DeadServer) -> None:
    with pytest.raises(OSError, match="No space left"):
        run_study(tiny_study, workspace, launcher=FullDisk(server))
    assert running(workspace) > 0
    server.let_go()
    assert run_study(tiny_study, workspace) is StudyState.COMPLETE
    assert running(workspace) == 0
    for run in record_of(workspace).trials:
        assert [point.step for point in run.history["val/loss"]] == [0, 1, 2]
