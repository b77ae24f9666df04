"""Attempts as jobs, with submitit's local executor in Slurm's place; what squeue says is read from its own words."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from reports.records import StudyState, TrialState
from study.devices import Slot
from study.events import Started, read_events
from study.launchers._base import Life, Status
from study.launchers.build import build_launcher
from study.launchers.config import SlurmConfig
from study.launchers.jobs import JobLife, Jobs, job_life
from study.launchers.local_jobs import ProcessQueue
from study.launchers.slurm import SlurmLauncher
from study.spec import EVENTS_FILE, EXIT_FILE, LOST_FILE, SPEC_FILE, SUPERVISOR_FILE, AttemptSpec
from study.workspace import Workspace, write_json
from tests.conftest import write_tiny_study
from tests.study.helpers import config_of, record_of, run_study, trials_of, until

pytestmark = [pytest.mark.services, pytest.mark.timeout(600)]

LISTED = """
101|RUNNING|/w/a
102|PENDING|/w/b
103|CANCELLED|(null)
104|OUT_OF_MEMORY|/w/c
205_3|RUNNING|an array of somebody's
106|NODE_FAIL|/w/a
"""


@pytest.fixture
def start(workspace: Path) -> Iterator[Callable[..., SlurmLauncher]]:
    """Makes launchers on one study; jobs that are left are cancelled, or the next test would have them beside it."""
    made: list[SlurmLauncher] = []

    def make(*, gres: str | None = None) -> SlurmLauncher:
        config = SlurmConfig(executor="local", slots=2, gres=gres)
        launcher = build_launcher(config, workspace=Workspace(workspace), study="tiny", slots=())
        assert isinstance(launcher, SlurmLauncher)
        made.append(launcher)
        return launcher

    yield make
    for launcher in made:
        until(partial(is_idle, launcher._processes))
        launcher.close()


def is_idle(jobs: ProcessQueue) -> bool:
    """Cancels what runs; whether nothing does, and all was reaped that was started here."""
    listed = jobs.list_jobs().splitlines()
    for line in listed:
        jobs.cancel(line.split("|")[0])
    return not listed and not jobs._handles


@pytest.fixture
def _in_the_background() -> Iterator[None]:
    """What a shell's `&` does, and `nohup`: Ctrl-C is ignored, by all that is started too."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def make_spec(workspace: Path, tmp_path: Path) -> Callable[..., AttemptSpec]:
    def make(number: int, *, attempt: int = 0, slot: str = "slurm-0", epochs: int = 2) -> AttemptSpec:
        trial = Workspace(workspace).study("tiny").trial(number).root
        return AttemptSpec(
            number=number,
            attempt=attempt,
            folder=trial / f"attempt-{attempt}",
            trial_folder=trial,
            workspace=workspace,
            objective="cllr_calibrated",
            slot=Slot(name=slot),
            config=config_of(write_tiny_study(tmp_path, epochs=epochs)).trial,
        )

    return make


def has_trained(spec: AttemptSpec) -> bool:
    return (spec.trial_folder / "last.ckpt").exists()


def end(launcher: SlurmLauncher, spec: AttemptSpec) -> Status:
    """Kills an attempt, and waits until it is over."""

    def is_over() -> bool:
        launcher.kill(spec)
        return launcher.poll(spec).is_over

    until(is_over)
    return launcher.poll(spec)


def test_a_job_runs_to_its_end_and_frees_its_slot(
    start: Callable[[], SlurmLauncher], make_spec: Callable[..., AttemptSpec]
) -> None:
    launcher, spec = start(), make_spec(0)
    assert launcher.submit(spec)
    assert not launcher.submit(make_spec(1)), "its slot has a job"
    until(lambda: launcher.poll(spec).is_over)
    assert launcher.poll(spec) == Status(Life.EXITED, 0)
    assert [slot.name for slot in launcher.free_slots()] == ["slurm-0", "slurm-1"]


@pytest.mark.usefixtures("_in_the_background")
def test_another_launcher_adopts_a_job_and_kills_it(
    start: Callable[[], SlurmLauncher], make_spec: Callable[..., AttemptSpec]
) -> None:
    spec = make_spec(0, epochs=20_000)
    start().submit(spec)
    until(lambda: has_trained(spec))
    other = start()
    until(lambda: other.poll(spec) == Status(Life.RUNNING))
    assert [slot.name for slot in other.free_slots()] == ["slurm-1"]
    status = end(other, spec)
    assert status.life is Life.EXITED
    assert status.exit_status is not None
    assert status.exit_status < 0


def test_a_job_that_died_without_a_word_is_lost_for_good(
    start: Callable[[], SlurmLauncher], make_spec: Callable[..., AttemptSpec]
) -> None:
    launcher, spec = start(), make_spec(0, epochs=20_000)
    launcher.submit(spec)
    until(lambda: has_trained(spec))
    os.kill(json.loads((spec.folder / SUPERVISOR_FILE).read_text())["pid"], signal.SIGKILL)
    until(lambda: launcher.poll(spec).is_over)
    assert launcher.poll(spec) == Status(Life.LOST)
    assert (spec.folder / LOST_FILE).exists()
    assert start().poll(spec) == Status(Life.LOST)


