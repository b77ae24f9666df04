"""From MLflow, local or remote, to the typed records of reports/records.py.

The only module of the reports that imports mlflow, and only inside functions: whoever merely wants the records pays
nothing for it. What is missing in MLflow is missing in the records; what is foreign in an experiment is passed over.
"""

import contextlib
import json
import logging
import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http import HTTPStatus
from operator import itemgetter
from pathlib import Path
from typing import Any, Final

from lightning_modules.errors import StorageError
from reports import mlflow_tables
from reports.records import (
    ARTIFACT_EVENTS,
    ARTIFACT_GRADIENT_FLOW,
    ARTIFACT_LEDGER,
    ARTIFACT_SCORES_DEV,
    ARTIFACT_SCORES_TEST,
    ARTIFACT_STUDY,
    BEST_PREFIX,
    FURTHER_PREFIX,
    GRAD_FLOW_PREFIX,
    GRAD_OVER_TIME,
    SCORE_COLUMNS,
    TAG_CHAMPION,
    TAG_CONFIGURATION,
    TAG_FAILURE,
    TAG_KIND,
    TAG_NUMBER,
    TAG_SEED,
    TAG_STATE,
    TAG_STUDY,
    TEST_PREFIX,
    Evaluation,
    FurtherObjective,
    GradientFlow,
    LedgerEntry,
    MetricPoint,
    ScoreTable,
    SearchedParameter,
    StudyManifest,
    StudyRecord,
    TrialRecord,
    TrialState,
    evaluation_artifact,
    name_of_tuning,
    param_value,
    parse_evaluation,
    parse_gradient_flow,
    parse_ledger,
)
from reports.selection import chosen, gone
from reports.source_costs import has_enough_sources, parse_source_costs
from reports.urls import masked

logger = logging.getLogger(__name__)

_PAGE: Final = 1000  # search_runs of the client never returns more at once
_INFINITY: Final = 1.7e308  # MLflow stores infinity as 1.8e308, the largest double
_WITHOUT_HISTORY: Final = (
    *(BEST_PREFIX, TEST_PREFIX, FURTHER_PREFIX, "model/"),  # which have no steps
    GRAD_FLOW_PREFIX,  # a key a layer and gate of every architecture, of which reports read the last values alone
)
_SQLITE: Final = "sqlite:///"
_LOADERS: Final = 8  # requests to a server at the same time
_BULK: Final = "/ajax-api/2.0/mlflow/metrics/get-history-bulk"
_RUNS_A_REQUEST: Final = 100  # the server refuses more
_GONE: Final = "RESOURCE_DOES_NOT_EXIST"  # what is said of a run after `mlflow gc`
_POINTS_A_REQUEST: Final = 25_000  # the server leaves out what exceeds them

Run = Any  # mlflow.entities.Run: mlflow has no type stubs and is not imported here
Client = Any  # mlflow.MlflowClient
Histories = dict[str, dict[str, tuple[MetricPoint, ...]]]


def load_study(name: str, *, tracking_uri: str) -> StudyRecord:
    """Read one study back from MLflow.

    Args:
        name: the study's name.
        tracking_uri: MLflow's tracking URI (`sqlite:///…`, `https://…`).

    Raises:
        StorageError: MLflow cannot be reached, or it has no such study, or the study has no description.
    """
    _require_database(tracking_uri)
    with tempfile.TemporaryDirectory(prefix="lidstudy-") as folder:
        return _load(name, _client(_writable(tracking_uri, Path(folder))), Path(folder) / "artifacts")


