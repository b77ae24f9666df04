"""A study whose coordinator is real and whose attempts are simulated; opened as `lidstudy sweep` opens one."""

import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.scale_optuna import SPACE_TEXT
from lightning_modules.config import DataConfig, TrainingConfig, TrialConfig
from search_spaces.space import load_space
from study.active import ActiveTrial, Outcome
from study.config import StudyConfig
from study.coordinator import Coordinator
from study.launchers._base import Launcher
from study.mlflow_opening import open_tracker
from study.opening import open_trial_store
from study.plan import StudyPlan, make_plan
from study.provenance import run_tags
from study.settling import settle
from study.tracking import Tracker
from study.trial_store import TrialStore
from study.view import Snapshot
from study.workspace import StudyFolder, Workspace, coordinator_lease

NAME = "scale"


class Enough(Exception):  # noqa: N818 - the end of a measurement, not an error
    """Ends a coordinator's run."""


class Gauges:
    """A view that shows nothing, and the coordinator's `sleep`."""

    def sleep(self, seconds: float) -> None:
        """Called at the end of each round."""
        time.sleep(seconds)

    def update(self, snapshot: Snapshot) -> None:
        """Called four times a second."""

    def message(self, text: str) -> None:
        """Called where a user should know."""

    def trial_ended(self, trial: ActiveTrial, outcome: Outcome) -> None:
        """Called once a trial has ended."""


@dataclass(frozen=True, kw_only=True)
class SimulatedStudy:
    """All that a coordinator is made from; `opened_s` says how long each part took to open."""

    plan: StudyPlan
    folder: StudyFolder
    store: TrialStore
    tracker: Tracker
    opened_s: dict[str, float]
    stack: ExitStack

    def coordinator(self, launcher: Launcher, gauges: Gauges) -> Coordinator:
        """Its coordinator."""
        return Coordinator(
            self.plan,
            folder=self.folder,
            store=self.store,
            tracker=self.tracker,
            launcher=launcher,
            view=gauges,
            sleep=gauges.sleep,
        )

    def close(self) -> None:
        """Closes the store and lets go of the lease."""
        self.stack.close()


def open_study(root: Path, speech: Path, *, num_trials: int, num_epochs: int = 20) -> SimulatedStudy:
    """Opens the study in workspace `root`, making both if need be; the corpus is that of workspace `speech`."""
    root.mkdir(parents=True, exist_ok=True)
    if not (root / "corpora").exists():
        (root / "corpora").symlink_to(speech / "corpora")
    (root / "space.toml").write_text(SPACE_TEXT)
    config = StudyConfig(
        name=NAME,
        space=str(root / "space.toml"),
        trials=num_trials,
        evaluate=False,
        trial=TrialConfig(data=DataConfig(corpus="espeak"), training=TrainingConfig(max_epochs=num_epochs)),
    )
    workspace, opened_s = Workspace(root), {}
    folder, stack = workspace.study(NAME), ExitStack()
    began = time.perf_counter()
    plan = make_plan(config, workspace=workspace, space=load_space(config.space), slots=1)
    stack.enter_context(coordinator_lease(folder))
    settle(plan, folder)
    opened_s["plan"] = time.perf_counter() - began
    began = time.perf_counter()
    store = open_trial_store(folder, config, plan.space)
    stack.callback(store.close)
    opened_s["open Optuna's journal"] = time.perf_counter() - began
    began = time.perf_counter()
    tags = run_tags(plan.data_hash)
    tracker = open_tracker(workspace, plan.manifest(), tags=tags, data_hash=plan.data_hash, url=plan.mlflow_url)
    opened_s["open MLflow"] = time.perf_counter() - began
    return SimulatedStudy(plan=plan, folder=folder, store=store, tracker=tracker, opened_s=opened_s, stack=stack)
