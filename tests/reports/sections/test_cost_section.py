import dataclasses

import pytest

from reports import render
from reports.records import TrialState
from reports.sections import cost
from tests.reports.helpers import MakeStudy, MakeTrial


def test_cost_sums_what_has_ended(trial: MakeTrial, make_study: MakeStudy) -> None:
    study = make_study(trial(0), trial(1), trial(2, TrialState.RUNNING))
    found = cost.summarise(study)
    assert found.num_ended == 2
    assert found.wall == pytest.approx(16.0 + 33.6)
    assert found.busy == pytest.approx(2 * 33.6)
    assert found.mean == pytest.approx(33.6)
    assert found.train is not None
    assert found.validation is not None
    assert found.overhead == pytest.approx(found.busy - found.train - found.validation)


def test_pauses_between_attempts_are_no_cost(trial: MakeTrial, make_study: MakeStudy) -> None:
    whole = trial(0)
    resumed = dataclasses.replace(whole, end_ms=whole.start_ms + 3_600_000)
    attempts = dataclasses.replace(resumed, metrics=resumed.metrics | {"time/attempts_s": 40.0})
    assert cost.summarise(make_study(resumed)).busy == pytest.approx(3600)
    found = cost.summarise(make_study(attempts))
    assert found.train is not None
    assert found.validation is not None
    assert found.busy == pytest.approx(40)
    assert found.wall == pytest.approx(3600)
    assert found.overhead == pytest.approx(40 - found.train - found.validation)


def test_a_record_that_ends_before_it_starts_holds_no_time(trial: MakeTrial, make_study: MakeStudy) -> None:
    backwards = dataclasses.replace(trial(0, TrialState.FAILED), end_ms=trial(0).start_ms - 13_000)
    found = cost.summarise(make_study(backwards))
    assert (found.num_ended, found.wall, found.wasted) == (0, None, 0.0)
    card = next(card for card in render.cards(make_study(backwards)) if card.title == "Wall time")
    assert (card.value, card.note) == ("–", "not recorded")
    assert cost.summarise(make_study(backwards, trial(1))).wall == pytest.approx(33.6)


def test_cost_without_times_has_no_overhead(trial: MakeTrial, make_study: MakeStudy) -> None:
    found = cost.summarise(make_study(dataclasses.replace(trial(0), history={})))
    assert (found.train, found.overhead, found.overhead_share) == (None, None, None)
