"""What works on a study whose coordinator is gone, as a queue, a cluster's agents and this machine say."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lightning_modules.errors import ConfigError, StorageError
from reports.records import TrialState
from study.commands.inspect import show_status, study_status
from study.housekeeping import clean_study
from study.idle import refuse_other_launchers
from study.launchers.census import AtWork, Census, engine_of
from study.launchers.config import LauncherConfig, LocalConfig, RayConfig, SlurmConfig
from study.launchers.inline import InlineLauncher
from study.launchers.local import start_time
from study.spec import (
    AGENT_FILE,
    EXIT_FILE,
    JOB_FILE,
    LOST_FILE,
    SPEC_FILE,
    SUPERVISOR_FILE,
    AttemptSpec,
)
from study.workspace import StudyFolder, Workspace, read_json, write_json
from tests.conftest import write_tiny_study
from tests.study.helpers import run_study

ADDRESS = {"address": "10.0.0.1:6379", "namespace": "lidstudy-tiny-0"}


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    return Workspace(tmp_path).study("tiny")


@pytest.fixture
def attempt(folder: StudyFolder) -> Callable[..., Path]:
    """Writes what lies in an attempt's folder."""

    def write(number: int, slot: str, **files: dict[str, Any]) -> Path:
        place = folder.trial(number).root / "attempt-0"
        place.mkdir(parents=True)
        write_json(place / SPEC_FILE, {"purpose": "train", "number": number, "attempt": 0, "slot": {"name": slot}})
        for name, content in files.items():
            write_json(place / f"{name}.json", content)
        return place

    return write


def myself() -> dict[str, int]:
    return {"pid": os.getpid(), "start_time": start_time(os.getpid())}


def never() -> str:
    raise AssertionError("nobody else needs to be asked")


def absent() -> str:
    raise FileNotFoundError


def test_jobs_live_while_slurm_lists_them_as_running_or_waiting(
    folder: StudyFolder, attempt: Callable[..., Path]
) -> None:
    jobs = {number: attempt(number, "slurm-0", job={"id": str(100 + number), "start_time": 0}) for number in range(4)}
    listed = f"100|RUNNING|x\n101|PENDING|x\n102|CANCELLED|x\n104|RUNNING|{attempt(4, 'slurm-1')}\n"
    found = Census(list_jobs=lambda: listed).at_work(folder)
    assert found == AtWork((jobs[0], jobs[1], folder.trial(4).root / "attempt-0"))


def test_a_killed_job_that_slurm_will_start_again_lives(folder: StudyFolder, attempt: Callable[..., Path]) -> None:
    killed = attempt(0, "slurm-0", job={"id": "100", "start_time": 0}, exit={"status": -15})
    assert Census(list_jobs=lambda: "100|PENDING|x").at_work(folder).living == (killed,)


def test_the_queue_is_asked_once_and_only_about_what_has_not_ended(
    folder: StudyFolder, attempt: Callable[..., Path]
) -> None:
    asked: list[str] = []
    attempt(0, "slurm-0", job={"id": "100", "start_time": 0}, exit={"status": 0})
    attempt(1, "slurm-0", job={"id": "101", "start_time": 0}, lost={})
    assert Census(list_jobs=never).at_work(folder) == AtWork()
    attempt(2, "slurm-0", job={"id": "102", "start_time": 0})
    attempt(3, "slurm-1", job={"id": "103", "start_time": 0})

    def listing() -> str:
        asked.append("squeue")
        return ""

    Census(list_jobs=listing).at_work(folder)
    assert asked == ["squeue"]


