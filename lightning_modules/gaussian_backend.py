"""A Gaussian backend: scores or embeddings to log-likelihoods, by a mean a language and one covariance for all.

The linear Gaussian classifier behind the systems of NIST's language recognition evaluations (Singer et al., Odyssey
2003; Brümmer & van Leeuwen, Odyssey 2006), followed there as here by a multiclass logistic regression (FoCal). Every
language counts the same, whatever it has of utterances. Numpy only.

Shapes: N utterances, D dimensions, L languages.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from lightning_modules.calibration import (
    Calibration,
    Floats,
    Ints,
    check_scores,
    check_trials,
    fit_calibration,
    folds_of,
    language_weights,
)

SHRINKAGE: Final = 0.01
"""Of the covariance towards a multiple of the identity: decides where utterances are hardly more than dimensions."""
LEAST_UTTERANCES: Final = 3
"""Of each language, for a regression after the Gaussians: with one left out, two still have a spread."""
_FLAT: Final = 1e-12


@dataclass(frozen=True)
class GaussianBackend:
    """Log-likelihoods W x + b of each language, up to a constant an utterance.

    Attributes:
        weight: (D, L).
        bias: (L,).
    """

    weight: Floats
    bias: Floats

    def apply(self, x: ArrayLike) -> Floats:
        """(N, D) of what it was fitted on -> log-likelihoods (N, L), in nats."""
        return np.asarray(np.asarray(x, dtype=np.float64) @ self.weight + self.bias, dtype=np.float64)


def fit_gaussian_backend(
    x: ArrayLike, truth: ArrayLike, *, num_languages: int, shrinkage: float = SHRINKAGE
) -> GaussianBackend:
    """Maximum likelihood, each language weighing the same.

    Args:
        x: (N, D) scores or embeddings.
        truth: language index of each utterance (N,).
        num_languages: L; every language needs an utterance.
        shrinkage: 0 leaves the covariance as it is, 1 makes it a multiple of the identity.

    Raises:
        ValueError: for values that are not finite, a language without utterances, a shrinkage outside [0, 1], or a
            covariance that cannot be inverted.
    """
    if not 0.0 <= shrinkage <= 1.0:
        raise ValueError(f"shrinkage must lie between 0 and 1 but got {shrinkage}.")
    values = np.asarray(x, dtype=np.float64)
    if values.ndim != 2 or not np.isfinite(values).all():  # noqa: PLR2004
        raise ValueError(f"x must be finite, (utterances, dimensions), but got shape {values.shape}.")
    languages = check_trials(np.zeros((len(values), num_languages)), truth).truth
    means_LD = np.stack([values[languages == each].mean(axis=0) for each in range(num_languages)])
    centred = values - means_LD[languages]
    covariance_DD = (centred * language_weights(languages, num_languages)[:, None]).T @ centred
    average = float(np.trace(covariance_DD)) / len(covariance_DD)
    if average <= _FLAT:
        raise ValueError("x must vary within languages, but does not.")
    covariance_DD = (1.0 - shrinkage) * covariance_DD + shrinkage * average * np.eye(len(covariance_DD))
    try:
        weight = np.linalg.solve(covariance_DD, means_LD.T)
    except np.linalg.LinAlgError:
        raise ValueError("the covariance cannot be inverted; shrinkage must be positive.") from None
    return GaussianBackend(weight, -0.5 * np.einsum("ld,dl->l", means_LD, weight))


def without_common(s: ArrayLike) -> Floats:
    """Log-likelihoods (N, L) in L - 1 dimensions: an utterance's common constant, which says nothing, is gone.

    An orthonormal basis of what is orthogonal to (1, …, 1): Helmert's.
    """
    scores = np.asarray(s, dtype=np.float64)
    num_languages = scores.shape[1]
    basis = np.zeros((num_languages, num_languages - 1))
    for column in range(num_languages - 1):
        basis[: column + 1, column] = 1.0
        basis[column + 1, column] = -(column + 1.0)
    return np.asarray(scores @ (basis / np.linalg.norm(basis, axis=0)), dtype=np.float64)


@dataclass(frozen=True)
class CalibratedGaussians:
    """Gaussians over score vectors, and how far their log-likelihoods can be believed.

    Attributes:
        gaussians: fitted on scores without their common constant, (L - 1) dimensions.
        calibration: of what they give; a scale of 1 and no offsets where too few utterances are left to fit it on.
    """

    gaussians: GaussianBackend
    calibration: Calibration

    def apply(self, s: ArrayLike) -> Floats:
        """Log-likelihoods (N, L), in nats, up to a constant an utterance -> the same of the languages, (N, L)."""
        return self.calibration.apply(self.gaussians.apply(without_common(check_scores(s))))


def fit_calibrated_gaussians(
    s: ArrayLike, truth: ArrayLike, *, groups: Sequence[Hashable] | None = None
) -> CalibratedGaussians:
    """Gaussians over score vectors, then the logistic regression of calibration.py.

    Few utterances make Gaussians overconfident, most of all on those utterances themselves: the regression is fitted on
    what Gaussians of the other folds say of each. (On what they say of their own it makes things worse, and so it does
    where a speaker is on both sides of a fold.)

    Args:
        s: log-likelihoods (N, L), in nats, each utterance up to a constant.
        truth: language index of each utterance (N,); every language needs one, and LEAST_UTTERANCES for a regression.
        groups: speakers, a value an utterance (N,): folds keep them whole, as those of `cross_fitted`.

    Raises:
        ValueError: as `fit_gaussian_backend`.
    """
    trials = check_trials(s, truth)
    x, num_languages = without_common(trials.scores), trials.scores.shape[1]
    gaussians = fit_gaussian_backend(x, trials.truth, num_languages=num_languages)
    fold = folds_of(trials, groups)
    if fold is None or np.bincount(trials.truth).min() < LEAST_UTTERANCES:
        return CalibratedGaussians(gaussians, Calibration(1.0, np.zeros(num_languages)))
    if not _can_vary(fold, trials.truth):
        fold = folds_of(trials)
        assert fold is not None
    held_out = np.empty_like(trials.scores)
    for number in range(int(fold.max()) + 1):
        own = fold == number
        fitted = fit_gaussian_backend(x[~own], trials.truth[~own], num_languages=num_languages)
        held_out[own] = fitted.apply(x[own])
    return CalibratedGaussians(gaussians, fit_calibration(held_out, trials.truth))


def _can_vary(fold: Ints, truth: Ints) -> bool:
    """Whether some language keeps two utterances whichever fold is left out."""
    return all(np.bincount(truth[fold != number]).max() > 1 for number in range(int(fold.max()) + 1))
