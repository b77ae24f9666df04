"""Deterministic studies: the same proposals and the same prunings, whichever trial ends first."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import FrozenTrial

from reports.records import StudyState, TrialState
from study.active import ActiveTrial, Outcome
from study.control import Stop, send
from study.coordinator import Coordinator
from study.devices import Slot
from study.launchers._base import Life, Status
from study.launchers.inline import InlineLauncher
from study.line import Line
from study.mirror import Mirror
from study.ordering import InOrder, seen_by
from study.spec import EVENTS_FILE, AttemptSpec
from study.trials import TrialSummary
from study.workspace import TrialFolder, Workspace
from tests.conftest import new_workspace, write_tiny_study
from tests.study.helpers import RecordingView, record_of, run_study, trials_of

pytestmark = pytest.mark.timeout(240)
NUM_TRIALS = 10


class Shuffled(InlineLauncher):
    """Three slots whose attempts reveal their events a few at a time, in an order drawn from a seed."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.slots = tuple(Slot(name=f"inline-{number}") for number in range(3))
        self.ended: list[int] = []
        self._random = random.Random(seed)
        self._shown: dict[str, int] = {}
        self._busy: dict[str, AttemptSpec] = {}
        self._killed: set[str] = set()

    def free_slots(self) -> tuple[Slot, ...]:
        return tuple(slot for slot in self.slots if slot.name not in self._busy)

    def submit(self, spec: AttemptSpec) -> bool:
        self._busy[spec.slot.name] = spec
        return super().submit(spec)

    def _lines(self, spec: AttemptSpec) -> list[bytes]:
        return (spec.folder / EVENTS_FILE).read_bytes().splitlines(keepends=True)

    def poll(self, spec: AttemptSpec) -> Status:
        if self._random.random() < 0.4:
            self._shown[spec.key] = self._shown.get(spec.key, 0) + 1
        if spec.key not in self._killed and self._shown.get(spec.key, 0) < len(self._lines(spec)):
            return Status(Life.RUNNING)
        if self._busy.pop(spec.slot.name, None):
            self.ended.append(spec.number)
        return Status(Life.EXITED, -9) if spec.key in self._killed else super().poll(spec)

    def read(self, spec: AttemptSpec, offset: int) -> bytes:
        return b"".join(self._lines(spec)[: self._shown.get(spec.key, 0)])[offset:]

    def kill(self, spec: AttemptSpec) -> None:
        self._killed.add(spec.key)


def deterministic_study(folder: Path) -> Path:
    study = write_tiny_study(folder, trials=NUM_TRIALS, epochs=4, steps=2)
    text = study.read_text().replace("seed = 3", "seed = 3\ndeterministic = true\nwindow = 3\nevaluate = false", 1)
    text = text.replace('[sampler]\nkind = "random"', '[sampler]\nkind = "tpe"\nstartup_trials = 3')
    text = text.replace('kind = "none"', 'kind = "median"\nstartup_trials = 2\nwarmup_epochs = 0', 1)
    study.write_text(text)
    return study


