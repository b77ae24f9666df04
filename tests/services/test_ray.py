"""Studies on a Ray cluster of several nodes: a node or the coordinator dies, and all records agree."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lightning_modules.errors import ConfigError
from study.events import Started, read_events
from study.launchers.census import AtWork, Census
from study.spec import EVENTS_FILE, LOST_FILE
from study.workspace import StudyFolder, Workspace
from tests.conftest import write_tiny_study
from tests.faults.test_kill_and_resume import (
    NUM_EPOCHS,
    NUM_TRIALS,
    check_against_undisturbed,
    check_that_all_agree,
    living_trainers,
    logs,
    num_epochs,
)
from tests.services.raylets import ROOT, parents, ray_cluster, ray_launcher, sweep_on_ray
from tests.study.helpers import until

pytestmark = [
    pytest.mark.services,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore::ResourceWarning:ray", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def cluster() -> Iterator[Any]:
    with ray_cluster(nodes=2) as cluster:
        yield cluster


@pytest.fixture
def sweep(cluster: Any, workspace: Path, node_folder: Path) -> Callable[[Path], None]:
    """Runs a study on the cluster to its end."""

    def to_its_end(study: Path) -> None:
        sweep_on_ray(cluster.address, study, workspace, node_folder)

    return to_its_end


@pytest.fixture
def command(cluster: Any, study: Path, workspace: Path, node_folder: Path) -> list[str]:
    """Does the same in a process of its own."""
    given = [cluster.address, str(study), str(workspace), str(node_folder)]
    return [sys.executable, "-m", "tests.services.raylets", *given]


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return write_tiny_study(tmp_path, trials=NUM_TRIALS, epochs=NUM_EPOCHS, steps=8)


@pytest.fixture
def folder(workspace: Path) -> StudyFolder:
    return Workspace(workspace).study("tiny")


@pytest.fixture
def node_folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="node-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def raylet_of(cluster: Any, trainer: int) -> int:
    """The process of the node that a trainer runs on."""
    raylets = {node.all_processes["raylet"][0].process.pid for node in cluster.worker_nodes}
    return next(pid for pid in parents(trainer) if pid in raylets)


def signal_a_node(cluster: Any, folder: StudyFolder, number: signal.Signals, told: list[int]) -> None:
    """Sends a signal to the node of a trial whose checkpoint has come home; tells the node and the trainer."""
    until(lambda: bool(trainers_with_checkpoint(folder)))
    trainer = trainers_with_checkpoint(folder)[0]
    told += [raylet_of(cluster, trainer), trainer]
    os.kill(told[0], number)


def disturbed(disturb: Callable[[], None], work: Callable[[], None]) -> None:
    """Does both at once."""
    thread = threading.Thread(target=disturb)
    thread.start()
    work()
    thread.join()


def trainers_with_checkpoint(folder: StudyFolder) -> list[int]:
    """Pids of trainers at work whose trials have a checkpoint here, where the coordinator is."""
    return [pid for pid in living_trainers(folder) if (attempt_of(folder, pid).parent / "last.ckpt").exists()]


def attempt_of(folder: StudyFolder, trainer: int) -> Path:
    """Folder of the attempt that a trainer worked on."""
    return next(log.parent for log in logs(folder) if pid_of(log) == trainer)


def pid_of(log: Path) -> int | None:
    """None of a log that has only been begun."""
    return next((event.pid for event in read_events(log) if isinstance(event, Started)), None)


def test_a_node_dies_and_its_trial_goes_on_elsewhere_from_its_checkpoint(
    cluster: Any, sweep: Callable[[Path], None], study: Path, folder: StudyFolder, tmp_path: Path
) -> None:
    told: list[int] = []
    disturbed(lambda: signal_a_node(cluster, folder, signal.SIGKILL, told), lambda: sweep(study))
    lost = attempt_of(folder, told[1])
    assert (lost / LOST_FILE).exists()
    successor = read_events(lost.with_name("attempt-1") / EVENTS_FILE)[0]
    assert isinstance(successor, Started)
    assert successor.resumed_epoch > 0
    until(lambda: not Path(f"/proc/{told[1]}").exists())
    check_that_all_agree(folder.root.parents[1], folder)
    check_against_undisturbed(folder.root.parents[1], study, tmp_path)


def test_a_node_that_is_cut_off_writes_on_and_nobody_listens(
    cluster: Any, sweep: Callable[[Path], None], folder: StudyFolder, node_folder: Path, tmp_path: Path
) -> None:
    study = write_tiny_study(tmp_path, trials=1, epochs=150, steps=8)
    told: list[int] = []
    disturbed(lambda: signal_a_node(cluster, folder, signal.SIGSTOP, told), lambda: sweep(study))
    lost = attempt_of(folder, told[1])
    assert (lost / LOST_FILE).exists()
    there = next(log for log in node_folder.glob(f"agents/*/trials/*/*/{EVENTS_FILE}") if pid_of(log) == told[1])
    here, written = (lost / EVENTS_FILE).read_bytes(), there.read_bytes()
    assert written.startswith(here)
    assert len(written) > len(here), "it wrote on after it was given up"
    os.kill(told[0], signal.SIGCONT)
    until(lambda: not Path(f"/proc/{told[1]}").exists())


def test_the_coordinator_dies_and_the_next_one_adopts_its_agents(
    command: list[str], sweep: Callable[[Path], None], study: Path, folder: StudyFolder, tmp_path: Path
) -> None:
    first = subprocess.Popen(command, cwd=ROOT)
    until(lambda: num_epochs(folder) >= 5 and bool(living_trainers(folder)))
    first.kill()
    first.wait()
    running = living_trainers(folder)
    assert running, "attempts outlive their coordinator"
    sweep(study)
    assert not list(folder.root.glob(f"trials/*/*/{LOST_FILE}")), "what ran was adopted, not started again"
    assert {pid_of(log) for log in logs(folder)} >= set(running)
    check_that_all_agree(folder.root.parents[1], folder)
    check_against_undisturbed(folder.root.parents[1], study, tmp_path)


def test_agents_are_known_without_a_coordinator_until_their_cluster_is_gone(
    cluster: Any, command: list[str], folder: StudyFolder, tmp_path: Path
) -> None:
    write_tiny_study(tmp_path, trials=1, epochs=20_000)
    coordinator = subprocess.Popen(command, cwd=ROOT)
    until(lambda: num_epochs(folder) >= 1)
    coordinator.kill()
    coordinator.wait()
    attempt = folder.trial(0).root / "attempt-0"
    assert Census().at_work(folder) == AtWork((attempt,))
    cluster.shutdown()
    assert Census().at_work(folder).unknown.keys() == {attempt}


def test_an_address_at_which_nothing_listens_is_told_at_once(workspace: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(ConfigError, match=f"--ray-address {address}: nothing listens there .*refused"):
            ray_launcher(address, workspace, workspace)


def test_nodes_are_left_clean(
    sweep: Callable[[Path], None], tiny_study: Path, folder: StudyFolder, node_folder: Path
) -> None:
    sweep(tiny_study)
    agents = [path for path in (node_folder / "agents").iterdir() if path.is_dir()]
    assert agents == []
    assert len(list((node_folder / "data").glob("espeak-*"))) == 1, "one copy of the speech for all"
    identity = json.loads((folder.root / "ray.json").read_text())
    assert set(identity) == {"id"}
