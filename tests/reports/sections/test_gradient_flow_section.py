"""Gradient flow over time: what of MLflow is read, what arms are made of trials, and what is said of them."""

import dataclasses
import math
from typing import Any

import pytest

from lightning_modules.errors import StorageError
from reports.figures import to_png
from reports.load import load_study
from reports.records import (
    GRAD_FLOW_PREFIX,
    GRAD_OVER_TIME,
    FlowCurve,
    GradientFlow,
    StudyRecord,
    parse_gradient_flow,
)
from reports.sections import answer, gradient_flow
from reports.sections._blocks import Drawing, Table, Text
from reports.sections.gradient_flow import SECTION, present, summarise
from tests.reports.conftest import WriteStudy
from tests.reports.helpers import MakeStudy, MakeTrial

NUM_STEPS = 40


def falling(decay: float, *, scale: float = 1.0) -> tuple[float, ...]:
    """Vanishes towards the start, by a factor a step."""
    return tuple(scale * decay ** (NUM_STEPS - 1 - t) for t in range(NUM_STEPS))


def flow(before: float, after: float, *, scale: float = 1.0, last_epoch: int = 3) -> GradientFlow:
    """Reads forwards and backwards, with a cell state and something between that no report shows."""

    def curve(epochs_trained: int, decay: float) -> FlowCurve:
        values = falling(decay, scale=scale)
        norms = {"layer0/forward/cell": values, "layer0/forward": values, "layer0/backward": values[::-1]}
        return FlowCurve(epochs_trained=epochs_trained, norms=norms)

    return GradientFlow(curves=(curve(0, before), curve(1, 0.5), curve(last_epoch, after)))


def arms_params(cell: str, rule: str, **params: Any) -> dict[str, Any]:
    return {"encoder.cell": cell, "clipping.kind": rule, GRAD_OVER_TIME: True, "pooling.kind": "last", **params}


@pytest.fixture
def study(trial: MakeTrial, make_study: MakeStudy) -> StudyRecord:
    trials = (
        trial(0, params=arms_params("rnn_tanh", "none")),
        trial(1, params=arms_params("lstm", "norm")),
        trial(2, params=arms_params("lstm", "norm")),
        trial(3, params=arms_params("gru", "norm", **{GRAD_OVER_TIME: False})),
    )
    flows = {0: flow(0.9, 0.5), 1: flow(0.8, 0.95, scale=10.0), 2: flow(0.6, 0.95, scale=0.1)}
    return make_study(*trials, gradient_flow=flows)


def expected_ratio(decay: float) -> float:
    values = falling(decay)
    return sum(values[:4]) / sum(values[-4:])


def test_trials_of_a_cell_and_a_rule_are_an_arm_by_their_geometric_mean(study: StudyRecord) -> None:
    arms = {(arm.name, arm.states): arm for arm in summarise(study).arms}
    lstm = arms["lstm, norm", "layer0/forward"]
    assert lstm.n == 2
    assert lstm.before == pytest.approx(falling(math.sqrt(0.8 * 0.6)))
    assert lstm.ratio_before == pytest.approx(expected_ratio(math.sqrt(0.8 * 0.6)))
    assert lstm.ratio_after == pytest.approx(expected_ratio(0.95))
    assert {name for name, _ in arms} == {"lstm, norm", "rnn_tanh, none"}


def test_reading_backwards_the_first_steps_are_those_at_the_end(study: StudyRecord) -> None:
    for arm in summarise(study).arms:
        decay = 0.9 if arm.name == "rnn_tanh, none" else math.sqrt(0.8 * 0.6)
        assert arm.ratio_before == pytest.approx(expected_ratio(decay)), arm.states


def test_the_figure_shows_the_last_recurrence_that_reads_forwards(study: StudyRecord) -> None:
    assert [arm.states for arm in summarise(study).shown] == ["layer0/forward"] * 2


def test_stacks_of_different_depth_are_each_shown_by_their_last_layer(trial: MakeTrial, make_study: MakeStudy) -> None:
    deep = tuple(
        FlowCurve(epochs_trained=epoch, norms={"layer0/forward": falling(0.9), "layer1/forward": falling(0.8)})
        for epoch in (0, 1)
    )
    trials = [trial(number, params=arms_params("lstm", "norm")) for number in (0, 1)]
    study = make_study(*trials, gradient_flow={0: flow(0.9, 0.9), 1: GradientFlow(curves=deep)})
    assert [(arm.states, arm.n) for arm in summarise(study).shown] == [("layer0/forward", 1), ("layer1/forward", 1)]


