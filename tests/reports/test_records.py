"""What a configuration was given, beside what every network has some value of; and what is scored."""

import dataclasses
from pathlib import Path

import pytest

from reports.records import SearchedParameter, StudyRecord, chosen
from reports.render import write_report
from reports.sections import answer, leaderboard
from tests.reports.helpers import MakeStudy, MakeTrial

SEARCHED = (
    SearchedParameter(path="task.attention", kind="choices", choices=("none", "dot")),
    SearchedParameter(
        path="pooling.kind", kind="choices", choices=("last", "mean"), when={"task.attention": ("none",)}
    ),
)
WITH, WITHOUT = ({"task.attention": attention, "pooling.kind": "mean"} for attention in ("dot", "none"))


def test_a_parameter_exists_where_its_condition_holds() -> None:
    assert chosen(SEARCHED, WITH) == {"task.attention": "dot"}
    assert chosen(SEARCHED, WITHOUT) == WITHOUT
    assert chosen(SEARCHED, {"task.attention": "none"}) == {"task.attention": "none"}


def test_reports_name_what_a_configuration_was_given(trial: MakeTrial, make_study: MakeStudy) -> None:
    study = make_study(trial(0, params=WITH, objective=1.0), trial(1, params=WITHOUT, objective=2.0))
    study = dataclasses.replace(study, manifest=dataclasses.replace(study.manifest, parameters=SEARCHED))
    board = leaderboard.summarise(study)
    (column,) = board.parameters
    assert [column.cell(row.params).text for row in board.rows] == ["dot", "none, mean"]
    assert answer.summarise(study).chosen_params == {"task.attention": "dot"}


@pytest.mark.parametrize(
    ("task", "scored", "other"),
    [({}, "utterance", "segment"), *(({"kind": kind}, "segment", "utterance") for kind in ("labelling", "sequence"))],
)
def test_reports_say_what_is_scored(
    demo: StudyRecord, task: dict[str, str], scored: str, other: str, tmp_path: Path
) -> None:
    config = demo.manifest.config | {"trial": {"task": task}}
    study = dataclasses.replace(demo, manifest=dataclasses.replace(demo.manifest, config=config))
    text = write_report(study, tmp_path).markdown.read_text()
    for said in (
        f"On 120 test {scored}s from 10 sources",
        f"on 120 {scored}s, 10 sources",
        f"Share of {scored}s whose language",
        f"Bits that the scores leave unknown of the language of each {scored}",
        f"Confusion on test data, {scored}s",
    ):
        assert said in text
    assert text.count(f"| {scored}s |") == 3, "recalls, speakers and ledger"
    assert f" {other}s" not in text.replace(demo.manifest.question, "")
