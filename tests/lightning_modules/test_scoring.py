"""Scores against NIST's own scorer, independent implementations and the laws that they obey."""

import json
import subprocess
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from lightning_modules import scoring
from lightning_modules.calibration import Floats, Ints

ORACLE: dict[str, Any] = json.loads((Path(__file__).parents[1] / "data" / "detection_cost.json").read_text())
EXPECTED: dict[str, Any] = ORACLE["expected"]
LLR: Floats = np.array(ORACLE["llr"])
TRUTH: Ints = np.array([ORACLE["languages"].index(language) for language in ORACLE["truth"]])

LAW = settings(max_examples=50)

# Worked by hand, languages A, E, T.
HAND_LLR: Floats = np.array(
    [
        [2.5, -1, -3], [0.4, 0.3, -2], [-0.6, 1.2, -1.5], [3.1, -2.2, -0.1],
        [-1, 2, -2.5], [0.9, 0.2, -1.1], [-2, 2.6, 0.3], [-0.5, -0.2, 0.1], [-3, 2.3, -1.7],
        [-1.4, -0.7, 2.4], [0.2, -2.6, 1], [-2.1, 2.9, -0.4],
    ]
)  # fmt: skip
HAND_TRUTH: Ints = np.array([0] * 4 + [1] * 5 + [2] * 3)


@st.composite
def scored(draw: st.DrawFn, max_languages: int = 5) -> tuple[Floats, Ints]:
    """Log-likelihoods (N, L) and truth (N,), with 2 to 5 utterances a language in random order."""
    num_languages = draw(st.integers(2, max_languages))
    counts = draw(st.lists(st.integers(2, 5), min_size=num_languages, max_size=num_languages))
    truth = np.array(draw(st.permutations(np.repeat(np.arange(num_languages), counts).tolist())))
    values = st.floats(-20.0, 20.0, allow_subnormal=False, width=32)
    return draw(npst.arrays(np.float64, (len(truth), num_languages), elements=values)), truth


def flat(scores: scoring.Scores) -> list[float]:
    return list(vars(scores).values())


# --- worked values ----------------------------------------------------------------------------------------------------


def test_llrs_of_log_posteriors_match_the_oracle() -> None:
    assert scoring.llr_from_log_posteriors(ORACLE["log_posteriors"]) == pytest.approx(LLR, abs=2e-6)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("lre07_cavg", scoring.c_avg_lre07(LLR, TRUTH)),
        ("cavg_beta1", scoring.c_avg(LLR, TRUTH, 1.0)),
        ("cavg_beta9", scoring.c_avg(LLR, TRUTH, 9.0)),
        ("c_primary", scoring.c_primary(LLR, TRUTH)),
        ("accuracy", scoring.accuracy(LLR, TRUTH)),
        ("balanced_accuracy", scoring.macro_accuracy(LLR, TRUTH)),
        ("cllr_multiclass_bits", scoring.cllr(LLR, TRUTH)),
        ("eer_mean", scoring.eer(LLR, TRUTH)),
        ("eer_per_language", scoring.eer_per_language(LLR, TRUTH)),
    ],
)
def test_score_matches_the_oracle(name: str, value: float) -> None:
    assert value == pytest.approx(EXPECTED[name], abs=1e-6)


@pytest.mark.parametrize("beta", [1, 9])
def test_minimum_costs_match_the_oracle(beta: int) -> None:
    least = scoring.min_cost(LLR, TRUTH, beta)
    assert least.common == pytest.approx(EXPECTED["min_cavg_common_threshold"][f"beta{beta}"], abs=1e-6)
    assert least.per_language == pytest.approx(EXPECTED["min_cavg_per_language_thresholds"][f"beta{beta}"], abs=1e-6)


def test_hand_worked_costs() -> None:
    assert scoring.c_avg_lre07(HAND_LLR, HAND_TRUTH) == pytest.approx(0.2778, abs=5e-5)
    assert scoring.c_avg(HAND_LLR, HAND_TRUTH, 1.0) == pytest.approx(0.555556, abs=1e-6)
    assert scoring.c_avg(HAND_LLR, HAND_TRUTH, 9.0) == pytest.approx(1.088889, abs=1e-6)
    assert scoring.c_primary(HAND_LLR, HAND_TRUTH) == pytest.approx(0.822222, abs=1e-6)


