"""What is known of the jobs in a cluster's queue: asked seldom, for all of them at once, and beside the event loop."""

import logging
import subprocess
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from enum import Enum
from typing import NamedTuple, Protocol

logger = logging.getLogger(__name__)

TIMEOUT_S = 60.0
WAITING = frozenset(
    (
        "PENDING",
        "CONFIGURING",
        "REQUEUED",
        "REQUEUE_FED",
        "REQUEUE_HOLD",
        "RESV_DEL_HOLD",
        "SPECIAL_EXIT",
        "STOPPED",
        "SUSPENDED",
    )
)
RUNNING = frozenset(["RUNNING", "COMPLETING", "RESIZING", "SIGNALING", "STAGE_OUT"])
SQUEUE = ("squeue", "--me", "--noheader", "--states=all", "--format=%i|%T|%k")


class JobLife(Enum):
    """What a job's state means for its attempt."""

    WAITING = "waiting"
    RUNNING = "running"
    OVER = "over"
    OUT_OF_MEMORY = "out of memory"
    """Over, and why."""


class Queue(Protocol):
    """A cluster's queue, as its command line shows it."""

    def list_jobs(self) -> str:
        """A line `id|STATE|comment` for each of the user's jobs, ended ones for a while."""

    def cancel(self, job_id: str) -> None:
        """Ends a job for good."""


class SlurmQueue:
    """Slurm's."""

    def __init__(self, *, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s

    def list_jobs(self) -> str:
        """One squeue for all jobs."""
        return self._run(*SQUEUE)

    def cancel(self, job_id: str) -> None:
        """Scancel."""
        self._run("scancel", job_id)

    def _run(self, *command: str) -> str:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=self._timeout_s).stdout


class Listing(NamedTuple):
    """What a queue has listed.

    Attributes:
        lives: by job.
        ids: of the newest job with a comment.
    """

    lives: Mapping[str, JobLife]
    ids: Mapping[str, str]


def read_listing(text: str) -> Listing:
    """Reads the lines of `list_jobs`."""
    lines = [line.strip().split("|", 2) for line in text.splitlines()]
    rows = [line for line in lines if line[0].isdigit()]  # neither arrays nor steps: those are not ours
    return Listing(
        lives={job_id: job_life(state) for job_id, state, _ in rows},
        ids={comment: job_id for job_id, _, comment in sorted(rows, key=lambda row: int(row[0]))},
    )


def job_life(state: str) -> JobLife:
    """What one of Slurm's states means; a state that is not known here has ended the job."""
    if state in WAITING:
        return JobLife.WAITING
    if state in RUNNING:
        return JobLife.RUNNING
    return JobLife.OUT_OF_MEMORY if state == "OUT_OF_MEMORY" else JobLife.OVER


class Jobs:
    """The last answer of a queue, and the next one on its way."""

    def __init__(self, queue: Queue, *, ask_every_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._queue = queue
        self._ask_every_s = ask_every_s
        self._clock = clock
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="queue")
        self._answer: Future[str] | None = None
        self._asked_at = float("-inf")  # the question whose answer is awaited, or the last
        self._asks_soon = False
        self._listing = Listing({}, {})
        self._known_at = float("-inf")

    @property
    def known_at(self) -> float:
        """When the queue was asked that has answered last; never: minus infinity."""
        return self._known_at

    def life(self, job_id: str, *, since: float) -> JobLife | None:
        """What the queue said of a job; OVER if it does not list it, None if it was not asked after `since`."""
        self._refresh()
        if self._known_at < since:
            return None
        return self._listing.lives.get(job_id, JobLife.OVER)

    def find(self, comment: str, *, since: float) -> str | None:
        """Id of the newest job with that comment; "" if there is none, None if nobody asked after `since`."""
        self._refresh()
        return self._listing.ids.get(comment, "") if self._known_at >= since else None

    def cancel(self, job_id: str) -> None:
        """Ends a job, soon."""
        self._pool.submit(self._queue.cancel, job_id).add_done_callback(_log_failure)
        self._asks_soon = True

    def close(self) -> None:
        """Waits for what was asked."""
        self._pool.shutdown()

    def _refresh(self) -> None:
        if self._answer is not None and self._answer.done():
            answer, self._answer = self._answer, None
            if answer.exception() is None:
                self._listing, self._known_at = read_listing(answer.result()), self._asked_at
            else:
                logger.warning("the queue does not answer: %s", answer.exception())
        is_due = self._asks_soon or self._clock() - self._asked_at >= self._ask_every_s
        if self._answer is None and is_due:
            self._asked_at, self._asks_soon = self._clock(), False
            self._answer = self._pool.submit(self._queue.list_jobs)


def _log_failure(done: "Future[None]") -> None:
    if done.exception() is not None:
        logger.warning("a job could not be cancelled: %s", done.exception())
