"""What a coordinator finds: states that a crash, a power cut or a full disk can leave behind."""

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from lightning_modules.config import DataConfig, TrialConfig
from lightning_modules.errors import StorageError
from reports.records import StudyState, TrialState
from study.active import ActiveTrial
from study.attempt import run_attempt
from study.config import StudyConfig
from study.coordinator import Coordinator
from study.devices import Slot
from study.events import Ended, EpochEnded, Started, read_events
from study.launchers._base import Life, Status, exit_record
from study.launchers.inline import InlineLauncher
from study.spec import EVENTS_FILE, EXIT_FILE, EXIT_STORAGE_FULL, STOP_FILE, AttemptSpec
from study.tracking import Tracker
from study.workspace import TrialFolder, Workspace, write_json
from tests.conftest import write_tiny_study
from tests.study.helpers import (
    RecordingView,
    SilentAndLost,
    check_complete,
    config_of,
    cut_off,
    leave_epochs,
    record_of,
    run_study,
    trials_of,
)

pytestmark = pytest.mark.timeout(120)


class Scripted(InlineLauncher):
    """An inline launcher whose first looks at an attempt see what the script says."""

    def __init__(self, *script: Status) -> None:
        super().__init__()
        self._script = list(script)

    def poll(self, spec: AttemptSpec) -> Status:
        return self._script.pop(0) if self._script else super().poll(spec)


@pytest.fixture
def one_trial(tmp_path: Path) -> Path:
    return write_tiny_study(tmp_path, trials=1)


def test_a_full_disk_is_forgotten_once_there_is_room(workspace: Path, one_trial: Path) -> None:
    cut_off(workspace, one_trial, leave=lambda folder: write_json(folder / EXIT_FILE, {"status": EXIT_STORAGE_FULL}))
    launcher = Scripted(Status(Life.EXITED, EXIT_STORAGE_FULL))
    assert run_study(one_trial, workspace, launcher=launcher) is StudyState.COMPLETE
    check_complete(workspace)


def test_a_log_that_lost_its_last_epoch_gets_it_back_from_the_checkpoint(workspace: Path, one_trial: Path) -> None:
    class TornLog(InlineLauncher):
        """The machine goes down when the trial is trained: the checkpoint is kept, the log's last lines are not."""

        def submit(self, spec: AttemptSpec) -> bool:
            super().submit(spec)
            log = spec.folder / EVENTS_FILE
            lines = log.read_bytes().splitlines(keepends=True)
            last_epoch = max(place for place, line in enumerate(lines) if b'"type":"epoch"' in line)
            log.write_bytes(b"".join(lines[:last_epoch]) + lines[last_epoch][:20])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_study(one_trial, workspace, launcher=TornLog())
    assert run_study(one_trial, workspace) is StudyState.COMPLETE
    check_complete(workspace)


def test_an_epoch_that_mlflow_knew_and_the_log_lost_is_there_once(workspace: Path, one_trial: Path) -> None:
    stop = threading.Event()

    class KilledBeforeItsCheckpoint(InlineLauncher):
        def submit(self, spec: AttemptSpec) -> bool:
            super().submit(spec)
            leave_epochs(spec.folder, 1)
            (spec.trial_folder / "last.ckpt").unlink()
            self._exit_status[spec.key] = -9
            return True

        def read(self, spec: AttemptSpec, offset: int) -> bytes:
            stop.set()  # the coordinator tells MLflow of the epoch that it reads here, and ends
            return super().read(spec, offset)

    assert run_study(one_trial, workspace, launcher=KilledBeforeItsCheckpoint(), stop=stop) is StudyState.INTERRUPTED
    (told,) = record_of(workspace).trials[0].history["val/loss"]
    leave_epochs(Workspace(workspace).study("tiny").trial(0).attempts()[0], 0)
    assert run_study(one_trial, workspace) is StudyState.COMPLETE
    check_complete(workspace)
    assert record_of(workspace).trials[0].history["val/loss"][0] == told


def test_an_attempt_that_is_still_being_stopped_is_followed_by_another(workspace: Path, one_trial: Path) -> None:
    cut_off(workspace, one_trial, leave=lambda folder: write_json(folder / STOP_FILE, {"reason": "interrupted"}))
    launcher = Scripted(Status(Life.RUNNING), Status(Life.RUNNING), Status(Life.EXITED, -9))
    assert run_study(one_trial, workspace, launcher=launcher) is StudyState.COMPLETE
    check_complete(workspace)


def test_a_lost_attempt_is_followed_by_another_but_not_for_ever(workspace: Path, one_trial: Path) -> None:
    cut_off(workspace, one_trial, leave=lambda _: None)
    launcher = SilentAndLost()
    assert run_study(one_trial, workspace, launcher=launcher) is StudyState.FAILED
    (trial,), (run,) = trials_of(workspace), record_of(workspace).trials
    assert trial.state is run.state is TrialState.FAILED
    assert run.failure == "its process was lost 3 times; the last words: it said nothing"
    assert launcher.num_submitted == 2


