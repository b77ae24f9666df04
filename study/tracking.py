"""What MLflow is told: one experiment a study, one parent run, one child run a trial, and one of that an attempt.

The coordinator is the only writer. Any call may be made again, after an outage or by the next coordinator: runs are
found by their unique tag before one is created, and points keep their event's own time, so telling the same thing
twice changes nothing.
"""

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read when mlflow is first imported

from mlflow.entities import Dataset, DatasetInput, InputTag, Metric

from lightning_modules.config import TrialConfig
from lightning_modules.errors import StorageError, TrialError
from reports.records import (
    ARTIFACT_CHECKPOINT,
    ARTIFACT_LEDGER,
    ARTIFACT_STUDY,
    BEST_EPOCH,
    BEST_OBJECTIVE,
    LATENCY_MS,
    NUM_PARAMETERS,
    STUDY_OBJECTIVE,
    TAG_ATTEMPT,
    TAG_ATTEMPTS,
    TAG_CHAMPION,
    TAG_CONFIGURATION,
    TAG_DEVICE,
    TAG_FAILURE,
    TAG_FAILURE_CLASS,
    TAG_HOST,
    TAG_KIND,
    TAG_NUMBER,
    TAG_SEED,
    TAG_STATE,
    TAG_STUDY,
    TAG_TRIAL,
    FailureClass,
    StudyManifest,
    StudyState,
    TrialState,
    attempt_tag,
    trial_tag,
)
from study.attempt_records import AttemptRecord
from study.mlflow_runs import PARENT, PointBuffer, Runs
from study.mlflow_store import connect, find_experiment, open_experiment, open_parent_run, store_errors
from study.recording import AttemptStarted, Content
from study.workspace import Workspace


class OpenedRun(NamedTuple):
    """What is kept of a trial's run; MLflow's own record of it would take twenty times as much."""

    run_id: str
    started_ms: int


