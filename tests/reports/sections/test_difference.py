from collections.abc import Callable
from typing import Any

import pytest

from reports.records import StudyRecord, TrialRecord, TrialState
from reports.sections import _difference as difference
from reports.sections import answer
from tests.reports.helpers import MakeStudy, MakeTrial


@pytest.fixture
def configured(trial: MakeTrial) -> Callable[..., TrialRecord]:
    """A trial that differs from the others in its cell alone."""
    params = trial(0).params | {"encoder.hidden_size": 64, "clipping.kind": "none"}

    def make(number: int, cell: str, objective: float, **more: Any) -> TrialRecord:
        return trial(number, params=params | {"encoder.cell": cell}, objective=objective, seed=number, **more)

    return make


def test_with_one_seed_each_nothing_can_be_said(configured: MakeTrial, make_study: MakeStudy) -> None:
    found = difference.summarise(make_study(configured(0, "gru", 1.5), configured(1, "lstm", 1.9)))
    assert found.noise is None
    (contrast,) = found.contrasts
    assert (contrast.name, contrast.best, contrast.worst) == ("cell", "gru", "lstm")
    assert contrast.gap == pytest.approx(0.4)
    assert not contrast.beyond_seeds
    said = difference.sentence(found)
    assert "cannot say" in said
    assert "lidstudy ablate" in said


@pytest.mark.parametrize(("gap", "beyond"), [(0.4, True), (0.02, False)])
def test_levels_are_set_against_seeds(
    configured: MakeTrial,
    make_study: MakeStudy,
    gap: float,
    beyond: bool,  # noqa: FBT001
) -> None:
    gru = [configured(i, "gru", 1.5 + 0.01 * i) for i in range(3)]
    lstm = [configured(3 + i, "lstm", 1.5 + gap + 0.01 * i) for i in range(3)]
    found = difference.summarise(make_study(*gru, *lstm))
    assert found.noise is not None
    assert found.noise.sd == pytest.approx(0.01)
    assert found.noise.degrees == 4
    assert [contrast.beyond_seeds for contrast in found.contrasts] == [beyond]
    assert ("do not explain" in difference.sentence(found)) is beyond
    assert ("may explain" in difference.sentence(found)) is not beyond


def test_only_complete_trials_count(configured: MakeTrial, make_study: MakeStudy) -> None:
    pruned = configured(1, "lstm", 9.0, state=TrialState.PRUNED)
    found = difference.summarise(make_study(configured(0, "gru", 1.5), pruned))
    assert (found.objectives, found.contrasts) == ((1.5,), ())
    assert "fewer than two" in difference.sentence(found)


def test_every_pair_that_is_looked_at_makes_the_claim_harder(configured: MakeTrial, make_study: MakeStudy) -> None:
    two = [configured(0, "gru", 1.5), configured(1, "gru", 1.6), configured(2, "lstm", 1.9)]
    three = [*two, configured(3, "rnn_tanh", 1.7)]
    least = [difference.summarise(make_study(*trials)).contrasts[0].least for trials in (two, three)]
    assert least[0] is not None
    assert least[1] is not None
    assert least[1] > least[0]


def test_the_answer_says_it_last(demo: StudyRecord) -> None:
    found = answer.summarise(demo)
    assert answer.lines(found)[-1] == difference.sentence(found.difference)