def test_hand_worked_minimum_costs() -> None:
    assert scoring.min_cost(HAND_LLR, HAND_TRUTH, 1.0).common / 2 == pytest.approx(0.184722, abs=1e-6)
    assert scoring.min_cost(HAND_LLR, HAND_TRUTH, 9.0).common == pytest.approx(0.916667, abs=1e-6)


def test_llr_of_one_posterior() -> None:
    llr = scoring.llr_from_log_posteriors(np.log([[0.7, 0.2, 0.1]]))
    assert llr[0] == pytest.approx([1.5404, -0.6931, -1.5041], abs=5e-5)


def test_knowing_nothing_costs_one_and_log2_of_the_languages() -> None:
    nothing = np.zeros((30, 5))
    truth = np.arange(30) % 5
    assert scoring.c_avg(nothing, truth, 1.0) == pytest.approx(1.0)
    assert scoring.c_avg_lre07(nothing, truth) == pytest.approx(0.5)
    assert scoring.c_primary(nothing, truth) == pytest.approx(1.0)
    assert scoring.cllr(nothing, truth) == pytest.approx(np.log2(5))
    assert scoring.eer(nothing, truth) == pytest.approx(0.5)
    assert scoring.macro_accuracy(nothing, truth) == pytest.approx(0.2)


def test_the_worst_scores_cost_six_and_calibration_makes_them_know_nothing() -> None:
    truth = np.arange(30) % 3
    wrong = np.where(np.arange(3) == truth[:, None], -50.0, 50.0)
    scores = scoring.score(wrong, truth)
    assert scores.c_primary == pytest.approx(6.0)
    assert scores.eer == pytest.approx(1.0)
    assert scores.cllr_calibrated == pytest.approx(np.log2(3))
    assert scores.c_primary_calibrated == pytest.approx(1.0)


def test_perfect_scores_cost_nothing() -> None:
    truth = np.arange(30) % 3
    scores = scoring.score(np.where(np.arange(3) == truth[:, None], 50.0, -50.0), truth)
    assert flat(scores) == pytest.approx([1, 1, 0, 0, 0, 0, 0, 0], abs=0.01)


def test_confusion_counts_true_languages_in_rows() -> None:
    assert scoring.confusion([[2.0, 1.0], [2.0, 1.0], [0.0, 1.0]], [0, 1, 1]).tolist() == [[1, 0], [1, 1]]


def test_llrs_that_contradict_each_other_gain_nothing() -> None:
    """Independent detectors that each say yes to everything are as good as none."""
    assert scoring.cllr(np.full((4, 2), 9.0), [0, 1, 0, 1]) == pytest.approx(1.0)


# --- laws -------------------------------------------------------------------------------------------------------------


@LAW
@given(scored(), st.randoms(use_true_random=False))
def test_the_order_of_utterances_does_not_count(case: tuple[Floats, Ints], random: Any) -> None:
    s, truth = case
    order = list(range(len(truth)))
    random.shuffle(order)
    llr = scoring.llr_from_log_likelihoods(s)
    for metric in (scoring.c_avg_lre07, scoring.c_primary, scoring.eer, scoring.cllr, scoring.macro_accuracy):
        assert metric(llr[order], truth[order]) == pytest.approx(metric(llr, truth), abs=1e-9)
    assert scoring.min_cost(llr[order], truth[order]) == pytest.approx(scoring.min_cost(llr, truth), abs=1e-9)
    reordered, fitted = scoring.fit_calibration(s[order], truth[order]), scoring.fit_calibration(s, truth)
    assert reordered.scale == pytest.approx(fitted.scale, rel=1e-5, abs=1e-6)


@LAW
@given(scored(), st.floats(-100.0, 100.0))
def test_a_constant_an_utterance_changes_nothing(case: tuple[Floats, Ints], constant: float) -> None:
    s, truth = case
    shift = constant * np.arange(len(truth))[:, None] / len(truth)
    assert scoring.llr_from_log_likelihoods(s + shift) == pytest.approx(scoring.llr_from_log_likelihoods(s), abs=1e-9)
    calibrated = scoring.llr_from_log_likelihoods(scoring.fit_calibration(s, truth).apply(s))
    shifted = scoring.llr_from_log_likelihoods(scoring.fit_calibration(s + shift, truth).apply(s + shift))
    assert shifted == pytest.approx(calibrated, abs=1e-5, rel=1e-5)


