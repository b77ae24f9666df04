"""A Slurm cluster of this one machine: slurmctld, slurmd and munged, with their files in a folder of their own."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.study.helpers import until

SLURM_CONF = """
ClusterName=lidstudy
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmdPort={slurmd_port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
MpiDefault=none
KillWait=5
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@contextmanager
def slurm_node() -> Iterator[str]:
    """Starts the daemons, as root; all of them are stopped afterwards. Gives the node's name."""
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    host = socket.gethostname().split(".")[0]
    for name in ("state", "spool"):
        (folder / name).mkdir()
    port, slurmd_port = _free_port(), _free_port()
    (folder / "slurm.conf").write_text(SLURM_CONF.format(host=host, folder=folder, port=port, slurmd_port=slurmd_port))
    os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
    daemons: list[subprocess.Popen[bytes]] = []
    try:
        daemons.append(_munged(folder))
        until((folder / "munge.socket").exists)
        daemons.append(subprocess.Popen([_program("slurmctld"), "-D"], stderr=subprocess.DEVNULL))
        until(lambda: scontrol("ping").endswith("is UP"))
        daemons.append(subprocess.Popen([_program("slurmd"), "-D", "-N", host], stderr=subprocess.DEVNULL))
        until(lambda: "State=IDLE" in scontrol("show", "node", host))
        yield host
        subprocess.run([_program("scancel"), "--me"], check=True)
        until(lambda: not subprocess.run([_program("squeue"), "-h"], capture_output=True, check=True).stdout)
    finally:
        for daemon in reversed(daemons):
            daemon.send_signal(signal.SIGTERM)
            daemon.wait(timeout=60)
        del os.environ["SLURM_CONF"]
        shutil.rmtree(folder, ignore_errors=True)


def scontrol(*command: str) -> str:
    """What scontrol says."""
    return subprocess.run([_program("scontrol"), *command], capture_output=True, text=True, check=False).stdout.strip()


def _munged(folder: Path) -> "subprocess.Popen[bytes]":
    key = folder / "munge.key"
    key.write_bytes(os.urandom(128))
    key.chmod(0o600)
    options = [f"--{name}-file={folder}/munged.{name}" for name in ("pid", "log", "seed")]
    options += [f"--key-file={key}", f"--socket={folder}/munge.socket", "--foreground", "--force"]
    return subprocess.Popen([_program("munged"), *options], stderr=subprocess.DEVNULL)


def _program(name: str) -> str:
    path = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    assert path is not None, f"{name} is missing: apt-get install slurm-wlm munge"
    return path


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
