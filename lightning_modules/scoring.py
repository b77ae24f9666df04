"""Detection scores of language recognition: C_avg, C_primary, EER, Cllr, accuracy. Numpy only.

Sources: NIST LRE 2007 and LRE 2017 evaluation plans (C_avg, C_primary); Brümmer & van Leeuwen, Odyssey 2006
(multiclass Cllr). Scores are log-likelihood ratios in nats, (N utterances, L languages), positive for "this
language"; an utterance is accepted as a language where its LLR >= ln beta. `truth` holds each utterance's language
index. Rates are fractions, and every mean is taken over languages first, so that no result depends on how many
utterances a language has.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from lightning_modules.calibration import (
    RIDGE,
    Bools,
    Calibration,
    Floats,
    Ints,
    Trials,
    check_scores,
    check_trials,
    cross_fitted,
    fit_calibration,
    language_weights,
    log_softmax,
)

__all__ = [
    "RIDGE",
    "Calibration",
    "MinCost",
    "Scores",
    "accuracy",
    "c_avg",
    "c_avg_lre07",
    "c_primary",
    "cllr",
    "cllr_bound",
    "confusion",
    "cross_fitted",
    "eer",
    "eer_per_language",
    "fit_calibration",
    "llr_from_log_likelihoods",
    "llr_from_log_posteriors",
    "log_posteriors_from_llr",
    "macro_accuracy",
    "min_cost",
    "recall_per_language",
    "score",
]


# --- from one kind of score to another --------------------------------------------------------------------------------


def llr_from_log_likelihoods(s: ArrayLike) -> Floats:
    """LLR_t = s_t - ln[1/(L-1) sum_{j != t} exp s_j]: a language against the equal mixture of the others.

    Args:
        s: log-likelihoods (N, L), in nats, each utterance up to a constant.

    Returns:
        Log-likelihood ratios (N, L), in nats.

    Raises:
        ValueError: for scores that are not finite.
    """
    scores = check_scores(s)
    rows = np.arange(len(scores))
    best = scores.argmax(axis=1)
    shifted = scores - scores[rows, best][:, None]  # <= 0, and 0 at the best
    likelihood = np.exp(shifted)
    # For all but the best language the others hold the best, so their sum is at least 1 and the subtraction is safe.
    # For the best one it would cancel: its others are summed by themselves, from their own maximum.
    others = np.log(np.maximum(likelihood.sum(axis=1, keepdims=True) - likelihood, 1.0))
    rest = shifted.copy()
    rest[rows, best] = -np.inf
    second = rest.max(axis=1)
    others[rows, best] = second + np.log(np.exp(rest - second[:, None]).sum(axis=1))
    return np.asarray(shifted - others + np.log(scores.shape[1] - 1), dtype=np.float64)


def llr_from_log_posteriors(log_posteriors: ArrayLike, prior: ArrayLike | None = None) -> Floats:
    """LLRs (N, L), in nats, from log posteriors (N, L): the prior that they hold is taken out first.

    Args:
        log_posteriors: (N, L), in nats; rows need not be normalised.
        prior: (L,) positive, the languages' shares in what the model was trained on (with balanced batches, the
            sampler's); None means equal shares.

    Raises:
        ValueError: for scores that are not finite, or a prior that is not a distribution over the L languages.
    """
    scores = check_scores(log_posteriors)
    if prior is None:
        return llr_from_log_likelihoods(scores)
    shares = np.asarray(prior, dtype=np.float64)
    if shares.shape != scores.shape[1:]:
        raise ValueError(f"prior must have one share a language, shape {scores.shape[1:]}, but got {shares.shape}.")
    if not (shares > 0).all() or not np.isclose(shares.sum(), 1.0):
        raise ValueError(f"prior must hold positive shares that sum to 1 but got {shares.tolist()}.")
    return llr_from_log_likelihoods(scores - np.log(shares))


def log_posteriors_from_llr(llr: ArrayLike) -> Floats:
    """Log posteriors (N, L) under equal priors, in nats: `llr_from_log_likelihoods` undone.

    ln p_t = -ln(1 + (L-1) exp(-LLR_t)), then normalised over languages, which changes nothing unless the LLRs
    contradict each other (as those of L independent detectors may).
    """
    ratios = check_scores(llr)
    return log_softmax(-np.logaddexp(0.0, np.log(ratios.shape[1] - 1) - ratios))


# --- decisions --------------------------------------------------------------------------------------------------------


def confusion(llr: ArrayLike, truth: ArrayLike) -> Ints:
    """Counts (L true, L recognised), recognising the language with the largest score (the first of equals)."""
    trials = check_trials(llr, truth, every_language=False)
    counts = np.zeros((trials.scores.shape[1],) * 2, dtype=np.int64)
    np.add.at(counts, (trials.truth, trials.scores.argmax(axis=1)), 1)
    return counts


def accuracy(llr: ArrayLike, truth: ArrayLike) -> float:
    """Share of utterances whose language has the largest score, 0..1."""
    counts = confusion(llr, truth)
    return float(counts.trace() / counts.sum())


def recall_per_language(llr: ArrayLike, truth: ArrayLike) -> Floats:
    """Share of each language's utterances for which it has the largest score, (L,)."""
    trials = check_trials(llr, truth)
    counts = confusion(*trials)
    return np.asarray(counts.diagonal() / counts.sum(axis=1), dtype=np.float64)


