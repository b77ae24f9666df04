"""What a study's runs have as files in MLflow: fetched into a folder, and read."""

import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from lightning_modules.errors import StorageError
from reports.evaluation_records import Evaluation, evaluation_artifact, parse_evaluation
from reports.records import (
    ARTIFACT_EVENTS,
    ARTIFACT_GRADIENT_FLOW,
    ARTIFACT_LEDGER,
    ARTIFACT_STUDY,
    GRAD_OVER_TIME,
    SCORE_COLUMNS,
    FurtherObjective,
    GradientFlow,
    LedgerEntry,
    ScoreTable,
    SearchedParameter,
    StudyManifest,
    TrialRecord,
    TrialState,
    parse_gradient_flow,
    parse_ledger,
)
from reports.source_costs import parse_source_costs

_LOADERS: Final = 8  # requests to a server at the same time
_GONE: Final = "RESOURCE_DOES_NOT_EXIST"  # what is said of a run after `mlflow gc`

Client = Any  # mlflow.MlflowClient: mlflow has no type stubs and is not imported here
Fetch = Callable[[str, str], Path | None]
"""Copies an artifact of a run to a local file; None where there is none, or no run."""


def fetcher(client: Client, folder: Path) -> Fetch:
    """A function that copies an artifact of a run into the folder, or returns None where there is none, or no run."""
    from mlflow.exceptions import MlflowException

    def fetch(run_id: str, path: str) -> Path | None:
        parent = path.rpartition("/")[0] or None
        try:
            there = {file.path for file in client.list_artifacts(run_id, parent)}
        except MlflowException as error:
            if error.error_code != _GONE:
                raise
            return None
        if path not in there:
            return None
        target = folder / run_id
        target.mkdir(parents=True, exist_ok=True)
        return Path(client.download_artifacts(run_id, path, str(target)))

    return fetch


def read_manifest(path: Path | None, name: str) -> StudyManifest:
    """What the study said of itself.

    Raises:
        StorageError: there is no such file, or it cannot be read.
    """
    if path is None:
        raise StorageError(
            f"The study {name!r} has no {ARTIFACT_STUDY} in MLflow, so that what it asked is unknown. "
            f"Run the study once more: it writes the file when it starts."
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        content["parameters"] = tuple(_parameter(entry) for entry in content["parameters"])
        content["languages"] = tuple(content["languages"])
        further = content.get("further_objectives", ())  # which earlier versions did not know
        content["further_objectives"] = tuple(FurtherObjective(**entry) for entry in further)
        return StudyManifest(**content)
    except (ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{ARTIFACT_STUDY} of the study {name!r} is not readable: {error}") from error


def _parameter(entry: dict[str, Any]) -> SearchedParameter:
    when = {path: tuple(values) for path, values in entry.get("when", {}).items()}
    return SearchedParameter(**{**entry, "choices": tuple(entry.get("choices", ())), "when": when})


def read_scores(path: Path | None) -> ScoreTable | None:
    """The scores of every utterance; None where there are none.

    Raises:
        StorageError: it is no file of scores.
    """
    if path is None:
        return None
    from pyarrow import ArrowInvalid
    from pyarrow.parquet import read_table

    try:
        columns: dict[str, list[Any]] = read_table(path).to_pydict()
        leading = {name: tuple(columns.pop(name)) for name in SCORE_COLUMNS}
    except (ArrowInvalid, KeyError) as error:
        raise StorageError(f"{path.name} in MLflow is not a file of scores: {error}") from error
    return ScoreTable(**leading, targets=tuple(columns), llr=tuple(zip(*columns.values(), strict=True)))


def read_gradient_flow(trials: Iterable[TrialRecord], fetch: Fetch) -> dict[int, GradientFlow]:
    """Only trials that were to measure it are asked, several at once; one that was killed early has none."""
    measured = [trial for trial in trials if trial.params.get(GRAD_OVER_TIME) is True]
    with ThreadPoolExecutor(max_workers=_LOADERS) as pool:
        paths = pool.map(lambda trial: fetch(trial.run_id, ARTIFACT_GRADIENT_FLOW), measured)
        return {
            trial.number: parse_gradient_flow(path.read_text(encoding="utf-8"))
            for trial, path in zip(measured, paths, strict=True)
            if path is not None
        }


def read_source_costs(trials: Iterable[TrialRecord], fetch: Fetch) -> dict[int, dict[str, float]]:
    """Of complete trials, several at once."""
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    with ThreadPoolExecutor(max_workers=_LOADERS) as pool:
        paths = pool.map(lambda trial: fetch(trial.run_id, ARTIFACT_EVENTS), complete)
        return {
            trial.number: parse_source_costs(path.read_text(encoding="utf-8").splitlines(), trial)
            for trial, path in zip(complete, paths, strict=True)
            if path is not None
        }


def read_evaluations(ledger: Iterable[LedgerEntry], fetch: Fetch) -> tuple[Evaluation, ...]:
    """Of the trials and corpora that the ledger names, whose runs may be gone."""
    keys = {(each.trial, each.run_id, each.corpus, each.data_hash, each.split) for each in ledger if each.corpus}
    paths = [
        fetch(run_id, evaluation_artifact(corpus, data_hash, split, ".json"))
        for _, run_id, corpus, data_hash, split in sorted(keys)
    ]
    try:
        return tuple(parse_evaluation(path.read_text(encoding="utf-8")) for path in paths if path is not None)
    except ValueError as error:
        raise StorageError(f"an evaluation in MLflow is not readable: {error}") from error


def read_ledger(path: Path | None) -> tuple[LedgerEntry, ...]:
    """Every look at test data.

    Raises:
        StorageError: the file cannot be read.
    """
    if path is None:
        return ()
    try:
        return parse_ledger(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise StorageError(f"{ARTIFACT_LEDGER} in MLflow is not readable: {error}") from error
