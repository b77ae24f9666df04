"""A whole study with real attempts, in one process: budget, outcomes, records, and what a second run changes."""

import shutil
import sqlite3
import threading
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from lightning_modules.config import TrialConfig
from lightning_modules.errors import ConfigError, StorageError, TrialError
from reports.records import StudyState, TrialState
from study.commands.inspect import study_status
from study.control import Stop, send
from study.coordinator import DRAINING, Coordinator
from study.evaluation import read_ledger
from study.launchers.inline import InlineLauncher
from study.plan import make_plan
from study.settling import settle
from study.spec import AttemptSpec
from study.tracking import Tracker
from study.trial_store import TrialStore
from study.trials import TrialSummary, Wish
from study.workspace import Workspace
from tests.conftest import write_tiny_study
from tests.study.helpers import RecordingView, config_of, fast_clock, record_of, run_study, trials_of

pytestmark = pytest.mark.timeout(120)


def num_running(workspace: Path) -> int:
    """Runs of any kind that MLflow calls RUNNING."""
    with sqlite3.connect(Workspace(workspace).mlflow / "mlflow.db") as connection:
        return int(connection.execute("select count(*) from runs where status = 'RUNNING'").fetchone()[0])


def test_a_study_spends_its_budget_and_optuna_and_mlflow_agree(workspace: Path, tiny_study: Path) -> None:
    assert run_study(tiny_study, workspace) is StudyState.COMPLETE
    trials, record = trials_of(workspace), record_of(workspace)
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 4
    assert [run.number for run in record.trials] == [0, 1, 2, 3]
    for trial, run in zip(trials, record.trials, strict=True):
        assert run.state is trial.state
        assert run.objective == trial.value
        assert [point.step for point in run.history["val/cllr_calibrated"]] == [0, 1, 2]
        assert min(point.value for point in run.history["val/cllr_calibrated"]) == trial.value
        assert {key: run.params[key] for key in trial.params} == trial.params


def test_the_champion_is_scored_on_test_data_once(workspace: Path, tiny_study: Path) -> None:
    run_study(tiny_study, workspace)
    champion = min(trials_of(workspace), key=lambda trial: trial.value or 0.0).number
    first = record_of(workspace)
    run_study(tiny_study, workspace)
    second = record_of(workspace)
    assert first.champion == second.champion == champion
    assert [entry.trial for entry in second.ledger] == [champion]
    assert first.test_metrics == second.test_metrics
    assert first.scores_test is not None
    assert set(first.scores_test.source) == {
        f"espeak-{language}-{variant}" for language in ("en", "es", "fr") for variant in "de"
    }


def test_a_study_that_is_complete_does_nothing_twice(workspace: Path, tiny_study: Path) -> None:
    run_study(tiny_study, workspace)
    before = record_of(workspace)
    view = RecordingView()
    assert run_study(tiny_study, workspace, view=view) is StudyState.COMPLETE
    assert view.endings == []
    assert record_of(workspace).trials == before.trials


def test_a_larger_budget_goes_on_where_the_study_stood(workspace: Path, tmp_path: Path) -> None:
    run_study(write_tiny_study(tmp_path, trials=2), workspace)
    before = trials_of(workspace)
    view = RecordingView()
    run_study(write_tiny_study(tmp_path, trials=3), workspace, view=view)
    assert trials_of(workspace)[:2] == before
    assert [number for number, _ in view.endings] == [2]


def test_a_changed_study_is_refused_and_the_change_is_named(workspace: Path, tmp_path: Path) -> None:
    folder = Workspace(workspace).study("tiny")
    settle(make_plan(config_of(write_tiny_study(tmp_path)), workspace=Workspace(workspace), slots=1), folder)
    changed = make_plan(config_of(write_tiny_study(tmp_path, epochs=5)), workspace=Workspace(workspace), slots=1)
    with pytest.raises(ConfigError, match=r"config\.trial\.training\.max_epochs = 3, now it is 5"):
        settle(changed, folder)


def test_a_proposal_that_cannot_be_ends_the_sweep_once_and_the_next_one_goes_on(
    workspace: Path, tmp_path: Path
) -> None:
    """Three values that do not go together, though each two of them do."""
    study = write_tiny_study(tmp_path, trials=6)
    study.write_text(study.read_text().replace("seed = 3", "seed = 2"))
    (tmp_path / "tiny_space.toml").write_text(
        "[space]\n"
        '"schedule.warmup_steps" = { choices = [0, 2, 1] }\n'
        '"training.max_epochs" = { choices = [3, 1, 4] }\n'
        '"training.steps_per_epoch" = { choices = [3, 1, 4] }\n'
    )
    with pytest.raises(TrialError, match=r"^trial \d+ cannot be: .*warmup_steps \(.\) would last as long"):
        run_study(study, workspace)
    failed = [trial.number for trial in trials_of(workspace) if trial.state is TrialState.FAILED]
    assert len(failed) == 1
    assert num_running(workspace) == 0
    assert run_study(study, workspace) is StudyState.COMPLETE
    assert [trial.state for trial in trials_of(workspace)].count(TrialState.COMPLETE) == 6


