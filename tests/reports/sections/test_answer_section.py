import dataclasses
import math

import pytest

from reports import render
from reports.records import OBJECTIVE, TEST_P_CALIBRATED, TEST_P_VALUE, StudyRecord, TrialState
from reports.sections import answer, reproduce, unseen
from tests.reports.helpers import MakeStudy, MakeTrial, table


def test_the_answer_names_the_trial_that_development_data_chose(demo: StudyRecord) -> None:
    found = answer.summarise(demo)
    assert found.chosen == demo.champion
    assert found.num_compared == sum(trial.state is TrialState.COMPLETE for trial in demo.trials)
    assert found.chance_accuracy == pytest.approx(0.2)
    assert found.nothing_known == pytest.approx(math.log2(5))
    assert found.test is not None
    assert (found.test.num_scored, found.test.num_sources, found.test.num_speakers) == (120, 10, 20)


@pytest.mark.parametrize(("p", "above"), [(0.049, True), (0.05, False), (0.4, False), (None, False)])
def test_above_chance_is_said_only_below_five_per_cent(demo: StudyRecord, p: float | None, above: bool) -> None:  # noqa: FBT001
    metrics = {key: value for key, value in demo.test_metrics.items() if key != TEST_P_VALUE}
    metrics |= {} if p is None else {TEST_P_VALUE: p}
    found = answer.summarise(dataclasses.replace(demo, test_metrics=metrics))
    assert found.test is not None
    assert found.test.above_chance is above
    assert ("this is above chance" in answer.lines(found)[2]) is above
    assert ("not shown" in answer.lines(found)[2]) is not above


@pytest.mark.parametrize(("looks", "above"), [(1, True), (2, True), (3, False), (60, False)])
def test_every_look_at_test_data_makes_the_claim_harder(demo: StudyRecord, looks: int, above: bool) -> None:  # noqa: FBT001
    """p = 0.018: two looks leave 0.036, three leave 0.054."""
    study = dataclasses.replace(demo, ledger=demo.ledger * looks)
    found = answer.summarise(study)
    assert found.test is not None
    assert found.test.corrected_p == pytest.approx(min(1.0, 0.018 * looks))
    assert found.test.above_chance is above
    line = answer.lines(found)[2]
    assert ("this is above chance" in line) is above
    assert (f"times {looks} evaluations" in line) is (looks > 1)
    seen = unseen.summarise(study).test
    assert seen is not None
    assert seen.above_chance is above
    card = next(card for card in render.cards(study) if card.title == "Test accuracy")
    assert (card.tone == "good") is above
    assert ("above chance not shown" in card.note) is not above


def test_languages_below_guessing_are_named(demo: StudyRecord) -> None:
    rows = [("en", "a", (2.0, -2.0)), ("es", "b", (1.0, -1.0)), ("es", "b", (2.0, -2.0)), ("es", "b", (-3.0, 3.0))]
    found = answer.summarise(dataclasses.replace(demo, scores_test=table(*rows)))
    assert found.test is not None
    assert dict(found.test.below_guessing) == {"es": pytest.approx(1 / 3)}
    assert "es (33.3\xa0%) is recognised less often than by guessing" in answer.lines(found)[2]


def test_where_none_is_below_guessing_none_is_named(demo: StudyRecord) -> None:
    study = dataclasses.replace(demo, scores_test=table(("en", "a", (2.0, -2.0)), ("es", "b", (-2.0, 2.0))))
    for found in (answer.summarise(study), answer.summarise(dataclasses.replace(demo, scores_test=None))):
        assert found.test is not None
        assert found.test.below_guessing == ()
        assert "less often" not in answer.lines(found)[2]


