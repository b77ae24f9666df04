"""Holm's correction, and what it leaves of a p-value at best."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.multiple_comparisons import holm, seeds_needed, smallest_adjusted_p


def by_rejection(p_values: list[float], alpha: float) -> list[bool]:
    """Holm's own procedure: from the smallest on, reject while p is at most alpha / (those that are left)."""
    rejected = [False] * len(p_values)
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if p_values[place] * (len(p_values) - rank) > alpha:
            break
        rejected[place] = True
    return rejected


@given(st.lists(st.floats(0, 1), max_size=8), st.floats(0.001, 0.999))
def test_adjusted_p_values_reject_what_the_procedure_rejects(p_values: list[float], alpha: float) -> None:
    adjusted = holm(p_values)
    assert [each is not None and each <= alpha for each in adjusted] == by_rejection(p_values, alpha)


def test_a_worked_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))


def test_adjusted_p_values_are_cut_at_one() -> None:
    assert holm([0.7, 0.6]) == (1.0, 1.0)


def test_what_could_not_be_compared_was_planned_and_counts() -> None:
    assert holm([None, 0.01, None, 0.03]) == (None, 0.04, None, 0.09)
    assert holm([None]) == (None,)


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
def test_what_is_no_p_value_is_refused(p: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        holm([0.5, p])


def test_five_seeds_reach_one_sixteenth_and_five_comparisons_need_eight() -> None:
    assert smallest_adjusted_p(num_comparisons=1, num_seeds=5) == 0.0625
    assert smallest_adjusted_p(num_comparisons=5, num_seeds=7) == 5 * 2 / 2**7
    assert smallest_adjusted_p(num_comparisons=5, num_seeds=3) == 1.0
    assert seeds_needed(num_comparisons=1) == 6
    assert seeds_needed(num_comparisons=5) == 8


@given(st.integers(1, 1600), st.sampled_from([0.1, 0.05, 0.01]))
def test_seeds_needed_are_the_fewest(num_comparisons: int, alpha: float) -> None:
    needed = seeds_needed(num_comparisons=num_comparisons, alpha=alpha)
    if needed is None:
        assert num_comparisons * 2 / 2**16 > alpha
    else:
        assert num_comparisons * 2 / 2**needed <= alpha < num_comparisons * 2 / 2 ** (needed - 1)


def test_no_comparisons_are_refused() -> None:
    with pytest.raises(ValueError, match="num_comparisons must be at least 1 but got 0"):
        seeds_needed(num_comparisons=0)
