"""Files of per-utterance scores, by any system, read and checked.

    utterance,language,en,es,fr
    call-001,en,2.1,-1.3,-3.0

One row an utterance: its language, and a score for each target language. `source`, `speaker`, `duration_s` and
`condition` may stand beside them, as in the files that a study leaves behind; every other column is a target language.
"""

import csv
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from lightning_modules.errors import StorageError
from reports.records import SCORE_COLUMNS, ScoreTable

if TYPE_CHECKING:
    import pandas as pd

_REQUIRED: Final = SCORE_COLUMNS[:2]
_OPTIONAL: Final = (*SCORE_COLUMNS[2:], "condition")
_OWN: Final = (*_REQUIRED, *_OPTIONAL)
_PARQUET: Final = (".parquet", ".pq")


def read_scores(path: Path, *, open_set: bool = False) -> ScoreTable:
    """The scores in a CSV, TSV (.tsv) or Parquet file (.parquet, .pq); anything else is read as CSV.

    Rows are counted from 1, the first row of scores, in messages too.

    Args:
        path: the file.
        open_set: whether target languages may be without utterances, and utterances in languages that are no targets.

    Raises:
        StorageError: naming the file and what is wrong in it: the columns, a language, a score or a repeated utterance.
    """
    frame = _read_frame(path)
    targets = _targets(path, [str(column) for column in frame.columns])
    if not len(frame):
        raise StorageError(f"{path}: holds no utterance; a row an utterance is needed.")
    utterance = _texts(path, frame, "utterance")
    language = _texts(path, frame, "language")
    condition = _optional_texts(frame, "condition") if "condition" in frame.columns else ()
    _check_utterances(path, [f"{utterance[row]} ({name})" for row, name in enumerate(condition)] or utterance)
    if not open_set:
        _check_languages(path, language, targets)
    columns = [_numbers(path, frame, target) for target in targets]
    return ScoreTable(
        utterance=utterance,
        language=language,
        source=_optional_texts(frame, "source"),
        speaker=_optional_texts(frame, "speaker"),
        duration_s=_durations(path, frame),
        targets=targets,
        llr=tuple(zip(*(column.tolist() for column in columns), strict=True)),
        condition=condition,
    )


def _read_frame(path: Path) -> "pd.DataFrame":
    import pandas as pd

    if not path.is_file():
        why = "is a folder; give the file of scores in it" if path.is_dir() else "there is no such file"
        raise StorageError(f"{path}: {why}.")
    try:
        if path.suffix.lower() in _PARQUET:
            return pd.read_parquet(path)
        _refuse_repeated_columns(path)
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # rows that are longer than the header
            # As text: "nan" is a language (Min Nan), and "no" must not become false.
            delimiter = _delimiter(path)
            return pd.read_csv(
                path, sep=delimiter, dtype=str, keep_default_na=False, skipinitialspace=True, index_col=False
            )
    except pd.errors.EmptyDataError as error:
        raise StorageError(f"{path}: is empty; a header with {' and '.join(_REQUIRED)} is needed.") from error
    except pd.errors.ParserWarning as error:
        raise StorageError(f"{path}: has rows with more fields than the header.") from error
    except (ValueError, OSError, csv.Error) as error:  # what pandas and pyarrow say of what they cannot parse
        reason = str(error).splitlines()[0]
        raise StorageError(f"{path}: cannot be read as {_format(path)}: {reason}") from error


def _refuse_repeated_columns(path: Path) -> None:
    """Before pandas gives the second one another name."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        names = [name.strip() for name in next(csv.reader(file, delimiter=_delimiter(path)), [])]
    if repeated := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise StorageError(f"{path}: has two columns {repeated[0]!r}.")


def _delimiter(path: Path) -> str:
    return "\t" if path.suffix.lower() == ".tsv" else ","


def _format(path: Path) -> str:
    return "Parquet" if path.suffix.lower() in _PARQUET else "CSV (a Parquet file's name ends in .parquet)"


def _targets(path: Path, columns: list[str]) -> tuple[str, ...]:
    missing = [column for column in _REQUIRED if column not in columns]
    if missing:
        hint = " Its columns are separated by semicolons, not by commas." if ";" in "".join(columns) else ""
        raise StorageError(f"{path}: lacks the column {' and '.join(missing)}; it has {', '.join(columns)}.{hint}")
    targets = tuple(column for column in columns if column not in _OWN)
    if len(targets) < 2:  # noqa: PLR2004
        found = ", ".join(targets) or "none"
        raise StorageError(
            f"{path}: needs a column of scores for each of at least two target languages but has {found}."
        )
    return targets


def _texts(path: Path, frame: "pd.DataFrame", column: str) -> tuple[str, ...]:
    missing = frame[column].isna().to_numpy()
    texts = tuple(str(value).strip() for value in frame[column])
    for row, text in enumerate(texts):
        if missing[row] or not text:
            raise StorageError(f"{path}: row {row + 1}, column {column} is empty.")
    return texts


def _optional_texts(frame: "pd.DataFrame", column: str) -> tuple[str, ...]:
    if column not in frame.columns:
        return ("",) * len(frame)
    missing = frame[column].isna().to_numpy()
    return tuple("" if gone else str(value) for value, gone in zip(frame[column], missing, strict=True))


def _durations(path: Path, frame: "pd.DataFrame") -> tuple[float, ...]:
    """Seconds; nan where the file does not say."""
    if "duration_s" not in frame.columns:
        return (float("nan"),) * len(frame)
    texts = frame["duration_s"].astype(str).str.strip()
    known = ~(frame["duration_s"].isna() | (texts == "") | (texts.str.lower() == "nan")).to_numpy()
    durations = np.full(len(frame), np.nan)
    durations[known] = _numbers(path, frame, "duration_s", only=known)
    return tuple(durations.tolist())


def _numbers(
    path: Path, frame: "pd.DataFrame", column: str, only: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """A column of finite numbers, or the chosen rows of it."""
    import pandas as pd

    rows = np.arange(len(frame)) if only is None else np.flatnonzero(only)
    values = frame[column].iloc[rows]
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    wrong = np.flatnonzero(~np.isfinite(numbers))
    if wrong.size:
        given = values.iloc[int(wrong[0])]
        why = "" if column in _OWN else f"; every column but {', '.join(_OWN)} is a target language"
        raise StorageError(
            f"{path}: row {rows[wrong[0]] + 1}, column {column} must be a finite number but is {given!r}{why}."
        )
    return numbers


def _check_utterances(path: Path, utterances: Sequence[str]) -> None:
    first: dict[str, int] = {}
    for row, utterance in enumerate(utterances, start=1):
        if first.setdefault(utterance, row) != row:
            raise StorageError(
                f"{path}: utterance {utterance!r} stands in row {first[utterance]} and again in row {row}."
            )


def _check_languages(path: Path, languages: tuple[str, ...], targets: tuple[str, ...]) -> None:
    for row, language in enumerate(languages, start=1):
        if language not in targets:
            known = ", ".join(targets)
            raise StorageError(
                f"{path}: row {row} has the language {language!r}, which has no column; there is {known}. If it is no "
                "target, --open-set scores it as such."
            )
    present = set(languages)
    if len(present) == 1:
        raise StorageError(
            f"{path}: every utterance is in {languages[0]}; with one language there is nothing to tell apart."
        )
    absent = [target for target in targets if target not in present]
    if absent:
        names = ", ".join(absent)
        raise StorageError(
            f"{path}: no utterance is in {names}: its misses cannot be counted; leave out its column, or score with "
            "--open-set."
        )
