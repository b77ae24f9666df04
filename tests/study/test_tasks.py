"""Studies of the tasks on code-switched recordings, from their file to their report."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lightning_modules.data import conditioned
from lightning_modules.data.audio import Samples
from lightning_modules.data.conditions import Cut
from reports.records import StudyState, TrialState
from reports.render import write_report
from reports.sections import speakers, unseen
from reports.sections.speakers import worth_hearing
from study.clips import clips_of
from study.commands import sweep
from study.cost import _closing_s, estimate_cost
from study.evaluation import read_ledger
from study.launchers.config import SlurmConfig
from study.plan import make_plan
from study.workspace import Workspace
from tests.conftest import write_tiny_study
from tests.study.helpers import config_of, record_of, run_study, trials_of

pytestmark = pytest.mark.timeout(240)

SWITCHING = "\n[trial.task.switching]\nmin_part_s = 0.8\nmax_part_s = 1.5\n"
TASKS = {
    "frame_error_rate": f'\n[trial.task]\nkind = "labelling"\n{SWITCHING}',
    "sequence_error_rate": f'\n[trial.task]\nkind = "sequence"\ndecoder_size = 8\n{SWITCHING}',
}
SEQUENCE_SPACE = """
[space]
"task.attention" = { choices = ["none", "additive", "dot", "general"] }
"task.teacher_share" = { float = [0.0, 1.0] }
"pooling.kind" = { choices = ["last", "mean"], when = { "task.attention" = ["none"] } }
"""


def of(objective: str, folder: Path) -> Path:
    path = write_tiny_study(folder, trials=3, epochs=2, steps=3, changes=TASKS[objective])
    path.write_text(path.read_text().replace("seed = 3\n", f'seed = 3\nobjective = "{objective}"\n', 1))
    if objective == "sequence_error_rate":
        (folder / "tiny_space.toml").write_text(SEQUENCE_SPACE)
    return path


@pytest.mark.parametrize("objective", TASKS)
def test_a_study_of_a_task_runs_from_its_file_to_its_report(objective: str, workspace: Path, tmp_path: Path) -> None:
    study = of(objective, tmp_path)
    assert run_study(study, workspace) is StudyState.COMPLETE
    trials, record = trials_of(workspace), record_of(workspace)
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 3
    for trial, run in zip(trials, record.trials, strict=True):
        assert trial.value is not None
        assert 0.0 <= trial.value <= 1.0
        least = min(point.value for point in run.history[f"val/{objective}"])
        assert trial.value == min(least, 1.0)

    (entry,) = read_ledger(Workspace(workspace).study("tiny"))
    assert entry.metrics[f"test/{objective}"] >= 0.0
    assert entry.metrics["test/cllr_calibrated"] > 0.0
    table = record.scores_test
    assert table is not None
    assert len(set(table.utterance)) == len(table.utterance) == entry.num_utterances
    assert set(table.language) == {"en", "es", "fr"}
    assert all(0.8 <= seconds <= 1.5 for seconds in table.duration_s)

    line = sweep._test_lines(Workspace(workspace).study("tiny"))[0]
    assert line.startswith(f"test data, {entry.num_utterances} segments, ")

    assert set(clips_of(record, workspace)) == set(worth_hearing(speakers.summarise(record)))

    metric = next(each for each in unseen.summarise(record).metrics if each.objective == "raw")
    assert metric.test.raw == entry.metrics[f"test/{objective}"]
    report = write_report(record, tmp_path / "report").markdown.read_text()
    assert metric.score.name in report


def test_what_a_study_costs_can_be_measured_under_a_schedule(workspace: Path, tmp_path: Path) -> None:
    study = write_tiny_study(tmp_path, changes='\n[trial.schedule]\nkind = "cosine"\nwarmup_steps = 2\n')
    cost = estimate_cost(make_plan(config_of(study), workspace=Workspace(workspace), slots=2), num_trials=3)
    assert 0.0 < cost.step_s < cost.trial_s


def test_scoring_under_conditions_has_its_cost_and_reads_no_test_speech(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_of(write_tiny_study(tmp_path))
    plan = make_plan(config, workspace=Workspace(workspace), slots=2)
    assert estimate_cost(plan, num_trials=3).closing_s == 0.0
    read, heard = conditioned.samples_of, set[str]()

    def reads(cut: Cut, *arguments: Any, **keywords: Any) -> Samples:
        heard.add(cut.row.split)
        return read(cut, *arguments, **keywords)

    monkeypatch.setattr(conditioned, "samples_of", reads)
    plans = [
        replace(plan, config=config.model_copy(update={"conditions": conditions}))
        for conditions in (("3s",), ("3s", "whole"))
    ]
    assert estimate_cost(plans[0], num_trials=3).closing_s > 0.0
    assert estimate_cost(plans[1], num_trials=3).closing_s > 0.0
    assert heard == {"dev"}
    short = tuple(replace(each, duration_s=0.05) for each in plan.corpus.recordings)
    none = replace(plans[0], corpus=replace(plan.corpus, recordings=short))
    assert _closing_s(none, none.config.trial) == 0.0, "nothing to measure it on"


def test_a_study_on_a_cluster_takes_as_many_rounds_as_its_jobs_at_a_time_make(workspace: Path, tmp_path: Path) -> None:
    config = config_of(write_tiny_study(tmp_path)).model_copy(update={"launcher": SlurmConfig(kind="slurm", slots=4)})
    cost = estimate_cost(make_plan(config, workspace=Workspace(workspace), slots=2), num_trials=8)
    assert cost.study_s == pytest.approx(2 * cost.trial_s)


@pytest.mark.parametrize("objective", TASKS)
def test_what_a_study_of_a_task_costs_can_be_measured(objective: str, workspace: Path, tmp_path: Path) -> None:
    plan = make_plan(config_of(of(objective, tmp_path)), workspace=Workspace(workspace), slots=2)
    cost = estimate_cost(plan, num_trials=3)
    assert 0.0 < cost.step_s < cost.trial_s < cost.study_s
