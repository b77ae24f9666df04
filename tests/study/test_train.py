"""`lidstudy train`: one configuration in this process, recorded like any trial."""

import threading
from pathlib import Path

import pytest

from lightning_modules.errors import ConfigError
from reports.records import StudyState, TrialState
from study.commands import control, train
from study.commands.sweep import EXIT_STATUS, SweepOptions, resume
from study.commands.train import train_one
from study.control import Enqueue, Stop, pending, send
from study.events import AnyEvent, EpochEnded, read_events
from study.spec import EVENTS_FILE
from study.workspace import Workspace
from tests.conftest import write_tiny_study
from tests.study.helpers import record_of, run_study, trials_of, until

pytestmark = pytest.mark.timeout(120)


def test_a_trials_own_configuration_trained_again_gives_its_result(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_study(write_tiny_study(tmp_path, trials=2), workspace)
    frozen = Workspace(workspace).study("tiny").trial(1).config
    assert train_one(str(frozen), study="again", seed=None, devices="cpu", folder=workspace) == 0
    said = capsys.readouterr().out
    (trial,) = trials_of(workspace, "again")
    assert (trial.state, trial.value) == (TrialState.COMPLETE, trials_of(workspace)[1].value)
    (run,) = record_of(workspace, "again").trials
    assert run.history["train/loss"][-1].value == record_of(workspace).trials[1].history["train/loss"][-1].value
    assert "epoch   0  loss" in said
    assert "recorded: `lidstudy show again 0`" in said


def test_another_training_is_another_trial_under_the_seed_that_was_asked_for(workspace: Path, tmp_path: Path) -> None:
    study = str(write_tiny_study(tmp_path))
    send(Workspace(workspace).study("train"), Enqueue(params={}, seed=5))  # of a command that was killed
    for seed in (None, 7):
        train_one(study, study="train", seed=seed, devices="cpu", folder=workspace)
    assert [run.seed for run in record_of(workspace, "train").trials] == [3, 7]


def test_an_interrupted_training_goes_on_however_often_and_lets_no_other_in_between(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = write_tiny_study(tmp_path, epochs=6)
    folder = Workspace(workspace).study("train")

    class Interrupted(train._Watch):
        """Ctrl-C after the third epoch that it hears of, the first of which the checkpoint says again."""

        def __call__(self, event: AnyEvent) -> None:
            super().__call__(event)
            if isinstance(event, EpochEnded):
                epochs.append(event.epoch)
                if len(epochs) % 3 == 0:
                    raise KeyboardInterrupt

    epochs: list[int] = []
    with monkeypatch.context() as patched:
        patched.setattr(train, "_Watch", Interrupted)
        for _ in range(4):
            assert train_one(str(study), study="train", seed=None, devices="cpu", folder=workspace) == 130
    assert "lost" not in capsys.readouterr().out
    (trial,) = trials_of(workspace, "train")
    assert trial.state is TrialState.RUNNING
    assert epochs == [0, 1, 2, 1, 2, 3, 2, 3, 4, 3, 4, 5], "what was not saved is trained again, and no more"
    with pytest.raises(ConfigError, match=r"trial 0 of study 'train' was interrupted with another"):
        train_one(str(study), study="train", seed=8, devices="cpu", folder=workspace)
    assert pending(folder) == []
    assert train_one(str(folder.trial(0).config), study="train", seed=None, devices="cpu", folder=workspace) == 0
    assert [each.state for each in trials_of(workspace, "train")] == [TrialState.COMPLETE]


def test_a_stop_ends_a_training_at_its_next_word(workspace: Path, tmp_path: Path) -> None:
    study, folder = str(write_tiny_study(tmp_path, epochs=50)), Workspace(workspace).study("train")
    stopped = StudyState.STOPPED

    def stop_soon() -> None:
        until(lambda: bool(folder.trial(0).attempts()) and has_spoken())
        send(folder, Stop(now=True))

    def has_spoken() -> bool:
        return any(isinstance(event, EpochEnded) for event in read_events(folder.trial(0).attempts()[0] / EVENTS_FILE))

    user = threading.Thread(target=stop_soon)
    user.start()
    assert train_one(study, study="train", seed=None, devices="cpu", folder=workspace) == EXIT_STATUS[stopped]
    user.join()
    (trial,) = trials_of(workspace, "train")
    assert (trial.state, pending(folder)) == (TrialState.RUNNING, [])


def test_a_sweep_is_no_place_for_single_trainings(workspace: Path, tmp_path: Path) -> None:
    study = write_tiny_study(tmp_path, trials=1)
    run_study(study, workspace)
    with pytest.raises(ConfigError, match="study 'tiny' is a sweep"):
        train_one(str(study), study="tiny", seed=None, devices="cpu", folder=workspace)


@pytest.mark.parametrize("name", ["a/b", "../x", "", "x" * 65])
def test_what_is_no_name_is_refused_in_one_line(workspace: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="is no name of a study"):
        train_one(str(write_tiny_study(tmp_path)), study=name, seed=None, devices="cpu", folder=workspace)


def test_single_trainings_are_not_gone_on_with(workspace: Path, tmp_path: Path) -> None:
    train_one(str(write_tiny_study(tmp_path)), study="train", seed=None, devices="cpu", folder=workspace)
    for go_on in (
        lambda: resume("train", SweepOptions(), folder=workspace, failed=False),
        lambda: resume("train", SweepOptions(), folder=workspace, failed=True),
        lambda: control.enqueue("train", '{"encoder.cell": "gru"}', workspace, seed=None),
        lambda: control.retry("train", 0, workspace),
    ):
        with pytest.raises(ConfigError, match="study 'train' holds single trainings"):
            go_on()


def test_a_training_is_judged_by_its_studys_objective_and_by_no_other_in_the_same_study(
    workspace: Path, tmp_path: Path
) -> None:
    study = write_tiny_study(tmp_path)
    study.write_text('objective = "eer"\n' + study.read_text())
    assert train_one(str(study), study="train", seed=None, devices="cpu", folder=workspace) == 0
    found = record_of(workspace, "train")
    assert found.manifest.objective == "val/eer"
    (run,) = found.trials
    assert run.objective == min(point.value for point in run.history["val/eer"])
    with pytest.raises(ConfigError, match="in study 'train' are judged by eer, and this one by cllr_calibrated"):
        train_one(str(write_tiny_study(tmp_path)), study="train", seed=None, devices="cpu", folder=workspace)
