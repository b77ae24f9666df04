import dataclasses

from reports.records import TrialState
from reports.sections import failures
from tests.reports.helpers import MakeStudy, MakeTrial


def test_endings_are_grouped_by_reason(trial: MakeTrial, make_study: MakeStudy) -> None:
    silent = dataclasses.replace(trial(3, TrialState.FAILED), failure="")
    found = failures.summarise(make_study(trial(0), *(trial(i, TrialState.FAILED) for i in (1, 2)), silent))
    assert [(e.state, e.numbers) for e in found.endings] == [
        (TrialState.COMPLETE, (0,)),
        (TrialState.FAILED, (1, 2)),
        (TrialState.FAILED, (3,)),
    ]
    assert found.count(TrialState.FAILED) == 3