def test_divergence_is_a_result_at_the_bound(workspace: Path, tmp_path: Path) -> None:
    study = write_tiny_study(tmp_path, trials=2, steps=30)
    space = tmp_path / "tiny_space.toml"
    space.write_text('[space]\n"optimizer.learning_rate" = { float = [9.0, 10.0] }\n')
    study.write_text(
        study.read_text()
        + '[trial.optimizer]\nkind = "sgd"\n[trial.encoder]\ncell = "rnn_relu"\n[trial.clipping]\nkind = "none"\n'
    )
    assert run_study(study, workspace) is StudyState.COMPLETE
    trials = trials_of(workspace)
    assert [trial.state for trial in trials] == [TrialState.DIVERGED] * 2
    assert [trial.value for trial in trials] == pytest.approx([2 * 1.584962500721156] * 2)
    record = record_of(workspace)
    assert [run.state for run in record.trials] == [TrialState.DIVERGED] * 2
    assert "became" in record.trials[0].failure
    assert record.champion is None


def test_three_defects_in_a_row_stop_the_study_and_keep_their_tracebacks(workspace: Path, tiny_study: Path) -> None:
    def break_the_features(_: Coordinator) -> None:
        features = workspace / "features"
        features.unlink()
        features.mkdir()

    view = RecordingView()
    assert run_study(tiny_study, workspace, view=view, prepare=break_the_features) is StudyState.FAILED
    assert [trial.state for trial in trials_of(workspace)] == [TrialState.FAILED] * 3
    runs = record_of(workspace).trials
    assert [run.state for run in runs] == [TrialState.FAILED] * 3
    assert all(run.failure.startswith("CorpusError") for run in runs)
    tracebacks = sorted((workspace / "mlflow").rglob("traceback.txt"))
    assert len(tracebacks) == 3
    assert "Traceback" in tracebacks[0].read_text()


def test_a_study_that_is_stopped_leaves_no_run_running_and_goes_on(workspace: Path, tiny_study: Path) -> None:
    def stop_after_two(coordinator: Coordinator) -> None:
        view.on_ended = lambda count: coordinator.request_stop() if count == 2 else None

    view = RecordingView()
    assert run_study(tiny_study, workspace, view=view, prepare=stop_after_two) is StudyState.INTERRUPTED
    assert num_running(workspace) == 0
    assert TrialState.RUNNING not in {run.state for run in record_of(workspace).trials}
    assert run_study(tiny_study, workspace) is StudyState.COMPLETE
    assert len(trials_of(workspace)) == 4


def test_a_duplicate_configuration_becomes_a_replicate(workspace: Path, tmp_path: Path) -> None:
    study = write_tiny_study(tmp_path, trials=3)
    (tmp_path / "tiny_space.toml").write_text('[space]\n"encoder.cell" = { choices = ["gru"] }\n')
    run_study(study, workspace)
    runs = record_of(workspace).trials
    assert [run.seed for run in runs] == [3, 4, 5]
    assert len({run.configuration_hash for run in runs}) == 1
    assert len({run.objective for run in runs}) == 3


def test_a_missing_checkpoint_is_told_when_test_data_is_scored(workspace: Path, tiny_study: Path) -> None:
    class LosesCheckpoints(RecordingView):
        """When the champion is to be scored, neither the workspace nor MLflow has a checkpoint."""

        def message(self, text: str) -> None:
            super().message(text)
            if "scoring it on test data" in text:
                for path in workspace.rglob("best.ckpt"):
                    path.unlink()

    with pytest.raises(TrialError, match=r"checkpoint of trial \d is neither at .*best\.ckpt nor in MLflow"):
        run_study(tiny_study, workspace, view=LosesCheckpoints())
    assert read_ledger(Workspace(workspace).study("tiny")) == ()
    assert num_running(workspace) == 0


def test_the_same_study_twice_gives_the_same_values(workspace: Path, tiny_study: Path, tmp_path: Path) -> None:
    run_study(tiny_study, workspace)
    other = tmp_path / "other"
    other.mkdir()
    for name in ("corpora", "features"):
        shutil.copytree(workspace / name, other / name, symlinks=True)
    run_study(tiny_study, other)
    assert trials_of(workspace) == trials_of(other)


