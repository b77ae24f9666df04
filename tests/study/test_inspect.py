"""What `lidstudy list` says of studies that have ended, and `status --follow` while a store is away."""

from pathlib import Path

import pytest

from lightning_modules.errors import StorageError, StoreAwayError
from reports.records import StudyState
from study.commands.inspect import follow_status, list_all, show_status, show_trial
from study.events import Ended, EventLog
from study.following import Follower
from study.spec import EVENTS_FILE
from study.view import Snapshot
from study.workspace import Workspace
from tests.conftest import write_tiny_study
from tests.study.helpers import SilentAndLost, run_study


def test_a_study_that_failed_is_not_called_done_though_its_budget_is_spent(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = write_tiny_study(tmp_path, trials=1)
    assert run_study(study, workspace, launcher=SilentAndLost()) is StudyState.FAILED
    list_all(workspace, as_json=False)
    header, row = capsys.readouterr().out.splitlines()
    assert header.split() == ["study", "trials", "best", "now"]
    assert row.split() == ["tiny", "1/1", "none", "yet", "failed"]


def test_a_study_whose_description_is_none_is_told_of_and_the_others_are_listed(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_study(write_tiny_study(tmp_path, trials=1), workspace)
    for name, content in (("empty", "{}"), ("listed", "[]"), ("odd", '{"manifest": 3}')):
        folder = workspace / "studies" / name
        folder.mkdir()
        (folder / "study.json").write_text(content)
        with pytest.raises(StorageError, match="describes no study"):
            show_status(name, workspace, as_json=False)
    list_all(workspace, as_json=False)
    said = capsys.readouterr().out
    assert "tiny" in said
    assert said.count("describes no study") == 3


def test_old_trials_are_told_apart_after_the_space_has_changed(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = write_tiny_study(tmp_path, trials=2)
    run_study(study, workspace)
    space = tmp_path / "tiny_space.toml"
    space.write_text(space.read_text().replace("choices = [8, 16]", "choices = [4, 12]"))
    run_study(write_changed(study, trials=3), workspace)
    show_status("tiny", workspace, as_json=False)
    said = capsys.readouterr().out
    assert said.startswith("tiny, 3 of 3 trials: 3 complete")
    assert "of these, 2 do not fit the search space any more" in said


def write_changed(study: Path, *, trials: int) -> Path:
    study.write_text(study.read_text().replace("trials = 2", f"trials = {trials}"))
    return study


def test_a_diverged_trial_is_not_called_failed_and_a_lost_configuration_is_told_of(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unstable = '[trial.optimizer]\nkind = "sgd"\n[trial.encoder]\ncell = "rnn_relu"\n[trial.clipping]\nkind = "none"\n'
    study = write_tiny_study(tmp_path, trials=1, steps=30, changes=unstable)
    (tmp_path / "tiny_space.toml").write_text('[space]\n"optimizer.learning_rate" = { float = [9.0, 10.0] }\n')
    run_study(study, workspace)
    show_trial("tiny", 0, workspace, as_json=False)
    said = capsys.readouterr().out
    assert "trial 0: diverged" in said
    assert "it diverged: " in said
    assert "failed" not in said
    (workspace / "studies" / "tiny" / "trials" / "00000" / "config.json").write_text("{")
    show_trial("tiny", 0, workspace, as_json=False)
    assert "its configuration cannot be read" in capsys.readouterr().out


def test_a_trial_that_was_refused_memory_says_so_whatever_torch_called_it(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_study(write_tiny_study(tmp_path, trials=1), workspace, launcher=SilentAndLost())
    attempt = Workspace(workspace).study("tiny").trial(0).attempts()[-1]
    log, failure = EventLog(attempt / EVENTS_FILE), "RuntimeError: could not execute a primitive"
    log.append(Ended(time_ms=log.now_ms(), outcome="out_of_memory", failure=failure))
    show_status("tiny", workspace, as_json=False)
    assert "failed: out of memory: RuntimeError: could not execute a primitive" in capsys.readouterr().out


def test_following_waits_where_the_store_is_away(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_study(write_tiny_study(tmp_path, trials=1), workspace)
    snapshot, answers = Follower.snapshot, iter([False, True, True])

    def sometimes(follower: Follower) -> Snapshot:
        if not next(answers):
            raise StoreAwayError("Optuna's database is away")
        return snapshot(follower)

    monkeypatch.setattr(Follower, "snapshot", sometimes)
    follow_status("tiny", workspace)
    said = capsys.readouterr().out
    assert "Optuna's database is away; trials go on, and it is waited for" in said
    assert "it answers again" in said
    assert "1 complete" in said
