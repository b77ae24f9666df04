import dataclasses
import math

import pytest

from reports.records import OBJECTIVE, MetricPoint, TrialState
from reports.sections import curves
from tests.reports.helpers import MakeStudy, MakeTrial


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
