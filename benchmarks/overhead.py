"""What a trial costs beside its training: here, in a script by hand, and with Ray Tune; all do the same work.

    python -m benchmarks.overhead [--trials 24] [--seconds 2] [--slots 2] [--only ours,bare,by_hand,ray_tune]

Every contestant runs so many trials of one study on corpus `espeak`, so many at a time, each trial with the same number
of epochs, steps and development passes, and tells its own MLflow on SQLite the parameters and the metrics of each
epoch. `bare` is the training alone, one trial after the other in one process. `ours` also keeps checkpoints, event
logs, scores and figures; it is a sweep as a user runs it. Before a row is printed, what MLflow holds is counted.

    wall      seconds from the command to its end
    start     seconds from the command to the first step of the first trial
    train     seconds that a trial spent training and scoring, as it measured itself; the mean
    beside    seconds between a trial's last epoch and the first of the next on the same slot, and between epochs: what
              a trial costs beside its training; the mean
    ratio     wall / (bare training / slots + bare's imports): 1 would be a study that costs its training alone

Run it on a quiet machine. Ray Tune needs the extra `benchmark`.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import mean
from typing import Any

from benchmarks.records_of_mlflow import Ran, check_work, read_trials
from benchmarks.speech import prepared
from benchmarks.work import EXPERIMENT, LEARNING_RATE, MAX_NORM, Work

STUDY = """
name = "{name}"
space = "space.toml"
trials = {work.trials}
seed = {work.seed}
evaluate = false

[pruner]
kind = "none"

[trial.data]
corpus = "espeak"

[trial.training]
max_epochs = {work.epochs}
steps_per_epoch = {work.steps}
batch_size = {work.batch_size}
"""
SPACE = """
[space]
"optimizer.learning_rate" = {{ float = [{rate[0]}, {rate[1]}], log = true }}
"clipping.max_norm" = {{ float = [{norm[0]}, {norm[1]}], log = true }}
"""
CONTESTANTS = ("bare", "ours", "by_hand", "ray_tune")
MODULES = {"by_hand": "benchmarks.by_hand", "ray_tune": "benchmarks.with_ray_tune"}
PACKAGES = ("torch", "pytorch-lightning", "optuna", "mlflow", "ray")
ROW = "{:<10}{:>9}{:>9}{:>9}{:>9}{:>9}"


@dataclass(frozen=True)
class Bare:
    """The training alone, in seconds."""

    imports_s: float
    trials_s: list[float]

    def ideal_s(self, slots: int) -> float:
        """What the study would take at least."""
        return sum(self.trials_s) / slots + self.imports_s


def main() -> None:
    arguments = parsed()
    with tempfile.TemporaryDirectory(prefix="lidstudy-overhead-") as place:
        folder = Path(place)
        workspace = (arguments.workspace or prepared(folder / "speech")).absolute()
        work = Work(
            workspace=workspace,
            folder=folder,
            trials=arguments.trials,
            slots=arguments.slots,
            num_threads=max(1, len(os.sched_getaffinity(0)) // arguments.slots),
        )
        work = work.model_copy(update=run_bare(work, "--calibrate", str(arguments.seconds)))
        show(work, arguments.only)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=24, help="of each contestant (default: %(default)s)")
    parser.add_argument("--slots", type=int, default=2, help="trials at a time (default: %(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=2.0, help="a trial trains about so long (default: %(default)s)"
    )
    parser.add_argument(
        "--only", type=names, default=CONTESTANTS, metavar="NAME,NAME", help=f"of {','.join(CONTESTANTS)}"
    )
    parser.add_argument("--workspace", type=Path, help="with corpus espeak prepared; by default one is made")
    return parser.parse_args()


def names(text: str) -> tuple[str, ...]:
    chosen = text.split(",")
    if unknown := [name for name in chosen if name not in CONTESTANTS]:
        raise argparse.ArgumentTypeError(f"no such contestant: {', '.join(unknown)}; known: {', '.join(CONTESTANTS)}")
    return tuple(name for name in CONTESTANTS if name in chosen)


def show(work: Work, contestants: tuple[str, ...]) -> None:
    print(", ".join(f"{package} {version_of(package)}" for package in PACKAGES) + f", Python {sys.version.split()[0]}")
    print(
        f"{work.trials} trials of {work.epochs} epochs of {work.steps} steps and a development pass, "
        f"{work.slots} at a time with {work.num_threads} thread each; {len(os.sched_getaffinity(0))} cores, "
        f"load {os.getloadavg()[0]:.1f}\n"
    )
    print(ROW.format("seconds", "wall", "start", "train", "beside", "ratio"))
    bare = Bare(**run_bare(work)) if "bare" in contestants else None
    if bare is not None:
        train = f"{mean(bare.trials_s):.2f}"
        print(ROW.format("bare", f"{sum(bare.trials_s) + bare.imports_s:.1f}", f"{bare.imports_s:.1f}", train, "0", ""))
    num_points: int | None = None
    for name in contestants:
        if name == "ray_tune" and version_of("ray") == "not installed":
            print(f"{name:<10}needs Ray: pip install -c constraints.txt -e '.[benchmark]'")
        elif name != "bare":
            line, num_points = row(name, work, bare, num_points=num_points)
            print(line, flush=True)


def version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def run_bare(work: Work, *options: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.bare", str(written(work)), *options]
    result: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return result


def written(work: Work) -> Path:
    work.folder.mkdir(exist_ok=True)
    path = work.folder / "work.json"
    path.write_text(work.model_dump_json())
    return path


def row(name: str, work: Work, bare: Bare | None, *, num_points: int | None) -> tuple[str, int]:
    """Runs a contestant; its row of the table, for ours with the coordinator's memory, and points that a trial told."""
    own = work.model_copy(update={"folder": work.folder / name})
    own.folder.mkdir()
    command = sweep(own) if name == "ours" else [sys.executable, "-m", MODULES[name], str(written(own))]
    began, began_s = time.perf_counter(), time.time()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    peak_mb = watch_memory(process)
    wall_s = time.perf_counter() - began
    if process.returncode != 0:
        assert process.stderr is not None
        sys.exit(f"{name} ended with status {process.returncode}:\n{process.stderr.read().decode()[-2000:]}")
    ran = read_trials(own.folder / "mlflow" / "mlflow.db", EXPERIMENT)
    num_points = check_work(ran, work, num_points=num_points, who=name)
    ratio = f"{wall_s / bare.ideal_s(work.slots):.2f}" if bare is not None else "–"
    train = mean(trial.trained_s for trial in ran)
    cells = (f"{wall_s:.1f}", f"{min(trial.began for trial in ran) - began_s:.1f}", f"{train:.2f}")
    line = ROW.format(name, *cells, f"{beside(ran, slots=work.slots):.3f}", ratio)
    return (f"{line}    {peak_mb:.0f} MB the coordinator's peak" if name == "ours" else line), num_points


