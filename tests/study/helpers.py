"""A study or an attempt in a test's own workspace, and what it left behind."""

import itertools
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing import forkserver
from pathlib import Path

import numpy as np
import pytest
import torch

from reports.load import load_study
from reports.records import StudyRecord, StudyState, TrialState
from study.active import ActiveTrial, Outcome
from study.backlog import Backlog
from study.config import StudyConfig, load_study_config
from study.control import forget_stops
from study.coordinator import Coordinator
from study.events import Ended, EpochEnded, read_events
from study.launchers._base import Launcher, Life, Status
from study.launchers.inline import InlineLauncher
from study.mlflow_opening import open_tracker, refuse_strangers
from study.mlflow_place import mlflow_tracking_uri, records_url
from study.opening import open_trial_store, read_trials
from study.plan import make_plan
from study.pretrained import keep_pretrained
from study.settling import settle
from study.spec import EVENTS_FILE, SPEC_FILE, AttemptSpec
from study.trials import TrialSummary
from study.view import Snapshot
from study.workspace import Workspace, coordinator_lease, write_json


@dataclass
class RecordingView:
    """A view that keeps what it was shown, and can act when the n-th trial has ended."""

    messages: list[str] = field(default_factory=list)
    endings: list[tuple[int, TrialState]] = field(default_factory=list)
    snapshots: list[Snapshot] = field(default_factory=list)
    on_ended: Callable[[int], None] = lambda _: None

    def update(self, snapshot: Snapshot) -> None:
        self.snapshots.append(snapshot)

    def message(self, text: str) -> None:
        self.messages.append(text)

    def trial_ended(self, trial: ActiveTrial, outcome: Outcome) -> None:
        self.endings.append((trial.number, outcome.state))
        self.on_ended(len(self.endings))


def run_study(
    study: Path,
    workspace: Path,
    *,
    launcher: Launcher | None = None,
    view: RecordingView | None = None,
    prepare: Callable[[Coordinator], None] = lambda _: None,
    stop: threading.Event | None = None,
    monotonic: Callable[[], float] = time.monotonic,
    time_budget_s: float | None = None,
) -> StudyState:
    """What `lidstudy sweep` does, in this process."""
    config = load_study_config(str(study))
    place = Workspace(workspace)
    folder = place.study(config.name)
    num_cores = len(os.sched_getaffinity(0))  # one thread each, as a sweep has
    plan = make_plan(config, workspace=place, slots=num_cores, time_budget_s=time_budget_s)
    with ExitStack() as stack:
        stack.enter_context(coordinator_lease(folder))
        forget_stops(folder)
        if not folder.manifest.exists():
            refuse_strangers(place, config.name, url=plan.mlflow_url)
        keep_pretrained(config.trial, plan.space, workspace=place, study=config.name)
        settle(plan, folder)
        store = open_trial_store(folder, config, plan.space)
        stack.callback(store.close)
        launcher = launcher or InlineLauncher()
        coordinator = Coordinator(
            plan,
            folder=folder,
            store=store,
            tracker=open_tracker(place, plan.manifest(), tags={}, data_hash=plan.data_hash, url=plan.mlflow_url),
            launcher=launcher,
            view=view or RecordingView(),
            stop=stop,
            monotonic=monotonic,
            sleep=_nap if isinstance(launcher, InlineLauncher) else time.sleep,
        )
        prepare(coordinator)
        return coordinator.run()


def _nap(_: float) -> None:
    """Attempts in this process end as they are submitted, so that only other threads are waited for."""
    time.sleep(0.001)


def fast_clock() -> Callable[[], float]:
    """Each look at the clock finds a second gone: a coordinator looks for commands in every round."""
    seconds = itertools.count()
    return lambda: float(next(seconds))


def catch_up(backlog: Backlog) -> None:
    """Waits for everything as a coordinator does; raises what a call raised."""

    def has_all() -> bool:
        backlog.check()
        return not backlog

    until(has_all)


def trials_of(workspace: Path, name: str = "tiny") -> list[TrialSummary]:
    """What Optuna knows."""
    return read_trials(Workspace(workspace).study(name))


def record_of(workspace: Path, name: str = "tiny") -> StudyRecord:
    """What MLflow knows."""
    return load_study(name, tracking_uri=mlflow_tracking_uri(records_url(Workspace(workspace), name)))


def config_of(study: Path) -> StudyConfig:
    return load_study_config(str(study))


def kill_forkserver() -> None:
    server = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined]  # no public way to find it
    if server is not None:
        os.kill(server, signal.SIGKILL)


def until(condition: Callable[[], bool], *, seconds: float = 280.0) -> None:
    """Waits for other processes, which no clock of ours drives: as long as a test may take, for that is no promise."""
    waited = threading.Event()
    for _ in range(int(seconds / 0.02)):
        if condition():
            return
        waited.wait(0.02)
    pytest.fail("waited in vain")


def weights_of(spec: AttemptSpec) -> np.ndarray:
    state = torch.load(spec.trial_folder / "best.ckpt", weights_only=True)["state_dict"]
    return np.concatenate([value.numpy().ravel() for value in state.values()])


def epochs_of(spec: AttemptSpec) -> list[EpochEnded]:
    return [event for event in read_events(spec.folder / EVENTS_FILE) if isinstance(event, EpochEnded)]


def last_word(spec: AttemptSpec) -> Ended:
    last = read_events(spec.folder / EVENTS_FILE)[-1]
    assert isinstance(last, Ended)
    return last


class SilentAndLost(InlineLauncher):
    """Every attempt is lost before it says a word."""

    num_submitted = 0

    def submit(self, spec: AttemptSpec) -> bool:
        self.num_submitted += 1
        spec.folder.mkdir(parents=True)
        write_json(spec.folder / SPEC_FILE, spec.model_dump(mode="json"))
        (spec.folder / EVENTS_FILE).touch()
        return True

    def poll(self, spec: AttemptSpec) -> Status:  # noqa: ARG002 - the protocol's signature
        return Status(Life.LOST)


def cut_off(workspace: Path, study: Path, *, leave: Callable[[Path], None]) -> None:
    """A study whose coordinator died after the first epoch of trial 0; `leave` writes what else it left."""

    class PowerCut(BaseException):
        pass

    class DiesOnSubmit(InlineLauncher):
        def submit(self, spec: AttemptSpec) -> bool:
            super().submit(spec)
            leave_epochs(spec.folder, 1)
            (spec.trial_folder / "last.ckpt").unlink()  # an epoch's line comes before its checkpoint
            leave(spec.folder)
            raise PowerCut

    with pytest.raises(PowerCut):
        run_study(study, workspace, launcher=DiesOnSubmit())
    (trial,) = trials_of(workspace)
    assert trial.state is TrialState.RUNNING


def leave_epochs(attempt: Path, number: int) -> None:
    """Cuts an attempt's log off at the end of so many epochs; with 0, after its first word."""
    log = attempt / EVENTS_FILE
    lines = log.read_bytes().splitlines(keepends=True)
    ends = [0, *(place for place, line in enumerate(lines) if b'"type":"epoch"' in line)]
    log.write_bytes(b"".join(lines[: ends[number] + 1]))


def check_complete(workspace: Path) -> None:
    (trial,), (run,) = trials_of(workspace), record_of(workspace).trials
    assert trial.state is run.state is TrialState.COMPLETE
    assert run.objective == trial.value
    assert [point.step for point in run.history["val/loss"]] == [0, 1, 2]
    assert run.metrics["model/num_parameters"] > 0
    assert run.tags["lidstudy.device"] == "cpu"
    assert run.params["encoder.cell"] == trial.params["encoder.cell"]
