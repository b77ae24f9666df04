"""Slurm through submitit: a job an attempt, on a file system that all nodes share.

The workspace is shared, so attempts write where the coordinator reads, and their files say how they ended; the queue is
asked only about those whose files do not. A job carries its attempt's folder as its comment, and its id lies in that
folder, so the next coordinator finds what runs. With submitit's local executor a job is a process of this machine.
"""

import logging
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import submitit
from submitit.core.utils import FailedJobError, FailedSubmissionError

from lightning_modules.errors import ConfigError, TrialError
from study.devices import CPU, Slot
from study.launchers._base import Life, Status, exit_record, read_from, tail_of
from study.launchers.config import SlurmConfig
from study.launchers.jobs import JobLife, Jobs, Queue, SlurmQueue
from study.launchers.local import lives, start_time
from study.launchers.local_jobs import JobRecord, ProcessQueue
from study.spec import EVENTS_FILE, JOB_FILE, LOST_FILE, OUTPUT_FILE, SPEC_FILE, AttemptSpec
from study.workspace import StudyFolder, read_whole_json, write_json

logger = logging.getLogger(__name__)

SETTLE_S = 10.0
LOCAL_SETTLE_S = 1.0  # for an attempt that had no supervisor yet; else its end is the job's (local_jobs.py)
KILL_AGAIN_S = 5.0
REFUSAL_PAUSE_S = 10.0
MAX_REFUSALS = 3
LOCAL_ASK_EVERY_S = 0.1


@dataclass
class _Seen:
    """What this launcher has seen of an attempt, by its clock."""

    slot: str
    since: float
    """When it was submitted or first asked about."""
    over_at: float | None = None
    """When its job was first seen to be over; None while it waits or runs, maybe once more."""
    killed_at: float = float("-inf")

    @property
    def is_killed(self) -> bool:
        """Whether this launcher has cancelled its job."""
        return self.killed_at > float("-inf")


