"""What a trial costs beside its training: process, logging, bookkeeping; and how much memory the coordinator takes.

    python -m benchmarks.overhead [--trials 24] [--slots 2] [--workspace DIR]

A sweep of short trials on corpus `espeak` runs as a user would run it. Slot-seconds from the first attempt's start to
the end of each slot's last, less the seconds that attempts spent training and scoring, divided by the number of trials,
is what a trial costs.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median

from lightning_modules.config import FeaturesConfig
from lightning_modules.data.feature_store import build_feature_store
from lightning_modules.data.prepared import prepare_corpus

STUDY = """
name = "overhead"
space = "space.toml"
trials = {trials}
seed = 1
evaluate = false

[pruner]
kind = "none"

[trial.data]
corpus = "espeak"

[trial.training]
max_epochs = 4
steps_per_epoch = 25
batch_size = 16
"""
SPACE = """
[space]
"encoder.cell" = { choices = ["gru", "lstm"] }
"encoder.hidden_size" = { choices = [32, 64] }
"optimizer.learning_rate" = { float = [0.0005, 0.01], log = true }
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--workspace", type=Path, help="with corpus espeak prepared; by default a new one is made")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        workspace = arguments.workspace or prepared(Path(folder) / "workspace")
        study = Path(folder) / "overhead.toml"
        study.write_text(STUDY.format(trials=arguments.trials))
        (Path(folder) / "space.toml").write_text(SPACE)
        measure(study, workspace.absolute(), slots=arguments.slots)


def prepared(workspace: Path) -> Path:
    corpus = prepare_corpus("espeak", workspace, progress=lambda *_: None)
    build_feature_store(corpus, FeaturesConfig(), workspace=workspace, progress=lambda *_: None)
    return workspace


def measure(study: Path, workspace: Path, *, slots: int) -> None:
    command = [sys.executable, "-c", "from study.cli import main; main()", "sweep", str(study)]
    started = time.time()
    sweep = subprocess.Popen(
        [*command, "--workspace", str(workspace), "--slots", str(slots)], stdout=subprocess.DEVNULL
    )
    peak_mb = watch_memory(sweep)
    if sweep.returncode != 0:
        sys.exit(f"the sweep ended with status {sweep.returncode}")
    attempts = [read_attempt(folder) for folder in (workspace / "studies" / "overhead" / "trials").glob("*/attempt-0")]
    first = min(attempt.forked for attempt in attempts)
    by_slot: dict[str, float] = {}
    for attempt in attempts:
        by_slot[attempt.slot] = max(by_slot.get(attempt.slot, 0.0), attempt.exited)
    slot_seconds = sum(last - first for last in by_slot.values())
    training = [attempt.training for attempt in attempts]
    cost = (slot_seconds - sum(training)) / len(attempts)
    print(f"torch {version('torch')}, optuna {version('optuna')}, mlflow {version('mlflow')}")
    print(f"{len(attempts)} trials, {slots} slots; training {median(training):.2f} s a trial (median)")
    print(f"start-up, once: {first - started:.2f} s")
    print(f"a trial costs {cost:.3f} s beside its training")
    inside = median(attempt.exited - attempt.forked - attempt.training for attempt in attempts)
    print(f"  of that inside its process, from fork to exit: {inside:.3f} s (median)")
    print(f"coordinator's peak memory: {peak_mb:.0f} MB")


@dataclass(frozen=True)
class Attempt:
    """Times in seconds: since 1970 for the two ends, a duration for the training."""

    slot: str
    forked: float
    exited: float
    training: float


def read_attempt(folder: Path) -> Attempt:
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    metrics = [event["metrics"] for event in events if event["type"] == "epoch"]
    return Attempt(
        slot=json.loads((folder / "spec.json").read_text())["slot"]["name"],
        forked=(folder / "supervisor.json").stat().st_mtime,
        exited=(folder / "exit.json").stat().st_mtime,
        training=sum(each["time/train_s"] + each["time/validation_s"] for each in metrics),
    )


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
        pause.wait(0.05)
    process.wait()
    return peak_kb / 1024


if __name__ == "__main__":
    main()
