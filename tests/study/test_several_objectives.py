"""A study of several objectives with real attempts, from its file to its report."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from reports.pareto import non_dominated
from reports.records import LATENCY_MS, NUM_PARAMETERS, StudyRecord, StudyState, TrialState
from reports.render import write_report
from reports.sections import front as front_section
from study.commands.inspect import list_all, show_status, show_trial, study_status
from study.evaluation import read_ledger
from study.events import Ended, Started, read_events
from study.following import Follower
from study.launchers.inline import InlineLauncher
from study.settling import recorded_study
from study.spec import EVENTS_FILE, AttemptSpec, read_spec
from study.tracking import Tracker
from study.trials import TrialSummary, front
from study.workspace import Workspace
from tests.conftest import write_tiny_study
from tests.study.helpers import RecordingView, config_of, record_of, run_study, trials_of

pytestmark = pytest.mark.timeout(180)

SEVERAL = 'objective = "c_primary"\nfurther_objectives = ["parameters", "latency"]\n'
FAST = "\n[latency]\nutterance_s = 1.0\npasses = 3\n"


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return of_several(write_tiny_study(tmp_path, changes=FAST))


def of_several(path: Path) -> Path:
    text = path.read_text().replace('[pruner]\nkind = "none"\n', "")
    path.write_text(text.replace("seed = 3\n", f"seed = 3\n{SEVERAL}", 1))
    return path


def check_that_all_agree(trials: list[TrialSummary], record: StudyRecord, workspace: Path) -> None:
    """Optuna, MLflow and the first word of each trial's first attempt."""
    folder = Workspace(workspace).study("tiny")
    for trial, run in zip(trials, record.trials, strict=True):
        first = read_events(folder.trial(trial.number).attempts()[0] / EVENTS_FILE)[0]
        assert isinstance(first, Started)
        assert trial.further == (first.num_parameters, first.latency_ms)
        assert (run.objective, run.metrics["objective/parameters"], run.metrics["objective/latency"]) == trial.values
        assert (run.metrics[NUM_PARAMETERS], run.metrics[LATENCY_MS]) == trial.further


