"""Several objectives: what cannot be combined is refused where the study is read, and what a trial counts as."""

import json
from pathlib import Path
from typing import Any

import pytest

from lightning_modules import scoring
from lightning_modules.config import TrialConfig
from lightning_modules.errors import ConfigError
from reports.records import TrialState
from study.active import ActiveTrial
from study.config import LimitsConfig, StudyConfig, load_study_config
from study.devices import Slot
from study.events import Ended, EpochEnded, Started
from study.judgement import Settled, judge
from study.launchers._base import Life, Status
from study.objectives import LATENCY, Goal, described, further_goals, objective_bound, score_bound
from study.plan import make_plan
from study.pruner_config import MedianPrunerConfig, NoPrunerConfig
from study.spec import AttemptSpec
from study.workspace import TrialFolder, Workspace
from tests.conftest import write_tiny_study
from tests.study.helpers import config_of, run_study, trials_of

SEVERAL = 'further_objectives = ["c_primary", "parameters", "latency"]\n'
STARTED = Started(
    time_ms=1,
    pid=1,
    host="here",
    device="cpu",
    num_threads=1,
    num_parameters=70,
    resumed_epoch=0,
    warm=True,
    latency_ms=2.5,
)
GOALS = (
    Goal(name="c_primary", bound=6.0),
    Goal(name="parameters", bound=None),
    Goal(name="latency", bound=None),
)


def written(folder: Path, keys: str, *changes: tuple[str, str], after: str = "") -> Path:
    path = write_tiny_study(folder, trials=9, changes=after)
    text = path.read_text().replace('[pruner]\nkind = "none"\n', "").replace("seed = 3\n", f"seed = 3\n{keys}", 1)
    for old, new in changes:
        text = text.replace(old, new)
    path.write_text(text)
    return path


# --- the study's file -------------------------------------------------------------------------------------------------


def test_without_a_pruner_named_there_is_none(tmp_path: Path) -> None:
    assert config_of(written(tmp_path, "")).pruner == MedianPrunerConfig()
    several = config_of(written(tmp_path, SEVERAL))
    assert several.pruner == NoPrunerConfig()
    named = config_of(written(tmp_path, SEVERAL, after='[pruner]\nkind = "none"\n'))
    assert named.settled() == several.settled()


@pytest.mark.parametrize(
    ("keys", "changes", "after", "message"),
    [
        (
            SEVERAL,
            (),
            '[pruner]\nkind = "median"\n',
            r"pruner\.kind must be none with further_objectives but is median",
        ),
        (SEVERAL, (('"random"', '"cma_es"'),), "", r"sampler\.kind cma_es searches one objective; .* tpe, gp, nsga2"),
        (SEVERAL + "deterministic = true\n", (), "", r"deterministic must be false with latency"),
        ('further_objectives = ["eer", "eer"]\n', (), "", r"further_objectives names eer twice"),
        (
            'further_objectives = ["cllr_calibrated"]\n',
            (),
            "",
            r"names cllr_calibrated, which is the .* objective already",
        ),
        ('further_objectives = ["speed"]\n', (), "", r"further_objectives\.0: .*'latency' \(got .speed.\)"),
        ('objective = "latency"\n', (), "", r"objective: .*'error_rate', .*'sequence_error_rate' \(got .latency.\)"),
        (
            'objective = "frame_error_rate"\n',
            (),
            "",
            r"objective frame_error_rate is a score of trial\.task\.kind labelling, but that is classification",
        ),
        (
            'further_objectives = ["eer", "sequence_error_rate"]\n',
            (),
            '[trial.task]\nkind = "labelling"\n',
            r"further_objectives sequence_error_rate is a score of trial\.task\.kind sequence, but that is labelling",
        ),
        ("", (), "[latency]\nutterance_s = 3.0\n", r"latency is set, but not searched"),
    ],
)
def test_what_cannot_be_combined_is_refused_by_its_key(
    keys: str, changes: tuple[tuple[str, str], ...], after: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=rf"tiny\.toml: .*{message}"):
        load_study_config(str(written(tmp_path, keys, *changes, after=after)))


def test_an_order_that_is_fixed_goes_with_what_is_the_same_twice(tmp_path: Path) -> None:
    keys = 'further_objectives = ["parameters"]\ndeterministic = true\n'
    assert config_of(written(tmp_path, keys)).num_objectives == 2


def test_options_of_the_command_line_are_held_against_the_objectives_too(workspace: Path, tmp_path: Path) -> None:
    config = config_of(written(tmp_path, SEVERAL))
    changed = config.model_copy(update={"deterministic": True})
    with pytest.raises(ConfigError, match=r"^study tiny: deterministic must be false with latency"):
        make_plan(changed, workspace=Workspace(workspace), slots=1)
    with pytest.raises(ConfigError, match=r"^study tiny, key further_objectives: latency .* one device, .* have 2"):
        make_plan(config, workspace=Workspace(workspace), slots=1, devices_per_trial=2)


@pytest.mark.parametrize(("task", "heard"), [("", "utterance"), ('[trial.task]\nkind = "labelling"\n', "recording")])
def test_latency_is_of_what_a_task_hears_as_one(task: str, heard: str, tmp_path: Path) -> None:
    latency = next(
        each for each in described(config_of(written(tmp_path, SEVERAL, after=task))) if each.name == LATENCY
    )
    assert latency.meaning.startswith(f"milliseconds to score one {heard} of 10 s from its features")


