"""What works on a study although its coordinator is gone: asked of this machine, of Slurm's queue, and of Ray's agents.

An attempt's own files say where it was started, so nothing is asked that cannot know, and neither submitit nor Ray is
imported: Ray is asked by a process of its own, which starts only if something listens at the address. Where nobody
answers, an attempt counts neither as living nor as gone.
"""

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from study.launchers._base import exit_record
from study.launchers.jobs import JobLife, SlurmQueue, read_listing
from study.launchers.local import lives
from study.launchers.local_jobs import JobRecord, is_at_work
from study.spec import AGENT_FILE, EVENTS_FILE, JOB_FILE, LOST_FILE, SPEC_FILE, SUPERVISOR_FILE, name_of
from study.workspace import StudyFolder, read_whole_json, try_lock

LISTEN_S = 2.0
RAY_S = 30.0
QUEUE_S = 10.0
SLURM_SLOT = "slurm-"


@dataclass(frozen=True)
class Silence:
    """Nobody can tell now whether an attempt runs, and why."""

    why: str


@dataclass(frozen=True)
class AtWork:
    """Attempts of a study that have not ended, by their folders.

    Attributes:
        living: those that run, or wait in a queue.
        unknown: those of which nobody can tell now, and why.
    """

    living: tuple[Path, ...] = ()
    unknown: Mapping[Path, str] = field(default_factory=dict)


class Census:
    """Counts what is at work; a queue or a cluster is asked once, for all its studies."""

    def __init__(
        self,
        *,
        list_jobs: Callable[[], str] | None = None,
        ask_agents: Callable[[str, str], list[str] | Silence] | None = None,
    ) -> None:
        """Gets ready to ask `list_jobs` for Slurm's jobs, `ask_agents` for the attempts of a Ray cluster's agents."""
        queue = list_jobs or SlurmQueue(timeout_s=QUEUE_S).list_jobs
        self._list_jobs = cache(lambda: _heard("squeue", queue))
        self._ask_agents = cache(ask_agents or attempts_on_ray)

    def at_work(self, folder: StudyFolder, *, but_on: Collection[str] = ()) -> AtWork:
        """Attempts of a study, at training or at an evaluation, that have not ended; none of the engines `but_on`."""
        living: list[Path] = []
        unknown: dict[Path, str] = {}
        slots = folder.root.parent.parent / "slots"
        for attempt in sorted([*folder.root.glob("trials/*/attempt-*"), *folder.root.glob("evaluations/*/attempt-*")]):
            if not _is_open(attempt) or (but_on and engine_of(attempt) in but_on):
                continue
            found = self._lives(attempt, slots)
            if isinstance(found, Silence):
                unknown[attempt] = found.why
            elif found:
                living.append(attempt)
        return AtWork(tuple(living), unknown)

    def _lives(self, attempt: Path, slots: Path) -> bool | Silence:
        ended = exit_record(attempt)
        if (attempt / AGENT_FILE).exists():
            return self._lives_on_ray(attempt) if ended is None else False
        if _is_job(attempt):
            return self._lives_as_job(attempt)  # though killed: Slurm may start it again
        return ended is None and _lives_here(attempt, slots / f"{_slot(attempt)}.lock")

    def _lives_on_ray(self, attempt: Path) -> bool | Silence:
        place = read_whole_json(attempt / AGENT_FILE)
        if place is None:
            return Silence(f"{AGENT_FILE} does not say which agent has it")
        if "address" not in place:
            return False  # a cluster of its coordinator's own, which ended with it
        keys = self._ask_agents(place["address"], place["namespace"])
        return keys if isinstance(keys, Silence) else name_of(attempt).key in keys

    def _lives_as_job(self, attempt: Path) -> bool | Silence:
        job: JobRecord | None = read_whole_json(attempt / JOB_FILE)
        if job is not None and job["start_time"]:
            return is_at_work(attempt, job)
        if job is None and lives(attempt):
            return True
        text = self._list_jobs()
        if isinstance(text, Silence):
            return text
        listing = read_listing(text)
        job_id = listing.ids.get(str(attempt), "") if job is None else job["id"]
        return listing.lives.get(job_id) in (JobLife.WAITING, JobLife.RUNNING)


def _is_open(attempt: Path) -> bool:
    """Whether its files leave open that it runs: one that was killed may be started again."""
    if not (attempt / SPEC_FILE).exists() or (attempt / LOST_FILE).exists():
        return False
    ended = exit_record(attempt)
    return ended is None or (ended.exit_status or 0) < 0


def engine_of(attempt: Path) -> str:
    """Where an attempt was started, as `LauncherConfig.engine` names it."""
    if (attempt / AGENT_FILE).exists():
        return "ray"
    if not _is_job(attempt):
        return "local"
    job: JobRecord | None = read_whole_json(attempt / JOB_FILE)
    return "slurm with executor local" if job is not None and job["start_time"] else "slurm"


def _is_job(attempt: Path) -> bool:
    """Whether it was submitted to Slurm; where a power cut tore its spec, by the file that names its job."""
    slot = _slot(attempt)
    return slot.startswith(SLURM_SLOT) if slot else (attempt / JOB_FILE).exists()


def _slot(attempt: Path) -> str:
    """Name of its slot, "" where a power cut tore its spec."""
    spec = read_whole_json(attempt / SPEC_FILE)
    return "" if spec is None else str(spec["slot"]["name"])


def attempts_on_ray(address: str, namespace: str) -> list[str] | Silence:
    """Keys of the attempts that run on the agents of a study, by its namespace."""
    host, _, port = address.rpartition(":")
    if why := silence_at(host, int(port)):
        return Silence(f"nothing listens at Ray's address {address} ({why})")
    command = (sys.executable, "-m", "study.launchers.ray", address, namespace)
    answer = _heard(f"Ray at {address}", lambda: _run(command, timeout_s=RAY_S))
    return answer if isinstance(answer, Silence) else list(json.loads(answer))


def silence_at(host: str, port: int) -> str:
    """Why nobody listens at an address; "" if somebody does."""
    try:
        socket.create_connection((host, port), timeout=LISTEN_S).close()
    except OSError as error:
        return str(error)
    return ""


def _run(command: Sequence[str], *, timeout_s: float) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=timeout_s).stdout


def _heard(whom: str, ask: Callable[[], str]) -> str | Silence:
    """What a program prints, or why it does not answer."""
    try:
        return ask()
    except FileNotFoundError:
        return Silence(f"{whom} is not on this machine")
    except subprocess.TimeoutExpired as error:
        return Silence(f"{whom} does not answer within {error.timeout:.0f} s")
    except subprocess.CalledProcessError as error:
        last = error.stderr.strip().splitlines()[-1:] or ["it gave no reason"]
        return Silence(f"{whom} does not answer: {last[0]}")


def _lives_here(attempt: Path, lock: Path) -> bool:
    """As its supervisor says; before that has signed in, its slot's lock does."""
    if (attempt / SUPERVISOR_FILE).exists():
        return lives(attempt)
    if (attempt / EVENTS_FILE).exists():
        return False  # it ran in a coordinator's own process, and that is gone
    if not lock.exists():
        return False
    with lock.open() as file:
        return not try_lock(file.fileno(), shared=True)
