"""An agent: one slot on a machine of a cluster, with a warm forkserver and a folder of its own.

It works on one attempt at a time, through the same launcher that a single machine uses, and answers reports. Attempts
end with their agent: one that the coordinator gave up cannot go on beside its successor. It knows nothing of the engine
that placed it.
"""

import os
import shutil
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Mapping
from multiprocessing import current_process
from pathlib import Path
from typing import TypedDict

from lightning_modules.data.prepared import locked
from lightning_modules.errors import TrialError
from study.devices import Slot
from study.launchers._base import Life
from study.launchers.local import LocalLauncher
from study.launchers.mirror import Report, ShippedFile
from study.launchers.parcel import unpack
from study.launchers.relocate import BEST, FLOW, LAST, SCORES, relocate
from study.spec import AttemptSpec
from study.workspace import Workspace, try_lock

SLOT_PATIENCE_S = 30.0
LINGER_CHECKS_S = 5.0


class Hello(TypedDict):
    """What an agent says of itself.

    Attributes:
        host: where it is.
        attempt: key of the attempt that runs, or "".
        data: parcels that are on its node.
    """

    host: str
    attempt: str
    data: list[str]


class Agent:
    """One slot on this machine."""

    def __init__(self, slot: str, *, node: str, linger_s: float) -> None:
        """Gets ready for attempts.

        Args:
            slot: a `Slot` as JSON.
            node: folder of all agents of this machine; "" for one of the user's in the temporary folder.
            linger_s: ends this process when it has no work and hears nothing for so long.
        """
        self._node = _node_folder(node)
        self._folder = _own_folder(self._node)
        self._slot = Slot.model_validate_json(slot)
        self._spec: AttemptSpec | None = None
        self._heard_at = time.monotonic()
        _hide_main()
        self._sockets = _own_sockets()
        self._launcher = LocalLauncher(Workspace(self._folder), slots=(self._slot,), outlive=False)
        self._launcher.warm_up()
        threading.Thread(target=self._linger, args=(linger_s,), daemon=True).start()

    def hello(self) -> Hello:
        """Says who it is, and that it lives."""
        self._heard_at = time.monotonic()
        data = self._node / "data"
        names = [path.name for path in data.iterdir() if path.is_dir()] if data.exists() else []
        return Hello(host=socket.gethostname(), attempt=self.at_work(), data=[name for name in names if name[0] != "."])

    def start(self, spec: str, *, files: dict[str, bytes], parcel: str, content: Mapping[str, Iterable[bytes]]) -> None:
        """Starts an attempt.

        Args:
            spec: an `AttemptSpec` as JSON, with the coordinator's paths.
            files: what it needs of its trial.
            parcel: name of the speech that it needs.
            content: of the parcel; asked for only if the node does not have it.

        Raises:
            TrialError: another attempt runs here.
        """
        self._heard_at = time.monotonic()
        if self._is_busy():
            raise TrialError(f"the agent on {socket.gethostname()} works on another attempt.")
        self._forget()
        workspace = unpack(parcel, content, node=self._node)
        given = AttemptSpec.model_validate_json(spec)
        self._spec = relocate(given, root=self._folder / "trials", workspace=workspace)
        self._spec.trial_folder.mkdir(parents=True)
        for name, data in files.items():
            (self._spec.trial_folder / name).write_bytes(data)
        deadline = time.monotonic() + SLOT_PATIENCE_S
        while not self._launcher.submit(self._spec):  # the attempt before it frees its memory
            if time.monotonic() > deadline:
                raise TrialError(f"slot {self._slot.name} on {socket.gethostname()} does not get free.")
            time.sleep(0.02)

    def report(self, key: str, *, offset: int, versions: dict[str, str]) -> Report | None:
        """What is new of an attempt; None if this agent never had it.

        Args:
            key: the attempt's.
            offset: how much of its event log the asker has.
            versions: of the files that the asker has.
        """
        self._heard_at = time.monotonic()
        if self._spec is None or self._spec.key != key:
            return None
        status = self._launcher.poll(self._spec)  # before reading: a gone process has written all it will
        names = (LAST, BEST, SCORES, FLOW)
        files = {name: each for name in names if (each := self._file(name, versions.get(name)))}
        events = self._launcher.read(self._spec, offset)  # after the files, which are never ahead of the log
        output = self._launcher.output_tail(self._spec).encode() if status.is_over else b""
        return Report(
            life=status.life.value,
            exit_status=status.exit_status,
            out_of_memory=status.out_of_memory,
            events=events,
            files=files,
            output=output,
        )

    def at_work(self) -> str:
        """Key of the attempt that runs, or ""; told to those who only look, for whom no agent lingers."""
        return self._spec.key if self._spec is not None and self._is_busy() else ""

    def kill(self, key: str) -> None:
        """Ends an attempt if it runs here."""
        self._heard_at = time.monotonic()
        if self._spec is not None and self._spec.key == key:
            self._launcher.kill(self._spec)

    def leave(self) -> None:
        """Removes what this agent has on its machine, before it is ended."""
        shutil.rmtree(self._folder, ignore_errors=True)
        shutil.rmtree(self._sockets, ignore_errors=True)

    def _is_busy(self) -> bool:
        return self._spec is not None and self._launcher.poll(self._spec).life is Life.RUNNING

    def _forget(self) -> None:
        """Removes what the attempt before left: it has been brought home."""
        self._spec = None
        shutil.rmtree(self._folder / "trials", ignore_errors=True)

    def _file(self, name: str, known: str | None) -> ShippedFile | None:
        assert self._spec is not None
        try:
            with (self._spec.trial_folder / name).open("rb") as file:
                facts = os.fstat(file.fileno())
                version = f"{facts.st_ino}-{facts.st_mtime_ns}-{facts.st_size}"
                return None if version == known else ShippedFile(version=version, content=file.read())
        except FileNotFoundError:
            return None

    def _linger(self, linger_s: float) -> None:
        """Ends this process when nobody needs it, so that the cluster has its resources back."""
        while self._is_busy() or time.monotonic() - self._heard_at < linger_s:
            time.sleep(min(LINGER_CHECKS_S, linger_s))
        self.leave()
        os._exit(0)