@LAW
@given(scored())
def test_log_posteriors_and_llrs_are_each_others_inverse(case: tuple[Floats, Ints]) -> None:
    llr = scoring.llr_from_log_likelihoods(case[0])
    log_posteriors = scoring.log_posteriors_from_llr(llr)
    assert np.exp(log_posteriors).sum(axis=1) == pytest.approx(1.0)
    assert scoring.llr_from_log_posteriors(log_posteriors) == pytest.approx(llr, abs=1e-6)


def test_llrs_are_exact_where_one_posterior_is_next_to_one() -> None:
    llr = scoring.llr_from_log_likelihoods([[0.0, -60.0, -700.0], [1000.0, 999.0, -1e6]])
    assert llr[0] == pytest.approx([60 + np.log(2), -60 + np.log(2), -700 + np.log(2)])
    assert llr[1, 0] == pytest.approx(1 + np.log(2))


@LAW
@given(scored(), st.sampled_from([1.0, 3.0, 9.0]))
def test_decisions_by_argmax_cost_their_misses(case: tuple[Floats, Ints], beta: float) -> None:
    """C_avg(beta) = mean P_miss (1 + beta/(L-1)): an utterance missed for one language is a false alarm for another."""
    s, truth = case
    num_languages = s.shape[1]
    decided = np.where(np.arange(num_languages) == s.argmax(axis=1)[:, None], 100.0, -100.0)
    mean_miss = 1.0 - scoring.macro_accuracy(s, truth)
    assert scoring.c_avg(decided, truth, beta) == pytest.approx(mean_miss * (1 + beta / (num_languages - 1)))


@LAW
@given(scored(), st.sampled_from([1.0, 9.0]))
def test_no_threshold_beats_the_minimum_cost(case: tuple[Floats, Ints], beta: float) -> None:
    s, truth = case
    llr = scoring.llr_from_log_likelihoods(s)
    least = scoring.min_cost(llr, truth, beta)
    assert 0.0 <= least.per_language <= least.common + 1e-12
    assert least.common <= scoring.c_avg(llr, truth, beta) + 1e-12


@LAW
@given(scored())
def test_eer_depends_on_the_order_of_scores_alone(case: tuple[Floats, Ints]) -> None:
    s, truth = case
    assert scoring.eer(np.round(s, 2) * 3 - 7, truth) == pytest.approx(scoring.eer(np.round(s, 2), truth))
    assert 0.0 <= scoring.eer(s, truth) <= 1.0


@LAW
@given(st.integers(0, 2**32 - 1))
def test_a_priors_share_is_taken_out(seed: int) -> None:
    rng = np.random.default_rng(seed)
    s, prior = rng.normal(size=(4, 3)), rng.dirichlet([5.0, 5.0, 5.0])
    biased = s + np.log(prior)
    assert scoring.llr_from_log_posteriors(biased, prior) == pytest.approx(scoring.llr_from_log_likelihoods(s))


# --- calibration ------------------------------------------------------------------------------------------------------


@LAW
@given(scored())
def test_calibration_never_makes_its_own_data_worse(case: tuple[Floats, Ints]) -> None:
    s, truth = case
    raw = scoring.cllr(scoring.llr_from_log_likelihoods(s), truth)
    calibrated = scoring.cllr(scoring.llr_from_log_likelihoods(scoring.fit_calibration(s, truth).apply(s)), truth)
    # The ridge may cost as much as it weighs at raw scores: its weight times their squared size.
    size = np.square(s - s.mean(axis=1, keepdims=True)).sum(axis=1).max()
    allowance = scoring.RIDGE * size / np.log(2) + 1e-9
    assert calibrated <= min(raw, np.log2(s.shape[1])) + allowance


@LAW
@given(scored(), st.floats(0.01, 100.0), st.lists(st.floats(-50.0, 50.0), min_size=5, max_size=5))
def test_timid_boastful_and_biased_scores_are_calibrated_alike(
    case: tuple[Floats, Ints], scale: float, bias: list[float]
) -> None:
    s, truth = np.round(case[0], 3), case[1]
    biased = scale * s + np.array(bias[: s.shape[1]])
    expected = scoring.cross_fitted(s, truth)
    got = scoring.cross_fitted(biased, truth)
    assert np.diff(got, axis=1) == pytest.approx(np.diff(expected, axis=1), abs=1e-4, rel=1e-4)


