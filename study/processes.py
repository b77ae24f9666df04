"""What is asked of the operating system about processes, and what a process that trains hides from its user."""

import contextlib
import os
import signal
import warnings
from pathlib import Path

NOT_FOR_USERS = ".*(does not have many workers|TorchScript|LeafSpec|`srun` command).*"


def kill_with_children(pid: int) -> None:
    """Kills a process and all that it has started; it is halted first, so that it starts no more meanwhile."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
        for child in _children(pid):
            kill_with_children(child)
        os.kill(pid, signal.SIGKILL)


def _children(pid: int) -> list[int]:
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it is gone
            _state, parent, *_ = file.read_text().rpartition(")")[2].split()
            if int(parent) == pid:
                found.append(int(file.parent.name))
    return found


def data_bytes() -> int:
    """What this process has mapped of its own so far: what RLIMIT_DATA counts."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmData:")) * 1024


def count_oom_kills() -> int:
    """How often the kernel has killed a process of this control group for want of memory; 0 where it does not say."""
    try:
        groups = [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
        places = {controllers: path.lstrip("/") for _, controllers, path in groups}
        files = [Path("/sys/fs/cgroup") / places.get("", "") / "memory.events"]
        files += [Path("/sys/fs/cgroup/memory") / places.get("memory", "") / "memory.oom_control"]
        lines = next(file for file in files if file.exists()).read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
    except (OSError, StopIteration, ValueError):
        return 0


def hide_library_warnings() -> None:
    """Hides what Lightning and torch tell their own developers, for as long as this process lives.

    To be called before threads start: `warnings.catch_warnings` would end when another thread's does, and figures and
    tables are drawn beside a training with that.
    """
    warnings.filterwarnings("ignore", message=NOT_FOR_USERS)
