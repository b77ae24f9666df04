"""Trials under conditions in a report: whose they are, what is beside them, and what is missing."""

import dataclasses

from reports.evaluation_records import Evaluation
from reports.published import PUBLISHED
from reports.records import StudyRecord
from reports.sections import conditions
from reports.sections._blocks import Table, Text
from tests.reports.helpers import MakeStudy, MakeTrial, evaluation, result


def study_of(trial: MakeTrial, make_study: MakeStudy, *evaluations: Evaluation) -> StudyRecord:
    first, second = trial(0), trial(1)
    second = dataclasses.replace(second, params={**second.params, "encoder.cell": "lstm"})
    first = dataclasses.replace(first, params={**second.params, "encoder.cell": "gru"})
    return make_study(first, second, evaluations=evaluations)


def texts(summary: conditions.Conditions) -> str:
    return " ".join(block.text for block in conditions.present(summary) if isinstance(block, Text))


def tables(summary: conditions.Conditions) -> dict[str, list[list[str]]]:
    found = [block for block in conditions.present(summary) if isinstance(block, Table)]
    return {
        table.caption: [[each.title for each in table.columns], *([cell.text for cell in row] for row in table.rows)]
        for table in found
    }


def test_a_study_that_was_scored_under_none_has_no_section(trial: MakeTrial, make_study: MakeStudy) -> None:
    assert conditions.present(conditions.summarise(study_of(trial, make_study))) == ()


def test_systems_stand_side_by_side_by_what_tells_them_apart(trial: MakeTrial, make_study: MakeStudy) -> None:
    study = study_of(
        trial, make_study, evaluation(0, result("3s", 0.5), result("10s", 0.75)), evaluation(1, result("3s", 0.25))
    )
    table = tables(conditions.summarise(study))["Accuracy in % and (C_primary) on prompts, test, raw scores"]
    assert table == [
        ["condition", "utterances", "trial 0 (cell gru)", "trial 1 (cell lstm)"],
        ["3s", "8", "50.0 (0.40)", "25.0 (0.40)"],
        ["10s", "8", "75.0 (0.40)", "–"],
    ]


def test_calibrated_scores_stand_in_a_table_of_their_own(trial: MakeTrial, make_study: MakeStudy) -> None:
    first, second = result("3s", 0.5), result("10s", 0.75)
    mended = dataclasses.replace(
        second, scores={**second.scores, "accuracy_calibrated": 0.8, "c_primary_calibrated": 0.1}
    )
    study = study_of(trial, make_study, evaluation(0, first, mended))
    table = tables(conditions.summarise(study))[
        "Accuracy in % and (C_primary) on prompts, test, calibrated on development scores"
    ]
    assert [row[2] for row in table[1:]] == ["–", "80.0 (0.10)"]
    raw = tables(conditions.summarise(study_of(trial, make_study, evaluation(0, first))))
    assert not any("calibrated on development" in caption for caption in raw)


def test_each_corpus_has_its_own_tables(trial: MakeTrial, make_study: MakeStudy) -> None:
    study = study_of(trial, make_study, evaluation(0, result("3s", 0.5)), evaluation(0, result("3s", 0.6), corpus="x"))
    summary = conditions.summarise(study)
    assert [(place.corpus, place.same_corpus) for place in summary.places] == [("prompts", True), ("x", False)]
    assert "prompts, other parts of which trained" in texts(summary)
    assert "x, none of whose recordings trained" in texts(summary)


def test_recalls_are_of_each_language_and_others_are_no_target(trial: MakeTrial, make_study: MakeStudy) -> None:
    study = study_of(trial, make_study, evaluation(0, result("3s", 0.5, out_of_set=3), result("10s", 0.5)))
    (table,) = (rows for caption, rows in tables(conditions.summarise(study)).items() if caption.startswith("Recall"))
    assert table == [
        ["condition", "en", "es", "nl"],
        ["3s", "50.0\xa0%", "50.0\xa0%", "no target"],
        ["10s", "50.0\xa0%", "50.0\xa0%", "–"],
    ]


def test_what_was_joined_is_said(trial: MakeTrial, make_study: MakeStudy) -> None:
    said = texts(conditions.summarise(study_of(trial, make_study, evaluation(0, result("30s", 0.5, joined=0.95)))))
    assert "Joined from several recordings of one speaker, where one was too short: 95.0\xa0% of 30s." in said


def test_figures_from_elsewhere_stand_apart_and_say_what_they_are(trial: MakeTrial, make_study: MakeStudy) -> None:
    study = study_of(trial, make_study)
    manifest = dataclasses.replace(study.manifest, config={**study.manifest.config, "published": "padi2019"})
    summary = conditions.summarise(dataclasses.replace(study, manifest=manifest))
    assert summary.published is PUBLISHED["padi2019"]
    assert "Figures from elsewhere" in texts(summary)
    (rows,) = tables(summary).values()
    assert rows[0] == ["condition", "i-vector LDA-SVM", "LSTM 2×512", "HGRU"]
    assert rows[1] == ["3s", "53.8 (0.53)", "54.7 (0.55)", "55.1 (0.55)"]


def test_reasons_for_no_interval_are_told_once_and_of_which_condition(trial: MakeTrial, make_study: MakeStudy) -> None:
    few, fewer = (dataclasses.replace(result(name, 0.5), no_intervals="too few") for name in ("3s", "10s"))
    one = conditions.summarise(study_of(trial, make_study, evaluation(0, few, fewer)))
    assert texts(one).count("Too few") == 1
    other = dataclasses.replace(fewer, no_intervals="none at all")
    two = texts(conditions.summarise(study_of(trial, make_study, evaluation(0, few, other))))
    assert "3s: too few" in two
    assert "10s: none at all" in two
