"""Attempts as jobs, where the cluster misbehaves: its programs are scripts that say what a cluster would."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lightning_modules.errors import TrialError
from study.devices import Slot
from study.launchers.config import SlurmConfig
from study.launchers.slurm import MAX_REFUSALS, REFUSAL_PAUSE_S, SlurmLauncher
from study.spec import LOST_FILE, SPEC_FILE, AttemptSpec
from study.workspace import StudyFolder, Workspace, read_json
from tests.conftest import write_tiny_study
from tests.study.helpers import config_of

ACCEPTS = "echo Submitted batch job 101"
TIMES_OUT = "echo 'sbatch: error: Socket timed out on send/recv operation' >&2; exit 1"


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