def test_a_study_of_three_objectives_runs_from_its_file_to_its_report(
    study: Path, workspace: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    view = RecordingView()
    assert run_study(study, workspace, view=view) is StudyState.COMPLETE
    trials, record = trials_of(workspace), record_of(workspace)
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 4
    check_that_all_agree(trials, record, workspace)
    assert len({trial.further[0] for trial in trials}) > 1, "models of different sizes"

    on_front = [trial.number for trial in front(trials)]
    assert on_front == non_dominated([trial.values for trial in trials])
    best = min(trials, key=lambda trial: trial.value or 0.0)
    (entry,) = read_ledger(Workspace(workspace).study("tiny"))
    assert entry.trial == best.number, "the first objective chooses what is scored on test data"

    summary = front_section.summarise(record)
    assert [axis.name for axis in summary.axes] == ["c_primary", "parameters", "latency"]
    assert "1 s from its features" in summary.axes[2].meaning
    assert "3 forward passes" in summary.axes[2].meaning
    assert sorted(number for result in summary.front for number in result.numbers) == on_front
    assert {result.values for result in summary.results} == {trial.values for trial in trials}
    assert "Several objectives" in write_report(record, tmp_path / "report").markdown.read_text()

    check_what_is_said(workspace, trials, on_front, capsys)
    assert recorded_study(Workspace(workspace).study("tiny"))[0] == config_of(study), (
        "it can be resumed without its file"
    )
    assert view.snapshots[-1].front == Follower(Workspace(workspace).study("tiny")).snapshot().front
    assert view.snapshots[-1].front.startswith("front of c_primary, parameters, latency: trial")


def check_what_is_said(
    workspace: Path, trials: list[TrialSummary], on_front: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    status = study_status(Workspace(workspace).study("tiny"))
    assert status["front"] == on_front
    assert status["objective"] == "val/c_primary"
    numbers = ", ".join(map(str, on_front))
    show_status("tiny", workspace, as_json=False)
    assert f"{numbers}\n" in capsys.readouterr().out.split("front of c_primary, parameters, latency: trial")[1]
    list_all(workspace, as_json=False)
    assert f"front of {len(on_front)}" in " ".join(capsys.readouterr().out.split())
    show_trial("tiny", 0, workspace, as_json=False)
    assert f"parameters {trials[0].further[0]:,.0f}, latency " in capsys.readouterr().out
    show_trial("tiny", 0, workspace, as_json=True)
    assert tuple(json.loads(capsys.readouterr().out)["values"]) == trials[0].values


def test_a_study_of_one_objective_says_what_it_always_said(workspace: Path, tiny_study: Path) -> None:
    view = RecordingView()
    run_study(tiny_study, workspace, view=view)
    status = study_status(Workspace(workspace).study("tiny"))
    of_trials = {"trials", "budget", "ended_of_budget", "asked_for", "foreign", "not_known"}
    assert set(status) == {"study", "objective", "best", "coordinator", "ending", *of_trials}
    assert view.snapshots[-1].front == ""
    assert asdict(record_of(workspace).manifest)["further_objectives"] == ()
    first = read_events(Workspace(workspace).study("tiny").trial(0).attempts()[0] / EVENTS_FILE)[0]
    assert isinstance(first, Started)
    assert first.latency_ms is None, "nobody asked for it"


def test_a_resumed_trial_counts_as_what_its_first_attempt_measured(workspace: Path, tmp_path: Path) -> None:
    study = of_several(write_tiny_study(tmp_path, trials=1, changes=FAST))

    class PowerCut(BaseException):
        pass

    class DiesInTheMiddle(InlineLauncher):
        """Of the first attempt, the log keeps its first word and an epoch, and the checkpoint is gone."""

        def submit(self, spec: AttemptSpec) -> bool:
            super().submit(spec)
            log = spec.folder / EVENTS_FILE
            log.write_text("".join(line + "\n" for line in log.read_text().splitlines()[:2]))
            (spec.trial_folder / "last.ckpt").unlink()
            raise PowerCut

    with pytest.raises(PowerCut):
        run_study(study, workspace, launcher=DiesInTheMiddle())
    assert run_study(study, workspace) is StudyState.COMPLETE
    check_that_all_agree(trials_of(workspace), record_of(workspace), workspace)
    first, second = Workspace(workspace).study("tiny").trial(0).attempts()
    asked = [spec.latency is not None for folder in (first, second) if (spec := read_spec(folder))]
    assert asked == [True, False]


def test_mlflow_is_told_what_optuna_was_told_although_the_log_lost_its_end(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = of_several(write_tiny_study(tmp_path, trials=1, changes=FAST))

    class DiesBeforeRecording(BaseException):
        pass

    def die(*_arguments: object, **_keywords: object) -> None:
        raise DiesBeforeRecording

    with monkeypatch.context() as patch:
        patch.setattr(Tracker, "finish_trial", die)
        with pytest.raises(DiesBeforeRecording):
            run_study(study, workspace)
    log = Workspace(workspace).study("tiny").trial(0).attempts()[0] / EVENTS_FILE
    log.write_text("".join(line + "\n" for line in log.read_text().splitlines()[:-1]))
    run_study(study, workspace)
    check_that_all_agree(trials_of(workspace), record_of(workspace), workspace)


def test_a_diverged_trial_is_at_the_bound_of_its_score_and_off_the_front(workspace: Path, tmp_path: Path) -> None:
    study = of_several(write_tiny_study(tmp_path, trials=1, changes=FAST))

    class Diverges(InlineLauncher):
        """The attempt says that it diverged where it says that it is complete."""

        def submit(self, spec: AttemptSpec) -> bool:
            submitted = super().submit(spec)
            log = spec.folder / EVENTS_FILE
            *lines, last = log.read_text().splitlines()
            ended = Ended.model_validate({**json.loads(last), "outcome": "diverged"})
            log.write_text("\n".join([*lines, ended.model_dump_json(), ""]))
            return submitted

    run_study(study, workspace, launcher=Diverges())
    trials, record = trials_of(workspace), record_of(workspace)
    assert (trials[0].state, trials[0].value) == (TrialState.DIVERGED, 6.0)
    check_that_all_agree(trials, record, workspace)
    assert front(trials) == []
    assert front_section.summarise(record).results == ()
