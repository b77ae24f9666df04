"""`lidstudy sweep` where it is stopped before its coordinator begins."""

import subprocess
import threading
from pathlib import Path

import pytest

from study.commands import sweep
from study.commands.sweep import Stopped, SweepOptions
from study.workspace import Workspace
from tests.conftest import write_tiny_study
from tests.study.helpers import until

pytestmark = pytest.mark.timeout(120)


def is_at_work(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_stop_ends_what_works_for_us_and_all_that_it_has_started(tmp_path: Path) -> None:
    stop, told = threading.Event(), tmp_path / "pid"

    def stop_it() -> None:
        until(lambda: told.exists() and bool(told.read_text()))
        stop.set()

    thread = threading.Thread(target=stop_it)
    thread.start()
    with pytest.raises(Stopped):
        sweep._in_process(stop, subprocess.run, ["sh", "-c", f"echo $$ > {told}; exec sleep 600"])
    thread.join()
    until(lambda: not is_at_work(int(told.read_text())))


def test_a_study_that_is_stopped_while_features_are_computed_has_not_begun(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(*_: object) -> None:
        raise Stopped

    monkeypatch.setattr(sweep, "are_missing", lambda _: True)
    monkeypatch.setattr(sweep, "_in_process", stopped)
    study = str(write_tiny_study(tmp_path))
    assert sweep.run(study, SweepOptions(devices="cpu"), folder=workspace) == 130
    assert "study tiny was stopped; run the same command to go on" in capsys.readouterr().out
    assert not Workspace(workspace).study("tiny").manifest.exists()
