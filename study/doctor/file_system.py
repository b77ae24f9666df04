"""The workspace's file system: room, speed, renames, locks and time.

Locks are tried as a sweep uses them. Where a network file system stands in for `flock` with locks of its own, a lock
does not outlive the process that took it, and goes when any other copy of the file is closed: two attempts would then
share a slot. Whether other machines see a lock cannot be tried from one; the mount's options tell.
"""

import fcntl
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

from lightning_modules.errors import LidstudyError
from study.doctor._base import GB, Finding
from study.mlflow_place import MLFLOW_VARIABLE
from study.workspace import open_workspace, try_lock, write_atomic

MIN_FREE_GB: Final = 2.0
PROBE_BYTES: Final = 32 * 1024 * 1024
MIN_WRITE_MB_S: Final = 20.0
OLDEST_SANE_YEAR: Final = 2025
MAX_CLOCK_S: Final = 2.0
HOLD: Final = "import sys; sys.stdout.write('held'); sys.stdout.flush(); sys.stdin.read()"
NETWORK: Final = ("nfs", "nfs4", "cifs", "smb3", "lustre", "gpfs", "beegfs", "ceph", "9p", "afs", "fuse.sshfs")
LOCAL_LOCKS: Final = ("localflock", "nolock", "local_lock=all", "local_lock=flock")
CHOOSE: Final = "choose a --workspace on a local disk"


class Mount(NamedTuple):
    """The file system that a folder lies on."""

    kind: str
    options: tuple[str, ...]


def look_at_file_system(folder: Path) -> list[Finding]:
    """What a sweep does to its workspace, tried on files that are removed again."""
    try:
        root = open_workspace(folder, writable=True).root
    except LidstudyError as error:
        return [Finding("workspace", str(folder), str(error))]
    before = (time.time(), time.monotonic())
    try:
        with TemporaryDirectory(prefix=".doctor-", dir=root) as place:
            tried = [write_speed(Path(place)), renames(Path(place)), locks(Path(place)), file_time(Path(place))]
    except OSError as error:
        return [Finding("workspace", str(root), f"it cannot be used: {error.strerror}; {CHOOSE}")]
    elapsed = (time.time() - before[0], time.monotonic() - before[1])
    return [Finding("workspace", str(root)), mounted(mount_of(root)), _room(root), *tried, clock(time.time(), *elapsed)]


def mounted(mount: Mount) -> Finding:
    """What the mount promises of locks, and of SQLite's write-ahead log, which is for one machine alone."""
    local = [option for option in mount.options if option in LOCAL_LOCKS]
    if mount.kind not in NETWORK:
        return Finding("file system", mount.kind)
    if local:
        mend = (
            f"mounted with {local[0]}, so other machines do not see its locks: sweep from one machine only, or {CHOOSE}"
        )
        return Finding("file system", mount.kind, mend)
    if not os.environ.get(MLFLOW_VARIABLE):
        mend = (
            f"MLflow's SQLite may be damaged on a network file system: set ${MLFLOW_VARIABLE} to a server, or {CHOOSE}"
        )
        return Finding("file system", mount.kind, mend)
    return Finding("file system", mount.kind, hint="sweep from one machine at a time")


def mount_of(folder: Path, *, table: Path = Path("/proc/self/mountinfo")) -> Mount:
    """The mount that a folder lies on, from the kernel's table."""
    best, found, place = -1, Mount("unknown", ()), folder.resolve()
    for line in table.read_text().splitlines():
        before, _, after = line.partition(" - ")
        point = Path(before.split()[4].encode().decode("unicode_escape"))  # blanks are written as \040
        kind, _, options = after.split(maxsplit=2)
        if place.is_relative_to(point) and len(point.parts) >= best:
            best, found = len(point.parts), Mount(kind, tuple(f"{before.split()[5]},{options}".split(",")))
    return found


def write_speed(place: Path) -> Finding:
    """How fast a checkpoint is written."""
    started = time.perf_counter()
    with (place / "speed").open("wb") as file:
        file.write(bytes(PROBE_BYTES))
        file.flush()
        os.fsync(file.fileno())
    speed = PROBE_BYTES / 1e6 / (time.perf_counter() - started)
    mend = "" if speed >= MIN_WRITE_MB_S else f"a slow disk slows every checkpoint; {CHOOSE}"
    return Finding("write speed", f"{speed:.0f} MB/s", mend)


def renames(place: Path) -> Finding:
    """Whether a rename replaces a file that is read at the moment, and leaves the reader what it had."""
    path = place / "renamed"
    write_atomic(path, "old")
    with path.open() as reader:
        write_atomic(path, "new")
        works = (reader.read(), path.read_text()) == ("old", "new") and len(list(place.glob("*renamed*"))) == 1
    return Finding("renames", *(("replace whole files",) if works else ("do not replace whole files", CHOOSE)))


def locks(place: Path) -> Finding:
    """Whether a lock is handed over to another process, outlives its taker, and goes when its last holder dies."""
    path = place / "lock"
    try:
        wrong = _try_locks(path)
    except OSError as error:
        wrong = f"flock fails: {error.strerror}"
    if wrong:
        return Finding("locks", wrong, f"two attempts could get one slot, and two coordinators one study; {CHOOSE}")
    return Finding("locks", "flock excludes, is handed over, and ends with its holder")


def _try_locks(path: Path) -> str:
    """What is wrong with locks, or ""."""
    held = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.open("a").close()  # with POSIX locks, this would drop the lock
        holder = subprocess.Popen(
            [sys.executable, "-c", HOLD], pass_fds=[held], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
    finally:
        os.close(held)
    with holder:
        assert holder.stdout is not None
        holder.stdout.read(len("held"))
        is_handed_over = not _is_free(path)
        holder.kill()
    if not is_handed_over:
        return "a lock is lost when it is handed to another process"
    return "" if _is_free(path) else "a lock outlives the process that held it"


def _is_free(path: Path) -> bool:
    with path.open("a") as file:
        return try_lock(file.fileno())


def file_time(place: Path) -> Finding:
    """The file system's own time against the machine's: a file server has a clock of its own."""
    path = place / "time"
    path.write_bytes(b"now")
    return compare_times(path.stat().st_mtime, time.time())


def compare_times(of_file: float, now: float) -> Finding:
    """The time that a file was given when it was written just now."""
    off = of_file - now
    if abs(off) <= MAX_CLOCK_S:
        return Finding("file times", f"within {MAX_CLOCK_S:.0f} s of the clock")
    where = "ahead of" if off > 0 else "behind"
    return Finding("file times", f"{abs(off):.0f} s {where} the clock", "synchronise this machine and the file server")


def clock(now: float, passed_s: float, monotonic_s: float) -> Finding:
    """The clock's year, and whether it was set while we looked: points in MLflow carry its time."""
    seen = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now))
    if time.gmtime(now).tm_year < OLDEST_SANE_YEAR:
        return Finding("clock", seen, "set the clock: metric points carry its time")
    if abs(passed_s - monotonic_s) > MAX_CLOCK_S:
        jump = passed_s - monotonic_s
        return Finding("clock", f"{seen}; it jumped by {jump:+.0f} s", "have NTP slew the clock rather than step it")
    return Finding("clock", seen)


def _room(root: Path) -> Finding:
    free_gb = shutil.disk_usage(root).free / GB
    mend = (
        "" if free_gb >= MIN_FREE_GB else f"free {MIN_FREE_GB:.0f} GB (`lidstudy clean`), or choose another --workspace"
    )
    return Finding("disk", f"{free_gb:.1f} GB free", mend)
