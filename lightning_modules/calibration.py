"""Calibration of scores: multiclass logistic regression, and its cross-fitted form.

A calibration maps log-likelihoods to a s + b, one scale for all languages and one offset a language (Brümmer & van
Leeuwen, "On calibration of language recognition scores", Odyssey 2006). Fitted on the scores that it is judged on it
would flatter them, so `cross_fitted` calibrates each part of the data by a fit on the rest. Numpy only.

Shapes: N utterances, L languages, K folds, P = 1 + L parameters.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

RIDGE: Final = 1e-4
"""Penalty in nats a squared unit of the standardised parameters: it only decides where data is separable."""

_MAX_ITERATIONS: Final = 100
_MAX_HALVINGS: Final = 40
_DECREMENT: Final = 1e-16  # nats: a Newton step that promises less than this has converged
_FLAT: Final = 1e-12  # spread of scores below which they say nothing


class Trials(NamedTuple):
    """Checked scores (N, L) and the index of each utterance's language (N,)."""

    scores: Floats
    truth: Ints


def check_scores(scores: ArrayLike) -> Floats:
    """Scores as float64 (N, L), N >= 1 and L >= 2, all finite.

    Raises:
        ValueError: for any other shape, or a score that is infinite or not a number.
    """
    checked = np.asarray(scores, dtype=np.float64)
    if checked.ndim != 2 or checked.shape[0] < 1 or checked.shape[1] < 2:  # noqa: PLR2004
        raise ValueError(
            f"scores must be (utterances, languages) with at least 1 x 2 values but got shape {checked.shape}."
        )
    if not np.isfinite(checked).all():
        row, column = np.argwhere(~np.isfinite(checked))[0]
        raise ValueError(f"scores must be finite but utterance {row} has {checked[row, column]} for language {column}.")
    return checked


def check_trials(scores: ArrayLike, truth: ArrayLike, *, every_language: bool = True) -> Trials:
    """Checked scores with the language of each utterance.

    Args:
        scores: (N, L), finite.
        truth: (N,) integers in [0, L).
        every_language: whether each language must have at least one utterance.

    Raises:
        ValueError: naming what is wrong, for a language without utterances its index.
    """
    checked = check_scores(scores)
    languages = np.asarray(truth)
    num_utterances, num_languages = checked.shape
    if languages.shape != (num_utterances,):
        raise ValueError(
            f"truth must have shape ({num_utterances},), one language a row of scores, but got {languages.shape}."
        )
    if not np.issubdtype(languages.dtype, np.integer):
        raise ValueError(f"truth must hold integer language indices but got {languages.dtype}.")
    if languages.min() < 0 or languages.max() >= num_languages:
        raise ValueError(f"truth must lie in 0..{num_languages - 1} but spans {languages.min()}..{languages.max()}.")
    if every_language:
        missing = np.flatnonzero(np.bincount(languages, minlength=num_languages) == 0)
        if missing.size:
            raise ValueError(f"every language needs an utterance but language {missing[0]} has none.")
    return Trials(checked, languages.astype(np.int64, copy=False))


def log_softmax(scores: Floats) -> Floats:
    """Log posteriors (N, L) under equal priors, from log-likelihoods (N, L)."""
    shifted = scores - scores.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)), dtype=np.float64)


def language_weights(truth: Ints, num_languages: int) -> Floats:
    """Weight of each utterance (N,): 1 / (L x utterances of its language), so that every language counts the same."""
    counts = np.bincount(truth, minlength=num_languages)
    return 1.0 / (num_languages * counts[truth])


@dataclass(frozen=True)
class Calibration:
    """The map s -> scale s + offset.

    Attributes:
        scale: a >= 0, common to all languages; 0 where scores say nothing, or point the wrong way.
        offset: b, (L,), in nats.
    """

    scale: float
    offset: Floats

    def apply(self, s: ArrayLike) -> Floats:
        """Calibrated log-likelihoods (N, L), in nats, from log-likelihoods (N, L), up to a constant an utterance."""
        return self.scale * _centred(check_scores(s)) + self.offset