def test_trials_that_wait_are_not_left_running_when_the_study_stops(workspace: Path, one_trial: Path) -> None:
    cut_off(workspace, one_trial, leave=lambda _: None)
    stopped = run_study(
        one_trial,
        workspace,
        launcher=Scripted(Status(Life.LOST)),
        view=RecordingView(),
        prepare=Coordinator.request_stop,
    )
    assert stopped is StudyState.INTERRUPTED
    (run,) = record_of(workspace).trials
    assert run.state is TrialState.INTERRUPTED
    assert run_study(one_trial, workspace, launcher=Scripted(Status(Life.LOST))) is StudyState.COMPLETE
    check_complete(workspace)


def test_a_study_whose_files_are_gone_does_not_mix_with_its_runs_in_mlflow(workspace: Path, one_trial: Path) -> None:
    run_study(one_trial, workspace)
    before = record_of(workspace)
    shutil.rmtree(Workspace(workspace).study("tiny").root)
    with pytest.raises(StorageError, match="of a study 'tiny' whose files are no longer"):
        run_study(one_trial, workspace)
    assert record_of(workspace) == before
    assert not Workspace(workspace).study("tiny").manifest.exists()


def two_attempts(workspace: Path, study: StudyConfig) -> tuple[AttemptSpec, AttemptSpec]:
    """A trial's first attempt, and the one that follows it."""
    folder = workspace / "trials" / "0"
    first = AttemptSpec(
        number=0,
        attempt=0,
        folder=folder / "attempt-0",
        trial_folder=folder,
        workspace=workspace,
        objective=study.objective,
        slot=Slot(name="cpu-0"),
        config=study.trial,
    )
    again = first.model_copy(update={"attempt": 1, "folder": folder / "attempt-1"})
    for spec in (first, again):
        spec.folder.mkdir(parents=True)
    return first, again


def test_an_attempt_after_early_stopping_trains_no_further(workspace: Path, tmp_path: Path) -> None:
    study = config_of(write_tiny_study(tmp_path, epochs=30, changes="patience = 1\n"))
    first, again = two_attempts(workspace, study)
    for spec in (first, again):
        assert run_attempt(spec, warm=False) == 0
    num_epochs = sum(isinstance(event, EpochEnded) for event in read_events(first.folder / EVENTS_FILE))
    assert num_epochs < 30
    started, repeated, ended = read_events(again.folder / EVENTS_FILE)
    assert isinstance(started, Started)
    assert started.resumed_epoch == num_epochs
    assert repeated in read_events(first.folder / EVENTS_FILE)
    assert isinstance(ended, Ended)
    assert ended.outcome == "complete"


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:0],
        lambda content: content[: len(content) // 2],
        lambda content: bytes(len(content)),
        lambda content: content[: len(content) // 2] + bytes(1000) + content[len(content) // 2 + 1000 :],
    ],
    ids=["empty", "half", "zeros", "hole"],
)
def test_a_checkpoint_that_a_power_cut_damaged_costs_its_epochs_and_no_more(
    workspace: Path, tmp_path: Path, damage: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    first, again = two_attempts(workspace, config_of(write_tiny_study(tmp_path, epochs=2)))
    assert run_attempt(first, warm=False) == 0
    checkpoint = first.trial_folder / "last.ckpt"
    checkpoint.write_bytes(damage(checkpoint.read_bytes()))
    assert run_attempt(again, warm=False) == 0
    started, *epochs, ended = read_events(again.folder / EVENTS_FILE)
    assert isinstance(started, Started)
    assert started.resumed_epoch == 0
    assert [event.epoch for event in epochs if isinstance(event, EpochEnded)] == [0, 1]
    assert isinstance(ended, Ended)
    assert ended.outcome == "complete"
    assert "last.ckpt cannot be read: the trial begins again, at epoch 0" in caplog.text


class CutOffWhileItSaves(InlineLauncher):
    """The first attempt of a trial is killed in the middle of a checkpoint; so is the last, after its last word."""

    def submit(self, spec: AttemptSpec) -> bool:
        super().submit(spec)
        if spec.purpose == "evaluate":
            return True
        for name in ("last.tmp", "best.tmp"):
            (spec.trial_folder / name).write_bytes(b"half of it")
        if spec.attempt == 0:
            log = spec.folder / EVENTS_FILE
            log.write_bytes(log.read_bytes().splitlines(keepends=True)[0])
            (spec.trial_folder / "last.ckpt").unlink()
            (spec.trial_folder / "best.ckpt").unlink()
            self._exit_status[spec.key] = -9
        return True


def test_a_checkpoint_that_was_cut_off_is_neither_resumed_nor_left(workspace: Path, one_trial: Path) -> None:
    assert run_study(one_trial, workspace, launcher=CutOffWhileItSaves()) is StudyState.COMPLETE
    check_complete(workspace)
    folder = Workspace(workspace).study("tiny").trial(0)
    assert len(folder.attempts()) == 2
    assert {path.name for path in folder.root.glob("*.*")} == {"config.json", "best.ckpt", "scores.json"}


@pytest.mark.parametrize(
    "content", [b"", b" " * 64, bytes(64), b'{"status": '], ids=["empty", "blank", "zeros", "half"]
)
def test_an_exit_record_without_content_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / EXIT_FILE).write_bytes(content)
    assert exit_record(tmp_path) is None


