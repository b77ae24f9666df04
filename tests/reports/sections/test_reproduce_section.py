import dataclasses
from typing import Any

import pytest

from reports.records import LedgerEntry, StudyRecord, TrialState
from reports.sections import reproduce
from tests.reports.helpers import MakeStudy, MakeTrial


def test_the_configuration_is_nested_as_an_attempt_reads_it(demo: StudyRecord) -> None:
    from lightning_modules.config import TrialConfig

    found = reproduce.summarise(demo)
    config = TrialConfig.model_validate(found.config)
    champion = next(trial for trial in demo.trials if trial.number == demo.champion)
    assert config.model_dump()["encoder"]["cell"] == champion.params["encoder.cell"]
    assert dict(found.facts)["commit of the chosen trial"] == "0123abc"


FIXED = {"config": {"deterministic": True, "window": 3}}


@pytest.mark.parametrize(
    ("changes", "state", "expected"),
    [
        ({"config": {}}, TrialState.COMPLETE, "depends on which trial ended first"),
        (FIXED, TrialState.COMPLETE, "fixed by the seed, 3 under way at a time"),
        (FIXED | {"time_budget_s": 7200.0}, TrialState.COMPLETE, "ended that: a budget of time of"),
        (FIXED, TrialState.TIMED_OUT, "ended that: 1 trial timed out"),
    ],
)
def test_what_the_choice_of_trials_depends_on(
    changes: dict[str, Any], state: TrialState, expected: str, trial: MakeTrial, make_study: MakeStudy
) -> None:
    study = make_study(trial(0, state))
    study = dataclasses.replace(study, manifest=dataclasses.replace(study.manifest, **changes))
    fact = dict(reproduce.summarise(study).facts)["which trials there are"]
    assert expected in fact
    assert ("ended that" in fact) is ("ended that" in expected)


def test_the_commands_begin_with_code_and_corpus(demo: StudyRecord) -> None:
    manifest = dataclasses.replace(demo.manifest, command="lidstudy sweep demo --workspace 'my work' --slots 2")
    assert reproduce.summarise(dataclasses.replace(demo, manifest=manifest)).steps == (
        "git checkout 0123abc",
        "lidstudy corpus prepare prompts --workspace 'my work'",
        "lidstudy sweep demo --workspace 'my work' --slots 2",
    )


def test_an_ablation_begins_with_the_sweep_that_made_its_base(demo: StudyRecord) -> None:
    ablation = {"of": "demo", "trial": 4, "of_command": "lidstudy sweep demo --slots 2"}
    manifest = dataclasses.replace(demo.manifest, command="lidstudy ablate demo", config={"ablation": ablation})
    assert reproduce.summarise(dataclasses.replace(demo, manifest=manifest)).steps[2:] == (
        "lidstudy sweep demo --slots 2  # trial 4 of it is the base",
        "lidstudy ablate demo",
    )


def test_a_step_that_is_not_recorded_is_left_out(make_study: MakeStudy) -> None:
    study = make_study()
    manifest = dataclasses.replace(study.manifest, corpus={})
    assert reproduce.summarise(dataclasses.replace(study, manifest=manifest)).steps == (manifest.command,)


def test_what_was_not_recorded_is_said_to_be_missing(make_study: MakeStudy) -> None:
    assert dict(reproduce.summarise(make_study()).facts)["commit of the chosen trial"] == "not recorded"


def test_a_ledger_is_shown_whole(demo: StudyRecord) -> None:
    again: tuple[LedgerEntry, ...] = demo.ledger * 3
    assert len(reproduce.summarise(dataclasses.replace(demo, ledger=again)).ledger) == 3