def test_a_job_that_asks_for_a_gpu_is_given_one(
    start: Callable[..., SlurmLauncher], make_spec: Callable[..., AttemptSpec]
) -> None:
    """Where there is none, the attempt says so itself."""
    launcher = start(gres="gpu:1")
    spec = make_spec(0).model_copy(update={"slot": launcher.slots[0]})
    launcher.submit(spec)
    until(lambda: launcher.poll(spec).is_over)
    assert (spec.folder / SUPERVISOR_FILE).exists(), launcher.output_tail(spec)


def test_a_job_that_is_started_again_goes_on_from_its_checkpoint(
    start: Callable[[], SlurmLauncher], make_spec: Callable[..., AttemptSpec]
) -> None:
    launcher, spec = start(), make_spec(0, epochs=20_000)
    launcher.submit(spec)
    until(lambda: has_trained(spec))
    end(launcher, spec)
    with (spec.folder / EVENTS_FILE).open("ab") as log:
        log.write(b'{"time_ms": 1, "type": "ep')  # torn off
    again = subprocess.Popen([sys.executable, "-m", "study.launchers.run_spec", spec.folder / SPEC_FILE])
    try:
        until(lambda: len(starts(spec)) > 1)
    finally:
        again.terminate()
        again.wait()
    assert [event.resumed_epoch > 0 for event in starts(spec)] == [False, True]
    assert (spec.folder / EXIT_FILE).exists()


def test_an_attempt_that_was_given_up_before_it_could_start_does_not(make_spec: Callable[..., AttemptSpec]) -> None:
    spec = make_spec(0)
    spec.folder.mkdir(parents=True)
    write_json(spec.folder / SPEC_FILE, spec.model_dump(mode="json"))
    write_json(spec.folder / LOST_FILE, {})
    subprocess.run([sys.executable, "-m", "study.launchers.run_spec", spec.folder / SPEC_FILE], check=True)
    assert not (spec.folder / SUPERVISOR_FILE).exists()


def starts(spec: AttemptSpec) -> list[Started]:
    return [event for event in read_events(spec.folder / EVENTS_FILE) if isinstance(event, Started)]


def test_a_whole_study(tmp_path: Path, workspace: Path, start: Callable[[], SlurmLauncher]) -> None:
    assert run_study(write_tiny_study(tmp_path, trials=2), workspace, launcher=start()) is StudyState.COMPLETE
    assert {trial.state for trial in trials_of(workspace)} == {TrialState.COMPLETE}
    assert [run.objective for run in record_of(workspace).trials] == [trial.value for trial in trials_of(workspace)]


class Listing:
    """A queue whose words are known, and which counts how often it is asked."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.num_asked = 0

    def list_jobs(self) -> str:
        self.num_asked += 1
        return self.text

    def cancel(self, job_id: str) -> None:
        raise ValueError(f"there is no job {job_id}.")


def test_what_squeue_lists() -> None:
    now = [100.0]
    jobs = Jobs(Listing(LISTED), ask_every_s=10.0, clock=lambda: now[0])
    assert jobs.life("101", since=0.0) is None, "nobody has answered yet"
    until(lambda: jobs.life("101", since=0.0) is not None)
    lives = {job: jobs.life(job, since=0.0) for job in ("101", "102", "103", "104", "999")}
    assert lives == {
        "101": JobLife.RUNNING,
        "102": JobLife.WAITING,
        "103": JobLife.OVER,
        "104": JobLife.OUT_OF_MEMORY,
        "999": JobLife.OVER,
    }
    assert jobs.life("101", since=100.1) is None, "a job that is younger than the answer is not judged by it"
    assert jobs.find("/w/a", since=0.0) == "106"
    assert jobs.find("/w/nowhere", since=0.0) == ""
    jobs.close()


def test_the_queue_is_asked_once_an_interval_for_all() -> None:
    now, queue = [100.0], Listing(LISTED)
    jobs = Jobs(queue, ask_every_s=10.0, clock=lambda: now[0])
    until(lambda: jobs.life("101", since=0.0) is not None)
    for job in ("101", "102", "103") * 20:
        jobs.life(job, since=0.0)
    assert queue.num_asked == 1
    now[0] += 10.0
    until(lambda: jobs.life("101", since=105.0) is not None)
    assert queue.num_asked == 2
    jobs.close()


@pytest.mark.parametrize("state", ["PREEMPTED", "NODE_FAIL", "CANCELLED", "TIMEOUT", "COMPLETED", "A_NEW_ONE"])
def test_a_state_that_ends_a_job(state: str) -> None:
    assert job_life(state) is JobLife.OVER
