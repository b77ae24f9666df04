"""Stops where no round looks for them: while a study is opened, while a database is away; and ends nobody asked for."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from lightning_modules.errors import StoreAwayError, TrialError
from reports.records import StudyState, TrialState
from study.commands import sweep
from study.control import Stop, pending, send
from study.coordinator import DRAINING, Coordinator
from study.devices import Slot
from study.evaluation import read_ledger
from study.launchers._base import Life, Status
from study.launchers.inline import InlineLauncher
from study.mlflow_runs import PointBuffer
from study.outage import MlflowAwayError
from study.spec import SPEC_FILE, STOP_FILE, AttemptSpec
from study.trial_store import TrialStore
from study.workspace import StudyFolder, Workspace, write_json
from tests.conftest import write_tiny_study
from tests.study.helpers import RecordingView, leave_epochs, record_of, run_study, trials_of

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def folder(workspace: Path) -> StudyFolder:
    return Workspace(workspace).study("tiny")


class Unending(InlineLauncher):
    """Two slots; attempts that have said an epoch, and end only when they are killed; the second one is refused."""

    def __init__(self) -> None:
        super().__init__()
        self.slots = (Slot(name="inline-0"), Slot(name="inline-1"))
        self.killed: set[str] = set()

    def submit(self, spec: AttemptSpec) -> bool:
        if spec.number == 1:
            raise TrialError("no more jobs are taken")
        super().submit(spec)
        leave_epochs(spec.folder, 1)
        return True

    def poll(self, spec: AttemptSpec) -> Status:
        return Status(Life.EXITED, -9) if spec.key in self.killed else Status(Life.RUNNING)

    def kill(self, spec: AttemptSpec) -> None:
        self.killed.add(spec.key)


class LosesEvaluations(InlineLauncher):
    """The first evaluations are lost before they say a word."""

    def __init__(self, *, num_lost: int) -> None:
        super().__init__()
        self._num_left = num_lost
        self._lost: set[str] = set()

    def submit(self, spec: AttemptSpec) -> bool:
        if spec.purpose != "evaluate" or not self._num_left:
            return super().submit(spec)
        self._num_left -= 1
        spec.folder.mkdir(parents=True)
        write_json(spec.folder / SPEC_FILE, spec.model_dump(mode="json"))
        self._lost.add(spec.key)
        return True

    def poll(self, spec: AttemptSpec) -> Status:
        return Status(Life.LOST) if spec.key in self._lost else super().poll(spec)


class StopsOn(RecordingView):
    """Asks for an end at once when it is told certain words."""

    def __init__(self, words: str, folder: StudyFolder) -> None:
        super().__init__()
        self._words, self._folder = words, folder

    def message(self, text: str) -> None:
        super().message(text)
        if self._words in text:
            send(self._folder, Stop(now=True))


def test_a_stop_that_comes_while_features_are_computed_is_obeyed(
    workspace: Path, tiny_study: Path, folder: StudyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "build_launcher", lambda *_, **__: InlineLauncher())
    monkeypatch.setattr(sweep, "ensure_features", lambda *_, **__: send(folder, Stop(now=True)))
    status = sweep.run(str(tiny_study), sweep.SweepOptions(), folder=workspace)
    assert status == sweep.EXIT_STATUS[StudyState.STOPPED]
    assert trials_of(workspace) == []
    assert pending(folder) == []


def test_trials_that_wait_for_another_attempt_are_not_started_by_a_coordinator_that_is_to_start_nothing_more(
    workspace: Path, tmp_path: Path, folder: StudyFolder
) -> None:
    study, view = write_tiny_study(tmp_path, trials=2), RecordingView()
    with pytest.raises(TrialError, match="no more jobs"):
        run_study(study, workspace, launcher=Unending())
    num_attempts = len(folder.trial(0).attempts())

    def stop(_: Coordinator) -> None:
        send(folder, Stop())

    assert run_study(study, workspace, view=view, prepare=stop) is StudyState.STOPPED
    assert DRAINING in view.messages
    assert len(folder.trial(0).attempts()) == num_attempts
    assert {run.state for run in record_of(workspace).trials} == {TrialState.INTERRUPTED}
    assert run_study(study, workspace) is StudyState.COMPLETE


def test_a_stop_at_once_is_heard_while_optunas_database_is_away(
    workspace: Path, tiny_study: Path, folder: StudyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_away(*_: object, **__: object) -> None:
        raise StoreAwayError("Optuna's database is away")

    with monkeypatch.context() as patched:
        patched.setattr(TrialStore, "tell", is_away)
        with pytest.raises(StoreAwayError):
            run_study(tiny_study, workspace, view=StopsOn("it is waited for", folder))
    assert run_study(tiny_study, workspace) is StudyState.COMPLETE
    assert len(trials_of(workspace)) == 4


def test_a_stop_at_once_is_heard_while_the_last_of_mlflows_records_wait_and_test_data_is_not_looked_at(
    workspace: Path, tiny_study: Path, folder: StudyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    flush_run, is_away = PointBuffer.flush_run, threading.Event()

    def flush_if_there(buffer: PointBuffer, *arguments: Any, **keywords: Any) -> None:
        if is_away.is_set():
            raise MlflowAwayError("no answer")
        flush_run(buffer, *arguments, **keywords)

    view = StopsOn("MLflow is away", folder)
    view.on_ended = lambda count: is_away.set() if count == 4 else None
    monkeypatch.setattr(PointBuffer, "flush_run", flush_if_there)
    assert run_study(tiny_study, workspace, view=view) is StudyState.INTERRUPTED
    assert not any("on test data" in message for message in view.messages)
    is_away.clear()
    assert run_study(tiny_study, workspace) is StudyState.COMPLETE
    assert len(read_ledger(folder)) == 1


def test_attempts_end_with_a_study_whose_launcher_refuses(
    workspace: Path, tiny_study: Path, folder: StudyFolder
) -> None:
    launcher = Unending()
    with pytest.raises(TrialError, match="no more jobs are taken"):
        run_study(tiny_study, workspace, launcher=launcher)
    assert len(launcher.killed) == 1
    (attempt,) = folder.trial(0).attempts()
    assert json.loads((attempt / STOP_FILE).read_text())["reason"] == "interrupted"
    assert run_study(tiny_study, workspace) is StudyState.COMPLETE


def test_a_lost_evaluation_is_made_again(workspace: Path, tiny_study: Path, folder: StudyFolder) -> None:
    view = RecordingView()
    assert run_study(tiny_study, workspace, launcher=LosesEvaluations(num_lost=2), view=view) is StudyState.COMPLETE
    assert sum("it is scored again" in message for message in view.messages) == 2
    (look,) = read_ledger(folder)
    assert len(folder.evaluation(look.trial).attempts()) == 3


def test_an_evaluation_is_not_lost_for_ever(workspace: Path, tiny_study: Path, folder: StudyFolder) -> None:
    with pytest.raises(TrialError, match="could not be scored on test data: its process was killed"):
        run_study(tiny_study, workspace, launcher=LosesEvaluations(num_lost=9))
    assert read_ledger(folder) == ()