def _load(name: str, client: Client, folder: Path) -> StudyRecord:
    """The study; artifacts are fetched into a folder."""
    parent = _parent(client, name)
    database = mlflow_tables.database_of(client)
    runs = list(_trial_runs(client, database, parent, name))
    histories = _histories(client, runs) if database is None else _histories_in(database, parent, runs)
    trials = _in_order(_trial(run, histories.get(run.info.run_id, {})) for run in runs)
    fetch = _fetcher(client, folder)
    ledger = _ledger(fetch(parent.info.run_id, ARTIFACT_LEDGER))
    manifest = _manifest(fetch(parent.info.run_id, ARTIFACT_STUDY), name)
    study = StudyRecord(
        manifest=manifest,
        run_id=parent.info.run_id,
        experiment_id=parent.info.experiment_id,
        trials=trials,
        champion=_champion(parent),
        test_metrics={k: _decoded(v) for k, v in parent.data.metrics.items() if k.startswith(TEST_PREFIX)},
        scores_dev=None,
        scores_test=_scores(fetch(parent.info.run_id, ARTIFACT_SCORES_TEST)),
        gradient_flow=_gradient_flow(trials, fetch),
        source_costs=_source_costs(trials, fetch) if has_enough_sources(manifest) else {},
        ledger=ledger,
        evaluations=_evaluations(ledger, fetch),
        tags=_own_tags(parent),
    )
    shown = None if gone(study) is not None else chosen(study)
    return replace(study, scores_dev=None if shown is None else _scores(fetch(shown.run_id, ARTIFACT_SCORES_DEV)))


# --- runs -------------------------------------------------------------------------------------------------------------


def _client(tracking_uri: str) -> Client:
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when mlflow is first imported
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # MLflow's seven take four minutes
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=tracking_uri)


def _writable(tracking_uri: str, folder: Path) -> str:
    """The database itself, or a copy where its folder is read-only: SQLite writes beside what it reads."""
    path = Path(tracking_uri.removeprefix(_SQLITE).split("?")[0])
    if not tracking_uri.startswith(_SQLITE) or os.access(path.parent, os.W_OK):
        return tracking_uri
    for file in path.parent.glob(f"{path.name}*"):
        shutil.copy(file, folder / file.name)
        (folder / file.name).chmod(0o600)
    return f"{_SQLITE}{folder / path.name}"


def _require_database(tracking_uri: str) -> None:
    """MLflow would create and migrate an absent database: a reader must not."""
    path = tracking_uri.removeprefix(_SQLITE).split("?")[0]
    if tracking_uri.startswith(_SQLITE) and path and not Path(path).is_file():
        raise StorageError(
            f"There is no MLflow database at {path}. Name the study's workspace with --workspace, or run a study first."
        )


def _study_runs(client: Client) -> list[Run]:
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        experiments = [experiment.experiment_id for experiment in _paged(client.search_experiments)]
        found = list(_search(client, experiments, f"tags.`{TAG_KIND}` = 'study'"))
    except (MlflowException, SQLAlchemyError) as error:
        why = masked(" ".join(str(error).split()))
        raise StorageError(f"MLflow at {masked(client.tracking_uri)} cannot be read: {why}") from error
    return [run for run in found if TAG_STUDY in run.data.tags]


def _parent(client: Client, name: str) -> Run:
    runs = _study_runs(client)
    named = [run for run in runs if run.data.tags[TAG_STUDY] == name]
    if not named:
        if (tuning := name_of_tuning(name)) in {run.data.tags[TAG_STUDY] for run in runs}:
            raise StorageError(f"Ablation {name!r} has not begun to compare: its arms are tuned in study {tuning!r}.")
        known = ", ".join(sorted({run.data.tags[TAG_STUDY] for run in runs})) or "none"
        raise StorageError(
            f"There is no study named {name!r} in {masked(client.tracking_uri)}. Studies there: {known}."
        )
    if len(named) > 1:
        logger.warning("%d runs claim to be the study %s; the newest is read.", len(named), name)
    return max(named, key=lambda run: run.info.start_time)


def _trial_runs(client: Client, database: Any | None, parent: Run, name: str) -> Iterator[Run]:
    """The study's trials; runs of other tools, of other studies and of an older parent are passed over."""
    experiment = parent.info.experiment_id
    if database is None:
        runs: Iterable[Run] = _search(client, [experiment], f"tags.`{TAG_KIND}` = 'trial'")
    else:
        runs = mlflow_tables.runs_of(database, experiment)
    for run in runs:
        tags = run.data.tags
        of_parent = tags.get("mlflow.parentRunId", parent.info.run_id) == parent.info.run_id
        is_trial = tags.get(TAG_KIND) == "trial" and tags.get(TAG_STUDY) == name
        if is_trial and of_parent and tags.get(TAG_NUMBER, "").isdecimal():
            yield run


