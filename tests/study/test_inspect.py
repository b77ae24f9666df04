"""What `lidstudy list` says of studies that have ended, and `status --follow` while a store is away."""

from pathlib import Path

import pytest

from lightning_modules.errors import StoreAwayError
from reports.records import StudyState
from study.commands.inspect import follow_status, list_all
from study.following import Follower
from study.view import Snapshot
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
