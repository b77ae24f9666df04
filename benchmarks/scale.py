"""What a coordinator costs with a thousand attempts at once, and how fast it goes on with ten thousand trials.

    python -m benchmarks.scale [--only load,poll,resume] [--slots 1000] [--trials 2000] [--epoch-s 30] [--resume 10000]

A real coordinator with its journal and MLflow on SQLite; only attempts are simulated (benchmarks/simulated.py), so that
a thousand fit on one machine. Optuna's own share, ask and tell at 2,000 and 10,000 trials, is in scale_optuna.py.

load      So many attempts at once, each with an epoch every so many seconds and as many epochs as chance has it, until
          so many trials have ended. With 1,000 attempts, an epoch every 30 s and 10.5 epochs on average, that means 33
          reports and 3.2 endings a second once all slots are filled. A row whenever an eighth of them has ended:
          seconds gone, attempts that run, the coordinator's memory, and since the row before the reports a second,
          trials ended a second, CPU in cores (all threads, the simulation's own part taken off), the median and the
          longest round of the loop, and how many reports MLflow is behind. The first row holds the start, when all
          slots are filled at once. Then where the longest round was seen, if one took over half a second.
poll      What the local launcher's `poll` and `read` of one living attempt take, which the simulation leaves out.
resume    A study of so many ended trials and 16 that run: seconds until the next coordinator makes its first round.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from benchmarks.past import NUM_RUNNING, make_past
from benchmarks.simulated import SimulatedLauncher
from benchmarks.simulated_study import Enough, Gauges, open_study
from benchmarks.speech import prepared
from benchmarks.watch import Watch
from lightning_modules.config import TrialConfig
from study.devices import Slot
from study.launchers.local import LocalLauncher, start_time
from study.recovery import recover
from study.spec import EVENTS_FILE, SUPERVISOR_FILE, AttemptSpec
from study.workspace import Workspace, write_json

PARTS = ("load", "poll", "resume")
ROUNDS_A_SECOND = 50
MANY = 2000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(PARTS), metavar="PART,PART")
    parser.add_argument("--slots", type=int, default=1000, help="load: attempts at once (default: %(default)s)")
    parser.add_argument("--trials", type=int, default=2000, help="load: that end (default: %(default)s)")
    parser.add_argument("--epoch-s", type=float, default=30.0, help="load: seconds an epoch (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=20, help="load: of the longest trial (default: %(default)s)")
    parser.add_argument("--resume", type=int, default=10_000, help="resume: ended trials (default: %(default)s)")
    parser.add_argument("--workspace", type=Path, help="with corpus espeak prepared; by default one is made")
    arguments = parser.parse_args()
    if unknown := set(arguments.only) - set(PARTS):
        parser.error(f"no such part: {', '.join(unknown)}; known: {', '.join(PARTS)}")
    print(
        f"optuna {version('optuna')}, mlflow {version('mlflow')}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
    )
    with tempfile.TemporaryDirectory(prefix="lidstudy-scale-") as place:
        speech = (arguments.workspace or prepared(Path(place) / "speech")).absolute()
        if "load" in arguments.only:
            load(Path(place) / "load", speech, arguments)
        if "poll" in arguments.only:
            poll(Path(place) / "poll")
        if "resume" in arguments.only:
            resume(Path(place) / "resume", speech, count=arguments.resume)


def load(root: Path, speech: Path, arguments: argparse.Namespace) -> None:
    print(f"\n{arguments.slots:,} attempts at once, an epoch every {arguments.epoch_s:g} s, up to {arguments.epochs}")
    launcher = SimulatedLauncher(arguments.slots, epoch_s=arguments.epoch_s)
    watch = Watch(launcher, database=Workspace(root).mlflow / "mlflow.db", num_trials=arguments.trials)
    budget = arguments.trials + arguments.slots  # so that all slots stay busy to the end
    study = open_study(root, speech, num_trials=budget, num_epochs=arguments.epochs)
    try:
        study.coordinator(launcher, watch).run()
    except Enough:
        watch.last_row()
    finally:
        study.close()


def poll(root: Path) -> None:
    launcher, slot = LocalLauncher(Workspace(root), slots=[Slot(name="cpu-0")]), Slot(name="cpu-0")
    spec = AttemptSpec(
        number=0,
        attempt=0,
        folder=root / "attempt-0",
        trial_folder=root,
        workspace=root,
        objective="cllr",
        slot=slot,
        config=TrialConfig(),
    )
    write_json(spec.folder / SUPERVISOR_FILE, {"pid": os.getpid(), "start_time": start_time(os.getpid())})
    (spec.folder / EVENTS_FILE).touch()

    def look() -> None:
        for _ in range(MANY):
            launcher.poll(spec)
            launcher.read(spec, 0)

    each_s = timed(look) / MANY
    cores = each_s * ROUNDS_A_SECOND
    print(
        f"\nlocal launcher, poll and read: {each_s * 1e6:.0f} µs an attempt; {ROUNDS_A_SECOND} times a second that is"
    )
    print(f"{cores:.4f} cores an attempt, {16 * cores:.2f} for 16, {1000 * cores:.1f} for 1,000")


def resume(root: Path, speech: Path, *, count: int) -> None:
    made_s = timed(lambda: make_past(root, speech, count=count))
    print(f"\n{count:,} ended trials and {NUM_RUNNING} that run (made in {made_s:.0f} s)")
    began, began_cpu = time.perf_counter(), time.process_time()
    study = open_study(root, speech, num_trials=2 * count)
    for name, seconds in study.opened_s.items():
        print(f"{name:<28}{seconds:8.2f} s")
    before_cpu = time.process_time()
    recovered_s = timed(
        lambda: recover(
            study.folder, store=study.store, tracker=study.tracker, plan=study.plan, consider=lambda *_: None
        ),
    )
    recovered_cpu_s = time.process_time() - before_cpu
    print(f"{'recover':<28}{recovered_s:8.2f} s   (once more in the first round below)")
    gauges = FirstRound()
    try:
        study.coordinator(SimulatedLauncher(NUM_RUNNING, epoch_s=60.0), gauges).run()
    except Enough:
        print(f"{'until the first round':<28}{gauges.at - began - recovered_s:8.2f} s   in all, recover counted once")
        cpu_s = time.process_time() - began_cpu - recovered_cpu_s
        print(f"{'CPU of it':<28}{cpu_s:8.2f} s")
    finally:
        study.close()


class FirstRound(Gauges):
    """Ends a study when its coordinator has made a round."""

    at = 0.0

    def sleep(self, seconds: float) -> None:  # noqa: ARG002 - the signature of time.sleep
        """Takes the time instead."""
        self.at = time.perf_counter()
        raise Enough


def timed(function: Callable[[], object]) -> float:
    """Seconds of one call."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