def _search(client: Client, experiment_ids: list[str], filter_string: str) -> Iterator[Run]:
    if not experiment_ids:
        return
    yield from _paged(
        lambda page_token: client.search_runs(
            experiment_ids,
            filter_string,
            max_results=_PAGE,
            page_token=page_token,
            order_by=["attributes.start_time ASC"],
        )
    )


def _paged(page: Callable[..., Any]) -> Iterator[Any]:
    token = None
    while True:
        found = page(page_token=token)
        yield from found
        token = found.token
        if not token:
            return


# --- trials -----------------------------------------------------------------------------------------------------------


def _trial(run: Run, history: dict[str, tuple[MetricPoint, ...]]) -> TrialRecord:
    tags = run.data.tags
    return TrialRecord(
        run_id=run.info.run_id,
        number=int(tags[TAG_NUMBER]),
        state=_state(run),
        seed=int(seed) if (seed := tags.get(TAG_SEED, "")).isdecimal() else 0,
        configuration_hash=tags.get(TAG_CONFIGURATION) or f"trial {tags[TAG_NUMBER]}",  # unknown: no replicate of any
        params={key: param_value(text) for key, text in sorted(run.data.params.items())},
        metrics={key: _decoded(value) for key, value in sorted(run.data.metrics.items())},
        history=history,
        start_ms=run.info.start_time,
        end_ms=run.info.end_time,
        failure=tags.get(TAG_FAILURE, ""),
        tags=_own_tags(run),
    )


def _state(run: Run) -> TrialState:
    """The state tag, or what MLflow's own status allows to say where a crash left none."""
    by_status = {"RUNNING": TrialState.RUNNING, "FINISHED": TrialState.COMPLETE, "FAILED": TrialState.FAILED}
    try:
        return TrialState(run.data.tags[TAG_STATE])
    except (KeyError, ValueError):
        return by_status.get(run.info.status, TrialState.INTERRUPTED)


def _in_order(trials: Iterable[TrialRecord]) -> tuple[TrialRecord, ...]:
    """By number; were a number ever there twice, the later run stands for it."""
    by_number: dict[int, TrialRecord] = {}
    for trial in trials:
        known = by_number.get(trial.number)
        if known is not None:
            logger.warning(
                "trial %d has two runs, %s and %s; the later is read.", trial.number, known.run_id, trial.run_id
            )
        if known is None or trial.start_ms >= known.start_ms:
            by_number[trial.number] = trial
    return tuple(by_number[number] for number in sorted(by_number))


def _own_tags(run: Run) -> dict[str, str]:
    return {key: value for key, value in sorted(run.data.tags.items()) if key.startswith("lidstudy.")}


def _champion(parent: Run) -> int | None:
    text = parent.data.tags.get(TAG_CHAMPION, "")
    return int(text) if text.isdecimal() else None


def _decoded(value: float) -> float:
    if abs(value) < _INFINITY or value != value:  # noqa: PLR0124 - NaN is the only number that differs from itself
        return value
    return float("inf") if value > 0 else float("-inf")


# --- histories --------------------------------------------------------------------------------------------------------


def _histories_in(database: Any, parent: Run, runs: list[Run]) -> Histories:
    """Every point of every metric that has steps, by run id and metric, from a database."""
    found = mlflow_tables.points_of(database, parent.info.experiment_id, without=_WITHOUT_HISTORY)
    return {
        run.info.run_id: {
            key: tuple(
                MetricPoint(step=step, value=_decoded(value), time_ms=time_ms)
                for step, time_ms, value in sorted(points, key=itemgetter(0, 1))
            )
            for key, points in sorted(found.get(run.info.run_id, {}).items())
        }
        for run in runs
    }


def _histories(client: Client, runs: list[Run]) -> Histories:
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
        point = MetricPoint(step=int(entry["step"]), value=_decoded(value), time_ms=int(entry["timestamp"]))
        found[entry["run_id"]].append(point)
    return found


def _point(metric: Any) -> MetricPoint:
    return MetricPoint(step=metric.step, value=_decoded(metric.value), time_ms=metric.timestamp)


# --- artifacts --------------------------------------------------------------------------------------------------------