def fit_calibration(s: ArrayLike, truth: ArrayLike) -> Calibration:
    """The scale and offsets that minimise the multiclass cross-entropy under equal priors.

    (a, b) = argmin (1/L) sum_t mean_{i in t} -ln softmax(a s_i + b)_t, with a >= 0: a calibration corrects how sure
    the scores are, and must not turn scores that are always wrong into right ones. A ridge of RIDGE on the parameters
    of the standardised scores keeps the answer finite where the languages are separable; since it acts on
    standardised scores, a s + c with any a > 0 and offsets c is calibrated exactly as s is. Newton's method from
    zero; the problem is strictly convex.

    Args:
        s: log-likelihoods (N, L), in nats, each utterance up to a constant.
        truth: language index of each utterance (N,); every language needs at least one.

    Raises:
        ValueError: for scores that are not finite, or a language without utterances.
    """
    trials = check_trials(s, truth)
    return _fit(_centred(trials.scores), trials.truth)


def cross_fitted(s: ArrayLike, truth: ArrayLike, *, groups: Sequence[Hashable] | None = None, folds: int = 5) -> Floats:
    """Scores calibrated by a fit that has not seen them.

    The utterances of each language are dealt in order over the folds, so folds are stratified by language and depend
    on nothing but the order. With groups (recordings or speakers), whole groups are dealt, when every language has at
    least two of its own; otherwise groups are ignored, since no fold could be calibrated without splitting one. There
    are never more folds than the rarest language has utterances (or groups).

    Args:
        s: log-likelihoods (N, L), in nats.
        truth: language index of each utterance (N,).
        groups: what must not be split, a value an utterance (N,).
        folds: folds at most, K >= 2.

    Returns:
        Calibrated log-likelihoods (N, L), in nats. If some language has a single utterance, nothing can be left out:
        then the scores come back uncalibrated.

    Raises:
        ValueError: for scores that are not finite, a language without utterances, or fewer than two folds.
    """
    trials = check_trials(s, truth)
    if folds < 2:  # noqa: PLR2004
        raise ValueError(f"folds must be at least 2 but got {folds}.")
    fold = folds_of(trials, groups, folds)
    if fold is None:
        return trials.scores
    centred = _centred(trials.scores)
    calibrated = np.empty_like(centred)
    for number in range(int(fold.max()) + 1):
        held_out = fold == number
        fitted = _fit(centred[~held_out], trials.truth[~held_out])
        calibrated[held_out] = fitted.scale * centred[held_out] + fitted.offset
    return calibrated


# --- folds ------------------------------------------------------------------------------------------------------------


def folds_of(trials: Trials, groups: Sequence[Hashable] | None = None, folds: int = 5) -> Ints | None:
    """The fold of each utterance (N,), as `cross_fitted` deals them; None where a language cannot be left out in part.

    Raises:
        ValueError: where groups do not name one group an utterance.
    """
    num_languages = trials.scores.shape[1]
    if groups is not None:
        unit = _first_come(groups)
        if len(unit) != len(trials.truth):
            raise ValueError(f"groups must name one group an utterance: {len(trials.truth)} but got {len(unit)}.")
        fold = _deal(trials.truth, unit, num_languages, folds)
        if fold is not None:
            return fold
    return _deal(trials.truth, np.arange(len(trials.truth)), num_languages, folds)


