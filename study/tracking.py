"""What MLflow is told: one experiment a study, one parent run, one child run a trial, and one of that an attempt.

The coordinator is the only writer. Any call may be made again, after an outage or by the next coordinator: runs are
found by their unique tag before one is created, and points keep their event's own time, so telling the same thing
twice changes nothing.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mlflow.entities import DatasetInput, Metric

from lightning_modules.config import TrialConfig
from lightning_modules.errors import StorageError, TrialError
from reports.records import (
    ARTIFACT_CHECKPOINT,
    ARTIFACT_LEDGER,
    ATTEMPTS_S,
    BEST_EPOCH,
    BEST_OBJECTIVE,
    LATENCY_MS,
    NUM_PARAMETERS,
    STUDY_OBJECTIVE,
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
    SearchedParameter,
    StudyState,
    TrialState,
    trial_tag,
)
from study.attempt_records import AttemptRecord
from study.mlflow_attempts import AttemptRuns
from study.mlflow_runs import PARENT, PointBuffer, Runs
from study.mlflow_strays import close_strays, strangers
from study.params import flat, in_words
from study.recording import AttemptStarted, Content


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
        searched: Sequence[SearchedParameter],
    ) -> None:
        self._runs = runs
        self._run_id = run_id
        self._study = study
        self._tags = dict(tags)
        self._dataset = dataset
        self._searched = searched
        self._trials: dict[int, OpenedRun] = {}
        self._told: dict[int, set[int]] = {}  # epochs that MLflow has of a run that was there before, once asked for
        self._created: set[int] = set()  # trials whose run was asked for; an answer that was lost leaves it here
        self._attempts = AttemptRuns(runs, study=study)
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
        if found is None:
            self._told[number] = set()
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
        """Takes one epoch's metrics; they reach MLflow in batches of about a second.

        An epoch that MLflow has whole is passed over: a machine that went down may have lost the line of the log that
        said it, so that it was trained again, at another time.
        """
        if number not in self._told:
            last_metric = list(metrics)[-1]  # is told last
            self._told[number] = {int(point.step) for point in self._runs.history(self.run_id(number), last_metric)}
        if epoch in self._told[number]:
            return
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
        self._attempts.record(attempt.number, attempt.records, parent=self._trials[attempt.number].run_id)

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
        self._attempts.record(number, attempts, parent=run_id)
        tags = {TAG_STATE: state.value, TAG_FAILURE: failure, TAG_FAILURE_CLASS: failure_class or ""}
        if attempts and state is not TrialState.INTERRUPTED:
            took_s = sum((attempt.end_ms or attempt.start_ms) - attempt.start_ms for attempt in attempts) / 1000.0
            metrics = {**metrics, ATTEMPTS_S: took_s}
        points = _last_points(metrics, objective=objective, best_epoch=best_epoch, time_ms=time_ms)
        self._points.flush_run(run_id, points=points, tags={key: text for key, text in tags.items() if text})
        self._runs.end(run_id, state, end_ms=end_ms)
        if state is not TrialState.INTERRUPTED:
            told = math.nan if objective is None else objective
            self._runs.log(self._run_id, points=[Metric(STUDY_OBJECTIVE, told, time_ms, number)])
        self._attempts.forget(number)
        self._told.pop(number, None)

    def _create_run(self, number: int, config: TrialConfig, *, start_ms: int | None = None) -> Any:
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
        name = f"{self._study}-{number:03d} {in_words(config, self._searched)}".strip()
        return self._runs.create(name, self._tags | tags, start_ms=start_ms)

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
        return strangers(self._runs, known, recorded=self.recorded() if recorded is None else recorded)

    def close_strays(self, *, is_ending: bool) -> None:
        """Ends runs on which nothing works: all that run when a sweep ends, before it only those of recorded trials."""
        close_strays(self._runs, recorded=None if is_ending else self.recorded())

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


def _last_points(
    metrics: Mapping[str, float], *, objective: float | None, best_epoch: int | None, time_ms: int
) -> list[Metric]:
    values = dict(metrics)
    if objective is not None:
        values[BEST_OBJECTIVE] = objective
    if best_epoch is not None:
        values[BEST_EPOCH] = best_epoch
    return [Metric(key, value, time_ms, 0) for key, value in values.items()]
