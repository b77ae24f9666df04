"""How far stated probabilities can be believed: how often what was given a probability came true. Numpy only.

Sources: DeGroot & Fienberg, The Statistician 1983 (reliability diagram); Naeini et al., AAAI 2015 (expected calibration
error); Wilson, 1927 (interval of a proportion); Kish, Survey Sampling, 1965 (effective number).

Posteriors are those under equal priors, so utterances are weighted until every language counts the same, as in
scoring.py. Without that, honest scores look timid or boastful wherever an easy language has more utterances than a hard
one.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from lightning_modules.calibration import Bools, Floats, Ints, Trials, check_trials
from lightning_modules.scoring import log_posteriors_from_llr

Z95: Final = 1.959963984540054
"""Standard deviations of a normal on either side of its mean that hold 95 %."""


class Interval(NamedTuple):
    """Ends of a 95 % interval."""

    low: float
    high: float


class Reliability(NamedTuple):
    """Stated probability against how often it came true, by bin: (K,) each; bins without any are left out.

    Attributes:
        stated: mean in the bin.
        observed: share that came true.
        low: of observed, 95 % Wilson interval, as if utterances were independent.
        high: its other end.
        amount: statements in the bin.
        weight: the bin's share of all, languages counting the same; sums to 1.
        effective: equally weighted statements that would be worth as much: `amount` where languages have as many.
    """

    stated: Floats
    observed: Floats
    low: Floats
    high: Floats
    amount: Ints
    weight: Floats
    effective: Floats

    @property
    def gap(self) -> float:
        """Mean over statements of |stated - observed| of their bin: the expected calibration error."""
        return float(self.weight @ np.abs(self.stated - self.observed))

    @property
    def mean_stated(self) -> float:
        """Over all statements."""
        return float(self.weight @ self.stated)

    @property
    def mean_observed(self) -> float:
        """Over all statements."""
        return float(self.weight @ self.observed)

    @property
    def mean_interval(self) -> Interval:
        """Of `mean_observed`, by Wilson."""
        effective = 1.0 / (self.weight**2 / self.effective).sum(keepdims=True)
        low, high = wilson(np.array([self.mean_observed]), effective)
        return Interval(float(low[0]), float(high[0]))


def reliability_of_guesses(llr: ArrayLike, truth: ArrayLike, *, num_bins: int = 10) -> Reliability:
    """A statement an utterance: the probability of the recognised language, and whether it is that one.

    Args:
        llr: (N, L), in nats, against all other targets.
        truth: language index of each utterance (N,); languages may be without any.
        num_bins: of equal width over [0, 1].

    Raises:
        ValueError: for scores that are not finite, an index of no language, or fewer than one bin.
    """
    trials = check_trials(llr, truth, every_language=False)
    posteriors = np.exp(log_posteriors_from_llr(trials.scores))
    guess = posteriors.argmax(axis=1)
    stated = posteriors[np.arange(len(guess)), guess]
    return _binned(stated, guess == trials.truth, _weights(trials), num_bins)


def reliability_of_decisions(llr: ArrayLike, truth: ArrayLike, *, num_bins: int = 10) -> Reliability:
    """A statement a pair of utterance and target language: its probability, and whether it is that one.

    Of one utterance at most one statement is true, so that counts scatter less than the intervals allow for.

    Args:
        llr: (N, L), in nats, against all other targets.
        truth: language index of each utterance (N,); languages may be without any.
        num_bins: of equal width over [0, 1].

    Raises:
        ValueError: as `reliability_of_guesses`.
    """
    trials = check_trials(llr, truth, every_language=False)
    num_languages = trials.scores.shape[1]
    posteriors = np.exp(log_posteriors_from_llr(trials.scores))
    is_target = np.equal(trials.truth[:, None], np.arange(num_languages))
    weights = np.repeat(_weights(trials) / num_languages, num_languages)
    return _binned(posteriors.ravel(), is_target.ravel(), weights, num_bins)


def wilson(share: Floats, count: Floats | Ints) -> tuple[Floats, Floats]:
    """95 % interval of proportions (Wilson, 1927); both (K,)."""
    centre = share + Z95**2 / (2.0 * count)
    half = Z95 * np.sqrt(share * (1.0 - share) / count + Z95**2 / (4.0 * count**2))
    scale = 1.0 + Z95**2 / count
    return np.asarray((centre - half) / scale), np.asarray((centre + half) / scale)


def _weights(trials: Trials) -> Floats:
    """Of each utterance (N,), summing to 1: the same for each language that has some."""
    weights = 1.0 / np.bincount(trials.truth)[trials.truth]
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def _binned(stated: Floats, came_true: Bools, weights: Floats, num_bins: int) -> Reliability:
    """Statements (M,), whether they came true, and their weights, which sum to 1."""
    if num_bins < 1:
        raise ValueError(f"num_bins must be at least 1 but got {num_bins}.")
    bins = np.minimum((stated * num_bins).astype(np.int64), num_bins - 1)
    amount = np.bincount(bins, minlength=num_bins)
    used = amount > 0

    def total(values: Floats) -> Floats:
        return np.asarray(np.bincount(bins, weights=values, minlength=num_bins)[used], dtype=np.float64)

    weight = total(weights)
    observed = np.minimum(total(weights * came_true) / weight, 1.0)  # rounding must not make it more than all
    effective = weight**2 / total(weights**2)
    low, high = wilson(observed, effective)
    return Reliability(total(weights * stated) / weight, observed, low, high, amount[used], weight, effective)