class Tracker:
    """One study's records in MLflow."""

    def __init__(
        self,
        runs: Runs,
        *,
        run_id: str,
        study: str,
        tags: Mapping[str, str],
        dataset: DatasetInput,
        named_by: tuple[str, ...],
    ) -> None:
        self._runs = runs
        self._run_id = run_id
        self._study = study
        self._tags = dict(tags)
        self._dataset = dataset
        self._named_by = named_by
        self._trials: dict[int, OpenedRun] = {}
        self._created: set[int] = set()  # trials whose run was asked for; an answer that was lost leaves it here
        self._attempts: dict[str, AttemptRecord] = {}  # tag -> what MLflow was told
        self._points = PointBuffer(runs)

    @property
    def experiment_id(self) -> str:
        """MLflow's experiment of the study."""
        return self._runs.experiment_id

    # --- a trial -----------------------------------------------------------------------------------------------------

    def open_trial(self, number: int, config: TrialConfig, *, is_new: bool = False, start_ms: int | None = None) -> str:
        """The run of a trial, found or created, set to RUNNING; returns its id.

        Args:
            number: the trial.
            config: its configuration.
            start_ms: when it began, should its run be created only now; None for now.
            is_new: nobody has asked for a run of it; it is looked for all the same when this is called again.
        """
        is_first = is_new and number not in self._created
        self._created.add(number)
        found = None if is_first else self._runs.find(TAG_TRIAL, trial_tag(self._study, number))
        run = found or self._create_run(number, config, start_ms=start_ms)
        run_id = str(run.info.run_id)
        self._trials[number] = OpenedRun(run_id, int(run.info.start_time))
        params = flat(config.model_dump(mode="json"))  # also of a run that was found: its maker may have died early
        self._runs.describe(run_id, params, dataset=self._dataset)
        if found is not None:
            self._runs.reopen(run_id)
            self._runs.log(run_id, tags={TAG_STATE: TrialState.RUNNING.value, PARENT: self._run_id})
        return run_id

    def run_id(self, number: int) -> str:
        """The run of a trial that was opened once."""
        if number in self._trials:
            return self._trials[number].run_id
        run = self._runs.find(TAG_TRIAL, trial_tag(self._study, number))
        if run is None:
            raise StorageError(
                f"MLflow has no run of trial {number}; it was deleted. Restore it in the UI, then try again."
            )
        return str(run.info.run_id)

    def log_epoch(self, number: int, metrics: Mapping[str, float], *, epoch: int, time_ms: int) -> None:
        """Takes one epoch's metrics; they reach MLflow in batches of about a second."""
        points = [(key, value, time_ms, epoch) for key, value in metrics.items()]
        self._points.add(self._trials[number].run_id, points)

    def log_attempt(self, attempt: AttemptStarted | None) -> None:
        """Records what a trial's last attempt said when it started, if it has said so yet."""
        if attempt is None:
            return
        started = attempt.started
        tags = {TAG_ATTEMPTS: str(attempt.num_attempts), TAG_DEVICE: started.device, TAG_HOST: started.host}
        points = [(NUM_PARAMETERS, float(started.num_parameters), started.time_ms, 0)]
        measured = attempt.measured or started
        if measured.latency_ms is not None:
            points.append((LATENCY_MS, measured.latency_ms, measured.time_ms, 0))
        self._points.add(self._trials[attempt.number].run_id, points, tags=tags)
        self._record_attempts(attempt.number, attempt.records)

    def finish_trial(
        self,
        number: int,
        state: TrialState,
        *,
        end_ms: int | None,
        objective: float | None,
        best_epoch: int | None,
        metrics: Mapping[str, float],
        failure: str,
        failure_class: FailureClass | None = None,
        artifacts: Mapping[str, Content],
        attempts: Sequence[AttemptRecord] = (),
    ) -> None:
        """Writes what is left of a trial and ends its run; doing it twice changes nothing.

        Args:
            number: the trial.
            state: how it ended, or INTERRUPTED.
            end_ms: when, milliseconds since 1970; None where no attempt said anything.
            objective: what Optuna was told.
            best_epoch: the epoch it comes from.
            metrics: `best/` metrics, and the further objectives.
            failure: one line, or "".
            failure_class: why there is no result, or None.
            artifacts: path in the run -> file or content.
            attempts: its attempts, if there was more than one.
        """
        run_id, started_ms = self._trials[number]
        time_ms = end_ms or started_ms
        self._runs.log_artifacts(run_id, artifacts)
        self._record_attempts(number, attempts)
        tags = {TAG_STATE: state.value, TAG_FAILURE: failure, TAG_FAILURE_CLASS: failure_class or ""}
        points = _last_points(metrics, objective=objective, best_epoch=best_epoch, time_ms=time_ms)
        self._points.flush_run(run_id, points=points, tags={key: text for key, text in tags.items() if text})
        self._runs.end(run_id, state, end_ms=end_ms)
        if state is not TrialState.INTERRUPTED:
            told = math.nan if objective is None else objective
            self._runs.log(self._run_id, points=[Metric(STUDY_OBJECTIVE, told, time_ms, number)])

    def _create_run(self, number: int, config: TrialConfig, *, start_ms: int | None = None) -> Any:
        content = flat(config.model_dump(mode="json"))
        varied = " ".join(str(content[path]) for path in self._named_by if path in content)
        tags = {
            PARENT: self._run_id,
            TAG_KIND: "trial",
            TAG_STUDY: self._study,
            TAG_TRIAL: trial_tag(self._study, number),
            TAG_NUMBER: str(number),
            TAG_SEED: str(config.seed),
            TAG_CONFIGURATION: config.configuration_hash(),
            TAG_STATE: TrialState.RUNNING.value,
        }
        name = f"{self._study}-{number:03d} {varied}".strip()
        return self._runs.create(name, self._tags | tags, start_ms=start_ms)

    # --- its attempts ------------------------------------------------------------------------------------------------

    def _record_attempts(self, number: int, records: Sequence[AttemptRecord]) -> None:
        for record in records:
            tag = attempt_tag(self._study, number, record.attempt)
            if self._attempts.get(tag) != record:
                self._record_attempt(number, record, tag=tag)
                self._attempts[tag] = record

    def _record_attempt(self, number: int, record: AttemptRecord, *, tag: str) -> None:
        texts = {
            TAG_STATE: record.state.value,
            TAG_HOST: record.host,
            TAG_DEVICE: record.device,
            TAG_FAILURE_CLASS: record.failure_class,
            TAG_FAILURE: record.failure,
        }
        run = self._runs.find(TAG_ATTEMPT, tag) or self._create_attempt_run(number, record, tag=tag)
        self._runs.log(run.info.run_id, tags={key: text for key, text in texts.items() if text})
        if record.end_ms is not None:
            self._runs.end(run.info.run_id, record.state, end_ms=record.end_ms)

    def _create_attempt_run(self, number: int, record: AttemptRecord, *, tag: str) -> Any:
        tags = {
            PARENT: self._trials[number].run_id,
            TAG_KIND: "attempt",
            TAG_STUDY: self._study,
            TAG_ATTEMPT: tag,
            TAG_NUMBER: str(number),
        }
        name = f"{self._study}-{number:03d} attempt {record.attempt}"
        return self._runs.create(name, tags, start_ms=record.start_ms)

    # --- the study ---------------------------------------------------------------------------------------------------

    def recorded(self) -> set[int]:
        """Numbers of the trials that MLflow has whole; a run that was deleted in the UI counts as recorded.

        Read from one metric of the parent run: to list all runs of a study of ten thousand trials takes half a minute.
        """
        return {int(point.step) for point in self._runs.history(self._run_id, STUDY_OBJECTIVE)}

    def strangers(self, known: Iterable[int], *, recorded: Iterable[int] | None = None) -> set[int]:
        """Numbers of trials that have a run but are not known; runs that were deleted in the UI are left out.

        Args:
            known: the numbers of all trials.
            recorded: what `recorded` said, where it was asked just now.
        """
        ours, suspects = set(known), set(self.recorded() if recorded is None else recorded)
        trials = f"tags.`{TAG_KIND}` = 'trial'"
        for condition in ("attributes.status = 'RUNNING'", f"tags.`{TAG_STATE}` = '{TrialState.INTERRUPTED}'"):
            suspects |= _numbers(self._runs.search(f"{condition} and {trials}"))
        return _numbers(self._runs.search(trials)) - ours if suspects - ours else set()

    def close_strays(self, *, is_ending: bool) -> None:
        """Ends runs on which nothing works: all that run when a sweep ends, before it only those of recorded trials.

        A second run of one trial is deleted: the server made it from a request whose answer came too late.
        """
        recorded = self.recorded()
        for run in self._runs.search("attributes.status = 'RUNNING'"):
            tags = run.data.tags
            unique = {"trial": TAG_TRIAL, "attempt": TAG_ATTEMPT}.get(tags.get(TAG_KIND, ""))
            if unique is None or not (is_ending or int(tags[TAG_NUMBER]) in recorded):
                continue
            if len(self._runs.search(f"tags.`{unique}` = '{tags[unique]}'")) > 1:
                self._runs.delete(run.info.run_id)
            else:
                self._runs.log(run.info.run_id, tags={TAG_STATE: TrialState.INTERRUPTED.value})
                self._runs.end(run.info.run_id, TrialState.INTERRUPTED)

    def log_evaluation(
        self,
        champion: int,
        metrics: Mapping[str, float],
        *,
        time_ms: int,
        artifacts: Mapping[str, Content],
        ledger: Path,
    ) -> None:
        """Records the champion's test scores on the parent run, with the ledger of all looks at test data."""
        points = [Metric(key, value, time_ms, 0) for key, value in metrics.items()]
        self._runs.log(self._run_id, points=points, tags={TAG_CHAMPION: str(champion)})
        self._runs.log_artifacts(self._run_id, {**artifacts, ARTIFACT_LEDGER: ledger})

    def finish_study(self, state: StudyState) -> None:
        """Ends the parent run, and whatever else still runs though nothing works on it."""
        self._points.flush()
        self.close_strays(is_ending=True)
        self._runs.log(self._run_id, tags={TAG_STATE: state.value})
        self._runs.end(self._run_id, state)

    def fetch_checkpoint(self, number: int, path: Path) -> None:
        """Writes a trial's checkpoint to a file that is not there any more.

        Raises:
            TrialError: MLflow has none.
        """
        if not self._runs.download(self.run_id(number), ARTIFACT_CHECKPOINT, path):
            raise TrialError(
                f"the checkpoint of trial {number} is neither at {path} nor in MLflow; "
                "put it back there, or unpack the study's archive, and run the same command again."
            )

    def flush(self) -> None:
        """Writes all points that wait."""
        self._points.flush()

    def flush_if_due(self) -> None:
        """Writes the points that wait if they are many or old."""
        self._points.flush_if_due()


