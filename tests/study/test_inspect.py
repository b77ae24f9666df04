"""What `lidstudy list` says of studies that have ended."""

from pathlib import Path

import pytest

from reports.records import StudyState
from study.commands.inspect import list_all
from tests.conftest import write_tiny_study
from tests.study.helpers import run_study
from tests.study.test_recovery import SilentAndLost


def test_a_study_that_failed_is_not_called_done_though_its_budget_is_spent(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = write_tiny_study(tmp_path, trials=1)
    assert run_study(study, workspace, launcher=SilentAndLost()) is StudyState.FAILED
    list_all(workspace, as_json=False)
    header, row = capsys.readouterr().out.splitlines()
    assert header.split() == ["study", "trials", "best", "now"]
    assert row.split() == ["tiny", "1/1", "none", "yet", "failed"]
