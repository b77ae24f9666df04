"""What a trial leaves in MLflow as files: its configuration, event log, curves, scores and checkpoint."""

import io
from pathlib import Path
from typing import Any

import numpy as np

from lightning_modules import scoring
from reports.figures import confusion_figure, learning_curves, to_png
from reports.records import (
    ARTIFACT_CHECKPOINT,
    ARTIFACT_CONFIG,
    ARTIFACT_CONFUSION,
    ARTIFACT_CURVES,
    ARTIFACT_EVENTS,
    ARTIFACT_SCORES_DEV,
    ARTIFACT_TRACEBACK,
    SCORE_COLUMNS,
    TrialState,
)
from study.active import ActiveTrial, Outcome
from study.spec import EVENTS_FILE
from study.tracking import Tracker
from study.workspace import read_json


def record_trial(tracker: Tracker, trial: ActiveTrial, outcome: Outcome, *, now_ms: int) -> None:
    """Tells MLflow how a trial ended, then lets go of what only a further attempt would need."""
    is_measured = outcome.state not in (TrialState.FAILED, TrialState.TIMED_OUT)
    tracker.finish_trial(
        trial.number,
        outcome.state,
        end_ms=trial.last_time_ms or now_ms,
        objective=outcome.value,
        best_epoch=trial.best_epoch if is_measured else None,
        metrics=trial.best_metrics if is_measured else {},
        failure=outcome.failure,
        failure_class=outcome.failure_class,
        artifacts=trial_artifacts(trial, outcome),
    )
    if outcome.state is not TrialState.INTERRUPTED:
        trial.folder.last_checkpoint.unlink(missing_ok=True)  # nobody resumes it any more


def trial_artifacts(trial: ActiveTrial, outcome: Outcome) -> dict[str, Path | bytes | str]:
    """Path in the run -> file or content; only a complete trial keeps its checkpoint.

    Scores of an epoch whose event was never written, as when an attempt is killed between the two, are left out.
    """
    logs = [folder / EVENTS_FILE for folder in trial.folder.attempts()]
    artifacts: dict[str, Path | bytes | str] = {
        ARTIFACT_CONFIG: trial.folder.config,
        ARTIFACT_EVENTS: b"".join(log.read_bytes() for log in logs if log.exists()),
    }
    if outcome.details:
        artifacts[ARTIFACT_TRACEBACK] = outcome.details
    if trial.history:
        artifacts[ARTIFACT_CURVES] = to_png(learning_curves(trial.history))
    if trial.folder.scores.exists() and read_json(trial.folder.scores)["epoch"] == trial.best_epoch:
        artifacts[ARTIFACT_SCORES_DEV] = scores_parquet(trial.folder.scores)
        artifacts[ARTIFACT_CONFUSION] = to_png(_confusion(read_json(trial.folder.scores)))
    if outcome.state is TrialState.COMPLETE and trial.folder.best_checkpoint.exists():
        artifacts[ARTIFACT_CHECKPOINT] = trial.folder.best_checkpoint
    return artifacts


def scores_parquet(path: Path) -> bytes:
    """A ScoreTable in JSON as Parquet, a row an utterance, with columns as SCORE_COLUMNS says."""
    import pandas as pd

    table = read_json(path)
    columns: dict[str, Any] = {column: table[column] for column in SCORE_COLUMNS}
    llr = np.array(table["llr"])
    columns |= {target: llr[:, index] for index, target in enumerate(table["targets"])}
    buffer = io.BytesIO()
    pd.DataFrame(columns).to_parquet(buffer, index=False)
    return buffer.getvalue()


def _confusion(table: dict[str, Any]) -> Any:
    targets = list(table["targets"])
    truth = np.array([targets.index(language) for language in table["language"]])
    return confusion_figure(scoring.confusion(np.array(table["llr"]), truth).tolist(), targets)
