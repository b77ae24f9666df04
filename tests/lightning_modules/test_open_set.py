"""Scores with languages missing and languages too many."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightning_modules import scoring
from lightning_modules.open_set import OUT_OF_SET, open_set_per_language, open_set_scores


def _random(seed: int, *, num_languages: int = 4, num_each: int = 6) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = np.repeat(np.arange(num_languages), num_each)
    scores = rng.standard_normal((len(truth), num_languages))
    scores[np.arange(len(truth)), truth] += 1.0
    return scoring.llr_from_log_likelihoods(scores), truth


@given(seed=st.integers(0, 50))
def test_with_every_language_and_no_other_these_are_the_scores_of_the_closed_set(seed: int) -> None:
    llr, truth = _random(seed)
    scores = open_set_scores(llr, truth)
    closed = scoring.score(llr, truth)
    assert scores.accuracy == pytest.approx(closed.macro_accuracy)
    assert (scores.c_avg, scores.c_primary, scores.eer) == (closed.c_avg, closed.c_primary, closed.eer)
    assert scores.cllr == pytest.approx(closed.cllr)
    assert (scores.num_out_of_set, scores.c_avg_open_set, scores.accepted_out_of_set) == (0, None, None)


def test_what_is_taken_for_a_language_without_trials_is_wrong() -> None:
    llr = np.array([[2.0, -1.0, -2.0], [-1.0, -2.0, 3.0], [-3.0, 1.0, 0.5], [-3.0, 2.0, -0.5]])
    scores = open_set_scores(llr, [0, 0, 1, 1])
    assert scores.num_languages == 2
    assert scores.accuracy == pytest.approx((0.5 + 1.0) / 2)


def test_languages_that_are_no_targets_cost_what_is_accepted_of_them() -> None:
    llr = np.array([[1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [-1.0, -2.0]])
    scores = open_set_scores(llr, [0, 1, OUT_OF_SET, OUT_OF_SET])
    assert scores.num_out_of_set == 2
    assert scores.accepted_out_of_set == pytest.approx(1 / 4)
    assert scores.c_avg == 0.0
    assert scores.c_avg_open_set == pytest.approx(0.2 * 1 / 4), "no miss, no false alarm within the set"


def test_the_open_set_cost_is_half_for_a_detector_that_always_says_no() -> None:
    scores = open_set_scores(np.full((3, 2), -1.0), [0, 1, OUT_OF_SET])
    assert scores.c_avg_open_set == pytest.approx(0.5)


def test_the_open_set_cost_is_half_for_a_detector_that_always_says_yes() -> None:
    scores = open_set_scores(np.full((3, 2), 1.0), [0, 1, OUT_OF_SET])
    assert scores.c_avg_open_set == pytest.approx(0.5)


def test_one_language_has_an_accuracy_and_a_cllr_but_nothing_to_be_told_from() -> None:
    scores = open_set_scores([[1.0, -1.0], [2.0, -2.0]], [0, 0])
    assert scores.accuracy == 1.0
    assert (scores.c_avg, scores.eer) == (None, None)
    assert set(scores.known()) == {"accuracy", "cllr"}


def test_utterances_in_no_target_language_alone_have_false_alarms() -> None:
    assert open_set_scores([[1.0, -1.0]], [OUT_OF_SET]).known() == {"accepted_out_of_set": 0.5}


@pytest.mark.parametrize("truth", [[0], [0, 2], [0, -2]])
def test_truths_that_name_no_language_are_refused(truth: list[int]) -> None:
    with pytest.raises(ValueError, match="truth must"):
        open_set_scores([[1.0, -1.0], [1.0, 0.0]], truth)


@given(seed=st.integers(0, 50))
def test_languages_of_a_closed_set_have_its_scores(seed: int) -> None:
    llr, truth = _random(seed)
    for language, expected in enumerate(scoring.score_per_language(llr, truth)):
        assert open_set_per_language(llr, truth)[language] == pytest.approx(expected)


@given(seed=st.integers(0, 50))
def test_languages_that_were_spoken_are_tried_on_each_other(seed: int) -> None:
    llr, truth = _random(seed)
    truth = np.where(truth == 1, OUT_OF_SET, truth)  # one is no target here, and nobody speaks it
    found = open_set_per_language(llr, truth)
    assert list(found) == [0, 2, 3]
    for language, scores in found.items():
        mine, others = llr[truth == language], [llr[truth == other, language] for other in found if other != language]
        assert scores.recall == np.mean(mine.argmax(axis=1) == language)
        assert scores.p_miss == np.mean(mine[:, language] < 0.0)
        assert scores.p_fa == pytest.approx(np.mean([np.mean(each >= 0.0) for each in others]))
    whole = open_set_scores(llr, truth)
    assert whole.cllr == pytest.approx(np.mean([each.cllr for each in found.values()]))
    assert whole.eer == pytest.approx(np.mean([each.eer for each in found.values()]))
    assert whole.c_avg == pytest.approx(np.mean([each.p_miss + each.p_fa for each in found.values()]) / 2)


def test_a_language_alone_has_no_detector_to_be_tried() -> None:
    assert open_set_per_language([[1.0, -1.0], [2.0, -2.0]], [0, OUT_OF_SET]) == {}
