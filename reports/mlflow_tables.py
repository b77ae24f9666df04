"""MLflow's database, read as rows: as objects of MLflow's classes, a study of ten thousand trials takes minutes.

The columns are named by MLflow's own table definitions. They are no part of its documented interface, by which
`load.py` asks a server.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

_AT_ONCE: Final = 50_000  # rows that are fetched together


@dataclass(frozen=True, kw_only=True)
class RunInfo:
    """What MLflow says of a run; a part of `mlflow.entities.RunInfo`."""

    run_id: str
    status: str
    start_time: int
    end_time: int | None


@dataclass(frozen=True, kw_only=True)
class RunData:
    """What was logged; a part of `mlflow.entities.RunData`."""

    params: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RunRow:
    """A run as `mlflow.entities.Run` has it."""

    info: RunInfo
    data: RunData


def database_of(client: Any) -> Any | None:
    """The store behind a client where that is a database; None of a server."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from mlflow.tracking._tracking_service.client import TrackingServiceClient

    store = TrackingServiceClient(client.tracking_uri).store  # type: ignore[no-untyped-call]
    return store if isinstance(store, SqlAlchemyStore) else None


def runs_of(database: Any, experiment_id: str) -> list[RunRow]:
    """The runs of an experiment that are not deleted, the earliest first.

    A study may be at work meanwhile: what the later queries find of runs that began after the first is passed over.
    """
    from mlflow.store.tracking.dbmodels import models

    run = models.SqlRun
    columns = (run.run_uuid, run.status, run.start_time, run.end_time)
    rows: dict[str, RunRow] = {}
    for run_id, status, start_ms, end_ms in _rows(database, experiment_id, columns, order_by=run.start_time):
        info = RunInfo(run_id=run_id, status=status, start_time=start_ms, end_time=end_ms)
        rows[run_id] = RunRow(info=info, data=RunData())
    for table, name in ((models.SqlParam, "params"), (models.SqlTag, "tags")):
        for run_id, key, value in _rows(database, experiment_id, (table.run_uuid, table.key, table.value)):
            if run_id in rows:
                getattr(rows[run_id].data, name)[key] = value
    latest = models.SqlLatestMetric
    for run_id, key, value, is_nan in _rows(
        database, experiment_id, (latest.run_uuid, latest.key, latest.value, latest.is_nan)
    ):
        if run_id in rows:
            rows[run_id].data.metrics[key] = float("nan") if is_nan else value
    return list(rows.values())


def points_of(
    database: Any, experiment_id: str, *, without: Iterable[str]
) -> dict[str, dict[str, list[tuple[int, int, float]]]]:
    """Run and metric -> step, time in milliseconds and value of every point, but of metrics that begin with these."""
    from mlflow.store.tracking.dbmodels import models

    metric = models.SqlMetric
    columns = (metric.run_uuid, metric.key, metric.step, metric.timestamp, metric.value, metric.is_nan)
    wanted = [metric.key.not_like(f"{prefix}%") for prefix in without]
    found: dict[str, dict[str, list[tuple[int, int, float]]]] = defaultdict(lambda: defaultdict(list))
    for run_id, key, step, time_ms, value, is_nan in _rows(database, experiment_id, columns, *wanted):
        found[run_id][key].append((step, time_ms, float("nan") if is_nan else value))
    return found


def _rows(
    database: Any, experiment_id: str, columns: tuple[Any, ...], *conditions: Any, order_by: Any = None
) -> Iterator[Any]:
    """Columns of a table of what runs have, over the runs of an experiment."""
    from mlflow.entities import LifecycleStage
    from mlflow.store.tracking.dbmodels.models import SqlRun

    with database.ManagedSessionMaker() as session:
        query = session.query(*columns)
        if columns[0].class_ is not SqlRun:
            query = query.join(SqlRun, SqlRun.run_uuid == columns[0])
        query = query.filter(
            SqlRun.experiment_id == int(experiment_id), SqlRun.lifecycle_stage == LifecycleStage.ACTIVE, *conditions
        )
        yield from (query if order_by is None else query.order_by(order_by)).yield_per(_AT_ONCE)
