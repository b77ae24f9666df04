"""Curves over thresholds against the scores at single ones."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_modules import scoring
from lightning_modules.detection_curves import cost_curve, det_curve


def _random(seed: int, counts: tuple[int, ...] = (5, 9, 7)) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(len(counts)), counts)
    scores = np.round(2.0 * rng.standard_normal((len(truth), len(counts))), 1)  # some are equal
    scores[np.arange(len(truth)), truth] += 1.5
    return scoring.llr_from_log_likelihoods(scores), truth


@given(seed=st.integers(0, 40), log_beta=st.floats(-4, 4))
def test_the_cost_at_a_point_is_that_of_the_score(seed: int, log_beta: float) -> None:
    llr, truth = _random(seed)
    curve = cost_curve(llr, truth, [log_beta])
    beta = math.exp(log_beta)
    assert curve.actual[0] * min(1.0, beta) == pytest.approx(scoring.c_avg(llr, truth, beta=beta), abs=1e-9)
    assert curve.least[0] * min(1.0, beta) == pytest.approx(scoring.min_cost(llr, truth, beta=beta).common, abs=1e-9)
    assert curve.least[0] <= min(1.0, curve.actual[0]) + 1e-12, "at worst, always no or always yes"


def test_c_primary_is_the_mean_of_two_points() -> None:
    llr, truth = _random(3)
    curve = cost_curve(llr, truth, [0.0, math.log(9.0)])
    assert curve.actual.mean() == pytest.approx(scoring.c_primary(llr, truth))


@given(seed=st.integers(0, 40))
def test_a_curve_falls_from_all_accepted_to_none(seed: int) -> None:
    curve = det_curve(*_random(seed))
    assert (curve.p_miss[0], curve.p_fa[0]) == (0.0, 1.0)
    assert curve.p_miss[-1] == 1.0
    assert curve.p_fa[-1] == pytest.approx(0.0, abs=1e-12)
    assert (np.diff(curve.p_miss) >= 0).all()
    assert (np.diff(curve.p_fa) <= 1e-12).all()


def test_of_two_languages_with_as_many_utterances_the_equal_error_rate_is_the_score_s() -> None:
    rng = np.random.default_rng(5)
    truth = np.repeat([0, 1], 40)
    one = rng.standard_normal(40) + 0.8
    llr = np.stack([np.concatenate([one, -one]), np.concatenate([-one, one])], axis=1)
    assert det_curve(llr, truth).eer == pytest.approx(scoring.eer(llr, truth))


def test_every_language_weighs_the_same_whatever_it_has_of_utterances() -> None:
    llr, truth = _random(7)
    rows = np.concatenate([np.arange(len(truth)), np.flatnonzero(truth == 0), np.flatnonzero(truth == 0)])
    once, thrice = det_curve(llr, truth), det_curve(llr[rows], truth[rows])
    np.testing.assert_allclose(once.p_miss, thrice.p_miss, atol=1e-12)
    np.testing.assert_allclose(once.p_fa, thrice.p_fa, atol=1e-12)
