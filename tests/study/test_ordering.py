"""Deterministic studies: the same proposals and the same prunings, whichever trial ends first."""

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from reports.records import StudyState, TrialState
from study.active import ActiveTrial, Outcome
from study.coordinator import Coordinator
from study.devices import Slot
from study.launchers._base import Life, Status
from study.launchers.inline import InlineLauncher
from study.ordering import InOrder
from study.spec import EVENTS_FILE, AttemptSpec
from study.trials import TrialSummary
from study.workspace import TrialFolder, Workspace
from tests.conftest import write_tiny_study
from tests.study.helpers import RecordingView, record_of, run_study, trials_of

pytestmark = pytest.mark.timeout(240)
NUM_TRIALS = 10


class Shuffled(InlineLauncher):
    """Three slots whose attempts reveal their events a few at a time, in an order drawn from a seed."""

    slots = tuple(Slot(name=f"inline-{number}") for number in range(3))

    def __init__(self, seed: int) -> None:
        super().__init__()
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
        if spec.key in self._killed:
            self._busy.pop(spec.slot.name, None)
            return Status(Life.EXITED, -9)
        if self._shown.get(spec.key, 0) < len(self._lines(spec)):
            return Status(Life.RUNNING)
        self._busy.pop(spec.slot.name, None)
        return super().poll(spec)

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


def told(trials: list[TrialSummary]) -> list[tuple[object, ...]]:
    return [(trial.number, trial.state, trial.value, tuple(trial.params.items())) for trial in trials]


def test_the_finishing_order_changes_nothing(
    workspace: Path, tmp_path: Path, another_workspace: Callable[[], Path]
) -> None:
    study = deterministic_study(tmp_path)
    found = []
    for seed, place in ((1, workspace), (2, another_workspace()), (3, another_workspace())):
        assert run_study(study, place, launcher=Shuffled(seed)) is StudyState.COMPLETE
        found.append(told(trials_of(place)))
    assert found[0] == found[1] == found[2]
    states = {trial[1] for trial in found[0]}
    assert states == {TrialState.COMPLETE, TrialState.PRUNED}, "both must occur for this to show anything"


def test_a_pruned_trial_is_told_as_pruned_everywhere(workspace: Path, tmp_path: Path) -> None:
    run_study(deterministic_study(tmp_path), workspace, launcher=Shuffled(1))
    folder = Workspace(workspace).study("tiny")
    pruned = [trial for trial in trials_of(workspace) if trial.state is TrialState.PRUNED]
    assert pruned
    for trial in pruned:
        (stop,) = folder.trial(trial.number).root.glob("attempt-*/stop.json")
        assert json.loads(stop.read_text()) == {"reason": "pruned", "epoch": max(trial.reports)}
        run = record_of(workspace).trials[trial.number]
        assert run.state is TrialState.PRUNED
        assert run.objective is None
        assert len(run.history["val/loss"]) > max(trial.reports)
        assert "best/cllr_calibrated" in run.metrics


def test_stops_in_mid_study_change_nothing(
    workspace: Path, tmp_path: Path, another_workspace: Callable[[], Path]
) -> None:
    study = deterministic_study(tmp_path)
    assert run_study(study, workspace, launcher=Shuffled(1)) is StudyState.COMPLETE
    place = another_workspace()
    for seed, patience in ((4, 2), (5, 3)):
        view = RecordingView()

        def stop_after(coordinator: Coordinator, view: RecordingView = view, patience: int = patience) -> None:
            view.on_ended = lambda count: coordinator.request_stop() if count == patience else None

        state = run_study(study, place, launcher=Shuffled(seed), view=view, prepare=stop_after)
        assert state is StudyState.INTERRUPTED
    assert run_study(study, place, launcher=Shuffled(6)) is StudyState.COMPLETE
    assert told(trials_of(place)) == told(trials_of(workspace))


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
    assert [order.seen_by(number) for number in (0, 1, 2, 5)] == [0, 0, 1, 4]
