"""A Ray cluster of several nodes on this one machine, and studies on it."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from study.launchers._base import Launcher
from study.launchers.build import RAY_BEYOND_THIS_MACHINE, build_launcher
from study.launchers.config import RayConfig
from study.workspace import Workspace
from tests.study.helpers import RecordingView, run_study

os.environ |= {RAY_BEYOND_THIS_MACHINE: "0", "RAY_USAGE_STATS_ENABLED": "0"}
ROOT = Path(__file__).parents[2]
SOON_DEAD = {  # a node that is silent for about two seconds is dead, in place of half a minute
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 500,
    "health_check_failure_threshold": 4,
}


@contextmanager
def ray_cluster(*, nodes: int) -> Iterator[Any]:
    """A head that works on nothing, and nodes of one CPU each; all of it is stopped afterwards."""
    from ray.cluster_utils import Cluster

    os.environ["PYTHONPATH"] = str(ROOT)  # the nodes import this checkout
    folder = tempfile.mkdtemp(prefix="ray-", dir="/tmp")  # sockets in it need a short path
    Path("/tmp/ray").mkdir(exist_ok=True)  # noqa: S108 - where Ray notes the cluster's address, whatever its temp_dir is
    head = {"num_cpus": 0, "include_dashboard": False, "_system_config": SOON_DEAD, "temp_dir": folder}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(nodes):
            cluster.add_node(num_cpus=1, wait=True)
        yield cluster
    finally:
        cluster.shutdown()
        shutil.rmtree(folder, ignore_errors=True)
        del os.environ["PYTHONPATH"]


def ray_launcher(address: str, workspace: Path, node_folder: Path) -> Launcher:
    """The launcher on a cluster that runs."""
    (workspace / "studies" / "tiny").mkdir(parents=True, exist_ok=True)
    config = RayConfig(address=address, devices="cpu", node_folder=node_folder)
    return build_launcher(config, workspace=Workspace(workspace), study="tiny", slots=())


def sweep_on_ray(address: str, study: Path, workspace: Path, node_folder: Path) -> RecordingView:
    """A whole study on the cluster."""
    launcher, view = ray_launcher(address, workspace, node_folder), RecordingView()
    try:
        run_study(study, workspace, launcher=launcher, view=view)
    finally:
        launcher.close()
    return view


def parents(pid: int) -> list[int]:
    """A process's parent, its parent, and so on."""
    found: list[int] = []
    while pid > 1:
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            break
        found.append(pid)
    return found


if __name__ == "__main__":
    sweep_on_ray(sys.argv[1], *map(Path, sys.argv[2:5]))
