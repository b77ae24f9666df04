import dataclasses
from statistics import mean

import pytest

from reports.records import (
    GRAD_NON_FINITE,
    GRAD_NORM_AFTER,
    GRAD_NORM_BEFORE,
    GRAD_NORM_MAX,
    GRAD_NORM_QUANTILES,
    GRAD_SHARE_CLIPPED,
    MetricPoint,
    StudyRecord,
    TrialRecord,
    TrialState,
)
from reports.sections import clipping
from reports.sections._blocks import Items, Table, Text
from tests.reports.helpers import MakeStudy, MakeTrial


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
    assert [rule.idle for rule in clipping.summarise(study).rules] == [0, 1]


def test_what_each_rule_did_is_said(trial: MakeTrial, make_study: MakeStudy) -> None:
    def one(
        number: int, kind: str, clipped: float, *norms: float, state: TrialState = TrialState.COMPLETE
    ) -> TrialRecord:
        values = {GRAD_SHARE_CLIPPED: clipped} | dict(
            zip((GRAD_NORM_BEFORE, GRAD_NORM_AFTER, GRAD_NORM_MAX), norms, strict=False)
        )
        history: dict[str, tuple[MetricPoint, ...]] = {
            key: (MetricPoint(step=0, value=value, time_ms=0),) for key, value in values.items()
        }
        return dataclasses.replace(trial(number, state, params={"clipping.kind": kind}), history=history)

    study = make_study(
        one(0, "none", 0.0, 2.0, 2.0, 9.0, state=TrialState.DIVERGED),
        one(1, "norm", 0.0, 1.0, 1.0, 4.0),
        one(2, "norm", 0.5, 3.0, 2.0, 4.0),
        one(3, "value", 0.0, 1.0, 1.0, 4.0),
    )
    said = clipping.present(clipping.summarise(study))[0]
    assert isinstance(said, Items)
    assert [text.replace("\N{NO-BREAK SPACE}", " ") for text in said.items] == [
        "Without clipping 1 of 1 trial diverged, with norms of up to 9.",
        (
            "norm acted on 25.0 % of steps and took the mean norm from 2 to 1.5, in 1 of its trials on none; none "
            "of 2 trials diverged."
        ),
        "value never reached its threshold, which is as if nothing had been clipped: none of 1 trial diverged.",
    ]


def test_clipping_without_measures_is_left_out(trial: MakeTrial, make_study: MakeStudy) -> None:
    begun = dataclasses.replace(trial(0, TrialState.RUNNING), history={}, metrics={})
    assert clipping.present(clipping.summarise(make_study(begun))) == ()


def test_norms_are_told_by_their_quantiles_and_of_recurrent_clipping_not_before_it(
    trial: MakeTrial, make_study: MakeStudy
) -> None:
    def with_norms(number: int, kind: str, scale: float) -> TrialRecord:
        names = (*GRAD_NORM_QUANTILES, GRAD_NON_FINITE, GRAD_SHARE_CLIPPED, GRAD_NORM_BEFORE, GRAD_NORM_AFTER)
        values = dict(zip(names, (1, 2, 8, 3, 0.5, 4, 2), strict=True))
        history = {key: (MetricPoint(step=0, value=value * scale, time_ms=0),) for key, value in values.items()}
        one = trial(number, params={"clipping.kind": kind})
        return dataclasses.replace(one, history=one.history | history)

    study = make_study(with_norms(0, "norm", 1), with_norms(1, "norm", 0.5), with_norms(2, "recurrent", 1))
    norm, recurrent = clipping.summarise(study).rules
    assert norm.norms == (0.75, 1.5, 6.0)
    assert norm.dropped == 4
    assert (norm.norm_before, norm.norm_after) == (3.0, 1.5)
    assert (recurrent.norms, recurrent.norm_max, recurrent.norm_before) == (None, None, None)
    assert recurrent.norm_after is not None
    assert {dot.group for dot in clipping.summarise(study).norm.dots} == {"norm"}
    _, note, table, _ = clipping.present(clipping.summarise(study))
    assert isinstance(note, Text)
    assert "clips within the backward pass" in note.text
    assert isinstance(table, Table)
    assert "50.0\N{NO-BREAK SPACE}% of states" in [cell.text for cell in table.rows[1]]
