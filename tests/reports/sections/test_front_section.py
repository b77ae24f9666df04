"""Several objectives in a report: who dominates whom, ties, and whose milliseconds they are."""

import dataclasses
import json
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.figures import to_svg
from reports.load import load_study
from reports.pareto import dominates, non_dominated
from reports.records import ARTIFACT_STUDY, TAG_DEVICE, TAG_HOST, FurtherObjective, StudyRecord, TrialRecord, TrialState
from reports.sections import front
from reports.sections._blocks import Drawing, Table, Text
from tests.reports.helpers import MakeStudy, MakeTrial

FURTHER = (
    FurtherObjective(name="parameters", metric="objective/parameters", meaning="trained parameters"),
    FurtherObjective(name="latency", metric="objective/latency", meaning="milliseconds for 10 s"),
)


@pytest.fixture
def study_of(trial: MakeTrial, make_study: MakeStudy) -> Callable[..., StudyRecord]:
    """A study with three objectives and complete trials of these values."""

    def make(*values: tuple[float, float, float], host: str = "here") -> StudyRecord:
        trials = [measured(trial(number), *each, host=host) for number, each in enumerate(values)]
        study = make_study(*trials)
        return dataclasses.replace(study, manifest=dataclasses.replace(study.manifest, further_objectives=FURTHER))

    return make


def measured(trial: TrialRecord, objective: float, size: float, latency: float, host: str = "here") -> TrialRecord:
    values = {"best/objective": objective, "objective/parameters": size, "objective/latency": latency}
    tags = {**trial.tags, TAG_HOST: host, TAG_DEVICE: "cpu"}
    return dataclasses.replace(trial, metrics={**trial.metrics, **values}, tags=tags)


POINTS = st.lists(st.tuples(*[st.integers(0, 4)] * 3), max_size=30)


@given(POINTS)
def test_the_front_is_what_no_other_point_dominates(points: list[tuple[int, ...]]) -> None:
    naive = [
        place
        for place, point in enumerate(points)
        if not any(
            all(a <= b for a, b in zip(other, point, strict=True))
            and any(a < b for a, b in zip(other, point, strict=True))
            for other in points
        )
    ]
    assert non_dominated(points) == naive


@given(POINTS)
def test_every_point_is_on_the_front_or_dominated_by_it(points: list[tuple[int, ...]]) -> None:
    places = non_dominated(points)
    for place, point in enumerate(points):
        assert (place in places) is not any(dominates(points[each], point) for each in places)


def test_dominated_trials_are_told_from_the_front(study_of: Callable[..., StudyRecord]) -> None:
    found = front.summarise(study_of((1.0, 500, 4.0), (2.0, 100, 3.0), (2.0, 600, 4.5), (1.5, 500, 1.0)))
    assert [axis.name for axis in found.axes] == ["cllr_calibrated", "parameters", "latency"]
    assert [(result.numbers, result.values, result.on_front) for result in found.results] == [
        ((0,), (1.0, 500.0, 4.0), True),
        ((3,), (1.5, 500.0, 1.0), True),
        ((1,), (2.0, 100.0, 3.0), True),
        ((2,), (2.0, 600.0, 4.5), False),
    ]
    assert (found.num_trials, found.num_left_out) == (4, 0)


def test_trials_that_are_equal_in_every_objective_share_a_row(study_of: Callable[..., StudyRecord]) -> None:
    found = front.summarise(study_of((1.0, 500, 4.0), (2.0, 100, 3.0), (1.0, 500, 4.0)))
    assert [result.numbers for result in found.front] == [(0, 2), (1,)]
    assert "Trials 0 and 2 are equal in every objective" in texts(found)
    assert "The front holds 3 of 3 complete trials" in texts(found)


def test_only_complete_trials_with_every_value_are_compared(
    study_of: Callable[..., StudyRecord], trial: MakeTrial
) -> None:
    study = study_of((1.0, 500, 4.0))
    diverged = measured(trial(1, TrialState.DIVERGED), 4.6, 10, 0.1)
    lacking = trial(2)
    found = front.summarise(dataclasses.replace(study, trials=(*study.trials, diverged, lacking)))
    assert [result.numbers for result in found.results] == [(0,)]
    assert found.num_left_out == 1


