"""Scores of a system that lidstudy did not train: reads a file of per-utterance scores and summarises it.

    utterance,language,en,es,fr
    call-001,en,2.1,-1.3,-3.0

One row an utterance: its language, and a score for each target language. `source`, `speaker`, `duration_s` and
`condition` may stand beside them, as in the files that a study leaves behind; every other column is a target language.
"""

import csv
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from lightning_modules.errors import ConfigError, StorageError
from lightning_modules.gaussian_backend import fit_calibrated_gaussians
from lightning_modules.open_set import OUT_OF_SET, OpenSetScores, open_set_scores
from lightning_modules.scoring import (
    LanguageScore,
    MinCost,
    Scores,
    confusion,
    fit_calibration,
    llr_from_log_likelihoods,
    llr_from_log_posteriors,
    log_posteriors_from_llr,
    min_cost,
    score,
    score_per_language,
)
from reports.records import SCORE_COLUMNS, ScoreTable
from reports.source_bootstrap import ScoreIntervals, intervals_of_scores

if TYPE_CHECKING:
    import pandas as pd

Kind = Literal["llr", "log_posterior"]
Backend = Literal["logistic", "gaussian"]

_REQUIRED: Final = SCORE_COLUMNS[:2]
_OPTIONAL: Final = (*SCORE_COLUMNS[2:], "condition")
_OWN: Final = (*_REQUIRED, *_OPTIONAL)
_PARQUET: Final = (".parquet", ".pq")
_NORMALISED: Final = 1e-3  # how far the posteriors of an utterance may be from summing to 1
_ROUNDING: Final = 1e-6  # how far above 0 the logarithm of a posterior may come


@dataclass(frozen=True, kw_only=True)
class LanguageScores:
    """One target language.

    Attributes:
        language: its name.
        num_utterances: utterances in it.
        scores: of its detector.
    """

    language: str
    num_utterances: int
    scores: LanguageScore


@dataclass(frozen=True, kw_only=True)
class GroupScores:
    """The rows of one condition, or of one source."""

    name: str
    scores: OpenSetScores


@dataclass(frozen=True, kw_only=True)
class FileScores:
    """What a file of scores amounts to.

    Attributes:
        kind: what the file's scores were taken for.
        num_utterances: rows.
        num_sources: different sources; 0 where the file does not say.
        num_speakers: different speakers; 0 where the file does not say.
        calibrated_on: the file and the rule of calibration; "" where it is cross-fitted on the file itself.
        overall: over all utterances, raw and calibrated.
        calibrated: every score after calibration; None without a file to fit it on.
        min_cost: least C_avg(1) that thresholds chosen on this file would give.
        languages: each target language, in the order of the columns.
        intervals: of raw scores, for sources at large.
        confusion: counts, a row a true language, a column a recognised one.
        conditions: each condition of the file, in the order of its rows; none where it has no such column.
        sources: each source of the file likewise.
    """

    kind: Kind
    num_utterances: int
    num_sources: int
    num_speakers: int
    calibrated_on: str
    overall: Scores
    calibrated: OpenSetScores | None
    min_cost: MinCost
    languages: tuple[LanguageScores, ...]
    intervals: ScoreIntervals
    confusion: tuple[tuple[int, ...], ...]
    conditions: tuple[GroupScores, ...]
    sources: tuple[GroupScores, ...]


@dataclass(frozen=True, kw_only=True)
class OpenFileScores:
    """What a file amounts to in which languages may be missing or too many.

    Attributes:
        kind: what the file's scores were taken for.
        calibrated_on: the file and the rule of calibration; "" of none.
        overall: raw scores.
        calibrated: scores after calibration; None without a file to fit it on.
        conditions: each condition, raw.
        sources: each source, raw.
    """

    kind: Kind
    calibrated_on: str
    overall: OpenSetScores
    calibrated: OpenSetScores | None
    conditions: tuple[GroupScores, ...]
    sources: tuple[GroupScores, ...]


@dataclass(frozen=True, kw_only=True)
class Calibrator:
    """Development scores of the same system, which calibration is fitted on.

    Attributes:
        name: of the file.
        table: its scores, of the same kind; every target language needs an utterance.
        backend: multiclass logistic regression, or a Gaussian a language with one covariance for all before it.
    """

    name: str
    table: ScoreTable
    backend: Backend = "logistic"


