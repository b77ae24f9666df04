"""From MLflow, local or remote, to the typed records of reports/records.py.

With the `mlflow_….py` beside it the only module of the reports that imports mlflow, and only inside functions: whoever
merely wants the records pays nothing for it. What is missing in MLflow is missing in the records; what is foreign in an
experiment is passed over.
"""

import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from lightning_modules.errors import StorageError
from reports import mlflow_tables
from reports.mlflow_artifacts import (
    fetcher,
    read_evaluations,
    read_gradient_flow,
    read_ledger,
    read_manifest,
    read_scores,
    read_source_costs,
)
from reports.mlflow_histories import decoded, histories_from, histories_in
from reports.records import (
    ARTIFACT_LEDGER,
    ARTIFACT_SCORES_DEV,
    ARTIFACT_SCORES_TEST,
    ARTIFACT_STUDY,
    TAG_CHAMPION,
    TAG_CONFIGURATION,
    TAG_FAILURE,
    TAG_KIND,
    TAG_NUMBER,
    TAG_SEED,
    TAG_STATE,
    TAG_STUDY,
    TEST_PREFIX,
    MetricPoint,
    StudyRecord,
    TrialRecord,
    TrialState,
    name_of_tuning,
    param_value,
)
from reports.selection import chosen, gone
from reports.source_costs import has_enough_sources
from reports.urls import masked

logger = logging.getLogger(__name__)

_PAGE: Final = 1000  # search_runs of the client never returns more at once
_SQLITE: Final = "sqlite:///"

Run = Any  # mlflow.entities.Run: mlflow has no type stubs and is not imported here
Client = Any  # mlflow.MlflowClient


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
    histories = histories_from(client, runs) if database is None else histories_in(database, parent, runs)
    trials = _in_order(_trial(run, histories.get(run.info.run_id, {})) for run in runs)
    fetch = fetcher(client, folder)
    ledger = read_ledger(fetch(parent.info.run_id, ARTIFACT_LEDGER))
    manifest = read_manifest(fetch(parent.info.run_id, ARTIFACT_STUDY), name)
    study = StudyRecord(
        manifest=manifest,
        run_id=parent.info.run_id,
        experiment_id=parent.info.experiment_id,
        trials=trials,
        champion=_champion(parent),
        test_metrics={k: decoded(v) for k, v in parent.data.metrics.items() if k.startswith(TEST_PREFIX)},
        scores_dev=None,
        scores_test=read_scores(fetch(parent.info.run_id, ARTIFACT_SCORES_TEST)),
        gradient_flow=read_gradient_flow(trials, fetch),
        source_costs=read_source_costs(trials, fetch) if has_enough_sources(manifest) else {},
        ledger=ledger,
        evaluations=read_evaluations(ledger, fetch),
        tags=_own_tags(parent),
    )
    shown = None if gone(study) is not None else chosen(study)
    return replace(study, scores_dev=None if shown is None else read_scores(fetch(shown.run_id, ARTIFACT_SCORES_DEV)))


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
        metrics={key: decoded(value) for key, value in sorted(run.data.metrics.items())},
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