def sweep(work: Work) -> list[str]:
    """The command line of our own study, in a workspace that borrows the speech."""
    for name in ("corpora", "features"):
        (work.folder / name).symlink_to(work.workspace / name)
    study = work.folder / f"{EXPERIMENT}.toml"
    study.write_text(STUDY.format(name=EXPERIMENT, work=work))
    (work.folder / "space.toml").write_text(SPACE.format(rate=LEARNING_RATE, norm=MAX_NORM))
    command = [sys.executable, "-c", "from study.cli import main; main()", "sweep", str(study)]
    return [*command, "--workspace", str(work.folder), "--slots", str(work.slots)]


def beside(ran: list[Ran], *, slots: int) -> float:
    """Seconds a trial that its slot did not train.

    A slot that is free takes the next trial, so the last trials to end are the last of their slots, and the first to
    begin the first.
    """
    begins = sorted(trial.began for trial in ran)[:slots]
    ends = sorted(trial.ended for trial in ran)[-slots:]
    idle = sum(ends) - sum(begins) - sum(trial.trained_s for trial in ran)
    return idle / max(1, len(ran) - slots)


def watch_memory(process: subprocess.Popen[bytes]) -> float:
    """Waits for a process; its peak resident memory in MB."""
    pause = threading.Event()
    peak_kb = 0
    while process.poll() is None:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
        except OSError:
            break
        peak = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
        peak_kb = max(peak_kb, *(int(each) for each in peak), 0)
        pause.wait(0.2)
    process.wait()
    return peak_kb / 1024


if __name__ == "__main__":
    main()