def test_the_sentence_says_what_was_measured(study: StudyRecord) -> None:
    text, conditions, drawing, table = present(summarise(study))
    assert isinstance(text, Text)
    assert text.text == (
        "Before training, the first tenth of the steps got 1.8e-06 times the gradient of the last tenth with "
        "lstm, norm and 0.023 times with rnn_tanh, none; after training 0.16 times and 1.5e-11 times."
    )
    assert isinstance(conditions, Text)
    assert "pooling last, reading both ways, initialisation orthogonal" in conditions.text
    assert "every state" not in conditions.text
    assert isinstance(table, Table)
    assert len(table.rows) == 6
    assert isinstance(drawing, Drawing)
    assert to_png(drawing.draw()).startswith(b"\x89PNG")


def test_a_study_that_asked_how_far_gradients_reach_answers_that_at_its_top(
    study: StudyRecord, demo: StudyRecord
) -> None:
    said = answer.lines(answer.summarise(study))
    assert len(said) == 5
    assert said[4].startswith("Before training, the first tenth of the steps got")
    assert len(answer.lines(answer.summarise(demo))) == 4


def test_a_pooling_that_reads_every_state_is_said_to(trial: MakeTrial, make_study: MakeStudy) -> None:
    params = arms_params("gru", "agc", **{"pooling.kind": "mean", "encoder.bidirectional": False})
    study = make_study(trial(0, params=params), gradient_flow={0: flow(0.9, 0.9)})
    conditions = present(summarise(study))[1]
    assert isinstance(conditions, Text)
    assert "under pooling mean, reading one way" in conditions.text
    assert "Where the loss is made of every state" in conditions.text


def test_trials_of_different_routes_or_feedback_are_arms_of_their_own(trial: MakeTrial, make_study: MakeStudy) -> None:
    fed_back = {"encoder.kind": "output_recurrent", "encoder.feedback.kind": "teacher_forcing", "task.kind": "sequence"}
    trials = (
        trial(0, params=arms_params("lstm", "norm", **{"task.kind": "sequence", "task.attention": "none"})),
        trial(1, params=arms_params("lstm", "norm", **{"task.kind": "sequence", "task.attention": "dot"})),
        trial(2, params=arms_params("gru", "norm", **fed_back)),
    )
    summary = summarise(make_study(*trials, gradient_flow=dict.fromkeys(range(3), flow(0.9, 0.9))))
    assert [arm.name for arm in summary.shown] == [
        "gru, pooling last with a loss at every step, norm",
        "lstm, attention dot, norm",
        "lstm, pooling last, norm",
    ]
    conditions = present(summary)[1]
    assert isinstance(conditions, Text)
    assert "under attention dot, pooling last and pooling last with a loss at every step," in conditions.text
    assert "each state has a gradient of its own" in conditions.text


def test_arms_that_differ_in_direction_initialisation_or_length_are_told_apart(
    trial: MakeTrial, make_study: MakeStudy
) -> None:
    def shorter(curves: GradientFlow) -> GradientFlow:
        cut = [
            FlowCurve(
                epochs_trained=each.epochs_trained, norms={name: values[:30] for name, values in each.norms.items()}
            )
            for each in curves.curves
        ]
        return GradientFlow(curves=tuple(cut))

    trials = (
        trial(0, params=arms_params("gru", "norm")),
        trial(1, params=arms_params("gru", "norm", **{"encoder.bidirectional": False})),
        trial(2, params=arms_params("gru", "norm", **{"encoder.initialisation": "uniform"})),
        trial(3, params=arms_params("gru", "norm")),
    )
    flows = dict.fromkeys(range(3), flow(0.9, 0.9)) | {3: shorter(flow(0.9, 0.9))}
    assert [arm.name for arm in summarise(make_study(*trials, gradient_flow=flows)).shown] == [
        "gru, both ways, orthogonal, 30 steps, norm",
        "gru, both ways, orthogonal, 40 steps, norm",
        "gru, both ways, uniform, norm",
        "gru, one way, orthogonal, norm",
    ]


def test_more_networks_than_colours_are_left_to_the_table(trial: MakeTrial, make_study: MakeStudy) -> None:
    poolings = ("last", "mean", "max", "statistics", "attention", "multi_head", "attentive_statistics", "a", "b", "c")
    params = [arms_params("gru", "norm", **{"pooling.kind": name}) for name in poolings]
    trials = [trial(number, params=each) for number, each in enumerate(params)]
    blocks = present(summarise(make_study(*trials, gradient_flow=dict.fromkeys(range(10), flow(0.9, 0.8)))))
    drawing = next(block for block in blocks if isinstance(block, Drawing))
    assert len(drawing.draw().legends[0].get_texts()) == 8
    assert "no room for 2 networks, which the table has" in drawing.caption
    table = next(block for block in blocks if isinstance(block, Table))
    assert len({row[0].text for row in table.rows}) == 10


