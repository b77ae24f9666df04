"""Every point of every metric of a study's trials: from MLflow's database at once, from a server by many requests."""

import contextlib
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from operator import itemgetter
from typing import Any, Final

from reports import mlflow_tables
from reports.records import BEST_PREFIX, FURTHER_PREFIX, GRAD_FLOW_PREFIX, ON_PREFIX, TEST_PREFIX, MetricPoint

_INFINITY: Final = 1.7e308  # MLflow stores infinity as 1.8e308, the largest double
_WITHOUT_HISTORY: Final = (
    *(BEST_PREFIX, TEST_PREFIX, ON_PREFIX, FURTHER_PREFIX, "model/"),  # which have no steps
    GRAD_FLOW_PREFIX,  # a key a layer and gate of every architecture, of which reports read the last values alone
)
_LOADERS: Final = 8  # requests to a server at the same time
_BULK: Final = "/ajax-api/2.0/mlflow/metrics/get-history-bulk"
_RUNS_A_REQUEST: Final = 100  # the server refuses more
_POINTS_A_REQUEST: Final = 25_000  # the server leaves out what exceeds them

Run = Any  # mlflow.entities.Run: mlflow has no type stubs and is not imported here
Client = Any  # mlflow.MlflowClient
Histories = dict[str, dict[str, tuple[MetricPoint, ...]]]


def decoded(value: float) -> float:
    """A value as it was logged: MLflow keeps infinity as the largest double."""
    if abs(value) < _INFINITY or value != value:  # noqa: PLR0124 - NaN is the only number that differs from itself
        return value
    return float("inf") if value > 0 else float("-inf")


def histories_in(database: Any, parent: Run, runs: list[Run]) -> Histories:
    """Every point of every metric that has steps, by run id and metric, from a database."""
    found = mlflow_tables.points_of(database, parent.info.experiment_id, without=_WITHOUT_HISTORY)
    return {
        run.info.run_id: {
            key: tuple(
                MetricPoint(step=step, value=decoded(value), time_ms=time_ms)
                for step, time_ms, value in sorted(points, key=itemgetter(0, 1))
            )
            for key, points in sorted(found.get(run.info.run_id, {}).items())
        }
        for run in runs
    }


def histories_from(client: Client, runs: list[Run]) -> Histories:
    """The same, from a server."""
    runs_of: dict[str, list[str]] = defaultdict(list)
    for run in runs:
        for key in run.data.metrics:
            if not key.startswith(_WITHOUT_HISTORY):
                runs_of[key].append(run.info.run_id)
    histories: Histories = defaultdict(dict)
    for key in sorted(runs_of):
        for run_id, points in _points_by_run(client, key, runs_of[key]).items():
            histories[run_id][key] = tuple(sorted(points, key=lambda point: (point.step, point.time_ms)))
    return histories


def _points_by_run(client: Client, key: str, run_ids: list[str]) -> dict[str, list[MetricPoint]]:
    """A request a hundred runs."""
    from mlflow.tracking._tracking_service.client import TrackingServiceClient

    found: dict[str, list[MetricPoint]] = {}
    store = TrackingServiceClient(client.tracking_uri).store  # type: ignore[no-untyped-call]
    pages = [run_ids[start : start + _RUNS_A_REQUEST] for start in range(0, len(run_ids), _RUNS_A_REQUEST)]
    with ThreadPoolExecutor(max_workers=_LOADERS) as pool:
        for points in pool.map(lambda page: _points_from_server(client, store, key, page), pages):
            found.update(points)
    return found


def _points_from_server(client: Client, store: Any, key: str, run_ids: list[str]) -> dict[str, list[MetricPoint]]:
    """By the request that MLflow's own pages make; by one a run where a server has no such request, or cuts it short.

    It is no part of MLflow's documented interface, which asks for one metric of one run at a time.
    """
    from mlflow.exceptions import MlflowException
    from mlflow.utils.rest_utils import http_request

    found: dict[str, list[MetricPoint]] = {run_id: [] for run_id in run_ids}
    wanted = [("metric_key", key), *(("run_id", run_id) for run_id in run_ids)]
    entries = None
    credentials = getattr(store, "get_host_creds", None)  # of a server alone
    with contextlib.suppress(MlflowException, ValueError, KeyError):
        if credentials is not None:
            response = http_request(credentials(), _BULK, "GET", params=wanted, raise_on_status=False)  # type: ignore[no-untyped-call]
            entries = response.json()["metrics"] if response.status_code == HTTPStatus.OK else None
    if entries is None or len(entries) >= _POINTS_A_REQUEST:
        return {run_id: [_point(each) for each in client.get_metric_history(run_id, key)] for run_id in run_ids}
    for entry in entries:
        value = float(entry["value"])
        point = MetricPoint(step=int(entry["step"]), value=decoded(value), time_ms=int(entry["timestamp"]))
        found[entry["run_id"]].append(point)
    return found


def _point(metric: Any) -> MetricPoint:
    return MetricPoint(step=metric.step, value=decoded(metric.value), time_ms=metric.timestamp)
