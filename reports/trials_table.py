"""The trials of a study as one table with every digit: CSV for people and Parquet for programs."""

import csv
import io
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from reports import selection as select
from reports.records import StudyRecord, TrialRecord

_LEADING: Final = ("number", "run_id", "state", "seed", "configuration_hash", "start", "end", "seconds", "failure")
_PARAM: Final = "param:"


def trials_csv(*studies: StudyRecord) -> str:
    """A row a trial, its params and its last metrics; of several studies with their names before them."""
    columns = _columns(studies)
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_exact(value) for value in row] for row in zip(*columns.values(), strict=True))
    return buffer.getvalue()


def write_trials_parquet(*studies: StudyRecord, path: Path) -> None:
    """The same table with types: times in UTC, and params as numbers where all are, else as the CSV has them."""
    import pandas as pd

    frame = pd.DataFrame({name: _typed(name, values) for name, values in _columns(studies).items()})
    frame.to_parquet(path, index=False)


def _columns(studies: Sequence[StudyRecord]) -> dict[str, list[object]]:
    trials = [trial for study in studies for trial in study.trials]
    names: list[object] = [study.manifest.name for study in studies for _ in study.trials]
    leading = [_leading(trial) for trial in trials]
    metrics = sorted({key for trial in trials for key in trial.metrics})
    params = sorted({key for trial in trials for key in trial.params})
    return (
        ({"study": names} if len(studies) > 1 else {})
        | {name: [row[place] for row in leading] for place, name in enumerate(_LEADING)}
        | {key: [trial.metrics.get(key) for trial in trials] for key in metrics}
        | {f"{_PARAM}{key}": [trial.params.get(key) for trial in trials] for key in params}
    )


def _leading(trial: TrialRecord) -> tuple[object, ...]:
    return (
        trial.number,
        trial.run_id,
        trial.state.value,
        trial.seed,
        trial.configuration_hash,
        _time(trial.start_ms),
        _time(trial.end_ms),
        select.seconds(trial),
        trial.failure,
    )


def _time(time_ms: int | None) -> datetime | None:
    return None if time_ms is None else datetime.fromtimestamp(time_ms / 1000.0, tz=UTC)


def _typed(name: str, values: Sequence[Any]) -> Any:
    """One type a column, whatever is missing."""
    import pandas as pd

    if name in ("start", "end"):
        return pd.Series(values, dtype="datetime64[ms, UTC]")
    given = [each for each in values if each is not None]
    if name.startswith(_PARAM) and any(isinstance(each, bool) or not isinstance(each, int | float) for each in given):
        return pd.Series([None if each is None else _exact(each) for each in values], dtype="string")
    return pd.Series(values)


def _exact(value: object) -> str:
    match value:
        case None:
            return ""
        case float():
            return repr(value)
        case str():
            return value
        case datetime():
            return value.isoformat(timespec="milliseconds")
        case _:
            return json.dumps(value)