def macro_accuracy(llr: ArrayLike, truth: ArrayLike) -> float:
    """Mean over languages of `recall_per_language`, 0..1; chance is 1/L."""
    return float(recall_per_language(llr, truth).mean())


# --- detection costs --------------------------------------------------------------------------------------------------


def c_avg_lre07(llr: ArrayLike, truth: ArrayLike) -> float:
    """C_avg of NIST LRE07: (1/L) sum_T [P_miss(T)/2 + 1/(2(L-1)) sum_{n != T} P_fa(T,n)], threshold 0; chance 0.5."""
    return 0.5 * c_avg(llr, truth, beta=1.0)


def c_avg(llr: ArrayLike, truth: ArrayLike, beta: float) -> float:
    """C_avg(beta) of NIST LRE17, at the threshold ln beta.

    (1/L) { sum_T P_miss(T) + beta/(L-1) sum_T sum_{n != T} P_fa(T,n) }, with beta = C_fa (1-P_T) / (C_miss P_T).

    Args:
        llr: log-likelihood ratios (N, L), in nats.
        truth: language index of each utterance (N,).
        beta: weight of false alarms, > 0: 1 for P_T = .5, 9 for P_T = .1.
    """
    trials = check_trials(llr, truth)
    return float(_error_costs(trials, beta)[_decided_wrongly(trials, _log_beta(beta))].sum())


def c_primary(llr: ArrayLike, truth: ArrayLike) -> float:
    """C_primary of NIST LRE17: the mean of C_avg(1) and C_avg(9); 1 for LLRs that are all zero, 6 at worst."""
    return 0.5 * (c_avg(llr, truth, beta=1.0) + c_avg(llr, truth, beta=9.0))


class MinCost(NamedTuple):
    """The least C_avg(beta) that thresholds chosen on the data itself would give: a floor, not a result.

    Attributes:
        common: with one threshold for all languages.
        per_language: with a threshold for each language.
    """

    common: float
    per_language: float


def min_cost(llr: ArrayLike, truth: ArrayLike, beta: float = 1.0) -> MinCost:
    """Minimum of C_avg(beta) over thresholds (shapes and beta as in `c_avg`)."""
    trials = check_trials(llr, truth)
    _log_beta(beta)
    costs = _error_costs(trials, beta)
    is_target = _is_target(trials)
    common = _least_cost(trials.scores.ravel(), costs.ravel(), is_target.ravel())
    per_language = sum(_least_cost(*columns) for columns in zip(trials.scores.T, costs.T, is_target.T, strict=True))
    return MinCost(common, per_language)


def _is_target(trials: Trials) -> Bools:
    return np.equal(trials.truth[:, None], np.arange(trials.scores.shape[1]))


def _log_beta(beta: float) -> float:
    if not 0.0 < beta < np.inf:
        raise ValueError(f"beta must be positive and finite but got {beta}.")
    return float(np.log(beta))


