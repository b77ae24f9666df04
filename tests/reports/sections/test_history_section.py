"""The course of a search: endings in their order, and lines over what was searched."""

import dataclasses

import pytest

from reports.figures import to_svg
from reports.records import SearchedParameter, StudyRecord, TrialRecord, TrialState
from reports.sections import history
from reports.sections._blocks import Drawing, Text
from tests.reports.helpers import MakeStudy, MakeTrial, searching

CELL = SearchedParameter(path="encoder.cell", kind="choices", choices=("gru", "lstm"))
RATE = SearchedParameter(path="optimizer.learning_rate", kind="float", low=0.001, high=0.1, log=True)
CLIP = SearchedParameter(path="clipping.kind", kind="choices", choices=("none", "norm"))
NORM = SearchedParameter(
    path="clipping.max_norm", kind="float", low=0.1, high=10.0, log=True, when={"clipping.kind": ("norm",)}
)


def ended(trial: MakeTrial, number: int, end_ms: int, objective: float, **params: object) -> TrialRecord:
    made = trial(number, objective=objective)
    given = {"encoder.cell": "gru", "optimizer.learning_rate": 0.01, "clipping.kind": "none", **params}
    return dataclasses.replace(made, end_ms=end_ms, params=given)


def study_of(make_study: MakeStudy, *trials: TrialRecord) -> StudyRecord:
    return searching(make_study(*trials), CELL, RATE, CLIP, NORM)


def test_trials_stand_in_the_order_in_which_they_ended(trial: MakeTrial, make_study: MakeStudy) -> None:
    found = history.summarise(
        study_of(
            make_study,
            ended(trial, 0, 400, 0.5),
            ended(trial, 1, 100, 0.9),
            ended(trial, 2, 300, 0.6),
            ended(trial, 3, 200, 0.7),
            dataclasses.replace(trial(4, TrialState.DIVERGED), end_ms=250),
            dataclasses.replace(trial(5, TrialState.PRUNED), end_ms=260),
        )
    )
    assert [each.y for each in found.ended] == [0.9, 0.7, None, 0.6, 0.5]
    assert (found.best, found.place, found.num_complete) == (0, 4, 4)
    said = next(block.text for block in history.present(found) if isinstance(block, Text))
    assert "number 4 of 4 complete trials to end" in said
    assert said.endswith("None ended after it.")


def test_lines_cross_each_axis_where_their_value_lies(trial: MakeTrial, make_study: MakeStudy) -> None:
    values = ((0.5, 0.001, "gru"), (0.6, 0.01, "lstm"), (0.7, 0.1, "gru"), (0.9, 0.1, "lstm"))
    trials = [
        ended(trial, n, n, y, **{"optimizer.learning_rate": rate, "encoder.cell": cell})
        for n, (y, rate, cell) in enumerate(values)
    ]
    found = history.summarise(study_of(make_study, *trials))
    assert [each.title for each in found.coordinates] == ["cell", "learning_rate", "objective"], "clipping varies not"
    low, high = 0.05, 0.95
    assert [line.places[0] for line in found.lines] == [low, high, low, high]
    assert [line.places[1] for line in found.lines] == pytest.approx([low, 0.5, high, high]), "on a logarithmic axis"
    assert [line.places[2] for line in found.lines] == pytest.approx([low, 0.275, 0.5, high])
    assert [line.front for line in found.lines] == [True, False, False, False]
    assert [line.chosen for line in found.lines] == [True, False, False, False]


def test_a_parameter_that_most_trials_have_leaves_a_gap_in_the_others_and_a_rare_one_has_no_axis(
    trial: MakeTrial, make_study: MakeStudy
) -> None:
    clipped = {"clipping.kind": "norm"}
    often = [ended(trial, n, n, 0.5 + n, **clipped, **{"clipping.max_norm": 1.0 + n}) for n in range(3)]
    seldom = [ended(trial, n, n, 0.5 + n) for n in range(3, 5)]
    found = history.summarise(study_of(make_study, *often, *seldom))
    place = [each.title for each in found.coordinates].index("max_norm")
    assert [line.places[place] is None for line in found.lines] == [False] * 3 + [True] * 2
    rare = history.summarise(study_of(make_study, *often[:1], *seldom, ended(trial, 7, 7, 9.0)))
    assert "max_norm" not in [each.title for each in rare.coordinates]


def test_few_trials_and_designs_of_arms_have_no_course(trial: MakeTrial, make_study: MakeStudy) -> None:
    trials = [ended(trial, n, n, 0.5 + n) for n in range(4)]
    assert history.present(history.summarise(study_of(make_study, *trials[:3]))) == ()
    design = study_of(make_study, *trials)
    manifest = dataclasses.replace(design.manifest, config={"sampler": {"kind": "design"}})
    assert history.present(history.summarise(dataclasses.replace(design, manifest=manifest))) == ()


def test_both_figures_can_be_drawn(demo: StudyRecord) -> None:
    drawings = [block for block in history.SECTION.blocks(demo) if isinstance(block, Drawing)]
    assert [drawing.key for drawing in drawings] == ["history", "parallel"]
    for drawing in drawings:
        assert to_svg(drawing.draw()) == to_svg(drawing.draw())