def _hide_main() -> None:
    """Keeps the forkserver from importing the engine's own main file, which would cost seconds and start threads."""
    main = sys.modules["__main__"]
    if hasattr(main, "__file__"):
        del main.__file__


def _own_sockets() -> Path:
    """A folder for the forkserver's socket: a process that multiprocessing started would otherwise use its parent's."""
    folder = tempfile.mkdtemp(prefix="lidstudy-")
    current_process()._config["tempdir"] = folder  # type: ignore[attr-defined]  # noqa: SLF001 - no public way
    return Path(folder)


def _node_folder(asked: str) -> Path:
    """The folder of all agents of this user on this machine.

    Raises:
        TrialError: it belongs to somebody else.
    """
    folder = Path(asked) if asked else Path(tempfile.gettempdir()) / f"lidstudy-{os.getuid()}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise TrialError(f"{folder} on {socket.gethostname()} belongs to another user; set node_folder.")
    return folder


def _own_folder(node: Path) -> Path:
    """A new folder, locked while this process lives; what dead agents left is removed."""
    agents = node / "agents"
    agents.mkdir(exist_ok=True)
    with locked(agents / ".lock"):
        for lock in agents.glob("agent-*.lock"):
            with lock.open() as file:
                if try_lock(file.fileno()):
                    shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
                    lock.unlink()
        folder = Path(tempfile.mkdtemp(dir=agents, prefix="agent-"))
        # Never closed: the kernel lets go of the lock when this process ends.
        try_lock(os.open(folder.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    return folder
