"""Gradients in layers and gates: what is drawn from the metrics of trials, and what is said of it."""

import math

import pytest

from reports.records import GRAD_FLOW_PREFIX, StudyRecord
from reports.sections._blocks import Table, Text
from reports.sections.gradient_parts import SECTION, Spread, present, summarise
from tests.reports.helpers import MakeStudy, MakeTrial


@pytest.fixture
def study(trial: MakeTrial, make_study: MakeStudy) -> StudyRecord:
    def lstm(number: int, ratio: float, saturation: float) -> dict[str, float]:
        return {
            f"{GRAD_FLOW_PREFIX}update_ratio/encoder.recurrence.l0": ratio,
            f"{GRAD_FLOW_PREFIX}update_ratio/encoder.recurrence.l1": 2 * ratio,
            f"{GRAD_FLOW_PREFIX}update_ratio/head.output": 0.5,
            f"{GRAD_FLOW_PREFIX}norm/head.output": 1.0 + number,
            f"{GRAD_FLOW_PREFIX}spectral_radius/encoder.recurrence.l0/forget": 1.25,
            f"{GRAD_FLOW_PREFIX}spectral_radius/decoder.cell/update": 7.0,
            f"{GRAD_FLOW_PREFIX}saturation/encoder.recurrence.l0/forget": saturation,
        }

    return make_study(
        trial(0, params={"encoder.cell": "lstm"}, metrics=lstm(0, 0.001, 0.25)),
        trial(1, params={"encoder.cell": "lstm"}, metrics=lstm(1, 0.004, 0.75)),
        trial(2, params={"encoder.cell": "gru"}, metrics={f"{GRAD_FLOW_PREFIX}update_ratio/encoder.x": 0.01}),
        trial(3, params={"encoder.cell": "gru"}, metrics={f"{GRAD_FLOW_PREFIX}update_ratio/encoder.x": math.inf}),
        trial(4, params={"encoder.cell": "gru"}),
    )


def test_parts_are_over_trials_and_layers_and_gates_by_name(study: StudyRecord) -> None:
    found = summarise(study)
    parts = {(part.network, part.name): part for part in found.parts}
    assert parts["lstm", "encoder"].n == 2
    assert parts["lstm", "encoder"].measures["update_ratio"] == Spread(0.001, 0.003, 0.008)
    assert parts["lstm", "head"].measures["norm"] == Spread(1.0, 1.5, 2.0)
    assert (parts["gru", "encoder"].n, parts["gru", "encoder"].measures["update_ratio"].most) == (1, 0.01)
    decoders, gate = found.gates
    assert (decoders.name, decoders.measures["spectral_radius"].median) == ("decoder update", 7.0)
    assert (gate.network, gate.name, gate.n) == ("lstm", "forget", 2)
    assert gate.measures["saturation"] == Spread(0.25, 0.5, 0.75)


def test_the_sentence_names_the_extremes(study: StudyRecord) -> None:
    text, layers, gates = present(summarise(study))
    assert isinstance(text, Text)
    assert text.text == (
        "In the last epoch a step moved the encoder's weights by 0.003 (lstm) to 0.01 (gru) of their norm. The "
        "encoders' recurrent blocks had a spectral radius of 1.25 (lstm forget). The gate that was saturated most is "
        "lstm forget, in 50.0\N{NO-BREAK SPACE}% of its activations. These are medians over trials, which differ in "
        "more than their cell."
    )
    assert isinstance(layers, Table)
    assert isinstance(gates, Table)
    assert [cell.text for cell in gates.rows[1]] == [
        "lstm",
        "forget",
        "2",
        "–",
        "1.25",
        "50.0\N{NO-BREAK SPACE}% (25.0\N{NO-BREAK SPACE}% to 75.0\N{NO-BREAK SPACE}%)",
    ]


def test_a_study_that_measured_nothing_has_no_such_section(demo: StudyRecord) -> None:
    assert SECTION.blocks(demo) == ()