def test_without_slurm_nobody_knows_of_jobs(
    folder: StudyFolder, attempt: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = attempt(0, "slurm-0", job={"id": "100", "start_time": 0})
    monkeypatch.setenv("PATH", "")
    assert Census().at_work(folder) == AtWork((), {place: "squeue is not on this machine"})


@pytest.mark.parametrize("worker", ["controller", "supervisor"])
def test_a_job_of_the_local_executor_is_known_by_its_processes(
    folder: StudyFolder, attempt: Callable[..., Path], worker: str
) -> None:
    gone, me = {"pid": os.getpid(), "start_time": 1}, myself()
    controller, supervisor = (me, gone) if worker == "controller" else (gone, me)
    job = {"id": str(controller["pid"]), "start_time": controller["start_time"]}
    place = attempt(0, "slurm-0", job=job, supervisor=supervisor)
    attempt(1, "slurm-1", job={"id": str(gone["pid"]), "start_time": 1}, supervisor=gone)
    assert Census(list_jobs=never).at_work(folder) == AtWork((place,))


def test_agents_say_what_they_work_on(folder: StudyFolder, attempt: Callable[..., Path]) -> None:
    first = attempt(0, "ray-0", agent={"agent": "ray-0.a", **ADDRESS})
    attempt(1, "ray-1", agent={"agent": "ray-1.b", **ADDRESS})
    asked: list[tuple[str, str]] = []

    def ask(address: str, namespace: str) -> list[str]:
        asked.append((address, namespace))
        return ["train-0-0"]

    assert Census(ask_agents=ask).at_work(folder) == AtWork((first,))
    assert asked == [(ADDRESS["address"], ADDRESS["namespace"])]


def test_agents_of_a_coordinators_own_cluster_ended_with_it(folder: StudyFolder, attempt: Callable[..., Path]) -> None:
    attempt(0, "ray-0", agent={"agent": "ray-0.a"})
    assert Census(ask_agents=lambda *_: pytest.fail("who?")).at_work(folder) == AtWork()


def test_a_cluster_at_whose_address_nothing_listens_is_not_asked(
    folder: StudyFolder, attempt: Callable[..., Path]
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        place = attempt(0, "ray-0", agent={"agent": "ray-0.a", "address": address, "namespace": "n"})
        found = Census().at_work(folder)
    assert found.living == ()
    assert f"nothing listens at Ray's address {address}" in found.unknown[place]


def test_an_attempt_whose_spec_a_power_cut_tore_is_known_by_its_other_files(
    folder: StudyFolder, attempt: Callable[..., Path]
) -> None:
    job = attempt(0, "slurm-0", job={"id": "100", "start_time": 0})
    agent = attempt(1, "ray-0", agent={"agent": "ray-0.a", **ADDRESS})
    process = attempt(2, "cpu-0", supervisor=myself())
    gone = attempt(3, "cpu-1")
    for place in (job, agent, process, gone):
        (place / SPEC_FILE).write_bytes(b"")
    census = Census(list_jobs=lambda: "100|RUNNING|x", ask_agents=lambda *_: ["train-1-0"])
    assert census.at_work(folder) == AtWork((job, agent, process))
    assert [engine_of(place) for place in (job, agent, process)] == ["slurm", "ray", "local"]


def test_a_job_whose_id_a_power_cut_tore_is_found_by_its_comment(
    folder: StudyFolder, attempt: Callable[..., Path]
) -> None:
    place = attempt(0, "slurm-0", job={})
    (place / JOB_FILE).write_bytes(b"")
    assert Census(list_jobs=lambda: f"100|RUNNING|{place}").at_work(folder) == AtWork((place,))
    assert Census(list_jobs=lambda: "").at_work(folder) == AtWork()


def test_where_a_power_cut_tore_who_has_an_attempt_nobody_can_be_asked(
    folder: StudyFolder, attempt: Callable[..., Path]
) -> None:
    place = attempt(0, "ray-0", agent=ADDRESS)
    (place / AGENT_FILE).write_bytes(bytes(64))
    found = Census(ask_agents=lambda *_: pytest.fail("who?")).at_work(folder)
    assert found == AtWork((), {place: "agent.json does not say which agent has it"})


# --- what follows -----------------------------------------------------------------------------------------------------


@pytest.fixture
def left(workspace: Path, tmp_path: Path) -> StudyFolder:
    """A study whose coordinator died while trial 1 ran as a job of Slurm's."""

    class Dying(InlineLauncher):
        def submit(self, spec: AttemptSpec) -> bool:
            super().submit(spec)
            if spec.number == 1:
                raise KeyboardInterrupt
            return True

    with pytest.raises(KeyboardInterrupt):
        run_study(write_tiny_study(tmp_path, trials=2), workspace, launcher=Dying())
    folder = Workspace(workspace).study("tiny")
    place = folder.trial(1).root / "attempt-0"
    spec = read_json(place / SPEC_FILE)
    write_json(place / SPEC_FILE, spec | {"slot": spec["slot"] | {"name": "slurm-0"}})
    write_json(place / JOB_FILE, {"id": "100", "start_time": 0})
    for name in (EXIT_FILE, SUPERVISOR_FILE, LOST_FILE, AGENT_FILE):
        (place / name).unlink(missing_ok=True)
    return folder


@pytest.mark.parametrize(
    ("listed", "state"), [("100|RUNNING|x", TrialState.RUNNING), ("100|FAILED|x", TrialState.INTERRUPTED)]
)
def test_status_counts_what_the_cluster_runs(left: StudyFolder, listed: str, state: TrialState) -> None:
    found = study_status(left, census=Census(list_jobs=lambda: listed))
    assert found["trials"][state.value] == 1
    assert found["trials"]["running"] + found["trials"]["interrupted"] == 1
    assert found["not_known"]["trials"] == []


def test_status_says_plainly_what_nobody_knows(
    left: StudyFolder, workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    show_status("tiny", workspace, as_json=False)
    out = capsys.readouterr().out
    assert "whether 1 still runs is not known (squeue is not on this machine)" in out
    show_status("tiny", workspace, as_json=True)
    assert json.loads(capsys.readouterr().out)["not_known"]["trials"] == [1]


@pytest.mark.parametrize(
    ("census", "why"),
    [
        (Census(list_jobs=lambda: "100|PENDING|x"), r"1 of its attempts still run .*00001/attempt-0"),
        (Census(list_jobs=absent), "is not known .*squeue is not on this machine"),
    ],
)
def test_housekeeping_touches_nothing_that_may_be_at_work(left: StudyFolder, census: Census, why: str) -> None:
    left.trial(0).last_checkpoint.write_bytes(b"state")
    with pytest.raises(StorageError, match=why):
        clean_study(left, dry_run=False, census=census)
    assert left.trial(0).last_checkpoint.exists()
    clean_study(left, dry_run=False, census=Census(list_jobs=lambda: ""))
    assert not left.trial(0).last_checkpoint.exists()


def test_neither_ray_nor_submitit_is_imported_to_look() -> None:
    look = "import sys, study.commands.inspect, study.archive; print({'ray', 'submitit'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True).stdout == "set()\n"


@pytest.mark.parametrize("launcher", [LocalConfig(), RayConfig(), SlurmConfig(executor="local")])
def test_another_launcher_is_refused_while_jobs_run_that_it_cannot_see(
    left: StudyFolder, launcher: LauncherConfig
) -> None:
    census = Census(list_jobs=lambda: "100|RUNNING|x")
    with pytest.raises(ConfigError, match=r"trials/00001/attempt-0 of study 'tiny' still runs with launcher slurm"):
        refuse_other_launchers(left, launcher, census=census)
    refuse_other_launchers(left, SlurmConfig(), census=census)
    refuse_other_launchers(left, launcher, census=Census(list_jobs=lambda: ""))