@pytest.fixture(scope="module")
def undisturbed(shared_speech: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workspace of a study that ran in one go: to be read alone."""
    folder = tmp_path_factory.mktemp("undisturbed")
    workspace = new_workspace(shared_speech, folder / "workspace")
    assert run_study(deterministic_study(folder), workspace, launcher=Shuffled(1)) is StudyState.COMPLETE
    return workspace


def told(trials: list[TrialSummary]) -> list[tuple[object, ...]]:
    return [(trial.number, trial.state, trial.value, tuple(trial.params.items())) for trial in trials]


def test_the_finishing_order_changes_nothing(
    undisturbed: Path, tmp_path: Path, another_workspace: Callable[[], Path]
) -> None:
    study, expected = deterministic_study(tmp_path), told(trials_of(undisturbed))
    for seed in (2, 3):
        place, launcher = another_workspace(), Shuffled(seed)
        assert run_study(study, place, launcher=launcher) is StudyState.COMPLETE
        assert launcher.ended != sorted(launcher.ended), "else nothing was out of order"
        assert told(trials_of(place)) == expected
    states = {trial[1] for trial in expected}
    assert states == {TrialState.COMPLETE, TrialState.PRUNED}, "both must occur for this to show anything"


def test_a_pruned_trial_is_told_as_pruned_everywhere(undisturbed: Path) -> None:
    folder = Workspace(undisturbed).study("tiny")
    pruned = [trial for trial in trials_of(undisturbed) if trial.state is TrialState.PRUNED]
    runs = record_of(undisturbed).trials
    assert pruned
    for trial in pruned:
        (stop,) = folder.trial(trial.number).root.glob("attempt-*/stop.json")
        assert json.loads(stop.read_text()) == {"reason": "pruned", "epoch": max(trial.reports)}
        run = runs[trial.number]
        assert run.state is TrialState.PRUNED
        assert run.objective is None
        assert len(run.history["val/loss"]) > max(trial.reports)
        assert "best/cllr_calibrated" in run.metrics


def test_stops_in_mid_study_change_nothing(workspace: Path, tmp_path: Path, undisturbed: Path) -> None:
    study = deterministic_study(tmp_path)
    for seed, patience in ((4, 2), (5, 3)):
        view = RecordingView()

        def stop_after(coordinator: Coordinator, view: RecordingView = view, patience: int = patience) -> None:
            view.on_ended = lambda count: coordinator.request_stop() if count == patience else None

        state = run_study(study, workspace, launcher=Shuffled(seed), view=view, prepare=stop_after)
        assert state is StudyState.INTERRUPTED
    assert run_study(study, workspace, launcher=Shuffled(6)) is StudyState.COMPLETE
    assert told(trials_of(workspace)) == told(trials_of(undisturbed))


class AtOnce(Shuffled):
    """Attempts whose whole log is read in one look, as after a slow ask or a database that was away."""

    def poll(self, spec: AttemptSpec) -> Status:
        self._shown[spec.key] = len(self._lines(spec))
        return super().poll(spec)


def test_it_does_not_matter_how_soon_events_are_read(workspace: Path, tmp_path: Path, undisturbed: Path) -> None:
    run_study(deterministic_study(tmp_path), workspace, launcher=AtOnce(1))
    assert told(trials_of(workspace)) == told(trials_of(undisturbed))
    assert TrialState.PRUNED in {trial.state for trial in trials_of(workspace)}


class Died(Exception):  # noqa: N818 - a kill, no error
    """The coordinator is gone."""


class Late(Shuffled):
    """One attempt says nothing until the others of its window have ended."""

    def __init__(self, late: int) -> None:
        super().__init__(1)
        self._late = late
        self._num_looks = 0

    def poll(self, spec: AttemptSpec) -> Status:
        if spec.number == self._late:
            self._num_looks += 1
            if self._num_looks < 60:
                return Status(Life.RUNNING)
        self._shown[spec.key] = len(self._lines(spec))
        return super().poll(spec)


def test_a_coordinator_that_dies_between_a_tell_and_its_ask_changes_nothing(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = deterministic_study(tmp_path)
    known: dict[int, int] = {}
    ask, propose = Line.ask, Mirror.propose

    def dies(line: Line, *, num_free: int = 1) -> bool:
        if line._asking.num_asked == 6 and line.order is not None and line.order.may_ask(6):
            raise Died
        return ask(line, num_free=num_free)

    def notes(mirror: Mirror, number: int, **options: Any) -> FrozenTrial:
        known[number] = sum(trial.state.is_finished() for trial in mirror._study.trials)
        return propose(mirror, number, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Line, "ask", dies)
        with pytest.raises(Died):
            run_study(study, workspace, launcher=Late(3))
    monkeypatch.setattr(Mirror, "propose", notes)
    run_study(study, workspace, launcher=Shuffled(2))
    assert known == {number: number - 2 for number in range(6, NUM_TRIALS)}


def test_a_stop_once_all_are_asked_for_loses_no_ending(workspace: Path, tmp_path: Path) -> None:
    study = write_tiny_study(tmp_path, trials=3)
    study.write_text(study.read_text().replace("seed = 3", "seed = 3\ndeterministic = true\nwindow = 3", 1))
    folder = Workspace(workspace).study("tiny")

    class Stopped(Shuffled):
        def submit(self, spec: AttemptSpec) -> bool:
            if spec.number == 2:
                send(folder, Stop())
            return super().submit(spec)

    assert run_study(study, workspace, launcher=Stopped(1)) is StudyState.COMPLETE
    assert {trial.state for trial in trials_of(workspace)} == {TrialState.COMPLETE}


def test_outcomes_are_told_in_the_order_of_numbers() -> None:
    order = InOrder(2)
    trials = [ActiveTrial(number=n, config=None, folder=TrialFolder(Path())) for n in range(3)]  # type: ignore[arg-type]  # no configuration is looked at
    assert [order.may_ask(number) for number in range(3)] == [True, True, False]
    order.hold(trials[1], Outcome(state=TrialState.COMPLETE))
    assert order.release() is None
    assert order.held == [trials[1]]
    order.hold(trials[0], Outcome(state=TrialState.PRUNED))
    first, second = order.release(), order.release()
    assert first is not None
    assert second is not None
    assert (first[0].number, second[0].number) == (0, 1)
    assert order.may_ask(3)
    assert not order.may_ask(4)
    assert [seen_by(number, window=2) for number in (0, 1, 2, 5)] == [0, 0, 1, 4]
