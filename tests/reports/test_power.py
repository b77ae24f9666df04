"""What a paired design can see: against scipy's noncentral t, and against simulated studies."""

import numpy as np
import pytest
from scipy import stats

from reports.ablation_statistics import paired_effect, verdict
from reports.power import (
    SIMULATED_PAIRS,
    _t_power,
    seeds_to_decide,
    smallest_detectable_effect,
    smallest_separable_effect,
)


def power_of(effect_in_sd: float, *, num_pairs: int, alpha: float) -> float:
    """That the two-sided paired t-test rejects."""
    return _t_power(effect_in_sd * num_pairs**0.5, num_pairs - 1, alpha)


@pytest.mark.parametrize("num_pairs", [2, 3, 5, 8, 20, 100])
@pytest.mark.parametrize("alpha", [0.05, 0.01])
@pytest.mark.parametrize("effect_in_sd", [0.0, 0.3, 1.0, 1.6])
def test_power_is_that_of_the_noncentral_t_distribution(num_pairs: int, alpha: float, effect_in_sd: float) -> None:
    quantile = stats.t.ppf(1 - alpha / 2, num_pairs - 1)
    noncentral = stats.nct(num_pairs - 1, effect_in_sd * num_pairs**0.5)
    far = noncentral.cdf(-quantile) if effect_in_sd * num_pairs**0.5 < 4 else 0.0  # NaN at places
    power = power_of(effect_in_sd, num_pairs=num_pairs, alpha=alpha)
    assert power == pytest.approx(noncentral.sf(quantile) + far, abs=1e-6)


@pytest.mark.parametrize(("num_pairs", "alpha", "effect_in_sd"), [(6, 0.05, 21.23), (31, 0.001, 1.0), (400, 0.05, 9.0)])
def test_power_is_a_probability_where_scipy_has_none(num_pairs: int, alpha: float, effect_in_sd: float) -> None:
    assert 0.9 < power_of(effect_in_sd, num_pairs=num_pairs, alpha=alpha) <= 1.0 + 1e-9


@pytest.mark.parametrize("num_pairs", [2, 5, 8, 30])
@pytest.mark.parametrize("num_comparisons", [1, 5])
def test_detectable_effect_has_the_power_that_was_asked_for(num_pairs: int, num_comparisons: int) -> None:
    effect = smallest_detectable_effect(0.04, num_pairs=num_pairs, num_comparisons=num_comparisons, power=0.9)
    assert effect is not None
    power = power_of(effect / 0.04, num_pairs=num_pairs, alpha=0.05 / num_comparisons)
    assert power == pytest.approx(0.9, abs=1e-6)


def test_detectable_effect_agrees_with_published_sample_sizes() -> None:
    """Cohen (1988), table 2.4.1 for one sample: d = 0.5 at power 0.8 and 0.05 takes 34 pairs."""
    effect, before = (smallest_detectable_effect(1.0, num_pairs=number) for number in (34, 33))
    assert effect is not None
    assert before is not None
    assert effect < 0.5 < before


def test_one_pair_detects_nothing() -> None:
    assert smallest_detectable_effect(0.1, num_pairs=1) is None
    assert smallest_separable_effect(0.1, num_pairs=1) is None


def test_without_spread_every_effect_is_detected() -> None:
    assert smallest_detectable_effect(0.0, num_pairs=5) == 0.0


def test_too_few_seeds_for_the_correction_separate_nothing() -> None:
    assert smallest_separable_effect(0.1, num_pairs=7, num_comparisons=5) is None
    assert smallest_separable_effect(0.1, num_pairs=8, num_comparisons=5) is not None


def test_at_the_fewest_seeds_all_differences_have_to_agree() -> None:
    """Then the rule's power is P(all n have one sign) = F(d)^n, which has an inverse in closed form."""
    expected = stats.norm.ppf(0.8 ** (1 / 8))
    assert smallest_separable_effect(1.0, num_pairs=8, num_comparisons=5) == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(("num_pairs", "num_comparisons"), [(6, 1), (8, 1), (8, 3), (10, 5)])
def test_separable_effect_is_found_in_four_of_five_simulated_studies(num_pairs: int, num_comparisons: int) -> None:
    effect = smallest_separable_effect(0.05, num_pairs=num_pairs, num_comparisons=num_comparisons)
    assert effect is not None
    arms = effect + 0.05 * np.random.default_rng(5).standard_normal((2_000, num_pairs))
    base = dict.fromkeys(range(num_pairs), 0.0)
    found = 0
    for arm in arms:
        compared = paired_effect(base, dict(enumerate(arm.tolist())))
        assert compared.p_value is not None
        found += verdict(compared, adjusted_p=num_comparisons * compared.p_value) == "worse"
    assert found / len(arms) == pytest.approx(0.8, abs=0.03)


def test_the_rule_asks_the_interval_where_the_sign_flips_ask_little() -> None:
    lax = smallest_separable_effect(1.0, num_pairs=8, alpha=0.5)
    assert lax == pytest.approx(smallest_detectable_effect(1.0, num_pairs=8), rel=0.02)


@pytest.mark.parametrize("num_comparisons", [1, 10])
def test_the_rule_turns_into_the_t_test_as_seeds_grow(num_comparisons: int) -> None:
    simulated = smallest_separable_effect(1.0, num_pairs=SIMULATED_PAIRS, num_comparisons=num_comparisons)
    exact = smallest_detectable_effect(1.0, num_pairs=SIMULATED_PAIRS, num_comparisons=num_comparisons)
    assert simulated == pytest.approx(exact, rel=0.035)


@pytest.mark.parametrize(("mean", "num_comparisons"), [(0.5, 1), (0.3, 5), (-1.2, 5)])
def test_seeds_to_decide_are_the_fewest(mean: float, num_comparisons: int) -> None:
    needed = seeds_to_decide(mean, 1.0, num_comparisons=num_comparisons, max_seeds=200)
    assert needed is not None
    enough, before = (
        smallest_separable_effect(1.0, num_pairs=number, num_comparisons=num_comparisons)
        for number in (needed, needed - 1)
    )
    assert enough is not None
    assert enough <= abs(mean)
    assert before is None or before > abs(mean)


def test_seeds_to_decide_respect_what_the_correction_asks() -> None:
    assert seeds_to_decide(100.0, 1.0, num_comparisons=5) == 8
    assert seeds_to_decide(0.1, 0.0, num_comparisons=5) == 8


def test_what_would_take_too_many_seeds_has_no_number() -> None:
    assert seeds_to_decide(0.1, 1.0, max_seeds=50) is None
    assert seeds_to_decide(0.0, 1.0) is None


def test_impossible_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="sd must be finite"):
        smallest_detectable_effect(-1.0, num_pairs=5)
    with pytest.raises(ValueError, match="power must lie between alpha"):
        smallest_separable_effect(1.0, num_pairs=5, power=0.05)
    with pytest.raises(ValueError, match="alpha must lie"):
        seeds_to_decide(1.0, 1.0, alpha=5.0)
    with pytest.raises(ValueError, match="num_comparisons must be at least 1"):
        smallest_detectable_effect(1.0, num_pairs=5, num_comparisons=0)
