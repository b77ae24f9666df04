import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest

from reports import render, sections
from reports.records import (
    GRAD_NORM_MAX,
    GRAD_SHARE_CLIPPED,
    OBJECTIVE,
    TEST_P_VALUE,
    LedgerEntry,
    MetricPoint,
    ScoreTable,
    SearchedParameter,
    StudyRecord,
    TrialRecord,
    TrialState,
)
from reports.sections import (
    SECTIONS,
    answer,
    checks,
    clipping,
    confusion,
    cost,
    curves,
    data,
    effects,
    failures,
    leaderboard,
    reproduce,
    unseen,
)
from reports.sections._blocks import Table, Text
from reports.sections._text import listing, p_value, short_names, times

MakeTrial = Callable[..., TrialRecord]
MakeStudy = Callable[..., StudyRecord]


def replicates(trial: MakeTrial, first: int, objectives: tuple[float, ...], **params: Any) -> list[TrialRecord]:
    """Trials of one configuration with given objectives."""
    config = {**trial(first).params, **params}
    return [trial(first + i, params=config, objective=value, seed=i) for i, value in enumerate(objectives)]


def table(*rows: tuple[str, str, tuple[float, ...]]) -> ScoreTable:
    """Scores of utterances given as language, source, LLRs of en and es."""
    languages, sources, llr = zip(*rows, strict=True)
    ids = tuple(str(i) for i in range(len(rows)))
    columns = {"language": languages, "source": sources, "speaker": sources, "duration_s": (1.0,) * len(rows)}
    return ScoreTable(utterance=ids, targets=("en", "es"), llr=llr, **columns)


def searching(study: StudyRecord, *parameters: SearchedParameter) -> StudyRecord:
    return dataclasses.replace(study, manifest=dataclasses.replace(study.manifest, parameters=parameters))


def test_every_file_is_registered() -> None:
    files = {path.stem for path in Path(sections.__file__).parent.glob("[!_]*.py")}
    assert {section.summarise.__module__.rpartition(".")[2] for section in SECTIONS} == files
    assert len({section.key for section in SECTIONS}) == len(SECTIONS)


def test_summaries_are_of_records_alone(demo: StudyRecord) -> None:
    for section in SECTIONS:
        assert section.summarise(demo) == section.summarise(demo)


# --- question and answer ---


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


# --- leaderboard ---


def test_replicates_share_a_row(trial: MakeTrial, make_study: MakeStudy) -> None:
    many = replicates(trial, 0, (1.0, 1.2, 1.4))
    board = leaderboard.summarise(make_study(*many, trial(5, objective=2.0)))
    first, second = board.rows
    assert first.numbers == (0, 1, 2)
    assert first.objective == pytest.approx(1.2)
    assert first.sd == pytest.approx(0.2)
    assert first.interval is not None
    assert (first.interval.high - first.interval.low) / 2 == pytest.approx(4.302653 * 0.2 / math.sqrt(3), rel=1e-5)
    assert (second.n, second.sd, second.interval) == (1, None, None)


def test_one_seed_shows_no_spread_and_nothing_bold(trial: MakeTrial, make_study: MakeStudy) -> None:
    board = leaderboard.summarise(make_study(trial(0, objective=1.0), trial(1, objective=2.0)))
    assert [row.separated for row in board.rows] == [False, False]
    (shown,) = (block for block in leaderboard.present(board) if isinstance(block, Table))
    cells = [cell for row in shown.rows for cell in row]
    assert not any("±" in cell.text or cell.strong for cell in cells)


@pytest.mark.parametrize(("other", "separated"), [((2.0, 2.01, 2.02), True), ((1.0, 1.3, 1.6), False), ((2.0,), False)])
def test_only_an_interval_separates(
    trial: MakeTrial,
    make_study: MakeStudy,
    other: tuple[float, ...],
    separated: bool,  # noqa: FBT001
) -> None:
    best = replicates(trial, 0, (1.0, 1.01, 1.02))
    board = leaderboard.summarise(make_study(*best, *replicates(trial, 5, other)))
    assert board.rows[0].separated is separated


