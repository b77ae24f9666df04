import dataclasses
from typing import get_args

import pytest

from lightning_modules.config import TASK_SCORES, TaskConfig
from reports.records import TEST_P_CALIBRATED, TEST_P_VALUE, StudyRecord
from reports.sections import answer, unseen
from reports.sections._blocks import Table, Text
from tests.reports.helpers import MakeStudy, MakeTrial, table


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


def test_a_test_that_could_not_have_shown_anything_is_called_so(demo: StudyRecord) -> None:
    few = table(("en", "a", (2.0, -2.0)), ("es", "b", (-2.0, 2.0)))
    study = dataclasses.replace(demo, scores_test=few, test_metrics={TEST_P_VALUE: 0.5, "test/accuracy": 1.0})
    found = unseen.summarise(study)
    assert found.smallest_p == pytest.approx(0.5)
    assert found.test is not None
    assert not found.test.above_chance


def test_the_test_of_calibrated_decisions_is_told_as_a_second_one(demo: StudyRecord) -> None:
    study = dataclasses.replace(demo, test_metrics=demo.test_metrics | {TEST_P_CALIBRATED: 0.004})
    said = unseen.present(unseen.summarise(study))[0]
    assert isinstance(said, Text)
    text = said.text.replace("\N{NO-BREAK SPACE}", " ")
    assert "Of decisions after calibration it would be p = 0.004: a second test." in text


def test_a_source_of_two_languages_has_no_smallest_p(demo: StudyRecord) -> None:
    mixed = table(("en", "a", (2.0, -2.0)), ("es", "a", (-2.0, 2.0)))
    assert unseen.summarise(dataclasses.replace(demo, scores_test=mixed)).smallest_p is None


def of_task(study: StudyRecord, kind: str, **metrics: float) -> StudyRecord:
    manifest = dataclasses.replace(study.manifest, config={"trial": {"task": {"kind": kind}}})
    return dataclasses.replace(study, manifest=manifest, test_metrics=study.test_metrics | metrics)


def reading(study: StudyRecord) -> dict[str, str]:
    tables = [block for block in unseen.present(unseen.summarise(study)) if isinstance(block, Table)]
    return next(
        {name.text: meaning.text for name, meaning in each.rows}
        for each in tables
        if each.caption == "How to read the scores"
    )


def test_what_a_segment_is_is_said_where_segments_are_scored(demo: StudyRecord) -> None:
    kinds = {get_args(each.model_fields["kind"].annotation)[0] for each in get_args(get_args(TaskConfig)[0])}
    said = {kind: reading(of_task(demo, kind)).get("segment") for kind in kinds}
    assert said.pop("classification") is None
    assert len(set(said.values())) == len(said) == 2
    assert all(meaning and "code-switched recording" in meaning for meaning in said.values())


def test_scores_of_one_task_alone_are_explained(demo: StudyRecord) -> None:
    metrics = {f"test/{name}": 0.5 for name in TASK_SCORES}
    for name, kind in TASK_SCORES.items():
        assert reading(of_task(demo, kind, **metrics))[name.replace("_", " ")].endswith("Lower is better.")
