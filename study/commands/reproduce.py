"""`lidstudy reproduce RUN`: trains a trial again from its record, and says whether every epoch comes out the same."""

import json
import tempfile
from math import inf, isfinite, isnan
from pathlib import Path
from typing import Final

from lightning_modules.errors import ConfigError
from reports.load import load_study
from reports.records import (
    ON_PREFIX,
    PEAK_MEMORY_MB,
    TAG_COMMIT,
    TAG_DATA,
    TAG_DEVICE,
    TAG_DIFF,
    TAG_HOST,
    TAG_VERSIONS,
    TEST_PREFIX,
    StudyRecord,
    TrialRecord,
    TrialState,
)
from reports.sections.reproduce import nested
from study.commands.console import make_console
from study.commands.evaluate import parsed_run
from study.commands.train import train_one
from study.mlflow_place import mlflow_tracking_uri, records_url
from study.opening import read_trials
from study.spec import AttemptSpec, read_spec
from study.workspace import StudyFolder, Workspace, open_workspace, write_json

FACTS: Final = {
    TAG_COMMIT: "commit",
    TAG_DIFF: "uncommitted change",
    TAG_DATA: "data",
    TAG_DEVICE: "device",
    TAG_HOST: "machine",
}
OTHER: Final = ("time/", PEAK_MEMORY_MB, TEST_PREFIX, ON_PREFIX)
"""Metrics that no two trainings share: how long it took and what it took, and what came of it on other speech since."""


def reproduce(run: str, *, devices: str, folder: Path) -> int:
    """Trains a trial again in a study of its own; returns 0 where all values agree to the last bit, else 1.

    What it was is read from the workspace, or of a study that this workspace does not know from MLflow alone.

    Raises:
        ConfigError: no such trial, or one that never came to an end.
        StorageError: neither the workspace nor MLflow knows the study.
    """
    study, number = parsed_run(run)
    workspace = open_workspace(folder, writable=True)
    place = workspace.study(study) if study in workspace.study_names() else None
    if place is not None:
        summaries = read_trials(place)
        _check_complete(next((trial.state for trial in summaries if trial.number == number), None), study, number)
    record = _study_record(workspace, study)
    one = _trial_record(record, number)
    _check_complete(one.state, study, number)
    if not _num_values(one):
        raise ConfigError(f"MLflow has no metrics of trial {number} of study '{study}', so nothing could be compared.")
    spec, again = None if place is None else _last_spec(place, number), f"{study}-reproduced"
    with tempfile.TemporaryDirectory(prefix="lidstudy-") as temporary:
        config = Path(temporary) / "config.json"
        if place is not None:
            config = place.trial(number).config
        else:
            write_json(config, nested(one.params) | {"seed": one.seed})
        if status := train_one(
            str(config),
            study=again,
            seed=None,
            devices=devices,
            folder=folder,
            objective=record.manifest.objective.removeprefix("val/"),  # type: ignore[arg-type]
            num_threads=spec.slot.num_threads if spec else 1,
        ):
            return status
    return _compare(one, _study_record(workspace, again).trials[-1], spec)


def _check_complete(state: TrialState | None, study: str, number: int) -> None:
    if state is not TrialState.COMPLETE:
        is_what = "does not exist" if state is None else f"is {state.value}"
        raise ConfigError(f"trial {number} of study '{study}' {is_what}; only a complete one can be reproduced.")


def _last_spec(place: StudyFolder, number: int) -> AttemptSpec | None:
    """How the trial was trained last; None where that is not on record any more."""
    attempts = place.trial(number).attempts()
    return read_spec(attempts[-1]) if attempts else None


def _study_record(workspace: Workspace, study: str) -> StudyRecord:
    return load_study(study, tracking_uri=mlflow_tracking_uri(records_url(workspace, study)))


def _trial_record(record: StudyRecord, number: int) -> TrialRecord:
    """A trial as MLflow has it.

    Raises:
        ConfigError: MLflow does not have it, or not any more.
    """
    found = next((trial for trial in record.trials if trial.number == number), None)
    if found is None:
        raise ConfigError(f"MLflow has no run of trial {number} of study '{record.manifest.name}'.")
    return found


def _num_values(trial: TrialRecord) -> int:
    return sum(len(points) for key, points in trial.history.items() if not key.startswith(OTHER))


def _compare(one: TrialRecord, other: TrialRecord, spec: AttemptSpec | None) -> int:
    console = make_console()
    found = differences(one, other)
    num_values = _num_values(one)
    if not found:
        console.print(f"reproduced: all {num_values:,} values of all epochs are the same, bit for bit", soft_wrap=True)
        return 0
    key, largest = max(found.items(), key=lambda item: item[1])
    console.print(
        f"not reproduced: {len(found)} metrics differ, {key} by up to {largest:.3g} of its size; objective "
        f"{one.objective} then, {other.objective} now",
        soft_wrap=True,
        markup=False,
    )
    for line in _other_circumstances(one, other, spec):
        console.print(line, soft_wrap=True, markup=False)
    return 1


def differences(one: TrialRecord, other: TrialRecord) -> dict[str, float]:
    """Metric -> the largest relative difference of an epoch; infinite where one has more epochs."""
    found: dict[str, float] = {}
    for key in sorted({*one.history, *other.history}):
        if key.startswith(OTHER):
            continue
        ours, theirs = ([point.value for point in each.history.get(key, ())] for each in (one, other))
        if len(ours) != len(theirs):
            found[key] = inf
            continue
        if largest := max(map(_gap, ours, theirs), default=0.0):
            found[key] = largest
    return found


def _gap(one: float, other: float) -> float:
    """Difference over the larger of the two; infinite where one alone is finite."""
    if one == other or (isnan(one) and isnan(other)):
        return 0.0
    return abs(one - other) / max(abs(one), abs(other)) if isfinite(one) and isfinite(other) else inf


def _other_circumstances(one: TrialRecord, other: TrialRecord, spec: AttemptSpec | None) -> list[str]:
    lines = [
        f"another {name}: {one.tags.get(tag, 'none')} then, {other.tags.get(tag, 'none')} now"
        for tag, name in FACTS.items()
        if one.tags.get(tag) != other.tags.get(tag)
    ]
    then, now = (json.loads(each.tags.get(TAG_VERSIONS, "{}")) for each in (one, other))
    changed = [name for name in now if then.get(name) != now[name]]
    lines += [f"another {name}: {then.get(name)} then, {now[name]} now" for name in changed]
    if spec is None:
        lines.append("how many threads and processes trained it then is not on record; now it was one of each")
    elif len(spec.slot.devices) > 1:
        lines.append(f"{len(spec.slot.devices)} processes trained it then, 1 now")
    if spec is not None and spec.micro_batches > 1:
        lines.append(f"its batches were trained in {spec.micro_batches} parts then, for want of memory, and whole now")
    return lines or ["nothing on record tells them apart: another CPU"]