def test_a_study_of_one_objective_has_no_such_section(demo: StudyRecord) -> None:
    assert front.SECTION.blocks(demo) == ()


def test_a_study_without_a_complete_trial_has_none_either(study_of: Callable[..., StudyRecord]) -> None:
    assert front.SECTION.blocks(study_of()) == ()


def test_latency_is_said_to_be_of_one_machine_and_of_one_seed(study_of: Callable[..., StudyRecord]) -> None:
    study = study_of((1.0, 500, 4.0), (2.0, 100, 3.0))
    said = texts(front.summarise(study))
    assert "of the machine that the trials ran on (here cpu)" in said
    assert "one training under one seed" in said
    assert "compare within one" not in said
    away = measured(study.trials[1], 2.0, 100, 3.0, host="there")
    mixed = front.summarise(dataclasses.replace(study, trials=(study.trials[0], away)))
    assert mixed.machines == ("here cpu", "there cpu")
    assert "Trials ran on here cpu and there cpu: their latencies compare within one of these alone" in texts(mixed)


def test_the_table_is_of_the_front_and_the_figure_of_all(study_of: Callable[..., StudyRecord]) -> None:
    blocks = front.SECTION.blocks(study_of((1.0, 512_000, 4.0), (2.0, 100, 3.0), (2.0, 600_000, 4.5)))
    (table,) = (block for block in blocks if isinstance(block, Table))
    assert [[cell.text for cell in row[:4]] for row in table.rows] == [
        ["0", "1.000", "512,000", "4.00"],
        ["1", "2.000", "100", "3.00"],
    ]
    assert table.columns[3].title == "latency, ms"
    (figure,) = (block for block in blocks if isinstance(block, Drawing))
    svg = to_svg(figure.draw(), alt=figure.alt)
    assert svg.count("on the front") == 2, "named once a panel"
    assert "dominated" in svg


def test_marks_differ_in_shape_too(study_of: Callable[..., StudyRecord]) -> None:
    """A diamond is four lines, and a circle curves."""
    blocks = front.SECTION.blocks(study_of((1.0, 500, 4.0), (2.0, 600, 4.5)))
    (figure,) = (block for block in blocks if isinstance(block, Drawing))
    shapes = {len(each.get_paths()[0]) for each in figure.draw().axes[0].collections}
    assert len(shapes) == 2


def test_results_stand_by_the_first_objective(study_of: Callable[..., StudyRecord]) -> None:
    found = front.summarise(study_of((3.0, 1, 1.0), (1.0, 3, 1.0), (2.0, 2, 1.0)))
    assert all(one.values <= other.values for one, other in pairwise(found.results))


def test_they_are_read_back_from_mlflow(
    study_of: Callable[..., StudyRecord], write_study: Callable[[StudyRecord, str], None], tracking_uri: str
) -> None:
    study = study_of((1.0, 500, 4.0), (2.0, 100, 3.0))
    write_study(study, tracking_uri)
    loaded = load_study("demo", tracking_uri=tracking_uri)
    assert loaded.manifest.further_objectives == FURTHER
    assert front.summarise(loaded) == front.summarise(study)
    assert loaded.trials[0].history.keys().isdisjoint({each.metric for each in FURTHER})


def test_the_record_of_an_earlier_version_has_one_objective(
    demo: StudyRecord, write_study: Callable[[StudyRecord, str], None], tracking_uri: str
) -> None:
    from mlflow import MlflowClient

    write_study(demo, tracking_uri)
    written = dataclasses.asdict(demo.manifest)
    del written["further_objectives"]
    run_id = load_study("demo", tracking_uri=tracking_uri).run_id
    MlflowClient(tracking_uri=tracking_uri).log_text(run_id, json.dumps(written), ARTIFACT_STUDY)
    assert load_study("demo", tracking_uri=tracking_uri).manifest == demo.manifest


def texts(found: front.Front) -> str:
    return " ".join(block.text for block in front.present(found) if isinstance(block, Text))