def _fetcher(client: Client, folder: Path) -> Callable[[str, str], Path | None]:
    """A function that copies an artifact of a run into the folder, or returns None where there is none, or no run."""
    from mlflow.exceptions import MlflowException

    def fetch(run_id: str, path: str) -> Path | None:
        parent = path.rpartition("/")[0] or None
        try:
            there = {file.path for file in client.list_artifacts(run_id, parent)}
        except MlflowException as error:
            if error.error_code != _GONE:
                raise
            return None
        if path not in there:
            return None
        target = folder / run_id
        target.mkdir(parents=True, exist_ok=True)
        return Path(client.download_artifacts(run_id, path, str(target)))

    return fetch


def _manifest(path: Path | None, name: str) -> StudyManifest:
    if path is None:
        raise StorageError(
            f"The study {name!r} has no {ARTIFACT_STUDY} in MLflow, so that what it asked is unknown. "
            f"Run the study once more: it writes the file when it starts."
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        content["parameters"] = tuple(_parameter(entry) for entry in content["parameters"])
        content["languages"] = tuple(content["languages"])
        further = content.get("further_objectives", ())  # which earlier versions did not know
        content["further_objectives"] = tuple(FurtherObjective(**entry) for entry in further)
        return StudyManifest(**content)
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{ARTIFACT_STUDY} of the study {name!r} is not readable: {error}") from error


def _parameter(entry: dict[str, Any]) -> SearchedParameter:
    when = {path: tuple(values) for path, values in entry.get("when", {}).items()}
    return SearchedParameter(**{**entry, "choices": tuple(entry.get("choices", ())), "when": when})


def _scores(path: Path | None) -> ScoreTable | None:
    if path is None:
        return None
    from pyarrow import ArrowInvalid
    from pyarrow.parquet import read_table

    try:
        columns: dict[str, list[Any]] = read_table(path).to_pydict()
        leading = {name: tuple(columns.pop(name)) for name in SCORE_COLUMNS}
    except (ArrowInvalid, KeyError) as error:
        raise StorageError(f"{path.name} in MLflow is not a file of scores: {error}") from error
    return ScoreTable(**leading, targets=tuple(columns), llr=tuple(zip(*columns.values(), strict=True)))


def _gradient_flow(trials: Iterable[TrialRecord], fetch: Callable[[str, str], Path | None]) -> dict[int, GradientFlow]:
    """Only trials that were to measure it are asked, several at once; one that was killed early has none."""
    measured = [trial for trial in trials if trial.params.get(GRAD_OVER_TIME) is True]
    with ThreadPoolExecutor(max_workers=_LOADERS) as pool:
        paths = pool.map(lambda trial: fetch(trial.run_id, ARTIFACT_GRADIENT_FLOW), measured)
        return {
            trial.number: parse_gradient_flow(path.read_text(encoding="utf-8"))
            for trial, path in zip(measured, paths, strict=True)
            if path is not None
        }


def _source_costs(
    trials: Iterable[TrialRecord], fetch: Callable[[str, str], Path | None]
) -> dict[int, dict[str, float]]:
    """Of complete trials, several at once."""
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    with ThreadPoolExecutor(max_workers=_LOADERS) as pool:
        paths = pool.map(lambda trial: fetch(trial.run_id, ARTIFACT_EVENTS), complete)
        return {
            trial.number: parse_source_costs(path.read_text(encoding="utf-8").splitlines(), trial)
            for trial, path in zip(complete, paths, strict=True)
            if path is not None
        }


def _evaluations(ledger: Iterable[LedgerEntry], fetch: Callable[[str, str], Path | None]) -> tuple[Evaluation, ...]:
    """Of the trials and corpora that the ledger names, whose runs may be gone."""
    keys = {(each.trial, each.run_id, each.corpus, each.data_hash, each.split) for each in ledger if each.corpus}
    paths = [
        fetch(run_id, evaluation_artifact(corpus, data_hash, split, ".json"))
        for _, run_id, corpus, data_hash, split in sorted(keys)
    ]
    try:
        return tuple(parse_evaluation(path.read_text(encoding="utf-8")) for path in paths if path is not None)
    except ValueError as error:
        raise StorageError(f"an evaluation in MLflow is not readable: {error}") from error


def _ledger(path: Path | None) -> tuple[LedgerEntry, ...]:
    if path is None:
        return ()
    try:
        return parse_ledger(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise StorageError(f"{ARTIFACT_LEDGER} in MLflow is not readable: {error}") from error
