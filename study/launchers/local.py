"""Attempts as processes of this machine, forked from a warm server.

A forkserver that has imported torch and Lightning forks a *supervisor* for each attempt: it leads its own session,
holds the slot's lock, forks the trainer, reaps it and writes `exit.json`. The slot's lock is taken by the coordinator
and handed over as an open file, so there is no moment at which an attempt runs without it; it is free again when the
last process of the attempt is gone. A supervisor outlives the coordinator, and the next coordinator finds it by its
files.
"""

import contextlib
import importlib.util
import json
import multiprocessing
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Sequence
from multiprocessing import forkserver, reduction
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from lightning_modules.config import TrialConfig
from lightning_modules.errors import TrialError
from lightning_modules.processes import die_with_parent, end_with_parent
from study.devices import Slot
from study.launchers._base import Life, Status, exit_record, read_from, tail_of
from study.processes import count_oom_kills, hide_library_warnings
from study.spec import EVENTS_FILE, EXIT_FILE, OUTPUT_FILE, SPEC_FILE, SUPERVISOR_FILE, AttemptSpec
from study.workspace import Workspace, read_whole_json, try_lock, write_json

WARM_MODULE = "study.launchers.warm"
PRELOADED = ("study.launchers.preload", WARM_MODULE)
REHEARSAL_VARIABLE = "LIDSTUDY_WARM_REHEARSAL"
SPEECH_VARIABLE = "LIDSTUDY_WARM_SPEECH"
DEAD = "ZX"  # states of a process that has ended; where nobody reaps, it keeps its place in /proc
EXIT_RECORD_BYTES = 64


