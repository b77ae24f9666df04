"""A study's records in MLflow, read for housekeeping: which checkpoints it has, and everything for an archive."""

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from lightning_modules.errors import StorageError
from reports.records import ARTIFACT_CHECKPOINT, TAG_KIND, TAG_TRIAL, trial_tag
from study.mlflow_place import is_server, records_url
from study.mlflow_runs import Runs
from study.mlflow_store import connect, store_errors
from study.workspace import Workspace

REQUESTS: Final = 8  # to a server at the same time: MLflow has no call for the points of many metrics
_SQLITE: Final = "sqlite:///"
_CHECKPOINTS: Final = str(Path(ARTIFACT_CHECKPOINT).parent)


class StudyRecords:
    """What MLflow has of one study; every call raises MlflowAwayError or StorageError, never an error of MLflow's."""

    def __init__(self, client: Any, experiment: Any) -> None:
        self._client = client
        self._experiment = experiment
        self._runs = Runs(client, str(experiment.experiment_id))

    @property
    def is_in_bin(self) -> bool:
        """Whether the experiment was deleted, and can be restored."""
        return bool(self._experiment.lifecycle_stage == "deleted")

    def checkpoint_bytes(self, study: str, number: int) -> int | None:
        """Size of a trial's checkpoint in MLflow; None if it has none, or only in its bin, which may be emptied."""
        run = self._runs.find(TAG_TRIAL, trial_tag(study, number))
        if run is None:
            return None
        return dict(self._runs.artifacts(run.info.run_id, _CHECKPOINTS)).get(ARTIFACT_CHECKPOINT)

    def experiment(self) -> dict[str, Any]:
        """The experiment as JSON."""
        found = self._experiment
        return {"experiment_id": str(found.experiment_id), "name": found.name, "tags": dict(found.tags)}

    def runs(self) -> Iterator[dict[str, Any]]:
        """Every run as JSON, the study's own first, with every point of every metric."""
        runs = self._runs.search("")
        for run in sorted(runs, key=lambda run: run.data.tags.get(TAG_KIND) != "study"):
            yield self._as_json(run)

    def artifacts(self, run_id: str, *, checkpoints: bool) -> list[str]:
        """Paths of a run's files."""
        paths = [path for path, _ in self._runs.artifacts(run_id)]
        return [path for path in paths if checkpoints or not path.startswith(f"{_CHECKPOINTS}/")]

    def fetch(self, run_id: str, path: str, folder: Path) -> Path:
        """Copies one artifact into a folder; returns where it lies there."""
        with store_errors():
            return Path(self._client.download_artifacts(run_id, path, str(folder)))

    def delete(self) -> None:
        """Moves the experiment with its runs to MLflow's bin, from which the next sweep restores it."""
        with store_errors():
            self._client.delete_experiment(self._experiment.experiment_id)

    def _as_json(self, run: Any) -> dict[str, Any]:
        info, run_id = run.info, str(run.info.run_id)
        keys = sorted(run.data.metrics)
        if is_server(self._client.tracking_uri):
            with ThreadPoolExecutor(REQUESTS) as pool:
                histories = list(pool.map(lambda key: self._points(run_id, key), keys))
        else:
            histories = [self._points(run_id, key) for key in keys]
        return {
            "run_id": run_id,
            "name": info.run_name,
            "status": info.status,
            "start_ms": info.start_time,
            "end_ms": info.end_time,
            "params": dict(run.data.params),
            "tags": dict(run.data.tags),
            "metrics": dict(zip(keys, histories, strict=True)),
            "inputs": [_dataset(entry) for entry in run.inputs.dataset_inputs],
        }

    def _points(self, run_id: str, key: str) -> list[dict[str, Any]]:
        points = self._runs.history(run_id, key)
        return [{"step": point.step, "time_ms": point.timestamp, "value": _number(point.value)} for point in points]


def open_records(workspace: Workspace, study: str) -> StudyRecords | None:
    """What MLflow has of a study, also where that lies in its bin; None if it has nothing.

    Raises:
        MlflowAwayError: it does not answer now.
        StorageError: it cannot be used.
    """
    url = records_url(workspace, study)
    if url.startswith(_SQLITE) and not Path(url.removeprefix(_SQLITE)).is_file():
        return None  # MLflow would make one
    client = connect(url)
    with store_errors():
        experiment = client.get_experiment_by_name(study)
    return None if experiment is None else StudyRecords(client, experiment)


def required_records(workspace: Workspace, study: str) -> StudyRecords | None:
    """As `open_records`, but with an error where they are in MLflow's bin."""
    records = open_records(workspace, study)
    if records is not None and records.is_in_bin:
        raise StorageError(
            f"MLflow's experiment of study '{study}' is in MLflow's bin; `lidstudy resume {study}` takes it out."
        )
    return records


def _number(value: float) -> float | str:
    """JSON has no NaN."""
    return value if math.isfinite(value) else str(value)


def _dataset(entry: Any) -> dict[str, Any]:
    found = entry.dataset
    return {"name": found.name, "digest": found.digest, "source_type": found.source_type, "source": found.source}
