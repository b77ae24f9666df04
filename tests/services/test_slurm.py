"""Studies on a real Slurm of one node: jobs that end, wait, are started again, are cancelled, or lose their node."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reports.records import StudyState, TrialState
from study.devices import Slot
from study.events import Started, read_events
from study.launchers._base import Life, Status
from study.launchers.build import build_launcher
from study.launchers.census import AtWork, Census
from study.launchers.config import SlurmConfig
from study.launchers.slurm import SlurmLauncher
from study.spec import EVENTS_FILE, JOB_FILE, AttemptSpec
from study.workspace import Workspace
from tests.conftest import write_tiny_study
from tests.services.slurm_node import scontrol, slurm_node
from tests.study.helpers import config_of, record_of, run_study, trials_of, until

pytestmark = [pytest.mark.services, pytest.mark.timeout(600)]

CLEANED_UP_S = 20


@pytest.fixture(scope="module")
def node() -> Iterator[str]:
    with slurm_node() as name:
        yield name


@pytest.fixture
def start(node: str, workspace: Path) -> Iterator[Callable[..., SlurmLauncher]]:
    made: list[SlurmLauncher] = []

    def make(*, slots: int = 2, cpus: int = 1, requeue: bool = True) -> SlurmLauncher:
        config = SlurmConfig(slots=slots, cpus=cpus, requeue=requeue, partition="debug", ask_every_s=1.0)
        launcher = build_launcher(config, workspace=Workspace(workspace), study="tiny", slots=())
        assert isinstance(launcher, SlurmLauncher)
        made.append(launcher)
        return launcher

    yield make
    for launcher in made:
        for spec in list(launcher._busy.values()):
            launcher.kill(spec)
        launcher.close()


@pytest.fixture
def make_spec(workspace: Path, tmp_path: Path) -> Callable[..., AttemptSpec]:
    def make(number: int, *, slot: str = "slurm-0", epochs: int = 2) -> AttemptSpec:
        trial = Workspace(workspace).study("tiny").trial(number).root
        return AttemptSpec(
            number=number,
            attempt=0,
            folder=trial / "attempt-0",
            trial_folder=trial,
            workspace=workspace,
            objective="cllr_calibrated",
            slot=Slot(name=slot),
            config=config_of(write_tiny_study(tmp_path, epochs=epochs)).trial,
        )

    return make


def job_of(spec: AttemptSpec) -> str:
    return str(json.loads((spec.folder / JOB_FILE).read_text())["id"])


def starts(spec: AttemptSpec) -> list[Started]:
    log = spec.folder / EVENTS_FILE
    return [event for event in read_events(log) if isinstance(event, Started)] if log.exists() else []


def has_trained(spec: AttemptSpec) -> bool:
    return (spec.trial_folder / "last.ckpt").exists()


def end(launcher: SlurmLauncher, spec: AttemptSpec) -> Status:
    """Kills an attempt, and waits until it is over."""

    def is_over() -> bool:
        launcher.kill(spec)
        return launcher.poll(spec).is_over

    until(is_over)
    return launcher.poll(spec)


def test_a_whole_study(tmp_path: Path, workspace: Path, start: Callable[..., SlurmLauncher]) -> None:
    assert run_study(write_tiny_study(tmp_path, trials=2), workspace, launcher=start()) is StudyState.COMPLETE
    assert {trial.state for trial in trials_of(workspace)} == {TrialState.COMPLETE}
    assert [run.objective for run in record_of(workspace).trials] == [trial.value for trial in trials_of(workspace)]


def test_a_job_waits_until_another_was_cancelled(
    start: Callable[..., SlurmLauncher], make_spec: Callable[..., AttemptSpec]
) -> None:
    launcher = start(cpus=2)
    first, second = make_spec(0, epochs=2000), make_spec(1, slot="slurm-1")
    launcher.submit(first)
    until(lambda: has_trained(first))
    launcher.submit(second)
    until(lambda: "JobState=PENDING" in scontrol("show", "job", job_of(second)))
    until(lambda: launcher.poll(first).life is Life.RUNNING)
    assert launcher.poll(second) == Status(Life.WAITING)
    assert Census().at_work(Workspace(first.workspace).study("tiny")) == AtWork((first.folder, second.folder))
    status = end(launcher, first)
    assert status.life is Life.EXITED
    assert status.exit_status is not None
    assert status.exit_status < 0
    until(lambda: launcher.poll(second) == Status(Life.EXITED, 0))


def test_a_job_that_slurm_starts_again_goes_on_from_its_checkpoint(
    start: Callable[..., SlurmLauncher], make_spec: Callable[..., AttemptSpec]
) -> None:
    launcher, spec = start(), make_spec(0, epochs=60)
    launcher.submit(spec)
    until(lambda: has_trained(spec))
    scontrol("requeue", job_of(spec))
    until(lambda: "JobState=PENDING" in scontrol("show", "job", job_of(spec)))
    until(lambda: launcher.poll(spec).life is Life.WAITING)
    # Slurm waits for two minutes, so that the node has cleaned up; at once is too early: what the job's first run says
    # last may then be taken for its second one's end.
    scontrol("update", f"jobid={job_of(spec)}", f"starttime=now+{CLEANED_UP_S}seconds")
    until(lambda: launcher.poll(spec).is_over)
    why = f"{scontrol('show', 'job', job_of(spec))}\n{launcher.output_tail(spec)}"
    assert launcher.poll(spec) == Status(Life.EXITED, 0), why
    assert [event.resumed_epoch > 0 for event in starts(spec)] == [False, True]


def test_a_job_whose_node_fails_is_lost_and_the_next_launcher_knows(
    node: str, start: Callable[..., SlurmLauncher], make_spec: Callable[..., AttemptSpec]
) -> None:
    launcher, spec = start(requeue=False), make_spec(0, epochs=2000)
    launcher.submit(spec)
    until(lambda: has_trained(spec))
    scontrol("update", f"nodename={node}", "state=down", "reason=test")
    try:
        until(lambda: launcher.poll(spec).is_over)
        assert "JobState=NODE_FAIL" in scontrol("show", "job", job_of(spec))
    finally:
        scontrol("update", f"nodename={node}", "state=resume")
    other = start()
    until(lambda: other.poll(spec).is_over)
    assert other.poll(spec) == launcher.poll(spec)