def _first_come(groups: Sequence[Hashable]) -> Ints:
    """Groups numbered from 0 in order of appearance."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(group, len(numbers)) for group in groups], dtype=np.int64)


def _deal(truth: Ints, unit: Ints, num_languages: int, folds: int) -> Ints | None:
    """Deals units (groups or utterances) over folds in turn, language by language; None where that leaves a fold unfit.

    A unit belongs to the language of its first utterance.
    """
    _, first = np.unique(unit, return_index=True)
    unit_language = truth[first]  # (units,)
    units_per_language = np.bincount(unit_language, minlength=num_languages)
    num_folds = min(folds, int(units_per_language.min()))
    if num_folds < 2:  # noqa: PLR2004
        return None
    fold_of_unit = np.empty(len(unit_language), dtype=np.int64)
    for language in range(num_languages):
        own = unit_language == language
        fold_of_unit[own] = np.arange(own.sum()) % num_folds
    fold = fold_of_unit[unit]
    seen = np.zeros((num_folds, num_languages), dtype=np.int64)  # utterances in each fold
    np.add.at(seen, (fold, truth), 1)
    # Only groups that hold several languages can leave a language wholly inside one fold.
    return fold if bool((seen.sum(axis=0) - seen > 0).all()) else None


# --- the fit ----------------------------------------------------------------------------------------------------------


class _Problem(NamedTuple):
    """The penalised cross-entropy to minimise: standardised scores x (N, L), one-hot truth (N, L), weights w (N, 1)."""

    x: Floats
    one_hot: Floats
    w: Floats

    def log_posteriors(self, theta: Floats) -> Floats:
        return log_softmax(theta[0] * self.x + theta[1:])

    def value(self, theta: Floats, log_p: Floats) -> float:
        return float(-(self.w * self.one_hot * log_p).sum() + 0.5 * RIDGE * (theta @ theta))

    def gradient(self, theta: Floats, p: Floats) -> Floats:
        error = self.w * (p - self.one_hot)  # (N, L)
        return np.concatenate(([np.vdot(error, self.x)], error.sum(axis=0))) + RIDGE * theta

    def hessian(self, p: Floats) -> Floats:
        weighted = self.w * p  # (N, L)
        deviation = self.x - (p * self.x).sum(axis=1, keepdims=True)  # from each utterance's mean under p
        hessian = np.empty((p.shape[1] + 1, p.shape[1] + 1))
        hessian[0, 0] = np.vdot(weighted * deviation, deviation)
        hessian[0, 1:] = hessian[1:, 0] = (weighted * deviation).sum(axis=0)
        hessian[1:, 1:] = np.diag(weighted.sum(axis=0)) - weighted.T @ p
        hessian[np.diag_indices_from(hessian)] += RIDGE
        return hessian


def _centred(s: Floats) -> Floats:
    """Scores (N, L) less each utterance's mean, which carries nothing about the language."""
    return np.asarray(s - s.mean(axis=1, keepdims=True), dtype=np.float64)


def _fit(centred: Floats, truth: Ints) -> Calibration:
    num_languages = centred.shape[1]
    w = language_weights(truth, num_languages)[:, None]
    mean = (w * centred).sum(axis=0)  # (L,)
    spread = float(np.sqrt((w * (centred - mean) ** 2).sum() / num_languages))
    silent = Calibration(0.0, np.zeros(num_languages))
    if spread <= _FLAT * max(1.0, float(np.abs(centred).max())):
        return silent
    theta = _newton(_Problem((centred - mean) / spread, np.eye(num_languages)[truth], w))
    if theta[0] <= 0.0:
        # The problem is convex, so with a >= 0 the minimum lies at a = 0, where equal priors leave nothing to offset.
        return silent
    scale = float(theta[0]) / spread
    return Calibration(scale, theta[1:] - scale * mean)


def _newton(problem: _Problem) -> Floats:
    """The minimum (P,), by Newton steps that are halved until they descend."""
    theta = np.zeros(problem.x.shape[1] + 1)
    log_p = problem.log_posteriors(theta)
    value = problem.value(theta, log_p)
    for _ in range(_MAX_ITERATIONS):
        p = np.exp(log_p)
        gradient = problem.gradient(theta, p)
        step = -np.linalg.solve(problem.hessian(p), gradient)
        decrement = float(-gradient @ step)
        if decrement < _DECREMENT:
            break
        for _ in range(_MAX_HALVINGS):
            log_p = problem.log_posteriors(theta + step)
            stepped = problem.value(theta + step, log_p)
            if stepped <= value - 1e-4 * decrement:
                break
            step *= 0.5
            decrement *= 0.5
        else:
            break  # no descent is left at this precision
        theta, value = theta + step, stepped
    return theta