@pytest.mark.parametrize("content", [b"", bytes(64)], ids=["empty", "zeros"])
def test_a_configuration_without_content_was_never_written(workspace: Path, one_trial: Path, content: bytes) -> None:
    cut_off(workspace, one_trial, leave=lambda _: None)
    (asked,) = trials_of(workspace)
    folder = Workspace(workspace).study("tiny").trial(0)
    shutil.rmtree(folder.root)
    folder.root.mkdir()
    folder.config.write_bytes(content)
    assert run_study(one_trial, workspace) is StudyState.COMPLETE
    (trial,) = trials_of(workspace)
    assert (trial.number, trial.state, trial.params) == (0, TrialState.COMPLETE, asked.params)


def test_a_trial_without_a_configuration_is_started_with_the_parameters_it_was_asked_for(
    workspace: Path, one_trial: Path
) -> None:
    cut_off(workspace, one_trial, leave=lambda _: None)
    (asked,) = trials_of(workspace)
    shutil.rmtree(Workspace(workspace).study("tiny").trial(0).root)
    assert run_study(one_trial, workspace) is StudyState.COMPLETE
    (trial,) = trials_of(workspace)
    assert (trial.number, trial.state, trial.params) == (0, TrialState.COMPLETE, asked.params)


def test_a_trial_that_was_never_started_and_that_a_changed_space_could_not_have_made_has_failed(
    workspace: Path, tmp_path: Path
) -> None:
    study = write_tiny_study(tmp_path, trials=1)
    cut_off(workspace, study, leave=lambda _: None)
    shutil.rmtree(Workspace(workspace).study("tiny").trial(0).root)
    path = tmp_path / "tiny_space.toml"
    path.write_text(path.read_text().replace("choices = [8, 16]", "choices = [4]"))
    view = RecordingView()
    assert run_study(study, workspace, view=view) is StudyState.COMPLETE
    never, trial = trials_of(workspace)
    assert (never.state, never.fits, never.value) == (TrialState.FAILED, False, None)
    assert (trial.state, trial.params["encoder.hidden_size"]) == (TrialState.COMPLETE, 4)
    assert any("trial 0 was never started" in message for message in view.messages)
    assert run_study(study, workspace) is StudyState.COMPLETE
    assert len(trials_of(workspace)) == 2


def test_seconds_of_earlier_attempts_count_by_what_they_said(tmp_path: Path) -> None:
    spec = AttemptSpec(
        number=0,
        attempt=0,
        folder=tmp_path,
        trial_folder=tmp_path,
        workspace=tmp_path,
        objective="cllr",
        slot=Slot(name="cpu-0"),
        config=TrialConfig(data=DataConfig(languages=("en", "fr"))),
    )
    trial = ActiveTrial(number=0, config=spec.config, folder=TrialFolder(tmp_path))
    started = Started(
        time_ms=1_000, pid=1, host="here", device="cpu", num_threads=1, num_parameters=1, resumed_epoch=0, warm=False
    )
    epoch = EpochEnded(time_ms=7_500, epoch=0, objective=1.0, metrics={})
    trial.begin(spec)
    assert trial.trained_s == 0.0
    trial.take([started, epoch])
    trial.begin(spec)  # by the same coordinator or by another, hours later
    assert (trial.trained_s, trial.started) == (6.5, None)
    trial.begin(spec)  # whose attempt said nothing
    assert trial.trained_s == 6.5
    trial.take([started.model_copy(update={"time_ms": 90_000}), epoch.model_copy(update={"time_ms": 80_000})])
    trial.begin(spec)
    assert trial.trained_s == 6.5, "the clock was set back"


def test_a_defect_that_mlflow_never_heard_of_keeps_its_traceback(
    workspace: Path, one_trial: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class DiesBeforeRecording(BaseException):
        pass

    def die(*_arguments: object, **_keywords: object) -> None:
        raise DiesBeforeRecording

    def break_the_features(_: Coordinator) -> None:
        (workspace / "features").unlink()
        (workspace / "features").mkdir()

    with monkeypatch.context() as patch:
        patch.setattr(Tracker, "finish_trial", die)
        with pytest.raises(DiesBeforeRecording):
            run_study(one_trial, workspace, prepare=break_the_features)
    run_study(one_trial, workspace)
    (run,) = record_of(workspace).trials
    assert run.state is TrialState.FAILED
    assert run.failure.startswith("CorpusError")
    (traceback,) = (workspace / "mlflow").rglob("traceback.txt")
    assert "Traceback" in traceback.read_text()