def test_pruned_and_diverged_trials_enter_no_mean(trial: MakeTrial, make_study: MakeStudy) -> None:
    config = trial(0).params
    study = make_study(
        trial(0, objective=1.0),
        trial(1, TrialState.PRUNED, params=config, objective=0.1, seed=1),
        trial(2, TrialState.DIVERGED, params=config, seed=2),
    )
    (row,) = leaderboard.summarise(study).rows
    assert (row.n, row.objective) == (1, 1.0)
    assert row.states == {"complete": 1, "pruned": 1, "diverged": 1}


def test_only_what_has_an_objective_has_a_rank(trial: MakeTrial, make_study: MakeStudy) -> None:
    study = make_study(trial(0, TrialState.PRUNED), trial(1, objective=2.0), trial(2, TrialState.FAILED), trial(3))
    board = leaderboard.summarise(study)
    assert [(row.rank, row.state) for row in board.rows] == [
        (1, "complete"),
        (2, "complete"),
        (None, "pruned"),
        (None, "failed"),
    ]


def test_results_stand_left_of_parameters(trial: MakeTrial, make_study: MakeStudy) -> None:
    one_each = leaderboard.summarise(make_study(trial(0), trial(1)))
    titles = [column.title for column in leaderboard.columns(one_each)]
    assert titles[:4] == ["#", "trial", "objective", "accuracy"]
    assert titles[4:9] == ["cell", "hidden_size", "clipping", "learning_rate", "batch_size"]


def test_what_exists_under_a_choice_stands_beside_it(trial: MakeTrial, make_study: MakeStudy) -> None:
    norm = trial(0, params={"clipping.kind": "norm", "clipping.max_norm": 14.26})
    board = leaderboard.summarise(make_study(norm, trial(1, params={"clipping.kind": "none"})))
    column = next(column for column in board.parameters if column.title == "clipping")
    assert column.details == (("clipping.max_norm", "max_norm"),)
    assert {column.cell(row.params).text for row in board.rows} == {"norm, 14.3", "none"}


@pytest.mark.parametrize(("share", "said"), [(0.0, True), (0.4, False)])
def test_equal_results_share_a_rank(trial: MakeTrial, make_study: MakeStudy, share: float, said: bool) -> None:  # noqa: FBT001
    def clipped_at(number: int, norm: float, objective: float) -> TrialRecord:
        found = trial(number, params={"clipping.kind": "norm", "clipping.max_norm": norm}, objective=objective)
        points = (MetricPoint(step=0, value=share, time_ms=0),)
        return dataclasses.replace(found, history={GRAD_SHARE_CLIPPED: points})

    study = make_study(clipped_at(0, 9.0, 1.5), clipped_at(1, 5.0, 1.5), trial(2, objective=1.7))
    board = leaderboard.summarise(study)
    assert [row.rank for row in board.rows] == [1, 1, 3]
    assert [[row.numbers for row in rows] for rows in board.ties] == [[(0,), (1,)]]
    note = leaderboard.present(board)[0]
    assert isinstance(note, Text)
    assert "Trials 0 and 1 have the very same objective" in note.text
    assert ("never reached" in note.text) is said


def test_intervals_have_a_column_where_there_are_replicates(trial: MakeTrial, make_study: MakeStudy) -> None:
    board = leaderboard.summarise(make_study(*replicates(trial, 0, (1.0, 1.2)), trial(5, TrialState.PRUNED)))
    assert board.replicated
    assert {"95 %", "n"} <= {column.title for column in leaderboard.columns(board)}
    assert board.rows[0].state == "2 complete"
    (shown,) = (block for block in leaderboard.present(board) if isinstance(block, Table))
    assert {len(row) for row in shown.rows} == {len(shown.columns)}


# --- effects ---