@pytest.mark.parametrize(("calibrated", "is_said"), [(0.53, False), (0.75, True)])
def test_raw_decisions_far_from_calibrated_ones_are_said_to_be(
    demo: StudyRecord,
    calibrated: float,
    is_said: bool,  # noqa: FBT001
) -> None:
    study = dataclasses.replace(demo, test_metrics=demo.test_metrics | {"test/accuracy_calibrated": calibrated})
    found = answer.lines(answer.summarise(study))[2]
    assert ("its scores reach an accuracy of 0.750, which was not tested against chance" in found) == is_said
    tested = dataclasses.replace(study, test_metrics=study.test_metrics | {TEST_P_CALIBRATED: 0.004})
    found = answer.lines(answer.summarise(tested))[2].replace("\N{NO-BREAK SPACE}", " ")
    assert ("an accuracy of 0.750, p = 0.004 by a second test, by which nothing" in found) == is_said


def test_scores_of_a_trial_whose_run_is_gone_are_not_another_trials(demo: StudyRecord) -> None:
    assert demo.champion is not None
    left = dataclasses.replace(demo, trials=tuple(each for each in demo.trials if each.number != demo.champion))
    best = answer.summarise(left).chosen
    _, chose, reached, *_ = answer.lines(answer.summarise(left))
    assert chose.startswith(f"Development data chose trial {demo.champion}, whose run is gone from MLflow. Of what is ")
    assert f"the best is trial {best} (" in chose
    assert f"none of them heard in training, trial {demo.champion} reached a mean accuracy" in reached
    found = unseen.summarise(left)
    assert (found.chosen, found.gone) == (demo.champion, True)
    assert all(not metric.development.known for metric in found.metrics)
    assert reproduce.summarise(left).chosen is None


def test_a_champion_that_is_not_the_best_is_not_called_so(trial: MakeTrial, make_study: MakeStudy) -> None:
    study = make_study(trial(0, objective=1.0), trial(1, objective=2.0), champion=1)
    assert "not the least of 2 complete trials, which trial 0 has" in answer.lines(answer.summarise(study))[1]


def test_a_study_without_test_data_says_so(trial: MakeTrial, make_study: MakeStudy) -> None:
    found = answer.summarise(make_study(trial(0)))
    assert found.test is None
    assert "a sweep does it" in answer.lines(found)[2]


def test_the_answer_says_how_much_of_the_budget_is_spent(trial: MakeTrial, make_study: MakeStudy) -> None:
    study = make_study(trial(0), trial(1, TrialState.PRUNED))
    assert ": 2 of 30 trials" in answer.lines(answer.summarise(study))[0]


def test_where_all_diverged_none_is_chosen(trial: MakeTrial, make_study: MakeStudy) -> None:
    found = answer.summarise(make_study(trial(0, TrialState.DIVERGED), trial(1, TrialState.DIVERGED)))
    assert found.chosen is None
    assert "chose none" in answer.lines(found)[1]


def test_without_stored_scores_the_ledger_counts(demo: StudyRecord) -> None:
    entry = dataclasses.replace(demo.ledger[0], num_sources=3)
    found = answer.summarise(dataclasses.replace(demo, scores_test=None, ledger=(demo.ledger[0], entry)))
    assert found.test is not None
    assert found.test.num_sources == 3
    assert found.num_evaluations == 2


@pytest.mark.parametrize(
    ("metric", "nothing"),
    [(OBJECTIVE, math.log2(5)), ("val/c_primary", 1.0), ("val/eer", 0.5), ("val/error_rate", 0.8), ("val/loss", None)],
)
def test_what_scores_that_say_nothing_get_depends_on_the_objective(
    demo: StudyRecord, metric: str, nothing: float | None
) -> None:
    study = dataclasses.replace(demo, manifest=dataclasses.replace(demo.manifest, objective=metric))
    assert answer.summarise(study).nothing_known == (None if nothing is None else pytest.approx(nothing))


def test_an_empty_question_is_left_out(demo: StudyRecord) -> None:
    study = dataclasses.replace(demo, manifest=dataclasses.replace(demo.manifest, question=" "))
    assert answer.lines(answer.summarise(study))[0].startswith("Asked of 5 languages")
