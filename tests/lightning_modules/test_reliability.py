"""Stated probabilities against what came true: by a loop, by scipy's interval, and by scores whose odds are known."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from lightning_modules import scoring
from lightning_modules.reliability import (
    Reliability,
    reliability_of_decisions,
    reliability_of_guesses,
    wilson,
)

Rule = Callable[[np.ndarray, np.ndarray], Reliability]
BOTH = pytest.mark.parametrize("reliability", [reliability_of_guesses, reliability_of_decisions])


def _honest(seed: int, counts: tuple[int, ...], *, boast: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """LLRs from true densities times a factor; the first language is easier than the others."""
    rng = np.random.default_rng(seed)
    means = np.diag([2.0] + [0.5] * (len(counts) - 1))
    truth = np.repeat(np.arange(len(counts)), counts)
    x = rng.standard_normal((len(truth), len(counts))) + means[truth]
    likelihood = x @ means.T - 0.5 * (means**2).sum(axis=1)
    return scoring.llr_from_log_likelihoods(boast * likelihood), truth


def _looped(llr: np.ndarray, truth: np.ndarray, *, all_pairs: bool) -> list[tuple[float, float, int]]:
    """Stated, observed and amount of each of ten bins, a statement at a time."""
    posteriors = np.exp(scoring.log_posteriors_from_llr(llr))
    bins: dict[int, list[tuple[float, float, bool]]] = {}
    for row, language in enumerate(truth):
        weight = 1.0 / (truth == language).sum()
        for guess in range(llr.shape[1]) if all_pairs else [int(posteriors[row].argmax())]:
            stated = float(posteriors[row, guess])
            bins.setdefault(min(int(10 * stated), 9), []).append((weight, stated, guess == language))
    result = []
    for _, members in sorted(bins.items()):
        total = sum(weight for weight, _, _ in members)
        stated = sum(weight * value for weight, value, _ in members) / total
        result.append((stated, sum(weight * came for weight, _, came in members) / total, len(members)))
    return result


@BOTH
@given(seed=st.integers(0, 30))
def test_bins_are_those_of_a_loop(reliability: Rule, seed: int) -> None:
    llr, truth = _honest(seed, (9, 4, 13))
    found = reliability(llr, truth)
    expected = _looped(llr, truth, all_pairs=reliability is reliability_of_decisions)
    np.testing.assert_allclose(np.transpose([found.stated, found.observed]), [row[:2] for row in expected], atol=1e-12)
    assert found.amount.tolist() == [row[2] for row in expected]
    assert found.weight.sum() == pytest.approx(1.0)


@given(right=st.integers(0, 30), count=st.integers(1, 30))
def test_the_interval_is_wilsons(right: int, count: int) -> None:
    right = min(right, count)
    low, high = wilson(np.array([right / count]), np.array([count]))
    expected = binomtest(right, count).proportion_ci(method="wilson")
    assert low[0] == pytest.approx(expected.low, abs=1e-9)
    assert high[0] == pytest.approx(expected.high, abs=1e-9)


@BOTH
def test_where_languages_have_as_many_utterances_each_statement_counts_as_one(reliability: Rule) -> None:
    found = reliability(*_honest(1, (20, 20, 20)))
    np.testing.assert_allclose(found.effective, found.amount)
    low, high = wilson(found.observed, found.amount)
    np.testing.assert_allclose([found.low, found.high], [low, high])


@BOTH
@given(seed=st.integers(0, 30))
def test_a_language_said_three_times_over_changes_nothing_but_the_amounts(reliability: Rule, seed: int) -> None:
    llr, truth = _honest(seed, (6, 9, 7))
    rows = np.concatenate([np.arange(len(truth)), *[np.flatnonzero(truth == 0)] * 2])
    once, thrice = reliability(llr, truth), reliability(llr[rows], truth[rows])
    np.testing.assert_allclose(once.observed, thrice.observed, atol=1e-12)
    np.testing.assert_allclose(once.stated, thrice.stated, atol=1e-12)
    assert once.gap == pytest.approx(thrice.gap)


@BOTH
@pytest.mark.parametrize("counts", [(5000, 5000, 5000), (20_000, 2000, 2000), (2000, 2000, 20_000)])
def test_honest_scores_are_reliable_whatever_a_language_has_of_utterances(
    reliability: Rule, counts: tuple[int, ...]
) -> None:
    honest = reliability(*_honest(0, counts))
    assert honest.gap < 0.02
    assert reliability(*_honest(0, counts, boast=3.0)).gap > 3 * honest.gap


def test_the_mean_is_accuracy_over_languages_and_its_interval_holds_it() -> None:
    llr, truth = _honest(3, (30, 12, 50))
    found = reliability_of_guesses(llr, truth)
    assert found.mean_observed == pytest.approx(scoring.macro_accuracy(llr, truth))
    assert found.mean_interval.low < found.mean_observed < found.mean_interval.high


def test_the_interval_of_the_mean_holds_what_honest_scores_state_nineteen_times_of_twenty() -> None:
    held = [
        found.mean_interval.low <= found.mean_stated <= found.mean_interval.high
        for found in (reliability_of_guesses(*_honest(seed, (60, 20, 40))) for seed in range(400))
    ]
    assert 0.92 < np.mean(held) < 0.99


def test_all_pairs_state_one_in_so_many_languages_on_average() -> None:
    found = reliability_of_decisions(*_honest(2, (8, 5, 9, 4)))
    assert (found.mean_stated, found.mean_observed) == pytest.approx((0.25, 0.25))
    assert found.amount.sum() == 4 * 26


def test_languages_may_be_without_utterances() -> None:
    llr, truth = _honest(4, (10, 10, 10))
    assert reliability_of_guesses(llr[:20], truth[:20]).amount.sum() == 20


def test_no_bins_are_refused() -> None:
    with pytest.raises(ValueError, match="num_bins must be at least 1 but got 0"):
        reliability_of_guesses(*_honest(0, (2, 2)), num_bins=0)