def _error_costs(trials: Trials, beta: float) -> Floats:
    """What a wrong decision on each (utterance, language) adds to C_avg(beta), (N, L)."""
    num_languages = trials.scores.shape[1]
    weights = language_weights(trials.truth, num_languages)[:, None]
    return weights * np.where(_is_target(trials), 1.0, beta / (num_languages - 1))


def _decided_wrongly(trials: Trials, threshold: float) -> Bools:
    return np.not_equal(trials.scores >= threshold, _is_target(trials))


def _least_cost(scores: Floats, costs: Floats, is_target: Bools) -> float:
    """Least cost over thresholds; all arguments (M,)."""
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    # Raising the threshold past a score turns a target into a miss and spares a false alarm.
    change = np.where(is_target, costs, -costs)[order]
    cost = costs[~is_target].sum() + np.concatenate(([0.0], np.cumsum(change)))
    distinct = np.concatenate(([True], ordered[1:] > ordered[:-1], [True]))  # equal scores share a threshold
    return float(max(cost[distinct].min(), 0.0))


# --- EER --------------------------------------------------------------------------------------------------------------


def eer(llr: ArrayLike, truth: ArrayLike) -> float:
    """Mean over languages of `eer_per_language`, 0..1."""
    return float(eer_per_language(llr, truth).mean())


def eer_per_language(llr: ArrayLike, truth: ArrayLike) -> Floats:
    """Equal error rate of each language's detector, (L,): where P_miss = P_fa on the linearly interpolated ROC.

    All utterances of other languages count alike as non-targets.
    """
    trials = check_trials(llr, truth)
    is_target = _is_target(trials)
    return np.array([_eer(scores, target) for scores, target in zip(trials.scores.T, is_target.T, strict=True)])


def _eer(scores: Floats, is_target: Bools) -> float:
    """Equal error rate of one detector; both arguments (N,)."""
    order = np.argsort(scores, kind="stable")
    ordered = scores[order]
    target = is_target[order]
    distinct = np.concatenate(([True], ordered[1:] > ordered[:-1], [True]))
    p_miss = np.concatenate(([0], np.cumsum(target)))[distinct] / target.sum()
    p_fa = 1.0 - np.concatenate(([0], np.cumsum(~target)))[distinct] / (~target).sum()
    return equal_error_rate(p_miss, p_fa)


def equal_error_rate(p_miss: Floats, p_fa: Floats) -> float:
    """Where both are equal, on the line between the two nearest of the points (K,), from the lowest threshold up."""
    gap = p_miss - p_fa  # rises with the threshold, from -1 to 1 where the first point accepts all
    after = int(np.argmax(gap >= 0.0))
    if after == 0:
        return float(p_miss[0])
    share = gap[after] / (gap[after] - gap[after - 1])  # of the way back to the point before
    return float(p_miss[after] + share * (p_miss[after - 1] - p_miss[after]))


# --- Cllr -------------------------------------------------------------------------------------------------------------


def cllr(llr: ArrayLike, truth: ArrayLike) -> float:
    """Multiclass Cllr in bits: (1/L) sum_t mean_{i in t} -log2 p_t(i), with posteriors p under equal priors.

    No knowledge costs log2 L.
    """
    trials = check_trials(llr, truth)
    return _cross_entropy_bits(log_posteriors_from_llr(trials.scores), trials.truth)


def cllr_bound(num_languages: int) -> float:
    """2 log2 L bits, twice what no knowledge costs: the clamp of calibrated Cllr, and what divergence counts as."""
    return float(2.0 * np.log2(num_languages))


def _cross_entropy_bits(log_posteriors: Floats, truth: Ints) -> float:
    weights = language_weights(truth, log_posteriors.shape[1])
    return float(-(weights * log_posteriors[np.arange(len(truth)), truth]).sum() / np.log(2.0))


def calibrated_llr(llr: ArrayLike, *, development: ArrayLike, truth: ArrayLike) -> Floats:
    """Log-likelihood ratios (N, L), calibrated by a multiclass logistic regression on development scores.

    Args:
        llr: log-likelihood ratios (N, L) to calibrate, in nats.
        development: log-likelihood ratios (M, L) that it is fitted on.
        truth: their language index (M,).

    Raises:
        ValueError: for scores that are not finite, or a language without development utterances.
    """
    fitted = fit_calibration(log_posteriors_from_llr(development), truth)
    return llr_from_log_likelihoods(fitted.apply(log_posteriors_from_llr(llr)))