def test_levels_count_what_they_leave_out(trial: MakeTrial, make_study: MakeStudy) -> None:
    gru = {"encoder.cell": "gru"}
    study = make_study(
        trial(0, params=gru, objective=1.0),
        trial(1, params=gru, objective=2.0),
        trial(2, TrialState.DIVERGED, params=gru),
        trial(3, TrialState.PRUNED, params=gru),
        trial(4, TrialState.FAILED, params=gru),
        trial(5, params={"encoder.cell": "lstm"}, objective=3.0),
    )
    levels = {level.name: level for level in effects.summarise(study).effects[0].levels}
    assert (levels["gru"].n, levels["gru"].diverged, levels["gru"].pruned, levels["gru"].other) == (2, 1, 1, 1)
    assert (levels["gru"].mean, levels["gru"].best) == (1.5, 1.0)
    assert levels["gru"].sd == pytest.approx(stdev([1.0, 2.0]))
    assert (levels["lstm"].mean, levels["lstm"].sd) == (3.0, None)
    assert (levels["rnn_tanh"].n, levels["rnn_tanh"].mean) == (0, None)


def test_numbers_fall_into_thirds(trial: MakeTrial, make_study: MakeStudy) -> None:
    rates = (1e-4, 2e-4, 1e-3, 2e-3, 1e-2, 2e-2)
    trials = [trial(i, params={"optimizer.learning_rate": v}, objective=float(i)) for i, v in enumerate(rates)]
    study = searching(
        make_study(*trials),
        SearchedParameter(path="optimizer.learning_rate", kind="float", low=1e-4, high=1e-1, log=True),
    )
    (effect,) = effects.summarise(study).effects
    assert [(level.name, level.n, level.mean) for level in effect.levels] == [
        ("0.0001 to 0.0002", 2, 0.5),
        ("0.001 to 0.002", 2, 2.5),
        ("0.01 to 0.02", 2, 4.5),
    ]
    assert effect.levels[1].at == pytest.approx(math.sqrt(2e-6))


def test_equal_values_never_part(trial: MakeTrial, make_study: MakeStudy) -> None:
    sizes = (8, 8, 8, 8, 16, 32, 64)
    trials = [trial(i, params={"training.batch_size": v}) for i, v in enumerate(sizes)]
    study = searching(make_study(*trials), SearchedParameter(path="training.batch_size", kind="int", low=8, high=64))
    (effect,) = effects.summarise(study).effects
    assert sum(level.n for level in effect.levels) == len(sizes)
    assert effect.levels[0].name == "8"
    assert effect.levels[0].n == 4


def test_a_conditional_parameter_counts_where_it_exists(trial: MakeTrial, make_study: MakeStudy) -> None:
    study = make_study(
        trial(0, params={"clipping.kind": "norm", "clipping.max_norm": 1.0}),
        trial(1, params={"clipping.kind": "none"}),
    )
    found = {effect.path: effect for effect in effects.summarise(study).effects}
    assert sum(level.n for level in found["clipping.max_norm"].levels) == 1


def test_nothing_is_presented_of_a_study_that_has_only_begun(trial: MakeTrial, make_study: MakeStudy) -> None:
    assert effects.present(effects.summarise(make_study(trial(0, TrialState.RUNNING)))) == ()


# --- curves and clipping ---


def test_curves_end_where_numbers_do(trial: MakeTrial, make_study: MakeStudy) -> None:
    points = tuple(MetricPoint(step=i, value=v, time_ms=0) for i, v in enumerate((2.0, 1.5, math.nan, math.inf)))
    broken = dataclasses.replace(trial(0, TrialState.DIVERGED), history={OBJECTIVE: points})
    found = curves.summarise(make_study(broken))
    assert found.curves[0].points == ((0, 2.0), (1, 1.5))
    assert not found.curves[0].best


@pytest.mark.parametrize(("worst", "outside"), [(2.4, 0), (9.0, 1)])
def test_one_bad_trial_does_not_squeeze_the_others(
    trial: MakeTrial, make_study: MakeStudy, worst: float, outside: int
) -> None:
    points = tuple(MetricPoint(step=i, value=v, time_ms=0) for i, v in enumerate((2.3, 2.0, 1.9, worst)))
    found = curves.summarise(make_study(dataclasses.replace(trial(0), history={OBJECTIVE: points})))
    assert found.num_outside == outside
    assert found.limit == (pytest.approx(1.1 * math.log2(5)) if outside else None)


