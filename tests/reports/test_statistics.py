"""Permutation of languages over sources, and intervals."""

from fractions import Fraction
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from reports import statistics

LANGUAGES = ("en", "es", "fr", "it", "ru")


def brute_force_p(truth: list[str], predicted: list[str], sources: list[str]) -> float:
    """The share of all permutations, repeated ones included, that do at least as well: slow and plain."""
    names = list(dict.fromkeys(sources))
    language_of = dict(zip(sources, truth, strict=True))

    def macro_accuracy(assigned: dict[str, str]) -> Fraction:
        recalls = []
        for language in set(truth):
            own = [guess for guess, source in zip(predicted, sources, strict=True) if assigned[source] == language]
            recalls.append(Fraction(own.count(language), len(own)))
        return sum(recalls, Fraction()) / len(recalls)

    observed = macro_accuracy(language_of)
    orders = list(permutations(language_of[name] for name in names))
    return sum(macro_accuracy(dict(zip(names, order, strict=True))) >= observed for order in orders) / len(orders)


@st.composite
def recognised(draw: st.DrawFn) -> tuple[list[str], list[str], list[str]]:
    """Truth, prediction and source of some utterances: 2 or 3 languages, at most 6 sources of unequal size."""
    num_languages = draw(st.integers(2, 3))
    languages = LANGUAGES[:num_languages]
    extra = draw(st.lists(st.sampled_from(languages), max_size=6 - num_languages))
    truth, sources = [], []
    for number, language in enumerate([*languages, *extra]):
        size = draw(st.integers(1, 3))
        truth += [language] * size
        sources += [f"source {number}"] * size
    predicted = draw(st.lists(st.sampled_from((*languages, "cs")), min_size=len(truth), max_size=len(truth)))
    return truth, predicted, sources


@settings(max_examples=60)
@given(recognised())
def test_p_value_agrees_with_brute_force(case: tuple[list[str], list[str], list[str]]) -> None:
    test = statistics.permutation_p_value(*case)
    assert test.exact
    assert test.p_value == pytest.approx(brute_force_p(*case))
    assert test.smallest_p <= test.p_value <= 1.0


def test_one_announcer_a_language_allows_no_p_below_one_in_the_permutations() -> None:
    test = statistics.permutation_p_value(LANGUAGES, LANGUAGES, LANGUAGES)
    assert test.exact
    assert (test.statistic, test.num_permutations) == (1.0, 120)
    assert test.p_value == test.smallest_p == 1 / 120


def test_sources_of_one_language_are_interchangeable() -> None:
    truth = ["en", "en", "es", "es"]
    test = statistics.permutation_p_value(truth, truth, ["a", "b", "c", "d"])
    assert test.num_permutations == 6  # 4! / (2! 2!)
    assert test.p_value == pytest.approx(1 / 6)


def test_statistic_is_the_mean_over_languages() -> None:
    test = statistics.permutation_p_value(["en"] * 9 + ["es"], ["en"] * 10, ["a"] * 9 + ["b"])
    assert test.statistic == pytest.approx(0.5)
    assert test.p_value == 1.0


def test_many_sources_are_drawn_at_random_and_the_same_each_time() -> None:
    truth = [language for language in LANGUAGES for _ in range(4)]
    sources = [str(number) for number in range(20)]
    test = statistics.permutation_p_value(truth, truth, sources)
    assert not test.exact
    assert test.num_permutations == statistics.MONTE_CARLO
    assert test.p_value == test.smallest_p == 1 / (1 + statistics.MONTE_CARLO)
    guess = truth[7:] + truth[:7]
    drawn = statistics.permutation_p_value(truth, guess, sources)
    assert drawn == statistics.permutation_p_value(truth, guess, sources)
    assert drawn.p_value > 0.5


def test_monte_carlo_agrees_with_enumeration(monkeypatch: pytest.MonkeyPatch) -> None:
    truth = ["en", "en", "en", "es", "es", "fr", "fr"]
    guess = ["en", "en", "es", "es", "es", "fr", "en"]
    exact = statistics.permutation_p_value(truth, guess, list("abcdefg"))
    monkeypatch.setattr(statistics, "MAX_EXACT", 0)
    assert statistics.permutation_p_value(truth, guess, list("abcdefg")).p_value == pytest.approx(
        exact.p_value, abs=0.01
    )


def test_a_source_of_two_languages_is_refused() -> None:
    with pytest.raises(ValueError, match="asterisk holds en and es"):
        statistics.permutation_p_value(["en", "es"], ["en", "es"], ["asterisk", "asterisk"])


@pytest.mark.parametrize(("truth", "predicted"), [([], []), (["en"], ["en", "es"])])
def test_columns_of_unequal_or_no_length_are_refused(truth: list[str], predicted: list[str]) -> None:
    with pytest.raises(ValueError, match="equally long"):
        statistics.permutation_p_value(truth, predicted, truth)


def test_interval_agrees_with_scipy() -> None:
    values = [0.31, 0.35, 0.29, 0.40]
    expected = stats.t.interval(0.9, 3, loc=np.mean(values), scale=stats.sem(values))
    assert statistics.t_interval(values, 0.9) == pytest.approx(expected)
    assert statistics.mean_sd(values) == pytest.approx((np.mean(values), np.std(values, ddof=1)))


def test_one_value_has_neither_deviation_nor_interval() -> None:
    assert statistics.mean_sd([0.5]) == statistics.MeanSd(0.5, None)
    assert statistics.t_interval([0.5]) is None


def test_equal_values_have_an_interval_of_no_width() -> None:
    assert statistics.t_interval([0.25, 0.25]) == (0.25, 0.25)


@pytest.mark.parametrize(("values", "message"), [([], "at least one"), ([1.0, float("nan")], "finite")])
def test_no_values_or_infinite_ones_are_refused(values: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        statistics.mean_sd(values)


@pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0])
def test_a_confidence_outside_its_range_is_refused(confidence: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        statistics.t_interval([1.0, 2.0], confidence)


def test_pooled_deviation_ignores_what_groups_differ_by() -> None:
    pooled = statistics.pooled_sd([(1.0, 3.0), (101.0, 103.0, 105.0), (7.0,)])
    assert pooled is not None
    assert pooled.degrees == 3
    assert pooled.sd == pytest.approx(((2 + 8) / 3) ** 0.5)


def test_groups_of_one_value_have_no_deviation() -> None:
    assert statistics.pooled_sd([(1.0,), (2.0,)]) is None


def test_least_difference_is_where_the_t_test_turns() -> None:
    one, other = np.array([1.0, 1.3, 0.8]), np.array([2.0, 2.2, 2.7, 2.1])
    pooled = statistics.pooled_sd([one.tolist(), other.tolist()])
    assert pooled is not None
    least = statistics.least_difference(pooled, (3, 4), num_comparisons=2)
    shifted = one + (other.mean() - one.mean()) - least
    assert stats.ttest_ind(other, shifted).pvalue == pytest.approx(0.05 / 2)
