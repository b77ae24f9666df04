"""Scores of a system that lidstudy did not train: what a table of per-utterance scores amounts to."""

from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from lightning_modules.errors import ConfigError
from lightning_modules.gaussian_backend import fit_calibrated_gaussians
from lightning_modules.open_set import OUT_OF_SET, OpenSetScores, open_set_per_language, open_set_scores
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
)
from reports.records import ScoreTable
from reports.source_bootstrap import ScoreIntervals, intervals_of_scores

Kind = Literal["llr", "log_posterior"]
Backend = Literal["logistic", "gaussian"]

_NORMALISED: Final = 1e-3  # how far the posteriors of an utterance may be from summing to 1
_ROUNDED: Final = 0.05  # by what share sums of posteriors of two digits may be off
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
class Breakdown:
    """Scores of the parts of a file.

    Attributes:
        languages: each target language that was spoken, in the order of the columns; none where fewer than two were.
        conditions: each condition of the file, in the order of its rows; none where it has no such column.
        sources: each source of the file likewise.
    """

    languages: tuple[LanguageScores, ...]
    conditions: tuple[GroupScores, ...]
    sources: tuple[GroupScores, ...]


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
        intervals: of raw scores, for sources at large.
        confusion: counts, a row a true language, a column a recognised one.
        parts: languages, conditions and sources, raw.
        calibrated_parts: the same after calibration; None without a file to fit it on.
    """

    kind: Kind
    num_utterances: int
    num_sources: int
    num_speakers: int
    calibrated_on: str
    overall: Scores
    calibrated: OpenSetScores | None
    min_cost: MinCost
    intervals: ScoreIntervals
    confusion: tuple[tuple[int, ...], ...]
    parts: Breakdown
    calibrated_parts: Breakdown | None


@dataclass(frozen=True, kw_only=True)
class OpenFileScores:
    """What a file amounts to in which languages may be missing or too many.

    Attributes:
        kind: what the file's scores were taken for.
        calibrated_on: the file and the rule of calibration; "" of none.
        overall: raw scores.
        calibrated: scores after calibration; None without a file to fit it on.
        parts: languages, conditions and sources, raw.
        calibrated_parts: the same after calibration; None without a file to fit it on.
    """

    kind: Kind
    calibrated_on: str
    overall: OpenSetScores
    calibrated: OpenSetScores | None
    parts: Breakdown
    calibrated_parts: Breakdown | None


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
    log_likelihoods = None if calibrator is None else _calibrated(llr, table, kind, calibrator)
    calibrated = None if log_likelihoods is None else llr_from_log_likelihoods(log_likelihoods)
    return FileScores(
        kind=checked,
        num_utterances=len(truth),
        num_sources=len(set(table.source) - {""}),
        num_speakers=len(set(table.speaker) - {""}),
        calibrated_on=_calibrated_on(calibrator),
        overall=score(llr, truth, calibrated=log_likelihoods, groups=table.speaker if all(table.speaker) else None),
        calibrated=None if calibrated is None else open_set_scores(calibrated, truth),
        min_cost=min_cost(llr, truth),
        intervals=intervals_of_scores(llr, truth, table.source, languages=table.targets),
        confusion=tuple(tuple(row) for row in confusion(llr, truth).tolist()),
        parts=_parts(llr, truth, table),
        calibrated_parts=None if calibrated is None else _parts(calibrated, truth, table),
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
        calibrated = llr_from_log_likelihoods(_calibrated(llr, table, kind, calibrator))
    return OpenFileScores(
        kind=checked,
        calibrated_on=_calibrated_on(calibrator),
        overall=open_set_scores(llr, truth),
        calibrated=None if calibrated is None else open_set_scores(calibrated, truth),
        parts=_parts(llr, truth, table),
        calibrated_parts=None if calibrated is None else _parts(calibrated, truth, table),
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
        groups = development.speaker if all(development.speaker) else None
        return fit_calibrated_gaussians(s, truth, groups=groups).apply(log_posteriors_from_llr(llr))
    except ValueError as error:
        raise ConfigError(
            f"{calibrator.name}: Gaussians cannot be fitted: {error} Give more utterances, or use --backend logistic."
        ) from error


def _parts(llr: NDArray[np.float64], truth: NDArray[np.int64], table: ScoreTable) -> Breakdown:
    return Breakdown(
        languages=tuple(
            LanguageScores(
                language=table.targets[language], num_utterances=int((truth == language).sum()), scores=scores
            )
            for language, scores in open_set_per_language(llr, truth).items()
        ),
        conditions=_groups(llr, truth, table.condition),
        sources=_groups(llr, truth, table.source),
    )


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
        sums = scores.sum(axis=1)
        if (scores >= 0.0).all() and any(np.allclose(sums, whole, rtol=_ROUNDED) for whole in (1.0, 100.0)):
            raise ConfigError(
                f"the scores of every row sum to {sums[0]:.3g}, as posteriors do: take their logarithms, and use "
                "--kind log_posterior."
            )
        return "llr"
    if (scores > _ROUNDING).any():
        row, column = np.argwhere(scores > _ROUNDING)[0]
        found = f"row {row + 1}, column {targets[column]} holds {scores[row, column]:g}"
        raise ConfigError(
            f"a logarithm of a posterior cannot be positive but {found}: use --kind llr, or take logarithms."
        )
    return "log_posterior"
