"""`lidstudy doctor`: looks at what a sweep needs, and says what to mend."""

import importlib.util
import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from lightning_modules.data.debian import apt_available
from lightning_modules.errors import LidstudyError
from study.commands.console import make_console
from study.provenance import DECIDING_LIBRARIES
from study.workspace import open_workspace

MIN_FREE_GB = 2.0
PROBE_BYTES = 32 * 1024 * 1024
MIN_WRITE_MB_S = 20.0
OLDEST_SANE_YEAR = 2025


@dataclass(frozen=True)
class Check:
    """One finding: what was looked at, what was seen, and what to do where something is wrong."""

    name: str
    seen: str
    mend: str = ""


def examine(folder: Path) -> int:
    """Prints all findings; the exit status is 1 if something should be mended."""
    console = make_console()
    checks = [check for look in LOOKS for check in look(folder)]
    for check in checks:
        mark = "[red]mend[/red]" if check.mend else "[green]ok[/green]  "
        console.print(f"{mark}  {check.name:<12} {check.seen}", soft_wrap=True)
        if check.mend:
            console.print(f"      {'':<12} {check.mend}", markup=False, soft_wrap=True)
    return 1 if any(check.mend for check in checks) else 0


def _versions(_: Path) -> list[Check]:
    checks = [Check("python", sys.version.split()[0])]
    for name in DECIDING_LIBRARIES:
        try:
            checks.append(Check(name, version(name)))
        except PackageNotFoundError:
            checks.append(Check(name, "missing", "install it with `pip install -e . -c constraints.txt`"))
    return checks


def _cores(_: Path) -> list[Check]:
    usable = len(os.sched_getaffinity(0))
    return [Check("cores", f"{usable} usable, so {usable} slots by default")]


def _workspace(folder: Path) -> list[Check]:
    try:
        workspace = open_workspace(folder, writable=True)
    except LidstudyError as error:
        return [Check("workspace", str(folder), str(error))]
    free_gb = shutil.disk_usage(workspace.root).free / 1e9
    mend = "" if free_gb >= MIN_FREE_GB else f"free at least {MIN_FREE_GB:.0f} GB or choose another --workspace"
    return [
        Check("workspace", str(workspace.root)),
        Check("disk", f"{free_gb:.1f} GB free", mend),
        _write_speed(workspace.root),
    ]


def _write_speed(root: Path) -> Check:
    probe = root / f".speed-test-{os.getpid()}"
    started = time.perf_counter()
    try:
        with probe.open("wb") as file:
            file.write(bytes(PROBE_BYTES))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return Check("write speed", "unknown", f"writing failed: {error.strerror}")
    finally:
        probe.unlink(missing_ok=True)
    speed = PROBE_BYTES / 1e6 / (time.perf_counter() - started)
    mend = "" if speed >= MIN_WRITE_MB_S else "a slow disk slows every checkpoint; choose a local --workspace"
    return Check("write speed", f"{speed:.0f} MB/s", mend)


def _clock(_: Path) -> list[Check]:
    year = time.gmtime().tm_year
    mend = "" if year >= OLDEST_SANE_YEAR else "set the clock: metric points carry its time"
    return [Check("clock", time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()), mend)]


def _speech(_: Path) -> list[Check]:
    apt = Check(
        "apt-get",
        "found, so corpus prompts can be fetched" if apt_available() else "not found: corpus prompts needs it",
    )
    synthesis = importlib.util.find_spec("espeakng_loader") is not None
    return [
        apt,
        Check("espeak", "found" if synthesis else "not found: corpus espeak needs `pip install lidstudy[synth]`"),
    ]


LOOKS: tuple[Callable[[Path], list[Check]], ...] = (_versions, _cores, _workspace, _clock, _speech)