def test_the_chosen_curve_is_drawn_however_many_there_are(trial: MakeTrial, make_study: MakeStudy) -> None:
    one = trial(0)
    trials = [dataclasses.replace(one, number=i, metrics={"best/objective": 1.0 - (i == 190)}) for i in range(200)]
    found = curves.summarise(make_study(*trials))
    assert len(found.drawn) == curves.DRAWN
    assert found.drawn[0].number == 190


def test_the_best_few_are_named_the_others_are_not(trial: MakeTrial, make_study: MakeStudy) -> None:
    trials = [trial(i, objective=2.0 - 0.1 * i) for i in range(7)]
    found = curves.summarise(make_study(*trials, trial(7, TrialState.PRUNED)))
    assert [curve.number for curve in found.curves if curve.named] == [4, 5, 6]
    assert [curve.number for curve in found.curves if curve.best] == [6]
    study = make_study(*trials, champion=0, test_metrics={"test/accuracy": 0.3})
    assert [curve.number for curve in curves.summarise(study).curves if curve.named] == [0, 4, 5, 6]


def test_clipping_rules_stand_beside_their_results(demo: StudyRecord) -> None:
    found = clipping.summarise(demo)
    rules = {rule.kind: rule for rule in found.rules}
    norm = [trial for trial in demo.trials if trial.params["clipping.kind"] == "norm"]
    complete = [t.objective for t in norm if t.state is TrialState.COMPLETE and t.objective is not None]
    assert sum(rule.trials for rule in found.rules) == len(demo.trials)
    assert rules["norm"].objective == pytest.approx(mean(complete))
    assert rules["norm"].norm_max == max(p.value for trial in norm for p in trial.history[GRAD_NORM_MAX])
    assert rules["none"].share_clipped == 0.0
    assert sum(rule.diverged for rule in found.rules) == sum(dot.diverged for dot in found.share.dots) == 2


def test_a_threshold_that_was_never_reached_is_told(trial: MakeTrial, make_study: MakeStudy) -> None:
    def clipped(number: int, kind: str, *shares: float) -> TrialRecord:
        points = tuple(MetricPoint(step=i, value=value, time_ms=0) for i, value in enumerate(shares))
        return dataclasses.replace(trial(number, params={"clipping.kind": kind}), history={GRAD_SHARE_CLIPPED: points})

    study = make_study(clipped(0, "norm", 0, 0), clipped(1, "norm", 0, 0.1), clipped(2, "none", 0), clipped(3, "norm"))
    assert clipping.summarise(study).never_reached == (0,)


def test_clipping_without_measures_is_left_out(trial: MakeTrial, make_study: MakeStudy) -> None:
    begun = dataclasses.replace(trial(0, TrialState.RUNNING), history={}, metrics={})
    assert clipping.present(clipping.summarise(make_study(begun))) == ()


# --- confusion and test data ---


def test_confusion_counts_and_names_the_worst_pair(make_study: MakeStudy) -> None:
    rows = [("en", "a", (2.0, -2.0)), ("en", "a", (-1.0, 1.0)), ("es", "b", (-1.0, 1.0)), ("es", "b", (-3.0, 3.0))]
    (matrix,) = confusion.summarise(make_study(scores_dev=table(*rows))).matrices
    assert matrix.counts == ((1, 1), (0, 2))
    assert matrix.worst == ("en", "es", 1, 2)
    assert confusion.sentence(matrix).startswith("On development data “en” is most often taken for “es”: 1 of 2")


def test_no_confusion_is_said_in_words(make_study: MakeStudy) -> None:
    (matrix,) = confusion.summarise(make_study(scores_test=table(("en", "a", (1.0, -1.0))))).matrices
    assert matrix.worst is None
    assert "no utterance is taken for another" in confusion.sentence(matrix)


def test_recall_is_told_by_language_and_source(demo: StudyRecord) -> None:
    found = unseen.summarise(demo)
    assert len(found.recalls) == 10
    assert sum(recall.num_scored for recall in found.recalls) == 120