class LocalLauncher:
    """Attempts on this machine's slots."""

    def __init__(
        self, workspace: Workspace, *, slots: Sequence[Slot], outlive: bool = True, speech: TrialConfig | None = None
    ) -> None:
        """Takes the slots.

        Args:
            workspace: holds the slots' locks, and the speech.
            slots: of this machine.
            outlive: whether attempts go on when this process ends.
            speech: names what attempts will train on: the warm server opens it once, and they share it.
        """
        self._folder = workspace.slots
        self._speech = "" if speech is None else warm_speech(speech, workspace.root)
        self._parent = None if outlive else {"pid": os.getpid(), "start_time": start_time(os.getpid())}
        self._folder.mkdir(parents=True, exist_ok=True)
        self.slots = tuple(slots)
        self._supervisors: dict[Path, dict[str, int]] = {}  # by attempt's folder
        self._context = multiprocessing.get_context("forkserver")
        for name in PRELOADED:
            if importlib.util.find_spec(name) is None:  # the forkserver would pass over a misspelt module in silence
                raise TrialError(f"the forkserver's preload module {name} does not exist.")
        self._context.set_forkserver_preload(["__main__", *PRELOADED])

    def free_slots(self) -> tuple[Slot, ...]:
        """Slots whose lock nobody holds."""
        return tuple(slot for slot in self.slots if self._is_free(slot))

    def resize(self, slots: tuple[Slot, ...]) -> None:
        """From now on, attempts are submitted to these."""
        self.slots = slots

    def submit(self, spec: AttemptSpec) -> bool:
        """Forks a supervisor; False if the slot was taken in the meantime, or the forkserver died before it could."""
        lock = os.open(self._lock(spec.slot), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            if not try_lock(lock):
                return False
            spec.folder.mkdir(parents=True, exist_ok=True)
            write_json(spec.folder / SPEC_FILE, spec.model_dump(mode="json"))
            has_started = self._fork(spec, lock)
        finally:
            os.close(lock)
        if not has_started and self._is_free(spec.slot):  # with our copy closed, only a supervisor can hold the lock
            shutil.rmtree(spec.folder)  # it never was
            return False
        return True

    def _fork(self, spec: AttemptSpec, lock: int) -> bool:
        """False if the forkserver died over it; the next call starts another."""
        arguments = (str(spec.folder), _HandedOver(lock), self._parent)
        process = self._context.Process(target=_supervise, args=arguments)
        try:
            self.warm_up()
            process.start()
        except (EOFError, ConnectionError):
            return False
        _forget(process)
        return True

    def poll(self, spec: AttemptSpec) -> Status:
        """Reads the exit record; without one, the supervisor's process tells life from death.

        The slot's lock speaks only for an attempt whose supervisor has not signed in yet: another may hold it later.
        """
        record = exit_record(spec.folder)
        if record is None and self._lives(spec):
            return Status(Life.RUNNING)
        self._supervisors.pop(spec.folder, None)
        return record or exit_record(spec.folder) or Status(Life.LOST)  # it may have ended between the two looks

    def _lives(self, spec: AttemptSpec) -> bool:
        supervisor = self._supervisors.get(spec.folder) or _supervisor(spec.folder)
        if supervisor is None:
            return self._lock(spec.slot).exists() and not self._is_free(spec.slot)
        self._supervisors[spec.folder] = supervisor  # it signs in once, and is asked for fifty times a second
        return is_alive(supervisor)

    def kill(self, spec: AttemptSpec) -> None:
        """Asks the supervisor to kill its trainer; nothing to do before it has signed in or after it has gone."""
        kill_supervisor(spec.folder)

    def read(self, spec: AttemptSpec, offset: int) -> bytes:
        """The event log from an offset on."""
        log = spec.folder / EVENTS_FILE
        with contextlib.suppress(FileNotFoundError):
            if log.stat().st_size > offset:  # most looks find nothing new
                return read_from(log, offset)
        return b""

    def fetch(self, spec: AttemptSpec) -> None:
        """Everything is there already: attempts write into the workspace."""

    def output_tail(self, spec: AttemptSpec) -> str:
        """The end of what the attempt printed."""
        return tail_of(spec.folder / OUTPUT_FILE)

    def warm_up(self) -> None:
        """Starts the forkserver deaf to Ctrl-C, which a terminal sends to it as well."""
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        # A forkserver takes no arguments. These stay: a variable that is taken away fails whoever walks through the
        # environment in another thread, as `requests` does before each of MLflow's calls.
        os.environ[SPEECH_VARIABLE] = self._speech
        os.environ[REHEARSAL_VARIABLE] = "" if self._has_gpus() else "1"
        try:
            forkserver.ensure_running()
        finally:
            signal.signal(signal.SIGINT, before)

    def close(self) -> None:
        """Holds nothing: attempts are known by their files."""

    def _has_gpus(self) -> bool:
        return any(slot.gpus for slot in self.slots)

    def _lock(self, slot: Slot) -> Path:
        return self._folder / f"{slot.name}.lock"

    def _is_free(self, slot: Slot) -> bool:
        with self._lock(slot).open("a") as file:
            return try_lock(file.fileno())


def warm_speech(config: TrialConfig, workspace: Path) -> str:
    """What tells the warm server which speech to open."""
    return json.dumps({"workspace": str(workspace), "config": config.model_dump(mode="json")})


def _forget(process: BaseProcess) -> None:
    """Lets go of a process: multiprocessing would keep two pipes for each, and wait for them all when Python ends."""
    multiprocessing.process._children.discard(process)  # type: ignore[attr-defined]  # noqa: SLF001 - no public way


class _HandedOver:
    """An open file that is pickled into a new process as a duplicate of itself."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __getstate__(self) -> Any:
        return reduction.DupFd(self._descriptor)

    def __setstate__(self, duplicate: Any) -> None:
        self._descriptor = duplicate.detach()

    def release(self) -> None:
        """Closes this process's copy."""
        os.close(self._descriptor)


def start_time(pid: int) -> int:
    """When a process started, in clock ticks since boot: with the pid, it names a process for good."""
    return int(_stat(pid)[19])


def _stat(pid: int) -> list[str]:
    """What the kernel says of a process, from its state on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def lives(folder: Path) -> bool:
    """Whether the supervisor of the attempt in that folder is at work."""
    supervisor = _supervisor(folder)
    return supervisor is not None and exit_record(folder) is None and is_alive(supervisor)


def kill_supervisor(folder: Path) -> None:
    """Asks the supervisor of the attempt in that folder to kill its trainer, if it is at work."""
    supervisor = _supervisor(folder)
    if supervisor is None:
        return
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(supervisor["pid"])
        try:
            if is_alive(supervisor):  # with the descriptor open, the pid cannot come to mean another process
                signal.pidfd_send_signal(descriptor, signal.SIGTERM)
        finally:
            os.close(descriptor)


def _supervisor(folder: Path) -> dict[str, int] | None:
    """The supervisor's pid and start time, once it has signed in; a power cut that tore the file ended it too."""
    record: dict[str, int] | None = read_whole_json(folder / SUPERVISOR_FILE)
    return record


def is_alive(supervisor: dict[str, int]) -> bool:
    """Whether the process with that `pid` and `start_time` is at work."""
    try:
        stat = _stat(supervisor["pid"])
    except (FileNotFoundError, ProcessLookupError):  # it is gone, or goes while it is looked at
        return False
    return int(stat[19]) == supervisor["start_time"] and stat[0] not in DEAD


def _supervise(folder: str, lock: _HandedOver, parent: dict[str, int] | None) -> None:
    """Leads the attempt's session and lets go of its slot; with a `parent`, ends when that process does."""
    os.setsid()
    if parent is not None:
        end_with_parent()  # the forkserver, which ends with the process that started it
        if not is_alive(parent):
            os._exit(1)
    supervise(Path(folder))
    lock.release()  # the trainer is gone; the slot need not wait until this process's memory is freed too
    os._exit(0)


def supervise(place: Path) -> None:
    """Forks the trainer of the attempt in that folder, reaps it and records its end; SIGTERM kills it."""
    trainer = 0
    killed = False

    def on_sigterm(_signal: int, _frame: object) -> None:
        nonlocal killed
        killed = True
        if trainer:
            _kill_group(trainer)

    signal.signal(signal.SIGTERM, on_sigterm)
    _redirect_output(place / OUTPUT_FILE)
    write_json(place / SUPERVISOR_FILE, {"pid": os.getpid(), "start_time": start_time(os.getpid())})
    # Its own: where a cluster starts a job again, the supervisor of the run before may still be about to write.
    reserved = place / f"{EXIT_FILE}.{os.getpid()}"
    reserved.write_bytes(b" " * EXIT_RECORD_BYTES)  # so that a full disk cannot keep the exit from being recorded
    supervisor = os.getpid()
    oom_kills = count_oom_kills()
    trainer = os.fork()
    if trainer == 0:
        _train(place, supervisor)
    with contextlib.suppress(PermissionError, ProcessLookupError):
        os.setpgid(trainer, trainer)  # here and in the trainer: whoever comes first
    if killed:
        _kill_group(trainer)
    _, status = os.waitpid(trainer, 0)
    _kill_group(trainer)  # ranks and workers that it left behind
    code = os.waitstatus_to_exitcode(status)
    if killed and code > 0:  # Lightning turns a cluster's own SIGTERM to all processes into an exit status
        code = -signal.SIGTERM
    record = {"status": code, "out_of_memory": count_oom_kills() > oom_kills}
    with reserved.open("r+b") as file:
        file.write(json.dumps(record).encode())
    reserved.replace(place / EXIT_FILE)


def _kill_group(trainer: int) -> None:
    """Kills the trainer with the ranks and workers that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(trainer, signal.SIGKILL)


def _train(folder: Path, supervisor: int) -> None:
    """The trainer's whole life; never returns."""
    status = 1
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.setpgid(0, 0)
        die_with_parent()
        if os.getppid() != supervisor:
            os._exit(1)
        hide_library_warnings()
        server = sys.modules.get(WARM_MODULE)
        from study.attempt import run_attempt

        spec = AttemptSpec.model_validate_json((folder / SPEC_FILE).read_text())
        status = run_attempt(spec, warm=server is not None, speech=server.speech_of(spec) if server else None)
    except BaseException:  # noqa: BLE001 - the process ends below, so nobody else would print it
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _redirect_output(path: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
