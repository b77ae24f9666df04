"""What `lidstudy evaluate` tells MLflow: metrics and files on the trial's own run, the ledger on the study's."""

import json
from dataclasses import asdict
from pathlib import Path

from mlflow.entities import Metric

from lightning_modules.errors import StorageError, TrialError
from reports.evaluation_records import Evaluation, evaluation_artifact
from reports.records import ARTIFACT_CHECKPOINT, ARTIFACT_LEDGER, ON_PREFIX, TAG_KIND, TAG_STUDY, TAG_TRIAL, trial_tag
from study.mlflow_place import records_url
from study.mlflow_runs import Runs
from study.mlflow_store import connect, find_experiment
from study.recording import Content
from study.workspace import Workspace


class EvaluatedTrial:
    """One trial's run, and its study's.

    Raises:
        StorageError: MLflow has no such study or trial.
    """

    def __init__(self, workspace: Workspace, study: str, number: int) -> None:
        url = records_url(workspace, study)
        experiment = find_experiment(url, study)
        if experiment is None:
            raise StorageError(f"MLflow has no study '{study}'; run its sweep once more, which records it again.")
        self._runs = Runs(connect(url), experiment)
        self._study_run = self._found(TAG_STUDY, study, f"study '{study}'")
        self.run_id = self._found(TAG_TRIAL, trial_tag(study, number), f"trial {number} of study '{study}'")

    def fetch_checkpoint(self, path: Path) -> None:
        """Writes the trial's checkpoint to a file that is not there any more.

        Raises:
            TrialError: MLflow has none.
        """
        if not self._runs.download(self.run_id, ARTIFACT_CHECKPOINT, path):
            raise TrialError(f"the trial's checkpoint is neither at {path} nor in MLflow; put it back there.")

    def log(self, evaluation: Evaluation, *, scores: Content, ledger: Path, time_ms: int) -> None:
        """Logs each score as `on/CORPUS/SPLIT/CONDITION/SCORE`, results, each utterance's scores, and the ledger."""
        prefix = f"{ON_PREFIX}{evaluation.corpus}/{evaluation.split}"
        points = [
            Metric(f"{prefix}/{result.condition}/{name}", value, time_ms, 0)
            for result in evaluation.conditions
            for name, value in result.scores.items()
        ]
        self._runs.log(self.run_id, points=points)
        place = (evaluation.corpus, evaluation.data_hash, evaluation.split)
        self._runs.log_artifacts(
            self.run_id,
            {
                evaluation_artifact(*place, ".json"): json.dumps(asdict(evaluation), indent=1),
                evaluation_artifact(*place, ".parquet"): scores,
            },
        )
        self._runs.log_artifacts(self._study_run, {ARTIFACT_LEDGER: ledger})

    def _found(self, tag: str, value: str, what: str) -> str:
        kind = "study" if tag == TAG_STUDY else "trial"
        runs = [run for run in self._runs.search(f"tags.`{tag}` = '{value}'") if run.data.tags.get(TAG_KIND) == kind]
        if not runs:
            raise StorageError(f"MLflow has no run of {what}; run its sweep once more, which records it again.")
        return str(runs[0].info.run_id)