def test_calibration_finds_the_scale_and_offsets_that_were_put_in() -> None:
    rng = np.random.default_rng(0)
    truth = np.arange(30_000) % 3
    s = rng.normal(size=(len(truth), 3))
    s[np.arange(len(truth)), truth] += 1.0  # log-likelihoods of unit normals: calibrated already
    fitted = scoring.fit_calibration(4.0 * s + [1.0, 0.0, -1.0], truth)
    assert fitted.scale == pytest.approx(0.25, rel=0.03)
    assert fitted.offset - fitted.offset.mean() == pytest.approx([-0.25, 0.0, 0.25], abs=0.03)


def test_calibration_of_separable_scores_is_finite() -> None:
    truth = np.arange(12) % 3
    fitted = scoring.fit_calibration(np.eye(3)[truth] * 1e-3, truth)
    assert np.isfinite(fitted.scale)
    assert np.isfinite(fitted.offset).all()


def test_calibration_of_equal_scores_says_nothing() -> None:
    fitted = scoring.fit_calibration(np.full((6, 3), 7.7), np.arange(6) % 3)
    assert fitted.scale == 0.0
    assert fitted.apply([[1.0, 2.0, 3.0]]).tolist() == [[0.0, 0.0, 0.0]]


@LAW
@given(st.integers(0, 2**32 - 1), st.integers(0, 49))
def test_a_calibration_never_sees_what_it_is_applied_to(seed: int, changed: int) -> None:
    """Whatever happens to one utterance's scores, those dealt to the same fold are calibrated as before."""
    rng = np.random.default_rng(seed)
    truth = np.arange(50) % 5
    s = rng.normal(size=(50, 5)) + 2 * np.eye(5)[truth]
    before = scoring.cross_fitted(s, truth)
    s[changed] += 100 * rng.normal(size=5)
    after = scoring.cross_fitted(s, truth)
    same_fold = (np.arange(50) // 5 % 5 == changed // 5 % 5) & (np.arange(50) != changed)
    assert after[same_fold].tolist() == before[same_fold].tolist()


def test_a_calibration_never_sees_the_languages_of_its_own_fold() -> None:
    rng = np.random.default_rng(3)
    truth = np.arange(50) % 5
    s = rng.normal(size=(50, 5)) + np.eye(5)[truth]
    exchanged = truth.copy()
    exchanged[[0, 1]] = truth[[1, 0]]  # both are dealt to the first fold, before and after
    first_fold = np.arange(50) // 5 % 5 == 0
    before, after = scoring.cross_fitted(s, truth), scoring.cross_fitted(s, exchanged)
    assert after[first_fold].tolist() == before[first_fold].tolist()
    assert after[~first_fold].tolist() != before[~first_fold].tolist()


def test_groups_are_not_split_over_folds() -> None:
    rng = np.random.default_rng(4)
    truth = np.repeat(np.arange(3), 8)
    groups = [f"speaker {i // 4}" for i in range(24)]  # two a language
    s = rng.normal(size=(24, 3)) + np.eye(3)[truth]
    before = scoring.cross_fitted(s, truth, groups=groups)
    s[0] += 100 * rng.normal(size=3)
    after = scoring.cross_fitted(s, truth, groups=groups)
    assert after[1:4].tolist() == before[1:4].tolist()
    assert after[4:8].tolist() != before[4:8].tolist()


def test_groups_are_ignored_where_a_language_has_only_one() -> None:
    s, truth = np.random.default_rng(5).normal(size=(12, 3)), np.repeat(np.arange(3), 4)
    groups = ["a"] * 4 + ["b", "c"] * 2 + ["d", "e"] * 2
    assert scoring.cross_fitted(s, truth, groups=groups).tolist() == scoring.cross_fitted(s, truth).tolist()


def test_groups_that_hold_every_utterance_of_a_language_are_ignored() -> None:
    """A group is dealt with the language of its first utterance, so one of several languages could leave none."""
    truth = np.array([0, 0, 1, 1, 0, 1, 1, 2, 2, 2])
    groups = ["a", "b", "c", "d", "e", "e", "e", "f", "g", "g"]
    s = np.random.default_rng(6).normal(size=(10, 3))
    assert np.isfinite(scoring.cross_fitted(s, truth, groups=groups)).all()


def test_scores_stay_raw_where_a_language_has_a_single_utterance() -> None:
    s, truth = np.random.default_rng(7).normal(size=(5, 3)), [0, 0, 1, 1, 2]
    assert scoring.cross_fitted(s, truth).tolist() == s.tolist()


def test_calibrated_cllr_is_clamped_to_its_bound() -> None:
    truth = np.array([0, 0, 1, 1, 2])  # cannot be cross-fitted
    wrong = np.where(np.arange(3) == truth[:, None], -50.0, 50.0)
    scores = scoring.score(wrong, truth)
    assert scores.cllr > scoring.cllr_bound(3)
    assert scores.cllr_calibrated == scoring.cllr_bound(3) == pytest.approx(2 * np.log2(3))


def test_score_repeats_itself() -> None:
    assert scoring.score(LLR, TRUTH) == scoring.score(LLR.copy(), TRUTH.copy())


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_scores_that_are_not_finite_are_refused(bad: float) -> None:
    llr = HAND_LLR.copy()
    llr[3, 1] = bad
    for metric in (scoring.c_primary, scoring.eer, scoring.cllr, scoring.accuracy, scoring.min_cost, scoring.score):
        with pytest.raises(ValueError, match=r"utterance 3 has .* for language 1"):
            metric(llr, HAND_TRUTH)


def test_a_language_without_utterances_is_named() -> None:
    needing_all = (scoring.c_primary, scoring.eer, scoring.cllr, scoring.macro_accuracy, scoring.score)
    for metric in (*needing_all, scoring.cross_fitted):
        with pytest.raises(ValueError, match="language 1 has none"):
            metric(np.zeros((3, 3)), [0, 0, 2])


def test_accuracy_needs_no_utterance_of_every_language() -> None:
    assert scoring.accuracy([[1.0, 0.0, 0.0]], [0]) == 1.0


@pytest.mark.parametrize(
    ("llr", "truth", "message"),
    [
        (np.zeros(3), [0, 1, 2], "shape"),
        (np.zeros((3, 1)), [0, 0, 0], "shape"),
        (np.zeros((0, 3)), [], "shape"),
        (np.zeros((2, 2)), [0], "one language a row"),
        (np.zeros((2, 2)), [0, 2], "0..1 but spans 0..2"),
        (np.zeros((2, 2)), [0.0, 1.0], "integer"),
    ],
)
def test_malformed_input_is_refused(llr: Floats, truth: list[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        scoring.score(llr, truth)


@pytest.mark.parametrize("prior", [[0.5, 0.5], [0.5, 0.5, 0.0], [0.5, 0.4, 0.3]])
def test_a_prior_that_is_no_distribution_is_refused(prior: list[float]) -> None:
    with pytest.raises(ValueError, match="prior must"):
        scoring.llr_from_log_posteriors(np.zeros((1, 3)), prior)


@pytest.mark.parametrize("beta", [0.0, -1.0, np.nan, np.inf])
def test_a_weight_that_is_not_positive_is_refused(beta: float) -> None:
    with pytest.raises(ValueError, match="beta must be positive"):
        scoring.c_avg(HAND_LLR, HAND_TRUTH, beta)


def test_too_few_folds_and_groups_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="folds must be at least 2"):
        scoring.cross_fitted(HAND_LLR, HAND_TRUTH, folds=1)
    with pytest.raises(ValueError, match="one group an utterance"):
        scoring.cross_fitted(HAND_LLR, HAND_TRUTH, groups=["a"])


# --- what it needs ----------------------------------------------------------------------------------------------------


def test_scoring_imports_neither_torch_nor_pandas() -> None:
    heavy = ("torch", "pandas", "scipy", "pydantic")
    code = f"import sys, lightning_modules.scoring; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_scores_of_each_language_are_those_that_the_means_are_made_of() -> None:
    llr, truth = LLR, TRUTH
    found = scoring.score_per_language(llr, truth)
    assert fmean(each.recall for each in found) == pytest.approx(scoring.macro_accuracy(llr, truth))
    assert fmean(each.eer for each in found) == pytest.approx(scoring.eer(llr, truth))
    assert fmean(each.cllr for each in found) == pytest.approx(scoring.cllr(llr, truth))
    assert fmean((each.p_miss + each.p_fa) / 2 for each in found) == pytest.approx(scoring.c_avg_lre07(llr, truth))


def test_a_language_s_detector_is_counted_at_even_odds() -> None:
    llr = [[1.0, -1.0, -1.0], [-1.0, 1.0, -1.0], [1.0, -1.0, -1.0], [1.0, -1.0, 1.0]]
    first, second, third = scoring.score_per_language(llr, [0, 0, 1, 2])
    assert (first.recall, first.p_miss, first.p_fa) == (0.5, 0.5, 1.0)
    assert (second.p_miss, second.p_fa) == (1.0, 0.25), "half of the first language, nothing of the third"
    assert (third.p_miss, third.p_fa) == (0.0, 0.0)
