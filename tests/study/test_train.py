"""`lidstudy train`: one configuration in this process, recorded like any trial."""

from pathlib import Path

import pytest

from lightning_modules.errors import ConfigError
from reports.records import TrialState
from study.commands import control
from study.commands.sweep import SweepOptions, resume
from study.commands.train import train_one
from study.workspace import Workspace
from tests.conftest import write_tiny_study
from tests.study.helpers import record_of, run_study, trials_of

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
    for seed in (None, 7):
        train_one(study, study="train", seed=seed, devices="cpu", folder=workspace)
    assert [run.seed for run in record_of(workspace, "train").trials] == [3, 7]


def test_a_sweep_is_no_place_for_single_trainings(workspace: Path, tmp_path: Path) -> None:
    study = write_tiny_study(tmp_path, trials=1)
    run_study(study, workspace)
    with pytest.raises(ConfigError, match="study 'tiny' is a sweep"):
        train_one(str(study), study="tiny", seed=None, devices="cpu", folder=workspace)


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