def read_scores(path: Path, *, open_set: bool = False) -> ScoreTable:
    """The scores in a CSV or Parquet file (.parquet, .pq); anything else is read as CSV.

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


def score_table(table: ScoreTable, kind: str = "llr", *, calibrator: Calibrator | None = None) -> FileScores:
    """Scores of a table.

    Args:
        table: as `read_scores` returns it; `table.llr` holds what `kind` says.
        kind: llr, or log_posterior: natural logarithms of posteriors under equal priors, or of anything proportional
            to them.
        calibrator: what calibration is fitted on; None: it is cross-fitted on the table itself, speakers whole where
            the table names them.

    Raises:
        ConfigError: for an unknown kind, scores that are plainly of the other one, or a calibrator that does not fit.
    """
    checked, llr = _llr(table, kind)
    truth = np.array([table.targets.index(language) for language in table.language], dtype=np.int64)
    calibrated = None if calibrator is None else _calibrated(llr, table, kind, calibrator)
    counts = np.bincount(truth, minlength=len(table.targets))
    return FileScores(
        kind=checked,
        num_utterances=len(truth),
        num_sources=len(set(table.source) - {""}),
        num_speakers=len(set(table.speaker) - {""}),
        calibrated_on=_calibrated_on(calibrator),
        overall=score(llr, truth, calibrated=calibrated, groups=table.speaker if all(table.speaker) else None),
        calibrated=None if calibrated is None else open_set_scores(llr_from_log_likelihoods(calibrated), truth),
        min_cost=min_cost(llr, truth),
        languages=tuple(
            LanguageScores(language=language, num_utterances=int(count), scores=scores)
            for language, count, scores in zip(table.targets, counts, score_per_language(llr, truth), strict=True)
        ),
        intervals=intervals_of_scores(llr, truth, table.source, languages=table.targets),
        confusion=tuple(tuple(row) for row in confusion(llr, truth).tolist()),
        conditions=_groups(llr, truth, table.condition),
        sources=_groups(llr, truth, table.source),
    )


def score_open_table(table: ScoreTable, kind: str = "llr", *, calibrator: Calibrator | None = None) -> OpenFileScores:
    """Scores of a table in which languages may be missing or too many.

    Raises:
        ConfigError: for an unknown kind, scores that are plainly of the other one, or a calibrator that does not fit.
    """
    checked, llr = _llr(table, kind)
    index = {language: place for place, language in enumerate(table.targets)}
    truth = np.array([index.get(language, OUT_OF_SET) for language in table.language], dtype=np.int64)
    calibrated = None
    if calibrator is not None:
        calibrated = open_set_scores(llr_from_log_likelihoods(_calibrated(llr, table, kind, calibrator)), truth)
    return OpenFileScores(
        kind=checked,
        calibrated_on=_calibrated_on(calibrator),
        overall=open_set_scores(llr, truth),
        calibrated=calibrated,
        conditions=_groups(llr, truth, table.condition),
        sources=_groups(llr, truth, table.source),
    )


def scores_of(
    table: ScoreTable, kind: str = "llr", *, calibrator: Calibrator | None = None
) -> dict[str, NDArray[np.float64]]:
    """`raw`, and with a calibrator `calibrated` log-likelihood ratios (N, L)."""
    _, llr = _llr(table, kind)
    if calibrator is None:
        return {"raw": llr}
    return {"raw": llr, "calibrated": llr_from_log_likelihoods(_calibrated(llr, table, kind, calibrator))}


def _llr(table: ScoreTable, kind: str) -> tuple[Kind, NDArray[np.float64]]:
    scores = np.array(table.llr, dtype=np.float64)
    checked = _check_kind(kind, scores, table.targets)
    return checked, scores if checked == "llr" else llr_from_log_posteriors(scores)


def _calibrated_on(calibrator: Calibrator | None) -> str:
    return "" if calibrator is None else f"{calibrator.name}, {calibrator.backend}"


def _calibrated(llr: NDArray[np.float64], table: ScoreTable, kind: str, calibrator: Calibrator) -> NDArray[np.float64]:
    """Log-likelihoods (N, L) by a fit on the calibrator's scores."""
    development = calibrator.table
    if set(development.targets) != set(table.targets):
        raise ConfigError(
            f"{calibrator.name} has the target languages {', '.join(development.targets)}, but the file to be scored "
            f"{', '.join(table.targets)}; calibration needs the same."
        )
    _, fitted_on = _llr(development, kind)
    s = log_posteriors_from_llr(fitted_on[:, [development.targets.index(target) for target in table.targets]])
    truth = np.array([table.targets.index(language) for language in development.language])
    if calibrator.backend == "logistic":
        return fit_calibration(s, truth).apply(log_posteriors_from_llr(llr))
    try:
        return fit_calibrated_gaussians(s, truth).apply(log_posteriors_from_llr(llr))
    except ValueError as error:
        raise ConfigError(
            f"{calibrator.name}: Gaussians cannot be fitted: {error} Give more utterances, or use --backend logistic."
        ) from error


def _groups(llr: NDArray[np.float64], truth: NDArray[np.int64], names: tuple[str, ...]) -> tuple[GroupScores, ...]:
    if not set(names) - {""}:
        return ()
    column = np.array(names)
    return tuple(
        GroupScores(name=name, scores=open_set_scores(llr[column == name], truth[column == name]))
        for name in dict.fromkeys(names)
    )


def _check_kind(kind: str, scores: NDArray[np.float64], targets: tuple[str, ...]) -> Kind:
    """The kind, where the scores can be of it."""
    if kind not in get_args(Kind):
        raise ConfigError(f"unknown kind of scores {kind!r}; allowed: {', '.join(get_args(Kind))}.")
    if kind == "llr":
        if (scores <= _ROUNDING).all() and np.allclose(np.exp(scores).sum(axis=1), 1.0, atol=_NORMALISED):
            raise ConfigError("the scores of every row are logarithms that sum to 1: use --kind log_posterior.")
        return "llr"
    if (scores > _ROUNDING).any():
        row, column = np.argwhere(scores > _ROUNDING)[0]
        found = f"row {row + 1}, column {targets[column]} holds {scores[row, column]:g}"
        raise ConfigError(
            f"a logarithm of a posterior cannot be positive but {found}: use --kind llr, or take logarithms."
        )
    return "log_posterior"


# --- reading ----------------------------------------------------------------------------------------------------------


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
            return pd.read_csv(path, dtype=str, keep_default_na=False, skipinitialspace=True, index_col=False)
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
        names = [name.strip() for name in next(csv.reader(file), [])]
    if repeated := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise StorageError(f"{path}: has two columns {repeated[0]!r}.")


def _format(path: Path) -> str:
    return "Parquet" if path.suffix.lower() in _PARQUET else "CSV (a Parquet file's name ends in .parquet)"


def _targets(path: Path, columns: list[str]) -> tuple[str, ...]:
    missing = [column for column in _REQUIRED if column not in columns]
    if missing:
        raise StorageError(f"{path}: lacks the column {' and '.join(missing)}; it has {', '.join(columns)}.")
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
