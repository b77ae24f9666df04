"""What MLflow is told: one experiment a study, one parent run, one child run a trial.

The coordinator is the only writer. Runs are found by their unique trial tag before one is created, and points
keep their event's own time, so telling the same thing twice changes nothing.
"""

import fcntl
import json
import logging
import os
import sqlite3
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when mlflow is first imported

from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag, ViewType
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from sqlalchemy.exc import SQLAlchemyError

from lightning_modules.config import TrialConfig
from lightning_modules.errors import StorageError
from reports.records import (
    ARTIFACT_LEDGER,
    ARTIFACT_STUDY,
    BEST_EPOCH,
    BEST_OBJECTIVE,
    NUM_PARAMETERS,
    TAG_ATTEMPTS,
    TAG_CHAMPION,
    TAG_CLASS,
    TAG_CONFIGURATION,
    TAG_DEVICE,
    TAG_DIFF,
    TAG_FAILURE,
    TAG_HOST,
    TAG_KIND,
    TAG_NUMBER,
    TAG_SEED,
    TAG_STATE,
    TAG_STUDY,
    TAG_TRIAL,
    FailureClass,
    StudyManifest,
    TrialState,
    param_text,
    trial_tag,
)
from study.active import ActiveTrial
from study.workspace import Workspace

BATCH_POINTS = 500
BATCH_S = 1.0
MAX_BATCH_METRICS = 1000
MAX_BATCH_PARAMS = 100
MAX_TAG_CHARACTERS = 5000


