"""Attempts as jobs, where the cluster misbehaves: its programs are scripts that say what a cluster would."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lightning_modules.errors import TrialError
from study.devices import Slot
from study.launchers._base import Life, Status
from study.launchers.config import SlurmConfig
from study.launchers.local import start_time
from study.launchers.slurm import LOCAL_SETTLE_S, MAX_REFUSALS, REFUSAL_PAUSE_S, SETTLE_S, SlurmLauncher
from study.spec import EXIT_FILE, JOB_FILE, LOST_FILE, SPEC_FILE, SUPERVISOR_FILE, AttemptSpec
from study.workspace import StudyFolder, Workspace, read_json, write_json
from tests.conftest import write_tiny_study
from tests.study.helpers import config_of, until

ACCEPTS = "echo Submitted batch job 101"
TIMES_OUT = "echo 'sbatch: error: Socket timed out on send/recv operation' >&2; exit 1"

SignIn = Callable[[AttemptSpec], "subprocess.Popen[bytes]"]
Ask = Callable[[SlurmLauncher, AttemptSpec, float], None]


class Cluster:
    """A cluster's programs, and the time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.now = 100.0
        folder.mkdir()
        self.says(sbatch=ACCEPTS, squeue="true", scancel="true", srun="true")

    def says(self, **programs: str) -> None:
        """What its programs do from now on, as lines of a shell."""
        for name, lines in programs.items():
            script = self._folder / f".{name}"
            script.write_text(f"#!/bin/sh\n{lines}\n")
            script.chmod(0o755)
            script.replace(self._folder / name)


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return Cluster(tmp_path / "bin")


@pytest.fixture
def folder(workspace: Path) -> StudyFolder:
    return Workspace(workspace).study("tiny")


@pytest.fixture
def start(cluster: Cluster, folder: StudyFolder) -> Iterator[Callable[..., SlurmLauncher]]:
    made: list[SlurmLauncher] = []

    def make(**options: str) -> SlurmLauncher:
        config = SlurmConfig.model_validate({"slots": 2, "ask_every_s": 1.0} | options)
        made.append(SlurmLauncher(config, study=folder, clock=lambda: cluster.now))
        return made[-1]

    yield make
    for launcher in made:
        launcher.close()


@pytest.fixture
def make_spec(folder: StudyFolder, tmp_path: Path) -> Callable[..., AttemptSpec]:
    def make(number: int = 0, *, slot: str = "slurm-0") -> AttemptSpec:
        trial = folder.trial(number)
        attempt = len(trial.attempts())
        return AttemptSpec(
            number=number,
            attempt=attempt,
            folder=trial.root / f"attempt-{attempt}",
            trial_folder=trial.root,
            workspace=tmp_path,
            objective="cllr_calibrated",
            slot=Slot(name=slot),
            config=config_of(write_tiny_study(tmp_path)).trial,
        )

    return make


def test_a_refused_job_that_comes_nevertheless_finds_nothing_to_do(
    cluster: Cluster, start: Callable[..., SlurmLauncher], make_spec: Callable[..., AttemptSpec]
) -> None:
    """The controller may have taken a job although sbatch has not heard so."""
    launcher, refused = start(), make_spec()
    cluster.says(sbatch=TIMES_OUT)
    assert not launcher.submit(refused)
    assert "Socket timed out" in str(read_json(refused.folder / LOST_FILE)["refused"])
    assert not (refused.folder / SPEC_FILE).exists(), "it is no attempt of the trial"
    cluster.says(sbatch=ACCEPTS)
    following = make_spec()
    assert following.folder != refused.folder
    assert launcher.submit(following)


def test_the_refusal_that_ends_the_study_leaves_no_attempt(
    cluster: Cluster, start: Callable[..., SlurmLauncher], make_spec: Callable[..., AttemptSpec]
) -> None:
    launcher = start()
    cluster.says(sbatch=TIMES_OUT)
    for _ in range(MAX_REFUSALS - 1):
        launcher.submit(make_spec())
    last = make_spec()
    with pytest.raises(TrialError, match="Socket timed out"):
        launcher.submit(last)
    assert not (last.folder / SPEC_FILE).exists()


