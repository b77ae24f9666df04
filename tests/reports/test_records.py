"""What a configuration was given, beside what every network has some value of."""

import dataclasses
from collections.abc import Callable

from reports.records import SearchedParameter, StudyRecord, TrialRecord, chosen
from reports.sections import answer, leaderboard

MakeTrial = Callable[..., TrialRecord]
MakeStudy = Callable[..., StudyRecord]

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
