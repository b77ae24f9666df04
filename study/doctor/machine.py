"""Cores, memory and limits: what this process may use, which in a container is less than what the machine has."""

import contextlib
import os
import resource
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from study.doctor._base import GB, Finding

MIN_MEMORY_GB: Final = 2.0
MIN_OPEN_FILES: Final = 1024
MIN_SHARED_MB: Final = 64
SHARED: Final = Path("/dev/shm")  # noqa: S108 - not a folder for temporary files
CGROUPS: Final = Path("/sys/fs/cgroup")


def look_at_machine(_: Path) -> list[Finding]:
    """This process's share of the machine."""
    return [
        cores(len(os.sched_getaffinity(0)), quota=cpu_quota(control_groups())),
        memory(available_bytes(control_groups())),
        open_files(*resource.getrlimit(resource.RLIMIT_NOFILE)),
        shared_memory(SHARED),
    ]


def cores(usable: int, *, quota: float | None) -> Finding:
    """Slots are counted by usable cores; a control group may allow less time than they have."""
    if quota is None or quota >= usable:
        return Finding("cores", f"{usable} usable, so {usable} slots by default")
    slots = max(1, int(quota))
    seen = f"{usable} usable, but the control group allows the time of {quota:g}"
    return Finding("cores", seen, f"sweep with --slots {slots}: more slots would only wait for each other")


def memory(available: int) -> Finding:
    """What may still be taken."""
    seen = f"{available / GB:.1f} GB available"
    if available >= MIN_MEMORY_GB * GB:
        return Finding("memory", seen)
    mend = f"free {MIN_MEMORY_GB:.0f} GB, or sweep with --slots 1 and limits.memory_mb in the study's file"
    return Finding("memory", seen, mend)


def open_files(soft: int, hard: int) -> Finding:
    """A coordinator holds a few files an attempt."""
    shown = "unlimited" if soft == resource.RLIM_INFINITY else str(soft)
    if soft == resource.RLIM_INFINITY or soft >= MIN_OPEN_FILES:
        return Finding("open files", f"at most {shown}")
    can = hard == resource.RLIM_INFINITY or hard >= MIN_OPEN_FILES
    mend = f"ulimit -n {MIN_OPEN_FILES}" if can else f"ask the administrator for {MIN_OPEN_FILES} open files"
    return Finding("open files", f"at most {shown}", mend)


def shared_memory(folder: Path) -> Finding:
    """Locks between processes lie there, and batches that workers hand over."""
    mend = f"give the container more, as `docker run --shm-size=1g`, or mount a tmpfs on {folder}"
    try:
        facts = os.statvfs(folder)
        with tempfile.NamedTemporaryFile(dir=folder) as file:
            file.write(b"lidstudy")
            file.flush()
    except OSError as error:
        return Finding("shared memory", f"{folder} cannot be written: {error.strerror}", mend)
    free_mb = facts.f_bavail * facts.f_frsize / 1e6
    return Finding("shared memory", f"{free_mb:,.0f} MB free in {folder}", "" if free_mb >= MIN_SHARED_MB else mend)


def control_groups(own: Path = Path("/proc/self/cgroup"), root: Path = CGROUPS) -> list[Path]:
    """Folders of this process's control groups and of all above them, which also bind it."""
    folders: list[Path] = []
    with contextlib.suppress(OSError):
        for line in own.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            top = root / controllers if controllers else root
            place = top / path.lstrip("/")
            folders += [folder for folder in (place, *place.parents) if folder.is_relative_to(top)]
    return list(dict.fromkeys(folders))


def cpu_quota(folders: list[Path]) -> float | None:
    """Cores whose time the control groups allow; None without a limit."""
    quotas: list[float] = []
    for folder in folders:
        for text in _texts(folder / "cpu.max"):
            quota, period = text.split()
            quotas += [] if quota == "max" else [int(quota) / int(period)]
        for text in _texts(folder / "cpu.cfs_quota_us"):
            quotas += [int(text) / int(period) for period in _texts(folder / "cpu.cfs_period_us") if int(text) > 0]
    return min(quotas, default=None)


def available_bytes(folders: list[Path], meminfo: Path = Path("/proc/meminfo")) -> int:
    """Memory that may still be taken, by the machine and by every control group."""
    lines = meminfo.read_text().splitlines()
    left = [next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")) * 1024]
    names = (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes"))
    for folder in folders:
        for limit, used in names:
            for text, taken in zip(_texts(folder / limit), _texts(folder / used), strict=False):
                left += [] if text == "max" else [max(0, int(text) - int(taken))]
    return min(left)


def _texts(path: Path) -> Iterator[str]:
    """What a file says, if it is there."""
    with contextlib.suppress(OSError):
        yield path.read_text().strip()
