"""SIGKILL in mid-sweep: the same command goes on, and Optuna, MLflow and the event logs agree trial by trial."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from reports.records import TrialState
from study.events import EpochEnded, Started, read_events
from study.spec import EVENTS_FILE
from study.workspace import StudyFolder, Workspace
from tests.conftest import write_tiny_study
from tests.study.helpers import record_of, run_study, trials_of, until

pytestmark = pytest.mark.timeout(240)
NUM_TRIALS = 5
NUM_EPOCHS = 12
FURTHER = ("c_primary", "parameters", "latency")


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return write_tiny_study(tmp_path, trials=NUM_TRIALS, epochs=NUM_EPOCHS, steps=8)


@pytest.fixture
def of_several(study: Path) -> None:
    """Makes it a study of four objectives."""
    several = f"further_objectives = {json.dumps(FURTHER)}\n"
    study.write_text(study.read_text().replace("seed = 3\n", f"seed = 3\n{several}", 1))


@pytest.fixture
def sweep(study: Path, workspace: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Starts `lidstudy sweep`; whatever is left of it afterwards is killed."""
    started: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        command = [sys.executable, "-c", "from study.cli import main; main()", "sweep", str(study)]
        process = subprocess.Popen(
            [*command, "--workspace", str(workspace), "--slots", "2"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def folder(workspace: Path) -> StudyFolder:
    return Workspace(workspace).study("tiny")


def logs(folder: StudyFolder) -> list[Path]:
    return sorted((folder.root / "trials").glob(f"*/attempt-*/{EVENTS_FILE}"))


def num_epochs(folder: StudyFolder) -> int:
    return sum(isinstance(event, EpochEnded) for log in logs(folder) for event in read_events(log))


def has_come_to(folder: StudyFolder, target: int) -> bool:
    return num_epochs(folder) >= target


def living_trainers(folder: StudyFolder) -> list[int]:
    started = [event.pid for log in logs(folder) for event in read_events(log) if isinstance(event, Started)]
    return [pid for pid in started if Path(f"/proc/{pid}").exists()]


def finish(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output
    return output


def check_that_all_agree(workspace: Path, folder: StudyFolder) -> None:
    """The invariants: nothing lost, nothing twice, nothing running, and three records that say the same."""
    trials, record = trials_of(workspace), record_of(workspace)
    assert [trial.number for trial in trials] == list(range(NUM_TRIALS))
    assert [run.number for run in record.trials] == list(range(NUM_TRIALS))
    for trial, run in zip(trials, record.trials, strict=True):
        assert run.state is trial.state is TrialState.COMPLETE
        assert run.objective == trial.value
        assert tuple(run.metrics[f"objective/{name}"] for name in FURTHER[: len(trial.further)]) == trial.further
        events = [
            event
            for attempt in folder.trial(trial.number).attempts()
            for event in read_events(attempt / EVENTS_FILE)
            if isinstance(event, EpochEnded)
        ]
        first_told = {event.epoch: event for event in reversed(events)}
        points = run.history["val/cllr_calibrated"]
        assert [point.step for point in points] == list(range(NUM_EPOCHS)), "every epoch exactly once"
        for point in points:
            event = first_told[point.step]
            assert (point.value, point.time_ms) == (event.metrics["val/cllr_calibrated"], event.time_ms)
            assert trial.reports[point.step] == event.objective


def check_against_undisturbed(workspace: Path, study: Path, tmp_path: Path) -> None:
    """Killing changes nothing: the values, but for a measured time, are those of a study that nobody disturbed."""
    calm = tmp_path / "calm"
    calm.mkdir()
    for name in ("corpora", "features"):
        (calm / name).symlink_to((workspace / name).resolve())
    run_study(study, calm)
    assert all_but_time(workspace) == all_but_time(calm)


def all_but_time(workspace: Path) -> dict[int, Any]:
    """What a trial counts as, without its latency."""
    return {
        trial.number: (trial.params, trial.value, trial.further[:2], trial.reports) for trial in trials_of(workspace)
    }


@pytest.mark.usefixtures("of_several")
def test_a_killed_coordinator_and_a_killed_attempt(
    sweep: Callable[[], subprocess.Popen[str]], workspace: Path, folder: StudyFolder, study: Path, tmp_path: Path
) -> None:
    coordinator = sweep()
    until(lambda: num_epochs(folder) >= 5)
    coordinator.kill()
    coordinator.wait()
    trainers = living_trainers(folder)
    assert trainers, "attempts outlive their coordinator"
    os.kill(trainers[0], signal.SIGKILL)
    seen = num_epochs(folder)
    output = finish(sweep())
    assert "resumed" in output
    assert num_epochs(folder) > seen
    check_that_all_agree(workspace, folder)
    assert [len(trial.further) for trial in trials_of(workspace)] == [len(FURTHER)] * NUM_TRIALS
    check_against_undisturbed(workspace, study, tmp_path)


def test_a_second_coordinator_is_refused_and_the_first_one_killed_again_and_again(
    sweep: Callable[[], subprocess.Popen[str]], workspace: Path, folder: StudyFolder
) -> None:
    for target in (2, 20):
        coordinator = sweep()
        until(partial(has_come_to, folder, target))
        if target == 2:
            second = sweep()
            output, _ = second.communicate(timeout=60)
            assert second.returncode == 2
            assert "already has a coordinator" in output
            assert f"process {coordinator.pid} on " in output
        coordinator.kill()
        coordinator.wait()
    finish(sweep())
    check_that_all_agree(workspace, folder)


def test_everything_killed_at_once_as_by_a_power_cut(
    sweep: Callable[[], subprocess.Popen[str]], workspace: Path, folder: StudyFolder
) -> None:
    coordinator = sweep()
    until(lambda: num_epochs(folder) >= 8)
    coordinator.kill()
    for supervisor in (folder.root / "trials").glob("*/attempt-*/supervisor.json"):
        pid = json.loads(supervisor.read_text())["pid"]
        if Path(f"/proc/{pid}").exists():
            os.kill(pid, signal.SIGKILL)
    coordinator.wait()
    until(lambda: not living_trainers(folder))
    finish(sweep())
    check_that_all_agree(workspace, folder)


def test_ctrl_c_ends_cleanly_and_the_same_command_goes_on(
    sweep: Callable[[], subprocess.Popen[str]], workspace: Path, folder: StudyFolder, study: Path, tmp_path: Path
) -> None:
    coordinator = sweep()
    until(lambda: num_epochs(folder) >= 5)
    coordinator.send_signal(signal.SIGINT)
    output, _ = coordinator.communicate(timeout=60)
    assert coordinator.returncode == 130, output
    assert "run the same command to go on" in output
    assert "Traceback" not in output
    assert living_trainers(folder) == []
    states = Counter(run.state for run in record_of(workspace).trials)
    assert states[TrialState.RUNNING] == 0
    assert states[TrialState.INTERRUPTED] >= 1
    finish(sweep())
    check_that_all_agree(workspace, folder)
    check_against_undisturbed(workspace, study, tmp_path)
