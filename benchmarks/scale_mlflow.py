"""How fast MLflow takes what a sweep says, and how fast a resumed sweep learns what MLflow has.

    python -m benchmarks.scale_mlflow [--points 60000] [--slots 16] [--trials 500]

Points go through the tracker as the coordinator sends them: epoch by epoch, trial by trial, a flush when one is due.
They go to an SQLite file, to one that a reader asks all the time as the UI does, and to a real `mlflow server`.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

from lightning_modules.config import TrialConfig
from reports.records import StudyManifest, TrialState
from study.mlflow_opening import open_tracker
from study.tracking import Tracker
from study.workspace import Workspace

METRICS_AN_EPOCH = 40
MANIFEST = StudyManifest(
    name="scale",
    question="",
    objective="val/cllr_calibrated",
    objective_bound=4.6,
    num_trials=1,
    parameters=(),
    config={},
    space={},
    languages=("en", "es"),
    corpus={"name": "prompts", "data_hash": "abc"},
    command="",
    versions={},
    seed=0,
)
READER = """
import sys, time
from mlflow import MlflowClient
client = MlflowClient(tracking_uri=sys.argv[1])
experiment = client.get_experiment_by_name("scale").experiment_id
while True:
    for run in client.search_runs([experiment], max_results=100):
        for key in list(run.data.metrics)[:3]:
            client.get_metric_history(run.info.run_id, key)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=60_000)
    parser.add_argument("--slots", type=int, default=16, help="trials at a time")
    parser.add_argument("--trials", type=int, default=500, help="of the study that is resumed")
    arguments = parser.parse_args()
    print(f"mlflow {version('mlflow')}, {os.cpu_count()} cores, {arguments.slots} trials at a time")
    with tempfile.TemporaryDirectory() as folder:
        ingest(Path(folder), arguments)
        resume(Path(folder) / "resume", num_trials=arguments.trials)


def ingest(folder: Path, arguments: argparse.Namespace) -> None:
    say = "{:<28} {:>7.0f} points/s, {:>7.0f} a second of this process's CPU"
    alone = opened(folder / "alone")
    print(say.format("SQLite", *rate(alone, points=arguments.points, slots=arguments.slots)))
    watched = opened(folder / "watched")
    with reading(Workspace(folder / "watched").tracking_uri):
        print(say.format("SQLite, with a reader", *rate(watched, points=arguments.points, slots=arguments.slots)))
    with serving(folder) as url:
        remote = opened(folder / "remote", url=url)
        print(say.format("mlflow server on SQLite", *rate(remote, points=arguments.points, slots=arguments.slots)))


def opened(root: Path, *, url: str | None = None) -> Tracker:
    return open_tracker(Workspace(root), MANIFEST, tags={}, data_hash="abc", url=url)


def rate(tracker: Tracker, *, points: int, slots: int) -> tuple[float, float]:
    """Points a second and a second of CPU, from the first epoch told to the last one written."""
    for number in range(slots):
        tracker.open_trial(number, TrialConfig(seed=number))
    num_epochs = points // (slots * METRICS_AN_EPOCH)
    started, started_cpu = time.perf_counter(), time.process_time()
    for epoch in range(num_epochs):
        for number in range(slots):
            metrics = {f"val/metric_{key}": epoch + key / 100 for key in range(METRICS_AN_EPOCH)}
            tracker.log_epoch(number, metrics, epoch=epoch, time_ms=1_000 * epoch)
            tracker.flush_if_due()
    tracker.flush()
    told = num_epochs * slots * METRICS_AN_EPOCH
    return told / (time.perf_counter() - started), told / (time.process_time() - started_cpu)


def resume(root: Path, *, num_trials: int) -> None:
    tracker = opened(root)
    started, started_cpu = time.perf_counter(), time.process_time()
    for number in range(num_trials):
        tracker.open_trial(number, TrialConfig(seed=number), is_new=True)
        tracker.finish_trial(
            number,
            TrialState.COMPLETE,
            end_ms=number,
            objective=1.0,
            best_epoch=0,
            metrics={f"best/metric_{key}": 1.0 for key in range(10)},
            failure="",
            artifacts={},
        )
    wall_ms, cpu_ms = (
        1000 * (now - before) / num_trials
        for now, before in ((time.perf_counter(), started), (time.process_time(), started_cpu))
    )
    print(f"a trial, opened and finished without files: {wall_ms:.0f} ms, CPU {cpu_ms:.0f} ms")
    started = time.perf_counter()
    again = opened(root)
    assert again.recorded() == set(range(num_trials))
    assert again.strangers(range(num_trials)) == set()
    print(f"a study of {num_trials} trials, what a resumed sweep reads: {time.perf_counter() - started:.2f} s")


@contextmanager
def reading(uri: str) -> Iterator[None]:
    reader = subprocess.Popen([sys.executable, "-W", "ignore", "-c", READER, uri])
    try:
        yield
    finally:
        reader.kill()
        reader.wait()


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder / 'server.db'}"]
    command += ["--artifacts-destination", (folder / "artifacts").as_uri(), "--uvicorn-opts", "--log-level error"]
    settings = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    server = subprocess.Popen(
        command, env=os.environ | settings, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_for(f"http://127.0.0.1:{port}/health")
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()


def wait_for(url: str) -> None:
    pause = threading.Event()
    for _ in range(600):
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310 - loopback
                return
        except (urllib.error.URLError, ConnectionError):
            pause.wait(0.1)
    sys.exit(f"{url} does not answer")


if __name__ == "__main__":
    main()