class Tracker:
    """One study's records in MLflow."""

    def __init__(
        self,
        client: MlflowClient,
        *,
        experiment_id: str,
        run_id: str,
        study: str,
        tags: Mapping[str, str],
        dataset: DatasetInput,
        named_by: tuple[str, ...],
    ) -> None:
        self.dataset = dataset
        self._named_by = named_by
        self._client = client
        self._experiment_id = experiment_id
        self._run_id = run_id
        self._study = study
        self._tags = dict(tags)
        self._runs: dict[int, str] = {}
        self._points: dict[str, list[Metric]] = defaultdict(list)
        self._flushed_at = time.monotonic()

    @property
    def experiment_id(self) -> str:
        """MLflow's experiment of the study."""
        return self._experiment_id

    def open_trial(self, number: int, config: TrialConfig) -> str:
        """The run of a trial, found or created, set to RUNNING; returns its id."""
        with _storage_errors():
            run_id = self._find_run(number) or self._create_run(number, config)
            self._runs[number] = run_id
            self._describe(run_id, config)  # also a run that was found: its maker may have died before it could
            self._client.update_run(run_id, status="RUNNING")
            self._client.set_tag(run_id, TAG_STATE, TrialState.RUNNING.value)
        return run_id

    def run_id(self, number: int) -> str:
        """The run of a trial that was opened once."""
        with _storage_errors():
            run_id = self._runs.get(number) or self._find_run(number)
        if run_id is None:
            raise StorageError(
                f"MLflow has no run of trial {number}; it was deleted. Restore it in the UI, then try again."
            )
        return run_id

    def log_epoch(self, number: int, metrics: Mapping[str, float], *, epoch: int, time_ms: int) -> None:
        """Takes one epoch's metrics; they reach MLflow in batches of about a second."""
        points = self._points[self._runs[number]]
        points += [Metric(key, value, time_ms, epoch) for key, value in metrics.items()]

    def log_attempt(self, trial: ActiveTrial) -> None:
        """Records what a trial's last attempt said when it started, if it has said so yet."""
        if trial.started is None or trial.spec is None:
            return
        run_id, started = self._runs[trial.number], trial.started
        self._points[run_id].append(Metric(NUM_PARAMETERS, started.num_parameters, started.time_ms, 0))
        tags = {TAG_ATTEMPTS: str(trial.spec.attempt + 1), TAG_DEVICE: started.device, TAG_HOST: started.host}
        with _storage_errors():
            self._client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])

    def finish_trial(
        self,
        number: int,
        state: TrialState,
        *,
        end_ms: int,
        objective: float | None,
        best_epoch: int | None,
        metrics: Mapping[str, float],
        failure: str,
        failure_class: FailureClass | None = None,
        artifacts: Mapping[str, Path | bytes | str],
    ) -> None:
        """Writes what is left of a trial and ends its run; doing it twice changes nothing.

        Args:
            number: the trial.
            state: how it ended, or INTERRUPTED.
            end_ms: when, milliseconds since 1970.
            objective: what Optuna was told.
            best_epoch: the epoch it comes from.
            metrics: `best/` metrics.
            failure: one line, or "".
            failure_class: why there is no result, or None.
            artifacts: path in the run -> file or content.
        """
        run_id = self._runs[number]
        values = dict(metrics)
        if objective is not None:
            values[BEST_OBJECTIVE] = objective
        if best_epoch is not None:
            values[BEST_EPOCH] = best_epoch
        self._points[run_id] += [Metric(key, value, end_ms, 0) for key, value in values.items()]
        self.flush()
        with _storage_errors():
            self._log_artifacts(run_id, artifacts)
            self._client.set_tag(run_id, TAG_STATE, state.value)
            if failure:
                self._client.set_tag(run_id, TAG_FAILURE, failure[:MAX_TAG_CHARACTERS])
            if failure_class:
                self._client.set_tag(run_id, TAG_CLASS, failure_class.value)
            self._client.set_terminated(run_id, status=state.mlflow_status, end_time=end_ms)

    def recorded(self) -> set[int]:
        """Numbers of the trials whose runs have ended; a run that was deleted in the UI counts as recorded."""
        with _storage_errors():
            condition = f"attributes.status != 'RUNNING' and tags.`{TAG_KIND}` = 'trial'"
            runs = self._search(condition, view=ViewType.ALL)
            return {int(run.data.tags[TAG_NUMBER]) for run in runs}

    def numbers(self) -> set[int]:
        """Numbers of the trials that have a run, ended or not; runs that were deleted in the UI are left out."""
        with _storage_errors():
            return {int(run.data.tags[TAG_NUMBER]) for run in self._search(f"tags.`{TAG_KIND}` = 'trial'")}

    def log_evaluation(
        self,
        champion: int,
        metrics: Mapping[str, float],
        *,
        time_ms: int,
        artifacts: Mapping[str, Path | bytes | str],
        ledger: Path,
    ) -> None:
        """Records the champion's test scores on the parent run, with the ledger of all looks at test data."""
        with _storage_errors():
            points = [Metric(key, value, time_ms, 0) for key, value in metrics.items()]
            self._client.log_batch(self._run_id, metrics=points, tags=[RunTag(TAG_CHAMPION, str(champion))])
            self._log_artifacts(self._run_id, {**artifacts, ARTIFACT_LEDGER: ledger})

    def finish_study(self, state: str, *, status: str) -> None:
        """Ends the parent run."""
        self.flush()
        with _storage_errors():
            self._client.set_tag(self._run_id, TAG_STATE, state)
            self._client.set_terminated(self._run_id, status=status)

    def flush(self) -> None:
        """Writes all points that wait."""
        with _storage_errors():
            for run_id, points in self._points.items():
                for start in range(0, len(points), MAX_BATCH_METRICS):
                    self._client.log_batch(run_id, metrics=points[start : start + MAX_BATCH_METRICS])
        self._points.clear()
        self._flushed_at = time.monotonic()

    def flush_if_due(self) -> None:
        """Writes the points that wait if they are many or old."""
        num_points = sum(len(points) for points in self._points.values())
        if num_points >= BATCH_POINTS or (num_points and time.monotonic() - self._flushed_at > BATCH_S):
            self.flush()

    def _find_run(self, number: int) -> str | None:
        runs = self._search(f"tags.`{TAG_TRIAL}` = '{trial_tag(self._study, number)}'")
        return runs[0].info.run_id if runs else None

    def _search(self, condition: str, *, view: int = ViewType.ACTIVE_ONLY) -> list[Any]:
        runs: list[Any] = []
        token = None
        while True:
            page = self._client.search_runs([self._experiment_id], condition, view, page_token=token)
            runs += page
            token = page.token
            if not token:
                return runs

    def _create_run(self, number: int, config: TrialConfig) -> str:
        tags = self._tags | {
            "mlflow.parentRunId": self._run_id,
            TAG_KIND: "trial",
            TAG_STUDY: self._study,
            TAG_TRIAL: trial_tag(self._study, number),
            TAG_NUMBER: str(number),
            TAG_SEED: str(config.seed),
            TAG_CONFIGURATION: config.configuration_hash(),
        }
        content = flat(config.model_dump(mode="json"))
        varied = " ".join(str(content[path]) for path in self._named_by if path in content)
        name = f"{self._study}-{number:03d} {varied}".strip()
        run = self._client.create_run(self._experiment_id, tags=tags, run_name=name)
        run_id: str = run.info.run_id
        return run_id

    def _describe(self, run_id: str, config: TrialConfig) -> None:
        params = [Param(key, param_text(value)) for key, value in flat(config.model_dump(mode="json")).items()]
        for start in range(0, len(params), MAX_BATCH_PARAMS):
            self._client.log_batch(run_id, params=params[start : start + MAX_BATCH_PARAMS])
        self._client.log_inputs(run_id, [self.dataset])

    def _log_artifacts(self, run_id: str, artifacts: Mapping[str, Path | bytes | str]) -> None:
        with TemporaryDirectory(prefix="lidstudy-") as folder:
            for place, content in artifacts.items():
                staged = Path(folder) / place
                staged.parent.mkdir(parents=True, exist_ok=True)
                if isinstance(content, Path):
                    staged.symlink_to(content)
                else:
                    staged.write_bytes(content.encode() if isinstance(content, str) else content)
                self._client.log_artifact(run_id, str(staged), str(Path(place).parent).removeprefix("."))


