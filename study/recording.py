"""What MLflow is told of a trial beside its metrics: attempts, configuration, event log, curves, scores, checkpoint."""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lightning_modules import scoring
from reports.figures import confusion_figure, learning_curves, to_png
from reports.records import (
    ARTIFACT_CHECKPOINT,
    ARTIFACT_CONFIG,
    ARTIFACT_CONFUSION,
    ARTIFACT_CURVES,
    ARTIFACT_EVENTS,
    ARTIFACT_GRADIENT_FLOW,
    ARTIFACT_SCORES_DEV,
    ARTIFACT_TRACEBACK,
    OBJECTIVE,
    SCORE_COLUMNS,
    MetricPoint,
    ScoreTable,
    TrialState,
)
from study.active import ActiveTrial, Outcome
from study.attempt_records import AttemptRecord, attempt_records
from study.events import Started
from study.spec import EVENTS_FILE
from study.workspace import read_json, read_whole_json

if TYPE_CHECKING:
    from study.tracking import Tracker

Content = Path | bytes | str | Callable[[], bytes]
"""A file, its content, or what makes its content when the time has come."""


@dataclass(frozen=True, kw_only=True)
class AttemptStarted:
    """What a trial's last attempt said when it started; the trial may have gone on when MLflow is told.

    Attributes:
        number: the trial.
        num_attempts: how many it has had.
        started: the attempt's first word.
        measured: the first word of the trial's first attempt that said one; None where it is this one's.
        records: its attempts so far, if there was more than one.
    """

    number: int
    num_attempts: int
    started: Started
    measured: Started | None = None
    records: tuple[AttemptRecord, ...] = ()


def attempt_started(trial: ActiveTrial) -> AttemptStarted | None:
    """For MLflow; None if the attempt has not said a word yet."""
    if trial.started is None or trial.spec is None:
        return None
    return AttemptStarted(
        number=trial.number,
        num_attempts=trial.spec.attempt + 1,
        started=trial.started,
        measured=trial.measured,
        records=tuple(attempt_records(trial.folder, is_running=True)),
    )


def record_trial(tracker: "Tracker", trial: ActiveTrial, outcome: Outcome) -> None:
    """Tells MLflow how a trial ended, then lets go of what only a further attempt would need."""
    is_measured = outcome.state not in (TrialState.FAILED, TrialState.TIMED_OUT)
    tracker.finish_trial(
        trial.number,
        outcome.state,
        end_ms=trial.last_time_ms or None,
        objective=outcome.value,
        best_epoch=trial.best_epoch if is_measured else None,
        metrics={**trial.best_metrics, **outcome.further} if is_measured else {},
        failure=outcome.failure,
        failure_class=outcome.failure_class,
        artifacts=trial_artifacts(trial, outcome),
        attempts=attempt_records(trial.folder, is_running=False),
    )
    if outcome.state is not TrialState.INTERRUPTED:
        for checkpoint in (trial.folder.last_checkpoint, trial.folder.best_checkpoint):
            checkpoint.with_suffix(".tmp").unlink(missing_ok=True)  # of an attempt that was killed while it wrote
        trial.folder.last_checkpoint.unlink(missing_ok=True)  # nobody resumes it any more


def trial_artifacts(trial: ActiveTrial, outcome: Outcome) -> dict[str, Content]:
    """Path in the run -> file or content; only a complete trial keeps its checkpoint.

    Figures are drawn when they are uploaded, so that an outage does not draw them again and again. Scores of an epoch
    whose event was never written, as when an attempt is killed between the two, are left out, and so are scores that a
    power cut tore.
    """
    logs = [folder / EVENTS_FILE for folder in trial.folder.attempts()]
    artifacts: dict[str, Content] = {
        ARTIFACT_CONFIG: trial.folder.config,
        ARTIFACT_EVENTS: b"".join(log.read_bytes() for log in logs if log.exists()),
    }
    if outcome.details:
        artifacts[ARTIFACT_TRACEBACK] = outcome.details
    if trial.history:
        objective = OBJECTIVE if trial.spec is None else f"val/{trial.spec.objective}"
        artifacts[ARTIFACT_CURVES] = partial(_curves, trial.history, objective)
    if trial.folder.gradient_flow.exists():
        artifacts[ARTIFACT_GRADIENT_FLOW] = trial.folder.gradient_flow
    scores = read_whole_json(trial.folder.scores)
    if scores is not None and scores["epoch"] == trial.best_epoch:
        artifacts[ARTIFACT_SCORES_DEV] = partial(scores_parquet, trial.folder.scores)
        artifacts[ARTIFACT_CONFUSION] = partial(_confusion, trial.folder.scores)
    if outcome.state is TrialState.COMPLETE and trial.folder.best_checkpoint.exists():
        artifacts[ARTIFACT_CHECKPOINT] = trial.folder.best_checkpoint
    return artifacts


def scores_parquet(path: Path) -> bytes:
    """A ScoreTable in JSON as Parquet, a row an utterance, with columns as SCORE_COLUMNS says."""
    return _parquet(read_json(path))


def table_parquet(table: ScoreTable) -> bytes:
    """The same of a table that says the condition of each row."""
    return _parquet(asdict(table), leading=(*SCORE_COLUMNS, "condition"))


def _parquet(table: Mapping[str, Any], *, leading: Sequence[str] = SCORE_COLUMNS) -> bytes:
    import pandas as pd

    columns: dict[str, Any] = {column: table[column] for column in leading}
    llr = np.array(table["llr"])
    columns |= {target: llr[:, index] for index, target in enumerate(table["targets"])}
    buffer = io.BytesIO()
    pd.DataFrame(columns).to_parquet(buffer, index=False)
    return buffer.getvalue()


def _curves(history: dict[str, list[MetricPoint]], objective: str) -> bytes:
    return to_png(learning_curves(history, objective=objective))


def _confusion(path: Path) -> bytes:
    table = read_json(path)
    targets = list(table["targets"])
    truth = np.array([targets.index(language) for language in table["language"]])
    return to_png(confusion_figure(scoring.confusion(np.array(table["llr"]), truth).tolist(), targets))
