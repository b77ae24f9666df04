import math
from statistics import stdev

import pytest

from reports.records import SearchedParameter, TrialState
from reports.sections import effects
from tests.reports.helpers import MakeStudy, MakeTrial, searching


def test_levels_count_what_they_leave_out(trial: MakeTrial, make_study: MakeStudy) -> None:
    gru = {"encoder.cell": "gru"}
    study = make_study(
        trial(0, params=gru, objective=1.0),
        trial(1, params=gru, objective=2.0),
        trial(2, TrialState.DIVERGED, params=gru),
        trial(3, TrialState.PRUNED, params=gru),
        trial(4, TrialState.FAILED, params=gru),
        trial(5, params={"encoder.cell": "lstm"}, objective=3.0),
    )
    levels = {level.name: level for level in effects.summarise(study).effects[0].levels}
    assert (levels["gru"].n, levels["gru"].diverged, levels["gru"].pruned, levels["gru"].other) == (2, 1, 1, 1)
    assert (levels["gru"].mean, levels["gru"].best) == (1.5, 1.0)
    assert levels["gru"].sd == pytest.approx(stdev([1.0, 2.0]))
    assert (levels["lstm"].mean, levels["lstm"].sd) == (3.0, None)
    assert (levels["rnn_tanh"].n, levels["rnn_tanh"].mean) == (0, None)


def test_numbers_fall_into_thirds(trial: MakeTrial, make_study: MakeStudy) -> None:
    rates = (1e-4, 2e-4, 1e-3, 2e-3, 1e-2, 2e-2)
    trials = [trial(i, params={"optimizer.learning_rate": v}, objective=float(i)) for i, v in enumerate(rates)]
    study = searching(
        make_study(*trials),
        SearchedParameter(path="optimizer.learning_rate", kind="float", low=1e-4, high=1e-1, log=True),
    )
    (effect,) = effects.summarise(study).effects
    assert [(level.name, level.n, level.mean) for level in effect.levels] == [
        ("0.0001 to 0.0002", 2, 0.5),
        ("0.001 to 0.002", 2, 2.5),
        ("0.01 to 0.02", 2, 4.5),
    ]
    assert effect.levels[1].at == pytest.approx(math.sqrt(2e-6))


def test_equal_values_never_part(trial: MakeTrial, make_study: MakeStudy) -> None:
    sizes = (8, 8, 8, 8, 16, 32, 64)
    trials = [trial(i, params={"training.batch_size": v}) for i, v in enumerate(sizes)]
    study = searching(make_study(*trials), SearchedParameter(path="training.batch_size", kind="int", low=8, high=64))
    (effect,) = effects.summarise(study).effects
    assert sum(level.n for level in effect.levels) == len(sizes)
    assert effect.levels[0].name == "8"
    assert effect.levels[0].n == 4


def test_a_conditional_parameter_counts_where_it_exists(trial: MakeTrial, make_study: MakeStudy) -> None:
    study = make_study(
        trial(0, params={"clipping.kind": "norm", "clipping.max_norm": 1.0}),
        trial(1, params={"clipping.kind": "none"}),
    )
    found = {effect.path: effect for effect in effects.summarise(study).effects}
    assert sum(level.n for level in found["clipping.max_norm"].levels) == 1


def test_nothing_is_presented_of_a_study_that_has_only_begun(trial: MakeTrial, make_study: MakeStudy) -> None:
    assert effects.present(effects.summarise(make_study(trial(0, TrialState.RUNNING)))) == ()
