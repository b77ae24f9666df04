"""The workspace: one folder that holds all state, and how its files are written and locked."""

import errno
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_modules.errors import ConfigError, StorageError
from reports.records import name_of_tuning

STORAGE_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM})
"""What an OSError says when the workspace cannot be written."""


@dataclass(frozen=True)
class Workspace:
    """Paths inside one workspace folder."""

    root: Path

    @property
    def studies(self) -> Path:
        """One folder a study."""
        return self.root / "studies"

    @property
    def slots(self) -> Path:
        """One lock file a slot; a slot is free only when its lock is."""
        return self.root / "slots"

    @property
    def mlflow(self) -> Path:
        """MLflow's database and artifacts."""
        return self.root / "mlflow"

    @property
    def tracking_uri(self) -> str:
        """MLflow's store."""
        return f"sqlite:///{self.mlflow / 'mlflow.db'}"

    def study(self, name: str) -> "StudyFolder":
        """Paths of one study."""
        return StudyFolder(self.studies / name)

    def report(self, name: str) -> Path:
        """Folder of a study's report."""
        return self.root / "reports" / name

    def study_names(self) -> list[str]:
        """Studies that exist here."""
        if not self.studies.is_dir():
            return []
        return sorted(folder.name for folder in self.studies.iterdir() if (folder / "study.json").is_file())

    def existing_study(self, name: str) -> "StudyFolder":
        """Paths of a study that must exist."""
        if name not in self.study_names():
            if (tuning := name_of_tuning(name)) in self.study_names():
                raise ConfigError(
                    f"ablation '{name}' has not begun to compare: its arms are tuned in study '{tuning}'."
                )
            known = ", ".join(self.study_names()) or "none yet"
            raise ConfigError(
                f"unknown study '{name}' in workspace {self.root}; studies there: {known}. "
                "Start one with `lidstudy sweep`."
            )
        return self.study(name)


@dataclass(frozen=True)
class StudyFolder:
    """Paths inside one study's folder."""

    root: Path

    @property
    def manifest(self) -> Path:
        """The study's configuration and search space, as it was started."""
        return self.root / "study.json"

    @property
    def journal(self) -> Path:
        """Optuna's journal."""
        return self.root / "optuna.journal"

    @property
    def owner(self) -> Path:
        """Tells this study from others of its name in a database that is shared."""
        return self.root / "optuna.owner"

    @property
    def lease(self) -> Path:
        """Locked by the coordinator while it lives."""
        return self.root / "coordinator.lock"

    @property
    def control(self) -> Path:
        """Commands for the coordinator, a file each."""
        return self.root / "control"

    @property
    def ending(self) -> Path:
        """How the last coordinator left the study; not there while one works on it or after one was killed."""
        return self.root / "ending.json"

    @property
    def ledger(self) -> Path:
        """Every evaluation on test data."""
        return self.root / "ledger.jsonl"

    def trial(self, number: int) -> "TrialFolder":
        """Paths of one trial."""
        return TrialFolder(self.root / "trials" / f"{number:05d}")

    def pretrained(self, trial: str) -> "TrialFolder":
        """Where the study keeps its own copy of a trial, `STUDY/NUMBER`, that others begin with."""
        study, _, number = trial.partition("/")
        return TrialFolder(self.root / "pretrained" / f"{study}-{int(number)}")

    def evaluation(self, number: int) -> "TrialFolder":
        """Paths of one trial's evaluation on test data."""
        return TrialFolder(self.root / "evaluations" / f"{number:05d}")


@dataclass(frozen=True)
class TrialFolder:
    """Paths inside one trial's folder; checkpoints are shared by its attempts, which never run at the same time."""

    root: Path

    @property
    def config(self) -> Path:
        """The frozen TrialConfig; a trial without one never started."""
        return self.root / "config.json"

    @property
    def is_frozen(self) -> bool:
        """Whether its configuration was written; a power cut may leave a file without content, before any attempt."""
        return self.config.exists() and (bool(self.config.read_bytes().strip(b"\0")) or bool(self.attempts()))

    @property
    def best_checkpoint(self) -> Path:
        """Weights at the best epoch."""
        return self.root / "best.ckpt"

    @property
    def last_checkpoint(self) -> Path:
        """All that is needed to go on after the last whole epoch."""
        return self.root / "last.ckpt"

    @property
    def scores(self) -> Path:
        """Scores at the best epoch, a ScoreTable as JSON."""
        return self.root / "scores.json"

    @property
    def gradient_flow(self) -> Path:
        """|dL/dh_t| against t before the first step and after each epoch, where that is asked for."""
        return self.root / "gradient_flow.json"

    def attempts(self) -> list[Path]:
        """Folders of its attempts, oldest first."""
        return sorted(self.root.glob("attempt-*"), key=lambda folder: int(folder.name.removeprefix("attempt-")))


