"""The runs of attempts: one each, below its trial's, where a trial needed more than one."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from reports.records import (
    TAG_ATTEMPT,
    TAG_DEVICE,
    TAG_FAILURE,
    TAG_FAILURE_CLASS,
    TAG_HOST,
    TAG_KIND,
    TAG_NUMBER,
    TAG_STATE,
    TAG_STUDY,
    attempt_tag,
)
from study.attempt_records import AttemptRecord
from study.mlflow_runs import PARENT, Runs


class AttemptRuns:
    """What MLflow is told of attempts; anything may be told again."""

    def __init__(self, runs: Runs, *, study: str) -> None:
        self._runs = runs
        self._study = study
        self._told: defaultdict[int, dict[str, AttemptRecord]] = defaultdict(dict)  # by trial, then by tag

    def record(self, number: int, records: Sequence[AttemptRecord], *, parent: str) -> None:
        """Tells what is new of a trial's attempts; `parent` is the trial's run."""
        for record in records:
            tag = attempt_tag(self._study, number, record.attempt)
            if self._told[number].get(tag) != record:
                self._record(number, record, tag=tag, parent=parent)
                self._told[number][tag] = record

    def forget(self, number: int) -> None:
        """The trial is on record: nothing more will be told of its attempts."""
        self._told.pop(number, None)

    def _record(self, number: int, record: AttemptRecord, *, tag: str, parent: str) -> None:
        texts = {
            TAG_STATE: record.state.value,
            TAG_HOST: record.host,
            TAG_DEVICE: record.device,
            TAG_FAILURE_CLASS: record.failure_class,
            TAG_FAILURE: record.failure,
        }
        run = self._runs.find(TAG_ATTEMPT, tag) or self._create(number, record, tag=tag, parent=parent)
        self._runs.log(run.info.run_id, tags={key: text for key, text in texts.items() if text})
        if record.end_ms is not None:
            self._runs.end(run.info.run_id, record.state, end_ms=record.end_ms)

    def _create(self, number: int, record: AttemptRecord, *, tag: str, parent: str) -> Any:
        tags = {
            PARENT: parent,
            TAG_KIND: "attempt",
            TAG_STUDY: self._study,
            TAG_ATTEMPT: tag,
            TAG_NUMBER: str(number),
        }
        name = f"{self._study}-{number:03d} attempt {record.attempt}"
        return self._runs.create(name, tags, start_ms=record.start_ms)