def open_tracker(
    workspace: Workspace,
    manifest: StudyManifest,
    *,
    tags: Mapping[str, str],
    data_hash: str,
    url: str | None = None,
) -> Tracker:
    """The study's experiment and parent run, found or created, with the study's description and data set.

    Args:
        workspace: where the embedded store lies, and the artifacts of a database.
        manifest: the study's description.
        tags: tags of every run: commit, data hash.
        data_hash: the corpus's hash.
        url: MLflow's server or database; None for the embedded store.
    """
    client = connect(url or workspace.tracking_uri)
    dataset = _dataset(str(manifest.corpus["name"]), data_hash)
    with store_errors():
        runs = Runs(client, open_experiment(client, workspace, manifest.name))
        run_id = open_parent_run(client, runs.experiment_id, manifest, tags)
        client.log_inputs(run_id, [dataset])
    runs.log_artifacts(run_id, {ARTIFACT_STUDY: json.dumps(asdict(manifest), indent=1)})
    tracker = Tracker(
        runs,
        run_id=run_id,
        study=manifest.name,
        tags=tags,
        dataset=dataset,
        named_by=tuple(parameter.path for parameter in manifest.parameters if parameter.choices),
    )
    tracker.close_strays(is_ending=False)
    return tracker


def refuse_strangers(workspace: Workspace, name: str, *, url: str) -> None:
    """Refuses a new study whose name MLflow holds trials of: its files are gone, and its record must stay as it is.

    Raises:
        StorageError: naming the study.
    """
    experiment = find_experiment(url, name)
    if experiment is None:
        return
    runs = Runs(connect(url), experiment).search(f"tags.`{TAG_KIND}` = 'trial'")
    if num_runs := sum(1 for _ in runs):
        raise StorageError(
            f"MLflow holds {num_runs} run(s) of a study '{name}' whose files are no longer in "
            f"{workspace.study(name).root}; give the study another name, or put the files back."
        )


def flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested configuration as path -> value; lists stay whole."""
    flattened: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, Mapping):
            flattened |= flat(value, f"{prefix}{key}.")
        else:
            flattened[f"{prefix}{key}"] = value
    return flattened


def _numbers(runs: Iterable[Any]) -> set[int]:
    return {int(run.data.tags[TAG_NUMBER]) for run in runs}


def _last_points(
    metrics: Mapping[str, float], *, objective: float | None, best_epoch: int | None, time_ms: int
) -> list[Metric]:
    values = dict(metrics)
    if objective is not None:
        values[BEST_OBJECTIVE] = objective
    if best_epoch is not None:
        values[BEST_EPOCH] = best_epoch
    return [Metric(key, value, time_ms, 0) for key, value in values.items()]


def _dataset(corpus: str, data_hash: str) -> DatasetInput:
    dataset = Dataset(name=corpus, digest=data_hash, source_type="lidstudy", source=json.dumps({"corpus": corpus}))
    return DatasetInput(dataset, [InputTag("mlflow.data.context", "training and development")])
