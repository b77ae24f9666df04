"""`lidstudy ui`: MLflow's own UI on the workspace, or where the server is that shows its studies."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote, urlencode

from lightning_modules.errors import ConfigError, StorageError
from reports.records import BEST_OBJECTIVE, TAG_KIND
from study.commands.console import make_console
from study.mlflow_place import is_server, mlflow_tracking_uri, records_url
from study.mlflow_store import find_experiment
from study.urls import masked
from study.workspace import Workspace, open_workspace

HOST = "127.0.0.1"
GRACE_S = 10


def serve(folder: Path, *, port: int) -> int:
    """Prints the addresses of the training views, then serves until Ctrl-C; returns the exit status.

    Studies on an MLflow server are shown by that server: their addresses are all there is to print.
    """
    workspace = open_workspace(folder)
    urls = {name: records_url(workspace, name) for name in workspace.study_names()}
    console = make_console()
    for name, address in _addresses({name: url for name, url in urls.items() if is_server(url)}).items():
        console.print(f"{name}: {address}", soft_wrap=True)
    own = {name: url for name, url in urls.items() if not is_server(url)}
    if urls and not own:
        return 0
    return _serve(_database(own, workspace), own, workspace=workspace, port=port)


def _database(urls: dict[str, str], workspace: Workspace) -> str:
    """The one database to serve."""
    databases = set(urls.values()) or {workspace.tracking_uri}
    if len(databases) > 1:
        known = ", ".join(sorted(masked(url) for url in databases))
        raise ConfigError(
            f"studies here lie in several databases: {known}; keep them in workspaces of their own, one a database."
        )
    (database,) = databases
    if database == workspace.tracking_uri and not (workspace.mlflow / "mlflow.db").exists():
        raise StorageError(f"workspace {workspace.root} has no MLflow records yet; run `lidstudy sweep` first.")
    return database


def _serve(database: str, urls: dict[str, str], *, workspace: Workspace, port: int) -> int:
    _refuse_taken(port)
    console = make_console()
    for name, address in _addresses(urls, base=f"http://{HOST}:{port}").items():
        console.print(f"{name}: {address}", soft_wrap=True)
    console.print("Ctrl-C ends it.")
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port)]
    command += ["--artifacts-destination", (workspace.mlflow / "artifacts").as_uri()]
    command += ["--workers", "1", "--uvicorn-opts", "--log-level warning"]
    settings = {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_BACKEND_STORE_URI": mlflow_tracking_uri(database),  # not an argument: `ps` shows those to everybody
        "MLFLOW_REGISTRY_STORE_URI": mlflow_tracking_uri(database),
        "PYTHONWARNINGS": "ignore",  # of the libraries that MLflow's server is made of
    }
    server = subprocess.Popen(command, env={**os.environ, **settings}, start_new_session=True)
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


def _addresses(urls: dict[str, str], *, base: str | None = None) -> dict[str, str]:
    """Study -> address of its training view, on the server at `base` or on its own."""
    view = {
        "workflowType": "machine_learning",
        "searchFilter": f"tags.`{TAG_KIND}` = 'trial'",  # the trials themselves, not folded into their parent
        "orderByKey": f"metrics.`{BEST_OBJECTIVE}`",
        "orderByAsc": "true",
    }
    query = urlencode(view, quote_via=quote)
    found = {name: find_experiment(url, name) for name, url in urls.items()}
    return {
        name: f"{base or mlflow_tracking_uri(urls[name])}/#/experiments/{experiment}/runs?{query}"
        for name, experiment in found.items()
        if experiment is not None
    }


def _refuse_taken(port: int) -> None:
    with socket.socket() as probe:
        if probe.connect_ex((HOST, port)) == 0:
            raise StorageError(f"port {port} is taken; choose another with --port.")
