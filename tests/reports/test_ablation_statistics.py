"""Paired effects, sign flips and verdicts, against scipy and by hand."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from reports import ablation_statistics
from reports.ablation_statistics import (
    Divergence,
    LeftOut,
    Replicates,
    Verdict,
    is_equivalent,
    paired_effect,
    sign_flip_p_value,
    smallest_sign_flip_p,
    verdict,
)
from reports.statistics import MONTE_CARLO, Interval

BASE = {1: 0.52, 2: 0.61, 3: 0.47, 4: 0.58, 5: 0.55}
ARM = {1: 0.50, 2: 0.55, 3: 0.48, 4: 0.51, 5: 0.53}

DIFFERENCES = st.lists(st.sampled_from([-0.3, -0.1, 0.0, 0.1, 0.2, 0.7]), min_size=1, max_size=7)


def brute_force_p(differences: list[float]) -> float:
    """The share of all 2^n flips, each written out, whose sum is as far from zero."""
    observed = abs(sum(differences))
    flips = list(product((-1, 1), repeat=len(differences)))
    sums = [abs(sum(sign * each for sign, each in zip(signs, differences, strict=True))) for signs in flips]
    return sum(each >= observed - 1e-12 for each in sums) / len(flips)


def test_effect_is_that_of_the_paired_t_test() -> None:
    effect = paired_effect(BASE, ARM)
    expected = stats.ttest_rel(list(ARM.values()), list(BASE.values()))
    assert effect.n == 5
    assert effect.mean == pytest.approx(-0.032)
    assert effect.interval == pytest.approx(expected.confidence_interval(0.95))
    assert effect.sd == pytest.approx(np.std(np.subtract(list(ARM.values()), list(BASE.values())), ddof=1))
    assert effect.correlation == pytest.approx(stats.pearsonr(list(BASE.values()), list(ARM.values())).statistic)


def test_pairs_are_made_by_seed_and_not_by_place() -> None:
    assert paired_effect(BASE, dict(reversed(ARM.items()))) == paired_effect(BASE, ARM)


def test_sign_flips_agree_with_scipy() -> None:
    differences = [0.31, -0.12, 0.44, 0.02, 0.27, -0.05, 0.19, 0.33]
    expected = stats.permutation_test((differences,), np.mean, permutation_type="samples", n_resamples=2**8)
    assert sign_flip_p_value(differences) == pytest.approx(expected.pvalue)


@settings(max_examples=80)
@given(DIFFERENCES)
def test_sign_flips_agree_with_brute_force_in_ties_and_zeros(differences: list[float]) -> None:
    assert sign_flip_p_value(differences) == pytest.approx(brute_force_p(differences))


@pytest.mark.parametrize("num_pairs", [1, 2, 5, 8, 16])
def test_smallest_p_is_reached_where_all_differences_agree(num_pairs: int) -> None:
    differences = np.linspace(0.1, 0.2, num_pairs).tolist()
    assert sign_flip_p_value(differences) == smallest_sign_flip_p(num_pairs) == 2 / 2**num_pairs


def test_many_pairs_are_flipped_at_random_and_the_same_each_time() -> None:
    differences = np.linspace(0.1, 0.2, 30).tolist()
    assert sign_flip_p_value(differences) == smallest_sign_flip_p(30) == 1 / (1 + MONTE_CARLO)
    mixed = [*differences[:15], *(-each for each in differences[15:])]
    assert sign_flip_p_value(mixed) == sign_flip_p_value(mixed) != sign_flip_p_value(mixed, seed=1)


def test_random_flips_agree_with_enumeration(monkeypatch: pytest.MonkeyPatch) -> None:
    differences = [0.3, -0.2, 0.4, 0.1, 0.5, -0.1, 0.2]
    exact = sign_flip_p_value(differences)
    monkeypatch.setattr(ablation_statistics, "MAX_EXACT_PAIRS", 0)
    assert sign_flip_p_value(differences) == pytest.approx(exact, abs=0.015)


def test_divergence_and_gaps_are_no_part_of_the_effect() -> None:
    base: Replicates = {**BASE, 6: None, 7: 0.5, 8: 0.5}
    arm: Replicates = {**ARM, 6: 0.4, 7: None, 9: None}
    effect = paired_effect(base, arm)
    assert effect.differences == paired_effect(BASE, ARM).differences
    assert effect.left_out == (
        LeftOut(6, "diverged", "value"),
        LeftOut(7, "value", "diverged"),
        LeftOut(8, "value", "missing"),
        LeftOut(9, "missing", "diverged"),
    )
    assert (effect.base_divergence, effect.arm_divergence) == (Divergence(1, 8), Divergence(2, 8))


def test_an_arm_that_always_diverged_has_no_effect() -> None:
    effect = paired_effect(BASE, dict.fromkeys(BASE))
    assert (effect.n, effect.mean, effect.interval, effect.p_value) == (0, None, None, None)
    assert effect.arm_divergence == Divergence(len(BASE), len(BASE))
    assert verdict(effect, adjusted_p=None, margin=0.1) == Verdict.UNDECIDED


def test_one_pair_has_a_mean_alone() -> None:
    effect = paired_effect({1: 0.5}, {1: 0.4})
    assert effect.mean == pytest.approx(-0.1)
    assert (effect.sd, effect.interval, effect.correlation, effect.p_value) == (None, None, None, 1.0)


@pytest.mark.parametrize(
    ("base", "arm"),
    [({1: 0.5, 2: 0.6}, {1: 0.4, 2: 0.3}), ({1: 0.5, 2: 0.5, 3: 0.5}, {1: 0.4, 2: 0.3, 3: 0.6})],
)
def test_two_pairs_or_a_constant_side_have_no_correlation(base: Replicates, arm: Replicates) -> None:
    assert paired_effect(base, arm).correlation is None
    assert paired_effect(arm, base).correlation is None


def test_an_objective_that_is_not_finite_is_refused() -> None:
    with pytest.raises(ValueError, match=r"seed 2: .*nan; None says diverged"):
        paired_effect({1: 0.5}, {2: float("nan")})


def test_no_differences_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one difference"):
        sign_flip_p_value([])


def shifted(by: float) -> ablation_statistics.PairedEffect:
    """Eight pairs of equal noise whose mean difference is as given; the interval is ±0.02 around it."""
    noise = np.array([-1.0, 1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0]) * 0.02237
    return paired_effect(dict.fromkeys(range(8), 0.0), dict(enumerate((noise + by).tolist())))


@pytest.mark.parametrize(
    ("by", "adjusted_p", "margin", "expected"),
    [
        (-0.1, 0.04, None, Verdict.BETTER),
        (0.1, 0.04, None, Verdict.WORSE),
        (0.1, 0.05, None, Verdict.WORSE),
        (0.1, 0.0501, None, Verdict.UNDECIDED),  # the correction takes it back
        (0.1, None, None, Verdict.UNDECIDED),
        (0.01, 0.04, None, Verdict.UNDECIDED),  # the interval has zero
        (-0.01, 0.04, None, Verdict.UNDECIDED),
        (0.0, 1.0, 0.021, Verdict.EQUIVALENT),
        (0.0, 1.0, 0.019, Verdict.UNDECIDED),
        (0.01, 1.0, 0.021, Verdict.UNDECIDED),  # sticks out above
        (-0.01, 1.0, 0.021, Verdict.UNDECIDED),  # and below
        (-0.03, 0.04, 0.06, Verdict.EQUIVALENT),  # other than zero, and of no matter
        (-0.03, 0.04, 0.04, Verdict.BETTER),
    ],
)
def test_verdict(by: float, adjusted_p: float | None, margin: float | None, expected: Verdict) -> None:
    effect = shifted(by)
    assert effect.interval == pytest.approx((by - 0.02, by + 0.02), abs=1e-4)
    assert verdict(effect, adjusted_p=adjusted_p, margin=margin) == expected


def test_equivalence_is_two_one_sided_tests_at_half_of_five_percent() -> None:
    differences = np.array([0.01, -0.03, 0.02, 0.04, -0.01, 0.0, 0.03, -0.02])
    effect = paired_effect(dict.fromkeys(range(8), 0.0), dict(enumerate(differences.tolist())))
    assert effect.interval is not None
    for margin in np.linspace(0.005, 0.06, 40):
        above = stats.ttest_1samp(differences, -margin, alternative="greater").pvalue
        below = stats.ttest_1samp(differences, margin, alternative="less").pvalue
        assert is_equivalent(effect.interval, margin=float(margin)) == (max(above, below) < 0.025)


@pytest.mark.parametrize("margin", [0.0, -0.1, float("nan")])
def test_a_margin_that_is_not_above_zero_is_refused(margin: float) -> None:
    with pytest.raises(ValueError, match="above zero"):
        is_equivalent(Interval(-0.1, 0.1), margin=margin)


def test_a_change_that_did_nothing_is_told_from_one_without_effect() -> None:
    assert paired_effect(BASE, BASE).is_tied
    assert not paired_effect(BASE, ARM).is_tied
    assert not paired_effect(BASE, {}).is_tied
