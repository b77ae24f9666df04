"""`lidstudy ui`: MLflow's own UI on the workspace."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote, urlencode

from lightning_modules.errors import StorageError
from reports.records import BEST_OBJECTIVE, TAG_KIND
from study.commands.console import make_console
from study.tracking import find_experiment
from study.workspace import Workspace, open_workspace

HOST = "127.0.0.1"
GRACE_S = 10


def serve(folder: Path, *, port: int) -> int:
    """Prints the addresses of the training views, then serves until Ctrl-C; returns the exit status."""
    workspace = open_workspace(folder)
    if not (workspace.mlflow / "mlflow.db").exists():
        raise StorageError(f"workspace {workspace.root} has no MLflow records yet; run `lidstudy sweep` first.")
    _refuse_taken(port)
    console = make_console()
    for name, address in addresses(workspace, port=port).items():
        console.print(f"{name}: {address}", soft_wrap=True)
    console.print("Ctrl-C ends it.")
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", workspace.tracking_uri]
    command += [
        "--artifacts-destination",
        (workspace.mlflow / "artifacts").as_uri(),
        "--host",
        HOST,
        "--port",
        str(port),
    ]
    command += ["--workers", "1", "--uvicorn-opts", "--log-level warning"]
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    server = subprocess.Popen(command, env={**os.environ, **quiet}, start_new_session=True)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    try:
        return server.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        _end(server)


def _interrupt(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _end(server: subprocess.Popen[bytes]) -> None:
    """Ends the server with all its workers, whom it would leave behind."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGTERM)
    try:
        server.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def addresses(workspace: Workspace, *, port: int) -> dict[str, str]:
    """Study -> address of its training view."""
    found = {name: find_experiment(workspace, name) for name in workspace.study_names()}
    view = {
        "workflowType": "machine_learning",
        "searchFilter": f"tags.`{TAG_KIND}` = 'trial'",  # the trials themselves, not folded into their parent
        "orderByKey": f"metrics.`{BEST_OBJECTIVE}`",
        "orderByAsc": "true",
    }
    return {
        name: f"http://{HOST}:{port}/#/experiments/{experiment}/runs?{urlencode(view, quote_via=quote)}"
        for name, experiment in found.items()
        if experiment is not None
    }


def _refuse_taken(port: int) -> None:
    with socket.socket() as probe:
        if probe.connect_ex((HOST, port)) == 0:
            raise StorageError(f"port {port} is taken; choose another with --port.")
