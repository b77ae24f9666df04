"""The runs of one experiment: found by their unique tags, created, described and ended.

Every call here may be made twice, since an answer that was lost does not say whether the call took effect: equal
points, params, inputs, tags and artifacts are kept once.
"""

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from mlflow.entities import DatasetInput, Metric, Param, RunTag, ViewType
from mlflow.tracking import MlflowClient
from mlflow.tracking._tracking_service.utils import _artifact_repos_cache

from reports.records import StudyState, TrialState, param_text
from study.mlflow_store import PAGE, store_errors
from study.recording import Content

BATCH_POINTS: Final = 500
BATCH_S: Final = 1.0
MAX_BATCH: Final = 1000  # points, params and tags together
MAX_BATCH_PARAMS: Final = 100
MAX_TAG_CHARACTERS: Final = 5000
PARENT: Final = "mlflow.parentRunId"

Point = tuple[str, float, int, int]
"""Key, value, time in milliseconds, step: a fourth of what MLflow's own object takes, and thousands of them wait."""


class Runs:
    """One experiment's runs; every call raises MlflowAwayError or StorageError, never an error of MLflow's own."""

    def __init__(self, client: MlflowClient, experiment_id: str) -> None:
        self._client = client
        self.experiment_id = experiment_id

    def find(self, tag: str, value: str) -> Any | None:
        """The oldest run that a tag names, or None."""
        runs = self.search(f"tags.`{tag}` = '{value}'")
        return runs[0] if runs else None

    def search(self, condition: str) -> list[Any]:
        """All runs that are not deleted, oldest first."""
        runs: list[Any] = []
        order, token = ["attributes.start_time ASC"], None
        with store_errors():
            while True:
                page = self._client.search_runs(
                    [self.experiment_id], condition, ViewType.ACTIVE_ONLY, PAGE, order, page_token=token
                )
                runs += page
                token = page.token
                if not token:
                    return runs

    def create(self, name: str, tags: Mapping[str, str], *, start_ms: int | None = None) -> Any:
        """A new run; whoever creates one has looked for it before."""
        with store_errors():
            return self._client.create_run(self.experiment_id, start_time=start_ms, tags=dict(tags), run_name=name)

    def reopen(self, run_id: str) -> None:
        """Sets an ended run to RUNNING."""
        with store_errors():
            self._client.update_run(run_id, status="RUNNING")

    def describe(self, run_id: str, params: Mapping[str, object], *, dataset: DatasetInput) -> None:
        """Logs params and the data set."""
        texts = [Param(key, param_text(value)) for key, value in params.items()]
        with store_errors():
            for start in range(0, len(texts), MAX_BATCH_PARAMS):
                self._client.log_batch(run_id, params=texts[start : start + MAX_BATCH_PARAMS])
            self._client.log_inputs(run_id, [dataset])

    def log(self, run_id: str, *, points: Sequence[Metric] = (), tags: Mapping[str, str] | None = None) -> None:
        """Logs points and sets tags, which are cut to what MLflow takes."""
        texts = [RunTag(key, text[:MAX_TAG_CHARACTERS]) for key, text in (tags or {}).items()]
        with store_errors():
            self._client.log_batch(run_id, metrics=points, tags=texts)

    def log_artifacts(self, run_id: str, artifacts: Mapping[str, Content]) -> None:
        """Uploads files by their path in the run; one that is there is replaced, one that is gone by now left out."""
        with TemporaryDirectory(prefix="lidstudy-") as folder:
            for place, content in artifacts.items():
                if not isinstance(content, Path) or content.exists():
                    staged = Path(folder) / place
                    staged.parent.mkdir(parents=True, exist_ok=True)
                    _stage(staged, content() if callable(content) else content)
            with store_errors():
                self._client.log_artifacts(run_id, folder)
        _artifact_repos_cache.pop(run_id, None)  # it would keep a pool of threads and a queue for each of 1,024 runs

    def download(self, run_id: str, place: str, path: Path) -> bool:
        """Writes an artifact to a file, whole or not at all; False if the run has none of that name."""
        if all(found != place for found, _ in self.artifacts(run_id, str(Path(place).parent).removeprefix("."))):
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".lidstudy-", dir=path.parent) as folder, store_errors():
            Path(self._client.download_artifacts(run_id, place, folder)).replace(path)
        return True

    def artifacts(self, run_id: str, folder: str = "") -> list[tuple[str, int]]:
        """Paths and bytes of a run's files, below a folder of it."""
        with store_errors():
            entries = self._client.list_artifacts(run_id, folder or None)
        found: list[tuple[str, int]] = []
        for entry in entries:
            found += self.artifacts(run_id, entry.path) if entry.is_dir else [(entry.path, int(entry.file_size or 0))]
        return found

    def history(self, run_id: str, key: str) -> list[Metric]:
        """All points of one metric."""
        with store_errors():
            return list(self._client.get_metric_history(run_id, key))

    def end(self, run_id: str, state: TrialState | StudyState, *, end_ms: int | None = None) -> None:
        """Ends a run with the status that stands for a state."""
        with store_errors():
            self._client.set_terminated(run_id, status=state.mlflow_status, end_time=end_ms)

    def delete(self, run_id: str) -> None:
        """Moves a run to MLflow's bin."""
        with store_errors():
            self._client.delete_run(run_id)


class PointBuffer:
    """Points and tags that wait for a batch: MLflow takes five hundred points at once almost as fast as one."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self._points: dict[str, list[Point]] = defaultdict(list)
        self._tags: dict[str, dict[str, str]] = {}
        self._flushed_at = time.monotonic()

    def add(self, run_id: str, points: Sequence[Point], *, tags: Mapping[str, str] | None = None) -> None:
        """Takes points and tags of a run."""
        self._points[run_id] += points
        if tags:
            self._tags[run_id] = self._tags.get(run_id, {}) | dict(tags)

    def flush(self) -> None:
        """Writes everything."""
        for run_id in list(self._points):
            self.flush_run(run_id)
        self._flushed_at = time.monotonic()

    def flush_if_due(self) -> None:
        """Writes what waits of runs that have many points, and once a second all of it."""
        if time.monotonic() - self._flushed_at > BATCH_S:
            self.flush()
        for run_id in [run_id for run_id, points in self._points.items() if len(points) >= BATCH_POINTS]:
            self.flush_run(run_id)

    def flush_run(self, run_id: str, *, points: Sequence[Metric] = (), tags: Mapping[str, str] | None = None) -> None:
        """Writes what waits of one run, with last points and tags in the same batch.

        Args:
            run_id: the run.
            points: few.
            tags: few; they come with the last points, as that of its state must.
        """
        waiting = self._points.get(run_id, [])
        texts = self._tags.get(run_id, {}) | dict(tags or {})
        room = MAX_BATCH - len(points) - len(texts)
        while len(waiting) > room:
            self._runs.log(run_id, points=[Metric(*point) for point in waiting[:MAX_BATCH]])
            del waiting[:MAX_BATCH]  # only now, so that an outage loses none
        if waiting or points or texts:
            self._runs.log(run_id, points=[*(Metric(*point) for point in waiting), *points], tags=texts)
        self._points.pop(run_id, None)
        self._tags.pop(run_id, None)


def _stage(path: Path, content: Path | bytes | str) -> None:
    """Lays out a file for upload; one that exists is not copied."""
    if isinstance(content, Path):
        path.symlink_to(content)
    else:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
