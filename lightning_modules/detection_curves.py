"""Detection error and cost over all thresholds. Numpy only.

Sources: Martin et al., Eurospeech 1997 (DET curve); Brümmer & du Preez, Computer Speech & Language 2006 (cost over
priors). Scores are log-likelihood ratios (N utterances, L languages), in nats; all pairs of utterance and language are
detection trials, weighted so that every language counts the same, as scoring.py does.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from lightning_modules.calibration import Floats, Trials, check_trials, language_weights
from lightning_modules.scoring import equal_error_rate


class DetCurve(NamedTuple):
    """Miss and false alarm rates over thresholds, from the lowest to the highest: (K,) each."""

    thresholds: Floats
    p_miss: Floats
    p_fa: Floats

    @property
    def eer(self) -> float:
        """Where both are equal, on the line between the two nearest points."""
        return equal_error_rate(self.p_miss, self.p_fa)


def det_curve(llr: ArrayLike, truth: ArrayLike) -> DetCurve:
    """All languages' detectors pooled: one threshold for all, every language weighing the same.

    Args:
        llr: (N, L), in nats.
        truth: language index of each utterance (N,).
    """
    trials = check_trials(llr, truth)
    target, weight = _pairs(trials)
    scores = trials.scores.ravel()
    order = np.argsort(scores, kind="stable")
    ordered, target, weight = scores[order], target[order], weight[order]
    distinct = np.concatenate(([True], ordered[1:] > ordered[:-1], [True]))  # equal scores share a threshold
    missed = np.concatenate(([0.0], np.cumsum(weight * target)))[distinct]
    spared = np.concatenate(([0.0], np.cumsum(weight * ~target)))[distinct]
    thresholds = np.concatenate((ordered, [np.inf]))[distinct]
    return DetCurve(thresholds, missed / missed[-1], 1.0 - spared / spared[-1])


class CostCurve(NamedTuple):
    """C_avg over the weight of false alarms, over what always saying no costs (1, or beta where that is less): (K,)."""

    log_beta: Floats
    actual: Floats
    least: Floats


def cost_curve(llr: ArrayLike, truth: ArrayLike, log_beta: ArrayLike) -> CostCurve:
    """Actual cost at the threshold ln beta, and the least over one threshold for all languages.

    Normalised by min(1, beta): what the better of always no and always yes costs.

    Args:
        llr: (N, L), in nats.
        truth: language index of each utterance (N,).
        log_beta: (K,), natural logarithms of LRE17's beta; 0 and ln 9 make up C_primary.
    """
    curve = det_curve(llr, truth)
    points = np.asarray(log_beta, dtype=np.float64)
    actual, least = [], []
    for point in points:
        beta = float(np.exp(point))
        place = int(np.searchsorted(curve.thresholds, point))
        default = min(1.0, beta)
        actual.append((curve.p_miss[place] + beta * curve.p_fa[place]) / default)
        least.append(float((curve.p_miss + beta * curve.p_fa).min()) / default)
    return CostCurve(points, np.array(actual), np.array(least))


def _pairs(trials: Trials) -> tuple[np.ndarray, Floats]:
    """Whether each (utterance, language) is a target trial, and its weight: both (N L,).

    A miss of T weighs 1 / (L n_T); a false alarm of T on an utterance of n weighs 1 / (L (L - 1) n_n).
    """
    num_languages = trials.scores.shape[1]
    target = np.equal(trials.truth[:, None], np.arange(num_languages))
    weight = language_weights(trials.truth, num_languages)[:, None] * np.where(target, 1.0, 1.0 / (num_languages - 1))
    return target.ravel(), weight.ravel()