class SlurmLauncher:
    """Attempts as jobs, so many at a time."""

    def __init__(self, config: SlurmConfig, *, study: StudyFolder, clock: Callable[[], float] = time.monotonic) -> None:
        """Gets ready to submit.

        Raises:
            ConfigError: there is no Slurm on this machine.
        """
        self._config = config
        self._clock = clock
        devices = tuple(f"cuda:{gpu}" for gpu in range(config.num_gpus)) or (CPU,)
        self.slots = tuple(
            Slot(name=f"slurm-{number}", devices=devices, num_threads=config.cpus) for number in range(config.slots)
        )
        self._folder = study.root / "jobs"
        self._executor = _executor(config, folder=self._folder, name=study.root.name)
        is_local = config.executor == "local"
        self._processes = ProcessQueue(study)
        queue: Queue = self._processes if is_local else SlurmQueue()
        self._jobs = Jobs(queue, ask_every_s=LOCAL_ASK_EVERY_S if is_local else config.ask_every_s, clock=clock)
        self._busy: dict[str, AttemptSpec] = {}  # by slot
        self._seen: dict[str, _Seen] = {}  # by attempt, until its slot has the next
        self._num_refusals = 0
        self._refused_at = float("-inf")

    def warm_up(self) -> None:
        """A job is its own process."""

    def free_slots(self) -> tuple[Slot, ...]:
        """Slots without a job; none for a while after sbatch has refused one."""
        if self._clock() - self._refused_at < REFUSAL_PAUSE_S:
            return ()
        for spec in list(self._busy.values()):
            self.poll(spec)
        return tuple(slot for slot in self.slots if slot.name not in self._busy)

    def resize(self, slots: tuple[Slot, ...]) -> None:
        """Jobs ask for whole devices: there is nothing to size."""

    def submit(self, spec: AttemptSpec) -> bool:
        """Submits a job; False if the slot has one, or if sbatch refuses it for now.

        Raises:
            TrialError: sbatch has refused job after job.
        """
        if spec.slot.name in self._busy:
            return False
        spec.folder.mkdir(parents=True, exist_ok=True)
        (spec.folder / LOST_FILE).unlink(missing_ok=True)  # of a refusal: evaluations are submitted once more
        write_json(spec.folder / SPEC_FILE, spec.model_dump(mode="json"))
        self._seen = {key: seen for key, seen in self._seen.items() if seen.slot != spec.slot.name}
        self._look(spec)
        record = self._submit(spec)
        if record is None:
            return False
        write_json(spec.folder / JOB_FILE, record)
        self._busy[spec.slot.name] = spec
        return True

    def poll(self, spec: AttemptSpec) -> Status:
        """Reads the exit record; where it does not say the last word, the job's state does."""
        self._look(spec)
        self._busy.setdefault(spec.slot.name, spec)
        status = self._status(spec)
        if status.is_over and self._busy[spec.slot.name].key == spec.key:
            del self._busy[spec.slot.name]
        return status

    def kill(self, spec: AttemptSpec) -> None:
        """Cancels the job, which is then not started again either."""
        job_id, seen = self._job_id(spec), self._look(spec)
        if job_id and self._clock() - seen.killed_at >= KILL_AGAIN_S:
            seen.killed_at = self._clock()
            self._jobs.cancel(job_id)

    def read(self, spec: AttemptSpec, offset: int) -> bytes:
        """The event log from an offset on."""
        return read_from(spec.folder / EVENTS_FILE, offset)

    def fetch(self, spec: AttemptSpec) -> None:
        """Everything is there already: the file system is shared."""

    def output_tail(self, spec: AttemptSpec) -> str:
        """The end of what the attempt printed, or, before it could print, what its job said."""
        job_id = self._job_id(spec) or "none"
        return tail_of(spec.folder / OUTPUT_FILE) or tail_of(self._folder / f"{job_id}_0_log.err")

    def close(self) -> None:
        """Lets go; jobs go on."""
        self._jobs.close()

    def _look(self, spec: AttemptSpec) -> _Seen:
        return self._seen.setdefault(spec.key, _Seen(spec.slot.name, since=self._clock()))

    def _status(self, spec: AttemptSpec) -> Status:
        ended = exit_record(spec.folder)
        if ended is not None and ended.exit_status is not None and ended.exit_status >= 0:
            return ended
        if (spec.folder / LOST_FILE).exists():
            return Status(Life.LOST)
        job_id, seen = self._job_id(spec), self._look(spec)
        if job_id is None:
            return Status(Life.WAITING)
        life = self._jobs.life(job_id, since=seen.since) if job_id else JobLife.OVER
        match life:
            case None | JobLife.WAITING:
                seen.over_at = None
                return Status(Life.WAITING)
            case JobLife.RUNNING:
                seen.over_at = None
                return Status(Life.RUNNING)
            case JobLife.OVER | JobLife.OUT_OF_MEMORY:
                return self._end(spec, seen, out_of_memory=life is JobLife.OUT_OF_MEMORY)

    def _end(self, spec: AttemptSpec, seen: _Seen, *, out_of_memory: bool) -> Status:
        """The job is over, for now.

        Its last files may take some seconds to show on this machine. And what nobody here killed, the cluster did, and
        it may be about to start the job again: so the queue is asked once more before its exit record is believed.
        """
        is_local = self._config.executor == "local"
        seen.over_at = self._jobs.known_at if seen.over_at is None else seen.over_at
        is_settled = self._jobs.known_at - seen.over_at >= (LOCAL_SETTLE_S if is_local else SETTLE_S)
        ended = exit_record(spec.folder)
        if ended is not None and (is_settled or is_local or seen.is_killed or (ended.exit_status or 0) >= 0):
            return Status(Life.EXITED, ended.exit_status, out_of_memory or ended.out_of_memory)
        if not is_settled or (is_local and lives(spec.folder)):
            return Status(Life.RUNNING)
        write_json(spec.folder / LOST_FILE, {"out_of_memory": out_of_memory})
        return Status(Life.LOST, out_of_memory=out_of_memory)

    def _job_id(self, spec: AttemptSpec) -> str | None:
        """Its job; "" if it has none, None while that is not known."""
        record: JobRecord | None = read_whole_json(spec.folder / JOB_FILE)
        if record is not None:
            return record["id"]
        return self._jobs.find(str(spec.folder), since=self._look(spec).since)

    def _submit(self, spec: AttemptSpec) -> JobRecord | None:
        command = [sys.executable, "-m", "study.launchers.run_spec", str(spec.folder / SPEC_FILE)]
        if self._config.executor == "slurm":
            self._executor.update_parameters(slurm_comment=str(spec.folder))
        try:
            job = self._executor.submit(submitit.helpers.CommandFunction(command, verbose=False))
        except (FailedJobError, FailedSubmissionError, OSError) as error:
            self._refuse(spec, str(error))
            return None
        self._num_refusals = 0
        if self._config.executor == "slurm":
            return JobRecord(id=str(job.job_id), start_time=0)
        record = JobRecord(id=str(job.job_id), start_time=start_time(int(job.job_id)))  # before anybody reaps it
        self._processes.add(job)
        return record

    def _refuse(self, spec: AttemptSpec, why: str) -> None:
        """Without a spec it is no attempt of its trial; the folder stays, since the job may come nevertheless.

        sbatch may fail although the controller has taken the job. submitit gives a job its pickle only after that, so
        it would have nothing to run; should it run, it finds the folder given up, and no other attempt in it.
        """
        last = why.strip().splitlines()[-1] if why.strip() else "it gave no reason"
        self._num_refusals += 1
        self._refused_at = self._clock()
        (spec.folder / SPEC_FILE).unlink()
        write_json(spec.folder / LOST_FILE, {"refused": last})
        logger.warning("sbatch refused a job: %s", last)
        if self._num_refusals >= MAX_REFUSALS:
            raise TrialError(f"sbatch has refused {MAX_REFUSALS} jobs in a row: {last}; mend [launcher] and go on.")


def _executor(config: SlurmConfig, *, folder: Path, name: str) -> Any:
    try:
        executor = submitit.AutoExecutor(folder, cluster=config.executor)
    except RuntimeError as error:
        raise ConfigError(
            f'--launcher slurm: {error} Run the coordinator where sbatch works; executor = "local" needs no cluster.'
        ) from error
    options: dict[str, Any] = {key: value for key, value in config.sbatch.items() if value is not False}
    if config.executor == "local":
        executor.update_parameters(gpus_per_node=config.num_gpus)  # it knows no gres, and would hide all GPUs
    executor.update_parameters(
        name=f"lidstudy-{name}",
        timeout_min=config.time_limit_min,
        cpus_per_task=config.cpus,
        mem_gb=config.memory_gb,
        slurm_partition=config.partition,
        slurm_account=config.account,
        slurm_qos=config.qos,
        slurm_constraint=config.constraint,
        slurm_gres=config.gres,
        slurm_setup=list(config.setup) or None,
        slurm_additional_parameters={"requeue" if config.requeue else "no-requeue": True} | options,
    )
    return executor