def test_an_attempt_that_was_refused_can_be_submitted_once_more(
    cluster: Cluster, start: Callable[..., SlurmLauncher], make_spec: Callable[..., AttemptSpec]
) -> None:
    """As evaluations are."""
    launcher, spec = start(), make_spec()
    cluster.says(sbatch=TIMES_OUT)
    launcher.submit(spec)
    assert launcher.free_slots() == ()
    cluster.now += REFUSAL_PAUSE_S
    cluster.says(sbatch=ACCEPTS)
    assert launcher.submit(spec.model_copy(update={"slot": launcher.free_slots()[0]}))
    assert not (spec.folder / LOST_FILE).exists()


@pytest.fixture
def sign_in() -> Iterator[SignIn]:
    """Starts what an attempt's supervisor is to others: a process that the attempt's folder names."""
    processes: list[subprocess.Popen[bytes]] = []

    def begin(spec: AttemptSpec) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
        processes.append(process)
        write_json(spec.folder / SUPERVISOR_FILE, {"pid": process.pid, "start_time": start_time(process.pid)})
        return process

    yield begin
    for process in processes:
        process.kill()
        process.wait()


@pytest.fixture
def orphan(make_spec: Callable[..., AttemptSpec]) -> AttemptSpec:
    """Of a coordinator that was killed after it had submitted, before it could write down the job."""
    spec = make_spec()
    spec.folder.mkdir(parents=True)
    write_json(spec.folder / SPEC_FILE, spec.model_dump(mode="json"))
    return spec


def test_an_attempt_at_work_is_known_though_nobody_wrote_down_its_job(
    cluster: Cluster, start: Callable[..., SlurmLauncher], orphan: AttemptSpec, sign_in: SignIn
) -> None:
    supervisor, launcher = sign_in(orphan), start(executor="local")

    def life() -> Life:
        cluster.now += 2 * LOCAL_SETTLE_S
        return launcher.poll(orphan).life

    until(lambda: life() is not Life.WAITING)
    assert {life() for _ in range(5)} == {Life.RUNNING}
    launcher.kill(orphan)
    assert supervisor.wait(timeout=60) == -signal.SIGTERM
    until(lambda: life() is Life.LOST)


@pytest.fixture
def ask(cluster: Cluster) -> Ask:
    """Lets seconds pass, and the queue answer: the launcher hears that at its next look."""

    def wait(launcher: SlurmLauncher, spec: AttemptSpec, seconds: float) -> None:
        cluster.now += seconds
        launcher.poll(spec)
        until(lambda: launcher._jobs._answer is None or launcher._jobs._answer.done())

    return wait


def test_an_attempt_is_not_lost_whose_supervisor_came_after_the_last_look_at_the_queue(
    start: Callable[..., SlurmLauncher], orphan: AttemptSpec, sign_in: SignIn, ask: Ask
) -> None:
    launcher = start(executor="local")
    until(lambda: launcher.poll(orphan).life is not Life.WAITING)
    ask(launcher, orphan, 2 * LOCAL_SETTLE_S)
    sign_in(orphan)
    assert launcher.poll(orphan).life is Life.RUNNING


def test_a_job_that_the_cluster_killed_may_be_about_to_start_again(
    cluster: Cluster, start: Callable[..., SlurmLauncher], make_spec: Callable[..., AttemptSpec], ask: Ask
) -> None:
    launcher, spec = start(), make_spec()
    assert launcher.submit(spec)
    write_json(spec.folder / EXIT_FILE, {"status": -signal.SIGTERM})

    def lives(state: str, *, seconds: float) -> Life:
        cluster.says(squeue=f"echo '101|{state}|{spec.folder}'")
        ask(launcher, spec, seconds)
        return launcher.poll(spec).life

    moment = SETTLE_S / 2
    assert lives("PREEMPTED", seconds=moment) is Life.RUNNING
    assert lives("PENDING", seconds=moment) is Life.WAITING
    assert lives("RUNNING", seconds=moment) is Life.RUNNING
    assert lives("PREEMPTED", seconds=moment) is Life.RUNNING, "over since now, whatever was seen before it ran again"
    assert lives("PREEMPTED", seconds=moment) is Life.RUNNING
    assert lives("PREEMPTED", seconds=moment) is Life.EXITED
    assert launcher.poll(spec) == Status(Life.EXITED, -signal.SIGTERM)


