"""Jobs of submitit's local executor: processes of this machine, known by what lies in their attempts' folders.

A job is cancelled by its supervisor, which kills the trainer and writes how it ended; then submitit's own process of
the job, its *controller*, ends by itself. submitit would send SIGINT to the controller, but what a shell starts in the
background ignores that. A controller that is killed may be gone before its attempt, so a job is at work as long as
either of them is. Where the coordinator was killed before it could write down the controller, the supervisor stands in
for it.
"""

import threading
from pathlib import Path
from typing import Any, TypedDict

from study.launchers.local import is_alive, kill_supervisor, lives
from study.spec import JOB_FILE, SUPERVISOR_FILE
from study.workspace import StudyFolder, read_whole_json

ATTEMPTS = "*/*/attempt-*"  # of trials and of evaluations, in a study's folder


class JobRecord(TypedDict):
    """What lies in an attempt's folder of its job.

    Attributes:
        id: the job's; with the local executor, its controller's process.
        start_time: of that process; 0 for a job of Slurm's.
    """

    id: str
    start_time: int


class ProcessQueue:
    """What squeue and scancel are to Slurm."""

    def __init__(self, study: StudyFolder) -> None:
        self._root = study.root
        self._handles: list[Any] = []  # of controllers that this process started, which it has to reap
        self._lock = threading.Lock()  # jobs are submitted by one thread and listed by another

    def add(self, handle: Any) -> None:
        """Takes the handle of a job that was submitted here."""
        with self._lock:
            self._handles.append(handle)

    def list_jobs(self) -> str:
        """Those that are at work, as squeue would list them."""
        with self._lock:
            self._handles = [handle for handle in self._handles if not handle.done()]
        return "\n".join(f"{job['id']}|RUNNING|{folder}" for folder, job in self._jobs() if is_at_work(folder, job))

    def cancel(self, job_id: str) -> None:
        """Ends a job, unless it has no supervisor yet: whoever wants its end asks again."""
        for folder, job in self._jobs():
            if job["id"] == job_id:
                kill_supervisor(folder)

    def _jobs(self) -> list[tuple[Path, JobRecord]]:
        folders = {
            path.parent for name in (JOB_FILE, SUPERVISOR_FILE) for path in self._root.glob(f"{ATTEMPTS}/{name}")
        }
        records = [(folder, _job(folder)) for folder in sorted(folders)]
        return [(folder, job) for folder, job in records if job is not None and job["start_time"]]


def _job(folder: Path) -> JobRecord | None:
    """None where a power cut tore what names it, and ended it."""
    job: JobRecord | None = read_whole_json(folder / JOB_FILE)
    if job is not None:
        return job
    supervisor = read_whole_json(folder / SUPERVISOR_FILE)
    return None if supervisor is None else JobRecord(id=str(supervisor["pid"]), start_time=supervisor["start_time"])


def is_at_work(folder: Path, job: JobRecord) -> bool:
    """Whether anything works on the attempt in that folder, whose job that is."""
    return is_alive({"pid": int(job["id"]), "start_time": job["start_time"]}) or lives(folder)
