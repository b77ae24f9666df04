"""What users tell a coordinator: stop, enqueue, retry; and limits of time and silence."""

import itertools
import sys
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import FrozenTrial

from lightning_modules.errors import ConfigError, StorageError, StoreAwayError
from reports.records import TAG_FAILURE_CLASS, StudyState, TrialState
from study.commands import control as commands
from study.commands.inspect import list_all, show_status, show_trial, study_status
from study.commands.sweep import SweepOptions, resume
from study.config import load_study_config
from study.control import Enqueue, Stop, pending, send
from study.coordinator import Coordinator
from study.devices import Slot
from study.launchers._base import Life, Status
from study.launchers.inline import InlineLauncher
from study.opening import read_trials
from study.plan import make_plan
from study.recovery import read_config
from study.settling import record_plan
from study.spec import EVENTS_FILE, AttemptSpec
from study.storage import StoredStudy
from study.trials import TrialSummary
from study.workspace import StudyFolder, Workspace, coordinator_lease
from tests.conftest import write_tiny_study
from tests.study.helpers import RecordingView, fast_clock, record_of, run_study, trials_of

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def folder(workspace: Path) -> StudyFolder:
    return Workspace(workspace).study("tiny")


@pytest.fixture(autouse=True)
def ask_in_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that runs fast, every ask takes long."""
    monkeypatch.setattr("study.line.SLOW_ASK_S", float("inf"))


class Hanging(InlineLauncher):
    """Attempts that have spoken, and then neither speak nor end until they are killed."""

    def __init__(self) -> None:
        super().__init__()
        self._dead: set[str] = set()

    def submit(self, spec: AttemptSpec) -> bool:
        super().submit(spec)
        log = spec.folder / EVENTS_FILE
        lines = log.read_bytes().splitlines(keepends=True)
        first_epoch = next(place for place, line in enumerate(lines) if b'"type":"epoch"' in line)
        log.write_bytes(b"".join(lines[: first_epoch + 1]))
        return True

    def free_slots(self) -> tuple[Slot, ...]:
        return self.slots

    def poll(self, spec: AttemptSpec) -> Status:
        return Status(Life.EXITED, -9) if spec.key in self._dead else Status(Life.RUNNING)

    def kill(self, spec: AttemptSpec) -> None:
        self._dead.add(spec.key)


def test_stop_waits_for_what_runs_and_starts_nothing_more(
    workspace: Path, tiny_study: Path, folder: StudyFolder
) -> None:
    def stop_after_the_first(count: int) -> None:
        if count == 1:
            send(folder, Stop())

    view = RecordingView(on_ended=stop_after_the_first)
    assert run_study(tiny_study, workspace, view=view, monotonic=fast_clock()) is StudyState.STOPPED
    states = [trial.state for trial in trials_of(workspace)]
    assert set(states) == {TrialState.COMPLETE}
    assert len(states) < 4
    assert pending(folder) == []
    assert run_study(tiny_study, workspace) is StudyState.COMPLETE
    assert len(trials_of(workspace)) == 4


def test_a_stop_that_came_too_late_does_not_stop_the_next_coordinator(
    workspace: Path, tiny_study: Path, folder: StudyFolder
) -> None:
    send(folder, Stop(now=True))
    assert run_study(tiny_study, workspace) is StudyState.COMPLETE
    assert pending(folder) == []


def test_what_is_enqueued_comes_next_and_beside_the_budget(
    workspace: Path, tiny_study: Path, folder: StudyFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    params = {"encoder.cell": "lstm", "encoder.hidden_size": 8, "clipping.kind": "none"}
    send(folder, Enqueue(params=params, seed=77))
    assert run_study(tiny_study, workspace) is StudyState.COMPLETE
    trials = trials_of(workspace)
    assert len(trials) == 5, "four of the budget and the one that was asked for"
    assert {key: trials[0].params[key] for key in params} == params
    assert "optimizer.learning_rate" in trials[0].params
    assert read_config(folder, 0).seed == 77
    send(folder, Enqueue(params=params))
    assert run_study(tiny_study, workspace) is StudyState.COMPLETE
    assert len(trials_of(workspace)) == 6, "also when the budget is spent"
    show_status("tiny", workspace, as_json=False)
    assert capsys.readouterr().out.startswith("tiny, 4 of 4 trials and 2 that you asked for: 6 complete")


def test_a_command_is_carried_out_once_though_the_coordinator_died_before_it_could_remove_it(
    workspace: Path, tiny_study: Path, folder: StudyFolder
) -> None:
    path = send(folder, Enqueue(params={"encoder.cell": "gru"}))
    content = path.read_bytes()
    run_study(tiny_study, workspace)
    path.write_bytes(content)
    run_study(tiny_study, workspace)
    assert len(trials_of(workspace)) == 5
    assert pending(folder) == []


def test_rubbish_in_the_control_folder_is_set_aside(workspace: Path, tiny_study: Path, folder: StudyFolder) -> None:
    folder.control.mkdir(parents=True)
    (folder.control / "1.json").write_text('{"kind": "explode"}')
    assert run_study(tiny_study, workspace) is StudyState.COMPLETE
    assert (folder.control / "1.rejected").exists()


def fail_once(workspace: Path, study: Path) -> None:
    """A study whose first trial is a defect, since its features are gone for a moment."""
    features = (workspace / "features").resolve()

    def break_the_features(_: Coordinator) -> None:
        (workspace / "features").unlink()
        (workspace / "features").mkdir()

    def mend_them(_: int) -> None:
        if not (workspace / "features").is_symlink():
            (workspace / "features").rmdir()
            (workspace / "features").symlink_to(features)

    view = RecordingView(on_ended=mend_them)
    assert run_study(study, workspace, view=view, prepare=break_the_features) is StudyState.COMPLETE
    assert trials_of(workspace)[0].state is TrialState.FAILED


def test_a_failed_trial_says_why_and_is_tried_again_under_its_own_values_and_seed(
    workspace: Path, tiny_study: Path, folder: StudyFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_once(workspace, tiny_study)
    show_status("tiny", workspace, as_json=False)
    show_trial("tiny", 0, workspace, as_json=False)
    shown = capsys.readouterr().out
    assert "trial 0 failed: CorpusError: there is no usable feature store" in shown
    assert "it failed: CorpusError: there is no usable feature store" in shown
    assert "lidstudy resume tiny --failed" in shown
    commands.retry("tiny", 0, workspace)
    commands.retry_failed(folder, trials_of(workspace))
    assert len(pending(folder)) == 1, "it is queued"
    with pytest.raises(ConfigError, match="trial 0 is queued again already"):
        commands.retry("tiny", 0, workspace)
    assert run_study(tiny_study, workspace) is StudyState.COMPLETE
    first, *_, again = trials_of(workspace)
    assert (again.number, again.state, again.params, again.retry_of) == (4, TrialState.COMPLETE, first.params, 0)
    assert read_config(folder, 4) == read_config(folder, 0)
    show_status("tiny", workspace, as_json=False)
    assert "--failed" not in capsys.readouterr().out, "it was tried again"
    commands.retry_failed(folder, trials_of(workspace))
    assert pending(folder) == [], "it has been tried again"
    with pytest.raises(ConfigError, match="trial 0 was tried again as trial 4"):
        commands.retry("tiny", 0, workspace)
    with pytest.raises(ConfigError, match="trial 1 is complete; only a failed one"):
        commands.retry("tiny", 1, workspace)
    with pytest.raises(ConfigError, match=r"has no trial 9; trials: 0 to 4"):
        commands.retry("tiny", 9, workspace)


def test_resume_tries_every_failed_trial_again(workspace: Path, tiny_study: Path, folder: StudyFolder) -> None:
    fail_once(workspace, tiny_study)
    assert commands.retry_failed(folder, trials_of(workspace)) == []
    ((_, command),) = pending(folder)
    assert isinstance(command, Enqueue)
    assert command.retry_of == 0


def test_a_retry_that_a_coordinator_takes_up_meanwhile_is_not_queued_twice(
    workspace: Path, tiny_study: Path, folder: StudyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_once(workspace, tiny_study)
    path = send(folder, Enqueue(params={}, retry_of=0))

    def read_while_it_is_taken_up(study_folder: StudyFolder) -> list[TrialSummary]:
        trials = read_trials(study_folder)
        path.unlink()
        return trials

    monkeypatch.setattr("study.commands.control.read_trials", read_while_it_is_taken_up)
    with pytest.raises(ConfigError, match="trial 0 is queued again already"):
        commands.retry("tiny", 0, workspace)
    assert pending(folder) == []


def test_a_second_retry_of_a_trial_is_set_aside_whether_the_first_is_queued_or_done(
    workspace: Path, tiny_study: Path, folder: StudyFolder
) -> None:
    fail_once(workspace, tiny_study)
    params = trials_of(workspace)[0].params
    for num_sent in (2, 1):
        for _ in range(num_sent):
            send(folder, Enqueue(params=params, retry_of=0))
        view = RecordingView()
        assert run_study(tiny_study, workspace, view=view) is StudyState.COMPLETE
        assert [trial.number for trial in trials_of(workspace) if trial.retry_of == 0] == [4]
        (said,) = [each for each in view.messages if "is set aside" in each]
        assert said.endswith("trial 0 is tried again already.")
    assert len(list(folder.control.glob("*.rejected"))) == 2


def change_space(study: Path, old: str, new: str) -> None:
    path = study.parent / "tiny_space.toml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_a_failed_trial_that_the_changed_space_cannot_make_is_not_tried_again(
    workspace: Path, tiny_study: Path, folder: StudyFolder
) -> None:
    fail_once(workspace, tiny_study)
    send(folder, Enqueue(params=trials_of(workspace)[0].params, retry_of=0))  # before the space changes
    change_space(tiny_study, "[8, 16]", "[4]")
    view = RecordingView()
    assert run_study(tiny_study, workspace, view=view) is StudyState.COMPLETE
    assert any("trial 0 does not fit search space tiny_space" in message for message in view.messages)
    assert [trial.retry_of for trial in trials_of(workspace)] == [None] * 4
    with pytest.raises(ConfigError, match=r"trial 0 does not fit the study's search space, .*`lidstudy train .*json`"):
        commands.retry("tiny", 0, workspace)
    (line,) = commands.retry_failed(folder, trials_of(workspace))
    assert line.startswith("failed trial 0 does not fit the study's search space")
    assert pending(folder) == []


def test_a_retry_that_waited_while_the_space_grew_has_its_own_values_in_what_is_new(
    workspace: Path, tiny_study: Path, folder: StudyFolder
) -> None:
    fail_once(workspace, tiny_study)
    commands.retry("tiny", 0, workspace)
    change_space(tiny_study, "[space]\n", '[space]\n"encoder.dropout" = { float = [0.0, 0.5] }\n')
    assert run_study(tiny_study, workspace) is StudyState.COMPLETE
    assert trials_of(workspace)[4].retry_of == 0
    assert read_config(folder, 4) == read_config(folder, 0)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"encoder.cell": "gru"}, "key encoder.cell: 'gru' is none of its values"),
        ({"optimizer.learning_rate": 0.009}, "key optimizer.learning_rate: 0.009 is none of its values"),
    ],
)
def test_what_a_changed_space_does_not_allow_any_more_is_set_aside(
    workspace: Path, tmp_path: Path, folder: StudyFolder, params: dict[str, Any], message: str
) -> None:
    study = write_tiny_study(tmp_path, trials=1)
    path = send(folder, Enqueue(params=params))
    change_space(study, '["gru", "lstm"]', '["lstm", "rnn_tanh"]')
    change_space(study, "[0.001, 0.01]", "[0.001, 0.005]")
    view = RecordingView()
    assert run_study(study, workspace, view=view) is StudyState.COMPLETE
    rejected = path.with_suffix(".rejected")
    (said,) = [each for each in view.messages if message in each]
    assert said.startswith(f"{rejected} is set aside: ")
    assert rejected.exists()
    assert len(trials_of(workspace)) == 1


def test_a_resume_that_is_refused_queues_nothing(workspace: Path, tiny_study: Path, folder: StudyFolder) -> None:
    fail_once(workspace, tiny_study)
    with pytest.raises(ConfigError, match="--time-budget"):
        resume("tiny", SweepOptions(time_budget="soon"), folder=workspace, failed=True)
    with coordinator_lease(folder), pytest.raises(StorageError):
        resume("tiny", SweepOptions(), folder=workspace, failed=True)
    assert pending(folder) == []


def test_resume_with_failed_tries_failed_trials_again(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["lidstudy", "sweep", "tiny.toml"])
    fail_once(workspace, write_tiny_study(tmp_path, trials=2, epochs=1))
    monkeypatch.setattr(sys, "argv", ["lidstudy", "resume", "tiny", "--failed"])
    assert resume("tiny", SweepOptions(), folder=workspace, failed=True) == 0
    assert [trial.retry_of for trial in trials_of(workspace)] == [None, None, 0]
    assert record_of(workspace).manifest.command == "lidstudy sweep tiny.toml", "whoever starts anew resumes nothing"
    assert "study tiny is complete" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ("{", "must be a JSON object"),
        ("[]", "must be a JSON object"),
        ("{}", "must be a JSON object"),
        ('{"encoder.sell": "gru"}', r"space tiny_space has no parameter 'encoder\.sell'; it has encoder\.cell"),
        ('{"encoder.cell": "rnn"}', r"key encoder\.cell: 'rnn' is none of its values"),
        ('{"optimizer.learning_rate": 5}', r"key optimizer\.learning_rate: 5 is none of its values"),
        ('{"encoder.hidden_size": true}', r"key encoder\.hidden_size: True is none of its values"),
        (
            '{"clipping.max_norm": 1.25}',
            r'key clipping\.max_norm exists only where clipping\.kind is "norm": add "clipping\.kind": "norm"\.',
        ),
        (
            '{"clipping.kind": "none", "clipping.max_norm": 1.25}',
            r'exists only where clipping\.kind is "norm": choose that, or leave clipping\.max_norm out\.',
        ),
    ],
)
def test_what_cannot_be_enqueued_is_refused_at_once(
    workspace: Path, tiny_study: Path, folder: StudyFolder, params: str, message: str
) -> None:
    record_plan(make_plan(load_study_config(str(tiny_study)), workspace=Workspace(workspace)), folder)
    with pytest.raises(ConfigError, match=message):
        commands.enqueue("tiny", params, workspace, seed=None)
    assert pending(folder) == []


def test_there_is_nothing_to_stop_where_nobody_works(workspace: Path, tiny_study: Path, folder: StudyFolder) -> None:
    record_plan(make_plan(load_study_config(str(tiny_study)), workspace=Workspace(workspace)), folder)
    with pytest.raises(ConfigError, match="nobody works on study 'tiny'"):
        commands.stop("tiny", workspace, now=False)


def limited(tmp_path: Path, limits: str) -> Path:
    return write_tiny_study(tmp_path, trials=1, changes=f"[limits]\n{limits}\n")


def test_a_trial_over_its_time_has_timed_out_and_keeps_its_last_metrics(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = limited(tmp_path, "trial_s = 60")
    assert run_study(study, workspace, launcher=Hanging(), monotonic=fast_clock()) is StudyState.FAILED
    (trial,), (run,) = trials_of(workspace), record_of(workspace).trials
    assert trial.state is run.state is TrialState.TIMED_OUT
    assert trial.value is None
    assert "limits.trial_s = 60 s" in run.failure
    assert run.tags[TAG_FAILURE_CLASS] == "timed_out"
    assert study_status(Workspace(workspace).study("tiny"))["trials"]["failed"] == 1
    show_status("tiny", workspace, as_json=False)
    assert "a larger limits.trial_s counts once `lidstudy sweep` has read tiny's file" in capsys.readouterr().out
    assert len(run.history["val/loss"]) == 1


def test_an_attempt_that_says_nothing_for_too_long_is_lost(workspace: Path, tmp_path: Path) -> None:
    study = limited(tmp_path, "silence_s = 60\nlost_attempts = 1")
    view = RecordingView()
    assert run_study(study, workspace, launcher=Hanging(), view=view, monotonic=fast_clock()) is StudyState.FAILED
    (trial,), (run,) = trials_of(workspace), record_of(workspace).trials
    assert trial.state is run.state is TrialState.FAILED
    assert run.tags[TAG_FAILURE_CLASS] == "lost"
    assert "its process was lost 2 times" in run.failure
    assert any("said nothing for too long" in message for message in view.messages)


def test_a_wish_whose_trial_was_never_started_is_carried_out_once(
    workspace: Path, tmp_path: Path, folder: StudyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = write_tiny_study(tmp_path, trials=1)
    send(folder, Enqueue(params={"encoder.cell": "lstm"}))

    def dies(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("study.asking.write_json", dies)
        with pytest.raises(KeyboardInterrupt):
            run_study(study, workspace)
    run_study(study, workspace)
    assert [bool(trial.command) for trial in trials_of(workspace)] == [True, False]
    assert not list(pending(folder))


def test_a_wish_that_comes_while_a_proposal_waits_for_its_database_is_not_lost(
    workspace: Path, tmp_path: Path, folder: StudyFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("study.line.SLOW_ASK_S", -1.0)
    monkeypatch.setattr("study.patience.FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr("study.patience.LONGEST_PAUSE_S", 0.02)
    add, num_calls = StoredStudy.add, itertools.count()

    def away(stored: StoredStudy, trial: FrozenTrial) -> None:
        if trial.number == 2 and (call := next(num_calls)) < 100:
            if call == 0:
                send(folder, Enqueue(params={"encoder.cell": "lstm"}, seed=4321))
            raise StoreAwayError("away")
        add(stored, trial)

    monkeypatch.setattr(StoredStudy, "add", away)
    run_study(write_tiny_study(tmp_path, trials=4), workspace, monotonic=fast_clock())
    assert [trial.seed for trial in trials_of(workspace)].count(4321) == 1
    assert len(trials_of(workspace)) == 5


def test_a_budget_of_time_ends_the_study(workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = write_tiny_study(tmp_path, trials=50)
    assert run_study(study, workspace, monotonic=fast_clock(), time_budget_s=120.0) is StudyState.COMPLETE
    show_status("tiny", workspace, as_json=False)
    list_all(workspace, as_json=False)
    said = capsys.readouterr().out
    assert "its budget of time is spent: run the same sweep command again to go on" in said
    assert said.strip().endswith("time spent")
    trials = trials_of(workspace)
    assert 1 <= len(trials) < 50
    assert {trial.state for trial in trials} == {TrialState.COMPLETE}


def test_what_users_asked_for_waits_where_the_time_is_spent_and_does_not_count_against_the_budget(
    workspace: Path, tmp_path: Path, folder: StudyFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    study = write_tiny_study(tmp_path, trials=1)

    def listed() -> str:
        list_all(workspace, as_json=False)
        return capsys.readouterr().out.splitlines()[-1].rstrip()

    assert run_study(study, workspace) is StudyState.COMPLETE
    assert listed().startswith("tiny   1/1 ")
    assert listed().endswith("done")
    send(folder, Enqueue(params={"encoder.cell": "lstm"}))
    view = RecordingView()
    run_study(study, workspace, view=view, time_budget_s=0.0)
    assert "the budget of time is spent before all trials have begun; the same command goes on" in view.messages
    assert listed().endswith("time spent")
    show_status("tiny", workspace, as_json=False)
    said = capsys.readouterr().out
    assert "trials that you asked for and that have not begun: 1" in said
    assert "its budget of time is spent: run the same sweep command again to go on" in said
    assert run_study(study, workspace) is StudyState.COMPLETE
    assert listed().startswith("tiny   1/1 + 1 ")
    assert listed().endswith("done")
