"""A study that is hurt again and again, at random: what is left must be what an undisturbed one leaves.

    python -m tests.faults.chaos [--trials 60] [--injuries 40] [--seed 1]

Each injury kills, stops or cuts off something while trials run; the same command is started again whenever its
coordinator is gone. At the end Optuna, MLflow and the event logs are compared trial by trial.
"""

import argparse
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from lightning_modules.config import FeaturesConfig
from lightning_modules.data.feature_building import build_feature_store
from lightning_modules.data.prepared import prepare_corpus
from reports.records import TrialState
from study.events import EpochEnded, Started, read_events
from study.spec import EVENTS_FILE, EXIT_FILE, SUPERVISOR_FILE
from study.workspace import StudyFolder, Workspace
from tests.conftest import write_tiny_study
from tests.study.helpers import record_of, trials_of, until

NUM_EPOCHS = 6
ENOUGH_LOST = "[limits]\nlost_attempts = 1000\n"


class Chaos:
    """One study and its tormentor.

    Args:
        workspace: with corpus espeak and its features.
        trials: the study's budget.
        seed: of the injuries.
    """

    def __init__(self, workspace: Path, *, trials: int, seed: int) -> None:
        self._workspace = workspace
        self._trials = trials
        self._folder = Workspace(workspace).study("tiny")
        home = workspace.parent / "chaos"
        home.mkdir()
        self._study = write_tiny_study(home, trials=trials, epochs=NUM_EPOCHS, steps=6, changes=ENOUGH_LOST)
        self._output = (home / "output.log").open("w")
        self._random = random.Random(seed)
        self._coordinator: subprocess.Popen[str] | None = None
        self._torn: set[int] = set()
        self.injuries: Counter[str] = Counter()

    def run(self, injuries: int) -> None:
        """Hurts the study so often, then lets it end; raises AssertionError where the records disagree."""
        kinds: list[Callable[[], None]] = [
            self.kill_the_coordinator,
            self.kill_a_trainer,
            self.kill_a_supervisor,
            self.kill_the_forkserver,
            self.kill_everything,
            self.interrupt,
            self.stop_a_trainer,
            self.tear_a_log,
        ]
        try:
            while self.injuries.total() < injuries and not self._is_done():
                self._start()
                self._wait_for_progress(self._random.randint(1, 4))
                injury = self._random.choice(kinds)
                injury()
                self.injuries[injury.__name__] += 1
            self._start()
            self._finish()
        finally:
            self._clean_up()
        check_that_all_agree(self._workspace, num_trials=self._trials, torn=self._torn)

    # --- injuries ----------------------------------------------------------------------------------------------------

    def kill_the_coordinator(self) -> None:
        """Attempts go on without it."""
        assert self._coordinator is not None
        self._coordinator.kill()
        self._coordinator.wait()

    def kill_a_trainer(self) -> None:
        """Its supervisor sees it."""
        self._kill_one(list(self._living_trainers()))

    def kill_a_supervisor(self) -> None:
        """Its trainer dies with it, and nobody writes an exit record."""
        self._kill_one(list(self._living_supervisors()))

    def kill_the_forkserver(self) -> None:
        """Attempts go on; the next one needs another."""
        assert self._coordinator is not None
        self._kill_one([pid for pid in children(self._coordinator.pid) if "forkserver" in command_of(pid)])

    def kill_everything(self) -> None:
        """As when the machine goes down."""
        self.kill_the_coordinator()
        for pid in (*self._living_supervisors(), *self._living_trainers()):
            kill(pid)
        until(lambda: not list(self._living_trainers()))

    def interrupt(self) -> None:
        """Ctrl-C."""
        assert self._coordinator is not None
        self._coordinator.send_signal(signal.SIGINT)
        self._coordinator.wait(timeout=60)

    def stop_a_trainer(self) -> None:
        """Stopped, and on its way again: late, but not lost."""
        trainers = list(self._living_trainers())
        if trainers:
            pid = self._random.choice(trainers)
            kill(pid, signal.SIGSTOP)
            self._wait_for_progress(1, patience_s=1.0)
            kill(pid, signal.SIGCONT)

    def tear_a_log(self) -> None:
        """The machine goes down, and the last lines of a running trial's log were not on disk yet."""
        self.kill_everything()
        logs = [log for log in self._logs() if not (log.parent / EXIT_FILE).exists() and log.stat().st_size]
        if logs:
            log = self._random.choice(logs)
            content = log.read_bytes()
            log.write_bytes(content[: -self._random.randint(1, min(200, len(content)))])
            self._torn.add(int(log.parent.parent.name))
        with self._folder.journal.open("ab") as journal:
            journal.write(b'{"op_code": 4, "worker_id"')

    # --- the study ---------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        if self._coordinator is not None and self._coordinator.poll() is None:
            return
        command = [sys.executable, "-c", "from study.cli import main; main()", "sweep", str(self._study)]
        self._coordinator = subprocess.Popen(
            [*command, "--workspace", str(self._workspace), "--slots", "2"],
            stdout=self._output,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def _finish(self) -> None:
        assert self._coordinator is not None
        self._coordinator.wait(timeout=1200)
        assert self._coordinator.returncode == 0, Path(self._output.name).read_text()

    def _clean_up(self) -> None:
        if self._coordinator is not None and self._coordinator.poll() is None:
            self._coordinator.kill()
            self._coordinator.wait()
        self._output.close()
        for pid in (*self._living_supervisors(), *self._living_trainers()):
            kill(pid, signal.SIGCONT)
            kill(pid)

    def _is_done(self) -> bool:
        """Whether nothing is left that could be hurt."""
        return self._coordinator is not None and self._coordinator.poll() == 0

    def _wait_for_progress(self, epochs: int, *, patience_s: float = 60.0) -> None:
        """Waits for so many more epochs, until the coordinator has ended, or for as long as one should."""
        target = self._num_epochs() + epochs
        assert self._coordinator is not None
        pause = threading.Event()
        for _ in range(int(patience_s / 0.02)):
            if self._num_epochs() >= target or self._coordinator.poll() is not None:
                return
            pause.wait(0.02)

    def _logs(self) -> list[Path]:
        return sorted((self._folder.root / "trials").glob(f"*/attempt-*/{EVENTS_FILE}"))

    def _num_epochs(self) -> int:
        return sum(log.read_bytes().count(b'"type":"epoch"') for log in self._logs())

    def _living_trainers(self) -> Iterator[int]:
        for log in self._logs():
            for event in read_events(log):
                if isinstance(event, Started) and "lidstudy" not in command_of(event.pid) and is_ours(event.pid):
                    yield event.pid

    def _living_supervisors(self) -> Iterator[int]:
        for record in (self._folder.root / "trials").glob(f"*/attempt-*/{SUPERVISOR_FILE}"):
            content = json.loads(record.read_text())
            if is_ours(content["pid"]):
                yield content["pid"]

    def _kill_one(self, pids: list[int]) -> None:
        if pids:
            kill(self._random.choice(pids))


def kill(pid: int, number: int = signal.SIGKILL) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def is_ours(pid: int) -> bool:
    """Whether a process is forked from a forkserver, so that a pid that was given away again is not hurt."""
    return "forkserver" in command_of(pid)


def children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def check_that_all_agree(workspace: Path, *, num_trials: int, torn: Collection[int] = ()) -> None:
    """0 lost, 0 double, 0 stuck RUNNING, 0 disagreeing.

    Args:
        workspace: of the study.
        num_trials: its budget.
        torn: trials whose log lost its last lines. What MLflow knew of them was trained again, at another time.
    """
    folder = Workspace(workspace).study("tiny")
    trials, record = trials_of(workspace), record_of(workspace)
    assert [trial.number for trial in trials] == list(range(num_trials)), "no trial lost, none counted twice"
    assert [run.number for run in record.trials] == list(range(num_trials))
    with sqlite3.connect(Workspace(workspace).mlflow / "mlflow.db") as connection:
        assert connection.execute("select count(*) from runs where status = 'RUNNING'").fetchone() == (0,)
    for trial, run in zip(trials, record.trials, strict=True):
        assert run.state is trial.state is TrialState.COMPLETE, f"trial {trial.number}: {run.state}, {trial.state}"
        assert run.objective == trial.value
        told = epochs_of(folder, trial.number)
        points = run.history["val/cllr_calibrated"]
        steps = [point.step for point in points]
        assert steps == list(range(NUM_EPOCHS)), f"trial {trial.number}: each epoch once, not {points}; told: {told}"
        for point in points:
            event = told[point.step]
            assert point.value == event.metrics["val/cllr_calibrated"]
            assert point.time_ms == event.time_ms or trial.number in torn
            assert trial.reports[point.step] == event.objective


def epochs_of(folder: StudyFolder, number: int) -> dict[int, EpochEnded]:
    """What the logs of a trial's attempts say of each epoch first."""
    found: dict[int, EpochEnded] = {}
    for attempt in folder.trial(number).attempts():
        for event in read_events(attempt / EVENTS_FILE):
            if isinstance(event, EpochEnded):
                found.setdefault(event.epoch, event)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--injuries", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder) / "workspace"
        corpus = prepare_corpus("espeak", workspace, progress=lambda *_: None)
        build_feature_store(corpus, FeaturesConfig(), workspace=workspace, progress=lambda *_: None)
        chaos = Chaos(workspace, trials=arguments.trials, seed=arguments.seed)
        chaos.run(arguments.injuries)
    hurt = ", ".join(f"{count} x {name}" for name, count in sorted(chaos.injuries.items()))
    sys.stdout.write(f"{chaos.injuries.total()} injuries ({hurt}) in {arguments.trials} trials:\n")
    sys.stdout.write("0 lost, 0 double, 0 stuck RUNNING, 0 disagreeing\n")


if __name__ == "__main__":
    main()