def open_workspace(folder: Path, *, writable: bool = False) -> Workspace:
    """The workspace in a folder; `writable` makes it and checks that it can be written."""
    workspace = Workspace(folder.absolute())
    if writable:
        try:
            workspace.root.mkdir(parents=True, exist_ok=True)
            probe = workspace.root / f".write-test-{os.getpid()}"
            probe.write_bytes(b"lidstudy")
            probe.unlink()
        except OSError as error:
            raise StorageError(
                f"workspace {workspace.root} cannot be written: {error.strerror}; choose another with --workspace."
            ) from None
    return workspace


def write_atomic(path: Path, content: str | bytes, *, sync: bool = False) -> None:
    """Writes a file so that readers see all of it or nothing; `sync`: after a power cut, too, which costs time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        if sync:
            file.flush()
            os.fsync(file.fileno())
    temporary.replace(path)


def write_json(path: Path, content: object, *, sync: bool = False) -> None:
    """Writes JSON so that readers see all of it or nothing; `sync`: after a power cut, too, which costs time."""
    write_atomic(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n", sync=sync)


def read_json(path: Path) -> Any:
    """Reads JSON; StorageError names a broken file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise StorageError(f"{path} cannot be read: {error}") from None


def read_description(path: Path) -> dict[str, Any]:
    """What a study's `study.json` holds.

    Raises:
        StorageError: it is broken, or describes no study.
    """
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("manifest"), dict):
        raise StorageError(f"{path} describes no study; put it back from a copy, or remove its folder.")
    return content


def read_whole_json(path: Path) -> Any | None:
    """JSON that can be done without; None where it is not there, or a power cut left it empty or torn."""
    try:
        return json.loads(path.read_bytes())
    except (FileNotFoundError, UnicodeDecodeError, json.JSONDecodeError):
        return None


@contextmanager
def coordinator_lease(folder: StudyFolder, *, patience_s: float = 1.0) -> Iterator[None]:
    """Holds the study for one coordinator; the operating system lets go when the process dies.

    Raises:
        StorageError: another coordinator holds it; the message names its host and process.
    """
    folder.root.mkdir(parents=True, exist_ok=True)
    with folder.lease.open("a+", encoding="utf-8") as file:
        deadline = time.monotonic() + patience_s
        while not try_lock(file.fileno()):
            if time.monotonic() > deadline:  # `status` holds the lock for a moment when it looks
                file.seek(0)
                raise StorageError(_who_holds(folder, file.read()))
            time.sleep(0.02)
        file.truncate(0)
        file.write(json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "started": time.time()}))
        file.flush()
        yield
        file.truncate(0)


def _who_holds(folder: StudyFolder, text: str) -> str:
    who = "another process"
    if text.strip():
        lease = json.loads(text)
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(lease["started"]))
        who = f"process {lease['pid']} on {lease['host']}, since {since}"
    return (
        f"study '{folder.root.name}' already has a coordinator: {who}. "
        f"Watch it with `lidstudy status {folder.root.name}`, or end it with Ctrl-C or SIGTERM first."
    )


def coordinator_pid(folder: StudyFolder) -> int | None:
    """Process id of the living coordinator, or None."""
    if not folder.lease.exists():
        return None
    with folder.lease.open(encoding="utf-8") as file:
        if try_lock(file.fileno(), shared=True):
            return None
        text = file.read()
    return int(json.loads(text)["pid"]) if text else None


def try_lock(descriptor: int, *, shared: bool = False) -> bool:
    """Locks an open file if it is free; the lock goes when the last copy of the descriptor closes."""
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