def test_a_trial_that_mlflow_never_heard_of_is_recorded_later(
    workspace: Path, tiny_study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_trial = Tracker.open_trial

    def fail_once(tracker: Tracker, number: int, config: TrialConfig, **options: Any) -> str:
        if number == 1:
            raise StorageError("the store is away")
        return open_trial(tracker, number, config, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Tracker, "open_trial", fail_once)
        with pytest.raises(StorageError, match="away"):
            run_study(tiny_study, workspace)
    assert run_study(tiny_study, workspace) is StudyState.COMPLETE
    runs = record_of(workspace).trials
    assert [run.number for run in runs] == [0, 1, 2, 3]
    assert [run.objective for run in runs] == [trial.value for trial in trials_of(workspace)]
    assert all(run.start_ms <= run.history["train/loss"][0].time_ms for run in runs), "each began before it trained"


@pytest.mark.parametrize("objective", ["error_rate", "c_primary"])
def test_early_stopping_follows_the_objective(workspace: Path, tmp_path: Path, objective: str) -> None:
    study = write_tiny_study(tmp_path, trials=1, epochs=12, changes="patience = 1\n")
    study.write_text(study.read_text().replace("seed = 3", f'seed = 3\nobjective = "{objective}"', 1))
    assert run_study(study, workspace) is StudyState.COMPLETE
    (run,) = record_of(workspace).trials
    points = [point.value for point in run.history[f"val/{objective}"]]
    assert run.objective == min(points)
    assert len(points) < 12
    assert points[-1] >= min(points[:-1])


def test_asking_ahead_changes_neither_the_budget_nor_the_proposals(
    workspace: Path, tiny_study: Path, another_workspace: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_study(tiny_study, workspace)
    monkeypatch.setattr("study.line.SLOW_ASK_S", -1.0)
    beside = another_workspace()
    assert run_study(tiny_study, beside) is StudyState.COMPLETE
    assert [trial.params for trial in trials_of(beside)] == [trial.params for trial in trials_of(workspace)]


def test_a_trial_that_was_asked_for_ahead_is_taken_up_after_a_stop(
    workspace: Path, tiny_study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("study.line.SLOW_ASK_S", -1.0)
    view = RecordingView()

    def stop_after_one(coordinator: Coordinator) -> None:
        view.on_ended = lambda count: coordinator.request_stop() if count == 1 else None

    assert run_study(tiny_study, workspace, view=view, prepare=stop_after_one) is StudyState.INTERRUPTED
    assert num_running(workspace) == 0
    assert run_study(tiny_study, workspace) is StudyState.COMPLETE
    assert [trial.state for trial in trials_of(workspace)] == [TrialState.COMPLETE] * 4


class Proposer:
    """Notes when trial 2 begins to be proposed, beside the loop, and lets that end when the test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("study.line.SLOW_ASK_S", -1.0)
        self.has_begun, self.may_end, self.has_ended = threading.Event(), threading.Event(), threading.Event()
        ask, numbers = TrialStore.ask, count()

        def ask_under_control(store: TrialStore, wish: Wish | None = None) -> TrialSummary:
            is_last = next(numbers) == 2
            if is_last:
                self.has_begun.set()
                assert self.may_end.wait(60)
            asked = ask(store, wish)
            if is_last:
                self.has_ended.set()
            return asked

        monkeypatch.setattr(TrialStore, "ask", ask_under_control)


@pytest.mark.parametrize("is_asked", [True, False], ids=["asked", "being asked"])
def test_a_stop_with_a_trial_asked_for_ahead_leaves_it_to_the_next_coordinator(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, is_asked: bool
) -> None:
    study, folder = write_tiny_study(tmp_path, trials=3), Workspace(workspace).study("tiny")
    with monkeypatch.context() as patch:
        proposer = Proposer(patch)

        class Stopped(InlineLauncher):
            def submit(self, spec: AttemptSpec) -> bool:
                if spec.number == 1:
                    assert proposer.has_begun.wait(60)
                    if is_asked:
                        proposer.may_end.set()
                        assert proposer.has_ended.wait(60)
                    send(folder, Stop())
                return super().submit(spec)

        class Patient(RecordingView):
            def message(self, text: str) -> None:
                super().message(text)
                if text == DRAINING:
                    proposer.may_end.set()

        first = run_study(study, workspace, launcher=Stopped(), view=Patient(), monotonic=fast_clock())
    assert first is StudyState.STOPPED
    assert [trial.state for trial in trials_of(workspace)] == [TrialState.COMPLETE] * 2 + [TrialState.RUNNING]
    assert [run.state for run in record_of(workspace).trials][2] is TrialState.INTERRUPTED
    assert record_of(workspace).ledger == ()
    assert run_study(study, workspace) is StudyState.COMPLETE
    assert [trial.state for trial in trials_of(workspace)] == [TrialState.COMPLETE] * 3


def test_a_raised_budget_is_what_status_shows(workspace: Path, tmp_path: Path) -> None:
    for trials in (1, 2):
        run_study(write_tiny_study(tmp_path, trials=trials), workspace)
    assert study_status(Workspace(workspace).study("tiny"))["budget"] == 2


def test_a_study_that_has_tried_everything_is_complete_before_its_budget_is_spent(
    workspace: Path, tmp_path: Path
) -> None:
    study = write_tiny_study(tmp_path, trials=9)
    study.write_text(study.read_text().replace('kind = "random"', 'kind = "grid"'))
    (tmp_path / "tiny_space.toml").write_text('[space]\n"encoder.hidden_size" = { choices = [4, 8] }\n')
    for _ in range(2):  # and the same command again does nothing
        assert run_study(study, workspace) is StudyState.COMPLETE
        assert [trial.params["encoder.hidden_size"] for trial in trials_of(workspace)] in ([4, 8], [8, 4])
    assert record_of(workspace).manifest.num_trials == 2