def test_a_study_that_knew_nothing_of_several_objectives_is_still_the_same(tmp_path: Path) -> None:
    config = config_of(write_tiny_study(tmp_path))
    before: dict[str, Any] = config.settled()
    del before["further_objectives"], before["latency"]
    del before["trial"]["seed"]
    given = StudyConfig.model_validate({**before, "trials": config.trials, "space": config.space})
    assert given.settled() == config.settled()


# --- what a trial counts as -------------------------------------------------------------------------------------------


def trial_of(*events: Started | EpochEnded | Ended) -> ActiveTrial:
    trial = ActiveTrial(number=0, config=TrialConfig(), folder=TrialFolder(Path("trial")))
    trial.begin(
        AttemptSpec(
            number=0,
            attempt=0,
            folder=Path("trial/attempt-0"),
            trial_folder=Path("trial"),
            workspace=Path(),
            objective="cllr",
            slot=Slot(name="cpu-0"),
            config=TrialConfig(),
        )
    )
    trial.take(events)
    return trial


def epoch(number: int, objective: float, c_primary: float) -> EpochEnded:
    return EpochEnded(time_ms=2, epoch=number, objective=objective, metrics={"val/c_primary": c_primary})


def told(trial: ActiveTrial) -> tuple[TrialState, float | None, dict[str, float]]:
    verdict = judge(trial, Status(Life.EXITED, 0), limits=LimitsConfig(), bound=4.0, further=GOALS, output="")
    assert isinstance(verdict, Settled)
    return verdict.outcome.state, verdict.outcome.value, dict(verdict.outcome.further)


COMPLETE, DIVERGED = Ended(time_ms=3, outcome="complete"), Ended(time_ms=3, outcome="diverged")


def test_a_further_score_is_that_of_the_epoch_that_the_first_objective_chose() -> None:
    trial = trial_of(STARTED, epoch(0, 2.0, 0.5), epoch(1, 1.5, 0.9), epoch(2, 1.6, 0.1), COMPLETE)
    values = {"objective/c_primary": 0.9, "objective/parameters": 70.0, "objective/latency": 2.5}
    assert told(trial) == (TrialState.COMPLETE, 1.5, values)
    assert list(told(trial)[2]) == [goal.metric for goal in GOALS], "in the study's order"


def test_a_diverged_trial_counts_as_the_bound_of_each_score_and_as_what_its_model_costs() -> None:
    values = {"objective/c_primary": 6.0, "objective/parameters": 70.0, "objective/latency": 2.5}
    assert told(trial_of(STARTED, DIVERGED)) == (TrialState.DIVERGED, 4.0, values)
    assert told(trial_of(STARTED, epoch(0, 2.0, 0.5), DIVERGED)) == (TrialState.DIVERGED, 4.0, values)


@pytest.mark.parametrize("score", [7.5, float("inf"), float("nan")])
def test_a_further_score_is_cut_at_its_bound(score: float) -> None:
    assert told(trial_of(STARTED, epoch(0, 2.0, score), COMPLETE))[2]["objective/c_primary"] == 6.0


@pytest.mark.parametrize("later", [9.0, None])
def test_what_the_first_attempt_measured_stays_whatever_a_later_one_says(later: float | None) -> None:
    again = STARTED.model_copy(update={"time_ms": 2, "resumed_epoch": 1, "latency_ms": later})
    trial = trial_of(STARTED, epoch(0, 2.0, 0.5), again, epoch(1, 1.5, 0.9), COMPLETE)
    assert trial.started == again
    assert told(trial)[2]["objective/latency"] == 2.5


def test_every_score_has_a_bound_and_what_is_no_score_has_none() -> None:
    names = ("cllr", "c_primary", "c_primary_calibrated", "c_avg", "eer", "error_rate", "parameters", "latency")
    config = StudyConfig(name="all", space="any", trials=9, further_objectives=names)
    bounds = {goal.name: goal.bound for goal in further_goals(config)}
    assert bounds["cllr"] == objective_bound(config) == score_bound("cllr", 5) == pytest.approx(4.6439, abs=1e-4)
    assert (bounds["c_primary"], bounds["eer"], bounds["error_rate"]) == (6.0, 1.0, 1.0)
    assert (bounds["parameters"], bounds["latency"]) == (None, None)


def test_the_objective_is_calibrated_on_other_speakers_than_it_is_measured_on(workspace: Path, tmp_path: Path) -> None:
    run_study(write_tiny_study(tmp_path, trials=1), workspace)
    (trial,) = trials_of(workspace)
    table = json.loads(Workspace(workspace).study("tiny").trial(0).scores.read_text())
    scores = scoring.log_posteriors_from_llr(table["llr"])
    truth = [table["targets"].index(language) for language in table["language"]]
    of_speakers, of_utterances = (
        scoring.cllr(scoring.llr_from_log_likelihoods(scoring.cross_fitted(scores, truth, groups=groups)), truth)
        for groups in (table["speaker"], None)
    )
    assert trial.value == pytest.approx(of_speakers, abs=1e-6)
    assert of_utterances != pytest.approx(of_speakers, abs=1e-3)