def test_scores_stand_beside_chance_raw_and_calibrated(demo: StudyRecord) -> None:
    study = dataclasses.replace(demo, test_metrics=demo.test_metrics | {"test/accuracy_calibrated": 0.53})
    metrics = {metric.score.name: metric for metric in unseen.summarise(study).metrics}
    assert metrics["C_primary"].chance == 1.0
    assert (metrics["C_primary"].test.raw, metrics["C_primary"].test.calibrated) == (0.872, 0.761)
    assert (metrics["accuracy"].test.raw, metrics["accuracy"].test.calibrated) == (0.517, 0.53)
    assert metrics["EER"].test.calibrated is None


def test_the_objective_stands_among_the_scores(demo: StudyRecord) -> None:
    marked = [metric for metric in unseen.summarise(demo).metrics if metric.objective]
    assert [(metric.score.name, metric.objective) for metric in marked] == [("Cllr", "calibrated")]
    assert marked[0].development.calibrated == answer.summarise(demo).chosen_objective
    assert marked[0].development.raw != marked[0].development.calibrated


def test_scores_on_development_data_wait_for_no_test(trial: MakeTrial, make_study: MakeStudy) -> None:
    found = unseen.summarise(make_study(trial(0)))
    assert found.test is None
    assert {metric.score.name for metric in found.metrics} >= {"accuracy", "Cllr"}
    assert not any(metric.test.known for metric in found.metrics)


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


def test_a_test_that_could_not_have_shown_anything_is_called_so(demo: StudyRecord) -> None:
    few = table(("en", "a", (2.0, -2.0)), ("es", "b", (-2.0, 2.0)))
    study = dataclasses.replace(demo, scores_test=few, test_metrics={TEST_P_VALUE: 0.5, "test/accuracy": 1.0})
    found = unseen.summarise(study)
    assert found.smallest_p == pytest.approx(0.5)
    assert found.test is not None
    assert not found.test.above_chance


def test_a_source_of_two_languages_has_no_smallest_p(demo: StudyRecord) -> None:
    mixed = table(("en", "a", (2.0, -2.0)), ("es", "a", (-2.0, 2.0)))
    assert unseen.summarise(dataclasses.replace(demo, scores_test=mixed)).smallest_p is None


# --- the rest ---


def test_endings_are_grouped_by_reason(trial: MakeTrial, make_study: MakeStudy) -> None:
    silent = dataclasses.replace(trial(3, TrialState.FAILED), failure="")
    found = failures.summarise(make_study(trial(0), *(trial(i, TrialState.FAILED) for i in (1, 2)), silent))
    assert [(e.state, e.numbers) for e in found.endings] == [
        (TrialState.COMPLETE, (0,)),
        (TrialState.FAILED, (1, 2)),
        (TrialState.FAILED, (3,)),
    ]
    assert found.count(TrialState.FAILED) == 3


def test_cost_sums_what_has_ended(trial: MakeTrial, make_study: MakeStudy) -> None:
    study = make_study(trial(0), trial(1), trial(2, TrialState.RUNNING))
    found = cost.summarise(study)
    assert found.num_ended == 2
    assert found.wall == pytest.approx(16.0 + 33.6)
    assert found.busy == pytest.approx(2 * 33.6)
    assert found.mean == pytest.approx(33.6)
    assert found.train is not None
    assert found.validation is not None
    assert found.overhead == pytest.approx(found.busy - found.train - found.validation)


def test_a_record_that_ends_before_it_starts_holds_no_time(trial: MakeTrial, make_study: MakeStudy) -> None:
    backwards = dataclasses.replace(trial(0, TrialState.FAILED), end_ms=trial(0).start_ms - 13_000)
    found = cost.summarise(make_study(backwards))
    assert (found.num_ended, found.wall, found.wasted) == (0, None, 0.0)
    card = next(card for card in render.cards(make_study(backwards)) if card.title == "Wall time")
    assert (card.value, card.note) == ("–", "not recorded")
    assert cost.summarise(make_study(backwards, trial(1))).wall == pytest.approx(33.6)


def test_cost_without_times_has_no_overhead(trial: MakeTrial, make_study: MakeStudy) -> None:
    found = cost.summarise(make_study(dataclasses.replace(trial(0), history={})))
    assert (found.train, found.overhead, found.overhead_share) == (None, None, None)