# --- each language ---------------------------------------------------------------------------------------------------


class LanguageScore(NamedTuple):
    """Scores of one target language.

    Attributes:
        recall: share of its utterances that were recognised.
        eer: equal error rate of its detector, all others counted alike.
        p_miss: share of its utterances that the detector rejects at even odds (LLR below 0).
        p_fa: share of other languages' utterances that it accepts there, the mean over these languages.
        cllr: bits that knowing nothing but the scores costs on its utterances.
    """

    recall: float
    eer: float
    p_miss: float
    p_fa: float
    cllr: float


def score_per_language(llr: ArrayLike, truth: ArrayLike) -> tuple[LanguageScore, ...]:
    """Each language's scores, in the order of the columns; C_avg(1) / 2 is the mean of p_miss and p_fa.

    Args:
        llr: log-likelihood ratios (N, L), in nats.
        truth: language index of each utterance (N,).

    Raises:
        ValueError: for scores that are not finite, or a language without utterances.
    """
    trials = check_trials(llr, truth)
    num_languages = trials.scores.shape[1]
    wrong = _decided_wrongly(trials, 0.0)
    rates_LL = np.array([wrong[trials.truth == spoken].mean(axis=0) for spoken in range(num_languages)])
    others_LL = rates_LL * (1.0 - np.eye(num_languages))
    lost_N = -log_posteriors_from_llr(trials.scores)[np.arange(len(trials.truth)), trials.truth] / np.log(2.0)
    columns = zip(
        recall_per_language(*trials),
        eer_per_language(*trials),
        rates_LL.diagonal(),
        others_LL.sum(axis=0) / (num_languages - 1),
        (lost_N[trials.truth == spoken].mean() for spoken in range(num_languages)),
        strict=True,
    )
    return tuple(LanguageScore(*map(float, values)) for values in columns)


# --- all of them ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What is reported of a set of scored utterances.

    Attributes:
        accuracy: share of utterances recognised, 0..1.
        macro_accuracy: mean over languages of that share.
        c_avg: C_avg of LRE07, raw scores.
        c_primary: C_primary of LRE17, raw scores.
        c_primary_calibrated: the same of cross-fitted calibrated scores.
        eer: mean over languages, raw scores.
        cllr: bits, raw scores.
        cllr_calibrated: bits, cross-fitted calibrated scores, clamped to 2 log2 L.
    """

    accuracy: float
    macro_accuracy: float
    c_avg: float
    c_primary: float
    c_primary_calibrated: float
    eer: float
    cllr: float
    cllr_calibrated: float


def score(
    llr: ArrayLike,
    truth: ArrayLike,
    *,
    groups: Sequence[Hashable] | None = None,
    calibrated: Floats | None = None,
) -> Scores:
    """Every score of one set of utterances.

    Args:
        llr: log-likelihood ratios (N, L), in nats; log-likelihoods go through `llr_from_log_likelihoods` first.
        truth: language index of each utterance (N,).
        groups: recordings or speakers (N,) that the cross-fitted calibration does not split (see `cross_fitted`).
        calibrated: what `cross_fitted` made of the same utterances, where that is known already.

    Raises:
        ValueError: for scores that are not finite, or a language without utterances.
    """
    trials = check_trials(llr, truth)
    log_posteriors = log_posteriors_from_llr(trials.scores)
    if calibrated is None:
        calibrated = cross_fitted(log_posteriors, trials.truth, groups=groups)
    num_languages = trials.scores.shape[1]
    return Scores(
        accuracy=accuracy(*trials),
        macro_accuracy=macro_accuracy(*trials),
        c_avg=c_avg_lre07(*trials),
        c_primary=c_primary(*trials),
        c_primary_calibrated=c_primary(llr_from_log_likelihoods(calibrated), trials.truth),
        eer=eer(*trials),
        cllr=_cross_entropy_bits(log_posteriors, trials.truth),
        cllr_calibrated=min(_cross_entropy_bits(log_softmax(calibrated), trials.truth), cllr_bound(num_languages)),
    )