def open_tracker(workspace: Workspace, manifest: StudyManifest, *, tags: Mapping[str, str], data_hash: str) -> Tracker:
    """The study's experiment and parent run, found or created, with the study's description and data set.

    Args:
        workspace: where the embedded store lies.
        manifest: the study's description.
        tags: tags of every run: commit, data hash.
        data_hash: the corpus's hash.
    """
    prepare_store(workspace)
    with _storage_errors():
        client = MlflowClient(tracking_uri=workspace.tracking_uri)
        experiment_id = _experiment(client, workspace, manifest.name)
        run_id = _parent_run(client, experiment_id, manifest, tags)
        tracker = Tracker(
            client,
            experiment_id=experiment_id,
            run_id=run_id,
            study=manifest.name,
            tags=tags,
            dataset=_dataset(str(manifest.corpus["name"]), data_hash),
            named_by=tuple(parameter.path for parameter in manifest.parameters if parameter.choices),
        )
        tracker._log_artifacts(run_id, {ARTIFACT_STUDY: json.dumps(asdict(manifest), indent=1)})  # noqa: SLF001 - its maker
        client.log_inputs(run_id, [tracker.dataset])
    return tracker


def find_experiment(workspace: Workspace, name: str) -> str | None:
    """Id of a study's experiment, or None."""
    prepare_store(workspace)
    with _storage_errors():
        experiment = MlflowClient(tracking_uri=workspace.tracking_uri).get_experiment_by_name(name)
        return None if experiment is None else str(experiment.experiment_id)


def prepare_store(workspace: Workspace) -> None:
    """Makes and migrates the database, one process at a time, and sets its write-ahead log."""
    database = workspace.mlflow / "mlflow.db"
    logging.getLogger("mlflow.store.db.utils").setLevel(
        logging.CRITICAL
    )  # it tells every migration, and prints tracebacks
    logging.getLogger("alembic").setLevel(logging.WARNING)  # of what it raises
    workspace.mlflow.mkdir(parents=True, exist_ok=True)
    with (workspace.mlflow / "migration.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with _storage_errors():
            MlflowClient(tracking_uri=workspace.tracking_uri).search_experiments(max_results=1)
        connection = sqlite3.connect(database)
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        finally:
            connection.close()


def flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested configuration as path -> value; lists stay whole."""
    flattened: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, Mapping):
            flattened |= flat(value, f"{prefix}{key}.")
        else:
            flattened[f"{prefix}{key}"] = value
    return flattened


def _dataset(corpus: str, data_hash: str) -> DatasetInput:
    dataset = Dataset(name=corpus, digest=data_hash, source_type="lidstudy", source=json.dumps({"corpus": corpus}))
    return DatasetInput(dataset, [InputTag("mlflow.data.context", "training and development")])


def _experiment(client: MlflowClient, workspace: Workspace, name: str) -> str:
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        return str(
            client.create_experiment(
                name,
                artifact_location=(workspace.mlflow / "artifacts" / name).as_uri(),
                tags={"mlflow.experimentKind": "custom_model_development"},
            )
        )
    if experiment.lifecycle_stage == "deleted":
        client.restore_experiment(experiment.experiment_id)
    return str(experiment.experiment_id)


def _parent_run(client: MlflowClient, experiment_id: str, manifest: StudyManifest, tags: Mapping[str, str]) -> str:
    runs = client.search_runs(
        [experiment_id], f"tags.`{TAG_KIND}` = 'study' and tags.`{TAG_STUDY}` = '{manifest.name}'"
    )
    own = {TAG_KIND: "study", TAG_STUDY: manifest.name, TAG_STATE: "running", "mlflow.note.content": manifest.question}
    if runs:
        run_id = str(runs[0].info.run_id)
        client.update_run(run_id, status="RUNNING")
        if TAG_DIFF in runs[0].data.tags and TAG_DIFF not in tags:  # the change of an earlier session is committed now
            client.delete_tag(run_id, TAG_DIFF)
        client.log_batch(run_id, tags=[RunTag(key, value) for key, value in {**tags, **own}.items()])
        return run_id
    run = client.create_run(experiment_id, tags={**tags, **own}, run_name=manifest.name)
    return str(run.info.run_id)


@contextmanager
def _storage_errors() -> Iterator[None]:
    """Turns MLflow's errors into one clear line."""
    try:
        yield
    except (MlflowException, SQLAlchemyError) as error:
        why = str(error).splitlines()[0]
        raise StorageError(
            f"MLflow's store cannot be used: {why}; mend that and run the same command again: nothing is lost."
        ) from error