def test_labels_of_every_step_have_no_pooling(trial: MakeTrial, make_study: MakeStudy) -> None:
    params = arms_params("gru", "norm", **{"task.kind": "labelling"})
    summary = summarise(make_study(trial(0, params=params), gradient_flow={0: flow(0.9, 0.9)}))
    assert summary.routes == ("a loss at every step",)


def test_arms_that_do_not_differ_are_not_compared_with_themselves(trial: MakeTrial, make_study: MakeStudy) -> None:
    trials = [trial(number, params=arms_params("gru", rule)) for number, rule in enumerate(("none", "norm"))]
    study = make_study(*trials, gradient_flow={0: flow(1.0, 1.0), 1: flow(1.0, 1.0)})
    assert gradient_flow.in_a_sentence(summarise(study)) == (
        "Before training, the first tenth of the steps got 1 times the gradient of the last tenth with each of 2 arms; "
        "after training 1 times."
    )


@pytest.mark.parametrize(
    ("kind", "heard"), [("classification", "utterance"), ("labelling", "recording"), ("sequence", "recording")]
)
def test_a_loss_is_of_what_the_task_hears_as_one(study: StudyRecord, kind: str, heard: str) -> None:
    manifest = dataclasses.replace(study.manifest, config={"trial": {"task": {"kind": kind}}})
    conditions = present(summarise(dataclasses.replace(study, manifest=manifest)))[1]
    assert isinstance(conditions, Text)
    assert f"that of each {heard}'s own loss, averaged over {heard}s;" in conditions.text


def test_the_figure_names_networks_and_rules_apart(study: StudyRecord) -> None:
    drawing = next(block for block in present(summarise(study)) if isinstance(block, Drawing))
    legends = [[text.get_text() for text in legend.get_texts()] for legend in drawing.draw().legends]
    assert legends == [["lstm", "rnn_tanh"], ["clipping none", "clipping norm"]]


def test_gradients_that_vanish_altogether_still_have_a_ratio(trial: MakeTrial, make_study: MakeStudy) -> None:
    study = make_study(trial(0, params=arms_params("rnn_tanh", "none")), gradient_flow={0: flow(0.0, 0.5)})
    [arm] = summarise(study).shown
    assert arm.before[0] == pytest.approx(1e-45, rel=0.5)
    assert 0.0 < arm.ratio_before < 1e-40


def test_gradients_that_are_not_finite_are_left_out_and_named(study: StudyRecord) -> None:
    spoilt = dataclasses.replace(study, gradient_flow=study.gradient_flow | {2: flow(0.5, math.nan)})
    summary = summarise(spoilt)
    assert {arm.n for arm in summary.arms} == {1}
    assert summary.not_finite == (2,)
    conditions = present(summary)[1]
    assert isinstance(conditions, Text)
    assert "Left out, since a gradient was not finite: trial 2." in conditions.text


def test_a_study_without_curves_has_no_such_section(demo: StudyRecord, study: StudyRecord) -> None:
    assert SECTION.blocks(demo) == ()
    killed_at_once = GradientFlow(curves=flow(0.5, 0.5).curves[:1])
    assert SECTION.blocks(dataclasses.replace(study, gradient_flow={0: killed_at_once})) == ()


def test_curves_come_back_from_mlflow(study: StudyRecord, tracking_uri: str, write_study: WriteStudy) -> None:
    stray = dataclasses.replace(study, gradient_flow=study.gradient_flow | {3: flow(0.5, 0.5)})
    write_study(stray, tracking_uri)
    loaded = load_study("demo", tracking_uri=tracking_uri)
    assert loaded.gradient_flow == study.gradient_flow, "only trials that were to measure it are asked"


def test_measures_by_layer_are_read_without_their_history(
    study: StudyRecord, tracking_uri: str, write_study: WriteStudy
) -> None:
    key = f"{GRAD_FLOW_PREFIX}norm/encoder.recurrence.l0"
    first = dataclasses.replace(study.trials[0], metrics=study.trials[0].metrics | {key: 0.5})
    write_study(dataclasses.replace(study, trials=(first, *study.trials[1:])), tracking_uri)
    loaded = load_study("demo", tracking_uri=tracking_uri).trials[0]
    assert loaded.metrics[key] == 0.5
    assert key not in loaded.history
    assert loaded.history == first.history


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"curves": [{}]}', '{"curves": [{"epochs_trained": 0, "norms": 1}]}']
)
def test_a_file_of_curves_that_is_broken_is_an_error(text: str) -> None:
    with pytest.raises(StorageError, match=r"gradient_flow\.json is not readable"):
        parse_gradient_flow(text)
