"""How long a report of ten thousand runs takes, and how much memory, from an SQLite file and from a server.

    python -m benchmarks.report [--trials 10000] [--epochs 10] [--only sqlite,server]

The runs are rows: one run that the tracker wrote, with the metrics of a real trial, and copies of it whose values
differ. Loading and rendering happen in a process of their own, imports included.
"""

import argparse
import gc
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
import uuid
from importlib.metadata import version
from pathlib import Path

from benchmarks.past import TABLES, copy_rows
from benchmarks.scale_mlflow import serving
from lightning_modules.config import TrialConfig
from reports.records import (
    GRAD_NON_FINITE,
    GRAD_NORM_AFTER,
    GRAD_NORM_BEFORE,
    GRAD_NORM_MAX,
    GRAD_NORM_QUANTILES,
    GRAD_SHARE_CLIPPED,
    TAG_KIND,
    TAG_NUMBER,
    TAG_TRIAL,
    SearchedParameter,
    StudyManifest,
    TrialState,
    trial_tag,
)
from study.mlflow_opening import open_tracker
from study.workspace import Workspace

NAME = "large"
PARTS = ("sqlite", "server")
CELLS = ("rnn_tanh", "rnn_relu", "gru", "lstm")
LAYERS = ("encoder.recurrence.l0", "encoder.recurrence.l0_reverse")
SCORES = (
    "loss", "accuracy", "error_rate", "c_avg", "c_primary", "c_primary_calibrated", "eer", "cllr", "cllr_calibrated",
)  # fmt: skip
KEYS = (
    *("train/loss", "train/accuracy", "train/learning_rate", "time/train_s", "time/validation_s"),
    *(f"val/{score}" for score in SCORES),
    *(GRAD_NORM_BEFORE, GRAD_NORM_AFTER, GRAD_NORM_MAX, *GRAD_NORM_QUANTILES, GRAD_SHARE_CLIPPED, GRAD_NON_FINITE),
    *(f"grad/flow/{measure}/{layer}" for measure in ("norm", "update_ratio") for layer in (*LAYERS, "head.output")),
    *(f"grad/flow/{measure}/{layer}/state" for measure in ("gate_norm", "spectral_radius") for layer in LAYERS),
)
"""What a trial of a bidirectional standard network says of each epoch."""
BYTES_A_MB = 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(PARTS), metavar="PART,PART")
    parser.add_argument("--uri", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.uri:
        report(arguments.uri, arguments.out)
        return
    size = f"{arguments.trials} trials of {arguments.epochs} epochs, {len(KEYS)} metrics each"
    print(f"mlflow {version('mlflow')}, {size}")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        if "sqlite" in arguments.only:
            workspace = Workspace(root / "sqlite")
            fill(workspace, workspace.mlflow / "mlflow.db", arguments, url=None)
            measure("SQLite", workspace.tracking_uri, root)
        if "server" in arguments.only:
            with serving(root) as url:
                fill(Workspace(root / "server"), root / "server.db", arguments, url=url)
                measure("mlflow server on SQLite", url, root)


def fill(workspace: Workspace, database: Path, arguments: argparse.Namespace, *, url: str | None) -> None:
    """The study's run, a trial's run by the tracker, and copies of it."""
    tracker = open_tracker(workspace, manifest(arguments.trials), tags={}, data_hash="abc", url=url)
    tracker.open_trial(0, TrialConfig(seed=0))
    for epoch in range(arguments.epochs):
        metrics = {key: 1.0 + 1.0 / (epoch + place + 1) for place, key in enumerate(KEYS)}
        tracker.log_epoch(0, metrics, epoch=epoch, time_ms=1000 * epoch)
    best = {f"best/{name}": 1.5 for name in (*SCORES, "objective")}
    tracker.finish_trial(
        0, TrialState.COMPLETE, end_ms=60_000, objective=1.5, best_epoch=1, metrics=best, failure="", artifacts={}
    )
    tracker.flush()
    with sqlite3.connect(database) as connection:
        [[first]] = connection.execute("select run_uuid from tags where key = ? and value = 'trial'", [TAG_KIND])
        ids = [(number, uuid.uuid4().hex) for number in range(1, arguments.trials)]
        for table in ("runs", *TABLES):
            copy_rows(connection, table, first, ids)
        for number, run in ids:
            values = {TAG_NUMBER: str(number), TAG_TRIAL: trial_tag(NAME, number)}
            connection.executemany(
                "update tags set value = ? where run_uuid = ? and key = ?",
                [(value, run, key) for key, value in values.items()],
            )
            cell = CELLS[number % len(CELLS)]
            connection.execute("update params set value = ? where run_uuid = ? and key = 'encoder.cell'", [cell, run])
        for table in ("metrics", "latest_metrics"):
            connection.execute(f"update {table} set value = value * (0.8 + (rowid % 997) / 2000.0)")  # noqa: S608


def manifest(num_trials: int) -> StudyManifest:
    return StudyManifest(
        name=NAME,
        question="How long does a report take?",
        objective="val/cllr_calibrated",
        objective_bound=4.6,
        num_trials=num_trials,
        parameters=(SearchedParameter(path="encoder.cell", kind="choices", choices=CELLS),),
        config={},
        space={},
        languages=("en", "es"),
        corpus={"name": "prompts", "data_hash": "abc"},
        command=f"lidstudy sweep {NAME}",
        versions={},
        seed=0,
    )


def measure(name: str, uri: str, root: Path) -> None:
    out = root / f"report-{name.split(maxsplit=1)[0]}"
    command = [sys.executable, "-m", "benchmarks.report", "--uri", uri, "--out", str(out)]
    started = time.perf_counter()
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    page = (out / "index.html").stat().st_size / BYTES_A_MB
    print(f"{name}: {time.perf_counter() - started:.1f} s in all; {said.stdout.strip()}; the page has {page:.1f} MB")


def report(uri: str, out: Path) -> None:
    """What `lidstudy report` does."""
    from reports.load import load_study
    from reports.render import write_report
    from study.cli import GC_THRESHOLDS

    gc.set_threshold(*GC_THRESHOLDS)
    started = time.perf_counter()
    study = load_study(NAME, tracking_uri=uri)
    loaded = time.perf_counter()
    write_report(study, out)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / BYTES_A_MB
    print(
        f"{len(study.trials)} trials loaded in {loaded - started:.1f} s, rendered in "
        f"{time.perf_counter() - loaded:.1f} s, peak memory {peak_mb:,.0f} MB"
    )


if __name__ == "__main__":
    main()
