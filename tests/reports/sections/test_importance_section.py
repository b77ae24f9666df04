"""Importance: two measures of a function whose parameters are known, and what is said of them."""

import dataclasses

import numpy as np
import pytest

from reports.importance import FEWEST_TRIALS, importances
from reports.records import SearchedParameter, StudyRecord, TrialRecord
from reports.sections._blocks import Table, Text
from reports.sections.importance import SECTION, present, summarise
from tests.reports.helpers import MakeStudy, MakeTrial, searching

CELL = SearchedParameter(path="encoder.cell", kind="choices", choices=("gru", "rnn_tanh"))
RATE = SearchedParameter(path="optimizer.learning_rate", kind="float", low=1e-4, high=1e-1, log=True)
SIZE = SearchedParameter(path="encoder.hidden_size", kind="int", low=8, high=64)
NORM = SearchedParameter(path="clipping.max_norm", kind="float", low=0.1, high=9.0, when={"clipping.kind": ("norm",)})


def trials_of(trial: MakeTrial, count: int) -> list[TrialRecord]:
    """The objective is that of the cell, and a little of the rate's; the size does nothing."""
    rng = np.random.default_rng(0)
    found = []
    for number in range(count):
        cell, rate = str(rng.choice(CELL.choices)), float(10 ** rng.uniform(-4, -1))
        params = {
            "encoder.cell": cell,
            "optimizer.learning_rate": rate,
            "encoder.hidden_size": int(rng.integers(8, 65)),
        }
        objective = 2.0 + (0.5 if cell == "rnn_tanh" else 0.0) + 0.02 * np.log10(rate)
        found.append(trial(number, params=trial(0).params | params, objective=float(objective)))
    return found


def test_the_parameter_that_makes_the_objective_is_told_from_those_that_do_not(trial: MakeTrial) -> None:
    first, *others = importances(trials_of(trial, 40), [RATE, CELL, SIZE])
    assert first.path == "encoder.cell"
    assert first.over_space_range.low > 0.8
    assert all(each.over_space_range.high < 0.2 for each in others)
    assert sum(each.over_space for each in (first, *others)) == pytest.approx(1.0)
    assert sum(each.among_best for each in (first, *others)) == pytest.approx(1.0)
    among_best = {each.path: each.among_best for each in (first, *others)}
    assert among_best["encoder.hidden_size"] == min(among_best.values())


@pytest.mark.parametrize(("count", "parameters"), [(FEWEST_TRIALS - 1, [CELL, RATE]), (FEWEST_TRIALS, [CELL, NORM])])
def test_of_too_few_trials_or_parameters_nothing_is_said(
    trial: MakeTrial, count: int, parameters: list[SearchedParameter]
) -> None:
    assert importances(trials_of(trial, count), parameters) == ()


def test_equal_objectives_have_no_reason(trial: MakeTrial) -> None:
    same = [dataclasses.replace(each, metrics=trials_of(trial, 1)[0].metrics) for each in trials_of(trial, 25)]
    assert importances(same, [CELL, RATE]) == ()


def study_of(trial: MakeTrial, make_study: MakeStudy) -> StudyRecord:
    return searching(make_study(*trials_of(trial, 30)), CELL, RATE, SIZE, NORM)


def test_the_section_says_which_question_is_answered_and_that_it_is_no_ablation(
    trial: MakeTrial, make_study: MakeStudy
) -> None:
    study = study_of(trial, make_study)
    said, caution, table = present(summarise(study))
    assert isinstance(said, Text)
    assert said.text.startswith(
        "Over the whole space the objective goes most with cell (1.00; 1.00 to 1.00 resampled)."
    )
    assert "The best quarter of the trials differs from all most in " in said.text
    assert "without being told from" in said.text
    assert isinstance(caution, Text)
    assert "are no ablation" in caution.text
    assert "only some trials have them: max_norm" in caution.text
    assert isinstance(table, Table)
    assert table.rows[0][0].text == "cell"
    assert summarise(study) == summarise(study)


def test_arms_that_nobody_searched_have_none(trial: MakeTrial, make_study: MakeStudy) -> None:
    study = study_of(trial, make_study)
    manifest = dataclasses.replace(study.manifest, config={"sampler": {"kind": "design"}})
    assert SECTION.blocks(dataclasses.replace(study, manifest=manifest)) == ()


def test_of_very_many_trials_some_are_taken(trial: MakeTrial, monkeypatch: pytest.MonkeyPatch) -> None:
    trials = trials_of(trial, 40)
    whole = importances(trials, [CELL, RATE, SIZE])
    monkeypatch.setattr("reports.importance.MOST_TRIALS", 25)
    some = importances(trials, [CELL, RATE, SIZE])
    assert some == importances(trials, [CELL, RATE, SIZE])
    assert some != whole
    assert some[0].path == whole[0].path
