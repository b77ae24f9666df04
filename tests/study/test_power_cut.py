"""Small files that a power cut left empty, full of zeros, or torn: each says nothing then, and the study goes on."""

from collections.abc import Callable
from pathlib import Path

import pytest

from reports.records import StudyState
from study.attempt_records import attempt_records
from study.commands.inspect import study_status
from study.evaluation import read_ledger
from study.events import read_events
from study.following import Follower
from study.launchers._base import Life, Status
from study.launchers.inline import InlineLauncher
from study.launchers.local import LocalLauncher, lives
from study.spec import EVENTS_FILE, EXIT_FILE, SPEC_FILE, STOP_FILE, SUPERVISOR_FILE, AttemptSpec, remade_spec
from study.workspace import StudyFolder, Workspace, read_json, read_whole_json, write_json
from tests.conftest import write_tiny_study
from tests.study.helpers import check_complete, cut_off, record_of, run_study

pytestmark = pytest.mark.timeout(120)

Damage = Callable[[Path], None]


def empty(path: Path) -> None:
    path.write_bytes(b"")


def zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def half(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


DAMAGES = pytest.mark.parametrize("damage", [empty, zeros, half])


@pytest.fixture
def one_trial(tmp_path: Path) -> Path:
    return write_tiny_study(tmp_path, trials=1)


@pytest.fixture
def folder(workspace: Path) -> StudyFolder:
    return Workspace(workspace).study("tiny")


@DAMAGES
def test_json_that_can_be_done_without(tmp_path: Path, damage: Damage) -> None:
    path = tmp_path / "some.json"
    assert read_whole_json(path) is None
    write_json(path, {"some": ["content"]})
    assert read_whole_json(path) == {"some": ["content"]}
    damage(path)
    assert read_whole_json(path) is None


def test_an_attempt_with_a_torn_spec_is_lost_and_what_it_said_counts(
    workspace: Path, one_trial: Path, folder: StudyFolder
) -> None:
    class DiesAfterAnEpoch(InlineLauncher):
        def submit(self, spec: AttemptSpec) -> bool:
            super().submit(spec)
            log = spec.folder / EVENTS_FILE
            lines = log.read_bytes().splitlines(keepends=True)
            first = next(place for place, line in enumerate(lines) if b'"type":"epoch"' in line)
            log.write_bytes(b"".join(lines[: first + 1]))
            (spec.trial_folder / "last.ckpt").unlink()
            half(spec.folder / SPEC_FILE)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_study(one_trial, workspace, launcher=DiesAfterAnEpoch())
    assert Follower(folder).snapshot().slots == (), "nobody knows which it had"
    assert run_study(one_trial, workspace) is StudyState.COMPLETE
    check_complete(workspace)
    (said,) = [event for event in read_events(folder.trial(0).attempts()[0] / EVENTS_FILE) if event.type == "epoch"]
    (run,) = record_of(workspace).trials
    assert run.history["val/loss"][0].time_ms == said.time_ms
    assert [record.failure_class for record in attempt_records(folder.trial(0), is_running=False)] == ["lost", ""]


def test_an_attempt_with_a_torn_spec_that_had_ended_is_not_trained_again(
    workspace: Path, one_trial: Path, folder: StudyFolder
) -> None:
    class DiesAtTheEnd(InlineLauncher):
        def submit(self, spec: AttemptSpec) -> bool:
            super().submit(spec)
            empty(spec.folder / SPEC_FILE)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_study(one_trial, workspace, launcher=DiesAtTheEnd())
    assert run_study(one_trial, workspace) is StudyState.COMPLETE
    check_complete(workspace)
    assert len(folder.trial(0).attempts()) == 1


def test_an_attempt_with_a_torn_spec_is_asked_for_by_its_folder_alone(
    workspace: Path, one_trial: Path, folder: StudyFolder
) -> None:
    cut_off(workspace, one_trial, leave=lambda _: None)
    (attempt,) = folder.trial(0).attempts()
    written = AttemptSpec.model_validate(read_json(attempt / SPEC_FILE))
    remade = remade_spec(attempt, written.config, objective=written.objective)
    assert remade == written.model_copy(update={"slot": remade.slot, "latency": None})
    assert remade.key == written.key == "train-0-0"
    launcher = LocalLauncher(Workspace(workspace), slots=())
    assert launcher.poll(remade) == Status(Life.LOST)
    assert list(Workspace(workspace).slots.iterdir()) == [], "nobody asks for the lock of a slot that there is not"
    write_json(attempt / EXIT_FILE, {"status": 0})
    assert launcher.poll(remade) == Status(Life.EXITED, 0)


def test_a_torn_sign_in_is_of_a_supervisor_that_is_gone(workspace: Path, one_trial: Path, folder: StudyFolder) -> None:
    cut_off(workspace, one_trial, leave=lambda attempt: write_json(attempt / SUPERVISOR_FILE, {"pid": 1, "start": 1}))
    (attempt,) = folder.trial(0).attempts()
    half(attempt / SUPERVISOR_FILE)
    launcher = LocalLauncher(Workspace(workspace), slots=())
    spec = AttemptSpec.model_validate(read_json(attempt / SPEC_FILE))
    launcher.kill(spec)
    assert launcher.poll(spec) == Status(Life.LOST)
    assert not lives(attempt)


def test_an_attempt_whose_stop_was_torn_was_not_stopped(workspace: Path, one_trial: Path, folder: StudyFolder) -> None:
    def leave(attempt: Path) -> None:
        write_json(attempt / STOP_FILE, {"reason": "interrupted", "epoch": None})
        empty(attempt / STOP_FILE)

    cut_off(workspace, one_trial, leave=leave)
    assert run_study(one_trial, workspace) is StudyState.COMPLETE
    check_complete(workspace)
    assert [record.failure_class for record in attempt_records(folder.trial(0), is_running=False)] == ["lost", ""]


class TearsScores(InlineLauncher):
    """The power is cut after an attempt, as far as its scores know."""

    def __init__(self, purpose: str) -> None:
        super().__init__()
        self._purpose = purpose

    def submit(self, spec: AttemptSpec) -> bool:
        super().submit(spec)
        if spec.purpose == self._purpose:
            half(spec.trial_folder / "scores.json")
        return True


def test_development_scores_that_are_torn_are_made_again_for_the_look_at_test_data(
    workspace: Path, one_trial: Path, another_workspace: Callable[[], Path]
) -> None:
    beside = another_workspace()
    run_study(one_trial, beside)
    assert run_study(one_trial, workspace, launcher=TearsScores("train")) is StudyState.COMPLETE
    record, undisturbed = record_of(workspace), record_of(beside)
    assert record.scores_dev is None
    assert record.test_metrics == pytest.approx(undisturbed.test_metrics)


def test_test_scores_that_are_torn_before_they_are_on_record_are_made_again(
    workspace: Path, one_trial: Path, folder: StudyFolder
) -> None:
    class Dies(TearsScores):
        def submit(self, spec: AttemptSpec) -> bool:
            super().submit(spec)
            if spec.purpose == "evaluate":
                raise KeyboardInterrupt
            return True

    with pytest.raises(KeyboardInterrupt):
        run_study(one_trial, workspace, launcher=Dies("evaluate"))
    assert read_ledger(folder) == ()
    assert run_study(one_trial, workspace) is StudyState.COMPLETE
    assert len(read_ledger(folder)) == 1
    assert record_of(workspace).scores_test is not None


def test_test_scores_that_are_torn_later_are_on_record(workspace: Path, one_trial: Path, folder: StudyFolder) -> None:
    run_study(one_trial, workspace)
    half(folder.evaluation(0).scores)
    before = record_of(workspace)
    assert run_study(one_trial, workspace) is StudyState.COMPLETE
    assert record_of(workspace) == before


def test_a_torn_ending_is_none(workspace: Path, one_trial: Path, folder: StudyFolder) -> None:
    run_study(one_trial, workspace)
    assert study_status(folder)["ending"] == "complete"
    zeros(folder.ending)
    assert study_status(folder)["ending"] is None
    assert run_study(one_trial, workspace) is StudyState.COMPLETE
    assert study_status(folder)["ending"] == "complete"
