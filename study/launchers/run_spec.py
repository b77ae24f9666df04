"""What a cluster's job runs: `python -m study.launchers.run_spec SPEC.json`, the supervisor of one attempt.

A job that the cluster started again finds the trial's last checkpoint and goes on from it, in the same event log.
"""

import os
import signal
import sys
from pathlib import Path

from lightning_modules.processes import end_with_parent
from study.launchers.local import supervise
from study.launchers.relocate import given_gpus
from study.spec import EVENTS_FILE, EXIT_FILE, LOST_FILE, SPEC_FILE, AttemptSpec
from study.workspace import write_json


def main(path: Path) -> None:
    """Works on the attempt that the file describes."""
    end_with_parent()  # the job's own process: where a job is cancelled by killing it, nothing is left behind
    signal.signal(
        signal.SIGUSR2, signal.SIG_IGN
    )  # submitit's warning that time is nearly up; each epoch is saved anyway
    # Lightning would take the job for a training of its own that Slurm has started, one process a rank.
    os.environ.pop("SLURM_NTASKS", None)
    folder = path.parent
    if (folder / LOST_FILE).exists():
        return  # given up while Python started, maybe because the parent was gone before it could be watched
    spec = AttemptSpec.model_validate_json(path.read_text())
    (folder / EXIT_FILE).unlink(missing_ok=True)  # of the job's run before this one
    _end_torn_line(folder / EVENTS_FILE)
    given = given_gpus(spec.slot)
    if given != spec.slot:
        write_json(folder / SPEC_FILE, spec.model_copy(update={"slot": given}).model_dump(mode="json"))
    supervise(folder)


def _end_torn_line(log: Path) -> None:
    """Ends a line that the job's run before left in the middle, so that it spoils none of the next."""
    if not log.exists():
        return
    with log.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        if size:
            file.seek(size - 1)
            if file.read(1) != b"\n":
                file.write(b"\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