def test_a_job_that_left_nothing_is_lost_only_when_the_queue_says_so_twice(
    cluster: Cluster, start: Callable[..., SlurmLauncher], make_spec: Callable[..., AttemptSpec], ask: Ask
) -> None:
    launcher, spec = start(), make_spec()
    assert launcher.submit(spec)
    ask(launcher, spec, 1.0)
    assert launcher.poll(spec).life is Life.RUNNING
    cluster.says(squeue="exit 1")
    ask(launcher, spec, 2 * SETTLE_S)
    assert launcher.poll(spec).life is Life.RUNNING, "nobody has looked again"
    cluster.says(squeue="true")
    ask(launcher, spec, SETTLE_S)
    assert launcher.poll(spec).life is Life.LOST


def test_a_job_that_was_cancelled_here_is_over_at_once(
    cluster: Cluster, start: Callable[..., SlurmLauncher], make_spec: Callable[..., AttemptSpec], ask: Ask
) -> None:
    launcher, spec = start(), make_spec()
    assert launcher.submit(spec)
    launcher.kill(spec)
    write_json(spec.folder / EXIT_FILE, {"status": -signal.SIGTERM})
    cluster.says(squeue=f"echo '101|CANCELLED|{spec.folder}'")
    ask(launcher, spec, 1.0)
    assert launcher.poll(spec) == Status(Life.EXITED, -signal.SIGTERM)


def test_a_job_runs_on_though_another_is_cancelled_while_the_queue_is_asked(
    cluster: Cluster, start: Callable[..., SlurmLauncher], make_spec: Callable[..., AttemptSpec], ask: Ask
) -> None:
    launcher, running, cancelled = start(), make_spec(0), make_spec(1, slot="slurm-1")
    cluster.says(squeue=f"echo '101|RUNNING|{running.folder}'; echo '102|RUNNING|{cancelled.folder}'")
    assert launcher.submit(running)
    cluster.says(sbatch="echo Submitted batch job 102")
    assert launcher.submit(cancelled)
    ask(launcher, running, 1.0)
    assert launcher.poll(running).life is Life.RUNNING
    cluster.now += 1.0
    launcher.poll(running)  # asks
    launcher.kill(cancelled)
    until(lambda: launcher._jobs._answer is not None and launcher._jobs._answer.done())
    assert launcher.poll(running).life is Life.RUNNING
    assert launcher._jobs._answer is not None, "it is asked again at once, since the cancelled job may still be listed"


def test_a_job_whose_id_a_power_cut_tore_is_found_by_its_comment(
    cluster: Cluster, start: Callable[..., SlurmLauncher], make_spec: Callable[..., AttemptSpec], ask: Ask
) -> None:
    launcher, spec = start(), make_spec()
    assert launcher.submit(spec)
    (spec.folder / JOB_FILE).write_bytes(b"")
    cluster.says(squeue=f"echo '101|RUNNING|{spec.folder}'")
    ask(launcher, spec, 1.0)
    assert launcher.poll(spec).life is Life.RUNNING


def test_a_process_is_known_as_long_as_one_file_names_it(
    start: Callable[..., SlurmLauncher], orphan: AttemptSpec, sign_in: SignIn
) -> None:
    supervisor, queue = sign_in(orphan), start(executor="local")._processes
    (orphan.folder / JOB_FILE).write_bytes(b"")
    assert queue.list_jobs() == f"{supervisor.pid}|RUNNING|{orphan.folder}"
    (orphan.folder / SUPERVISOR_FILE).write_bytes(b"")
    assert queue.list_jobs() == ""


def test_what_was_seen_of_attempts_does_not_pile_up(
    start: Callable[..., SlurmLauncher], make_spec: Callable[..., AttemptSpec]
) -> None:
    launcher = start()
    for number in range(5):
        spec = make_spec(number)
        assert launcher.submit(spec)
        launcher.kill(spec)
        write_json(spec.folder / EXIT_FILE, {"status": 0})
        assert launcher.poll(spec) == Status(Life.EXITED, 0)
    assert len(launcher._seen) == 1