def test_data_passes_over_rows_that_say_too_little(make_study: MakeStudy) -> None:
    rows = [
        {"split": "test", "language": "en", "source": "a"},
        {"language": "en"},
        {"split": "train", "language": "en", "source": "a"},
    ]
    study = make_study()
    study = dataclasses.replace(study, manifest=dataclasses.replace(study.manifest, corpus={"rows": rows}))
    found = data.summarise(study)
    assert [portion.split for portion in found.portions] == ["train", "test"]
    assert found.overlaps == ("train and test share a",)


def test_the_configuration_is_nested_as_an_attempt_reads_it(demo: StudyRecord) -> None:
    from lightning_modules.config import TrialConfig

    found = reproduce.summarise(demo)
    config = TrialConfig.model_validate(found.config)
    champion = next(trial for trial in demo.trials if trial.number == demo.champion)
    assert config.model_dump()["encoder"]["cell"] == champion.params["encoder.cell"]
    assert dict(found.facts)["commit of the chosen trial"] == "0123abc"


FIXED = {"config": {"deterministic": True, "window": 3}}


@pytest.mark.parametrize(
    ("changes", "state", "expected"),
    [
        ({"config": {}}, TrialState.COMPLETE, "depends on which trial ended first"),
        (FIXED, TrialState.COMPLETE, "fixed by the seed, 3 under way at a time"),
        (FIXED | {"time_budget_s": 7200.0}, TrialState.COMPLETE, "ended that: a budget of time of"),
        (FIXED, TrialState.TIMED_OUT, "ended that: 1 trial timed out"),
    ],
)
def test_what_the_choice_of_trials_depends_on(
    changes: dict[str, Any], state: TrialState, expected: str, trial: MakeTrial, make_study: MakeStudy
) -> None:
    study = make_study(trial(0, state))
    study = dataclasses.replace(study, manifest=dataclasses.replace(study.manifest, **changes))
    fact = dict(reproduce.summarise(study).facts)["which trials there are"]
    assert expected in fact
    assert ("ended that" in fact) is ("ended that" in expected)


def test_the_commands_begin_with_code_and_corpus(demo: StudyRecord) -> None:
    manifest = dataclasses.replace(demo.manifest, command="lidstudy sweep demo --workspace 'my work' --slots 2")
    assert reproduce.summarise(dataclasses.replace(demo, manifest=manifest)).steps == (
        "git checkout 0123abc",
        "lidstudy corpus prepare prompts --workspace 'my work'",
        "lidstudy sweep demo --workspace 'my work' --slots 2",
    )


def test_a_step_that_is_not_recorded_is_left_out(make_study: MakeStudy) -> None:
    study = make_study()
    manifest = dataclasses.replace(study.manifest, corpus={})
    assert reproduce.summarise(dataclasses.replace(study, manifest=manifest)).steps == (manifest.command,)


def test_what_was_not_recorded_is_said_to_be_missing(make_study: MakeStudy) -> None:
    assert dict(reproduce.summarise(make_study()).facts)["commit of the chosen trial"] == "not recorded"


def test_warnings_come_first(demo: StudyRecord) -> None:
    found = checks.summarise(demo)
    order = [finding.status for finding in found.findings]
    assert order == sorted(order, key=["warning", "passed", "skipped"].index)
    assert {"convergence", "failures"} <= {finding.code for finding in found.warnings}


def test_a_ledger_is_shown_whole(demo: StudyRecord) -> None:
    again: tuple[LedgerEntry, ...] = demo.ledger * 3
    assert len(reproduce.summarise(dataclasses.replace(demo, ledger=again)).ledger) == 3


def test_words() -> None:
    assert short_names(["encoder.cell", "clipping.kind", "a.size", "b.size"]) == {
        "encoder.cell": "cell",
        "clipping.kind": "clipping.kind",
        "a.size": "a.size",
        "b.size": "b.size",
    }
    assert (listing([]), listing(["a"]), listing("abc")) == ("–", "a", "a, b and c")
    assert (times(0), times(1), times(3)) == ("never", "once", "3 times")
    assert (p_value(0.0182), p_value(0.0001)) == ("p\xa0=\xa00.018", "p\xa0<\xa00.001")
