"""`lidstudy train`: one configuration in the foreground, in this process, recorded like any trial."""

import re
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from pydantic import ValidationError

from lightning_modules.config import TrialConfig
from lightning_modules.errors import ConfigError
from reports.records import TRAIN_LOSS, VAL_ACCURACY, TrialState
from search_spaces.space import Space
from study.commands.console import make_console
from study.commands.control import FAILED
from study.commands.sweep import EXIT_STATUS, ensure_features
from study.complaints import first_finding
from study.config import NAME_PATTERN, StudyConfig, load_study_config
from study.control import Enqueue, consume, pending, send, wants_stop_now
from study.coordinator import Coordinator
from study.events import AnyEvent, EpochEnded
from study.launchers.inline import InlineLauncher
from study.mlflow_opening import open_tracker
from study.objectives import Score
from study.opening import open_trial_store, read_trials
from study.plan import StudyPlan, make_plan
from study.pretrained import keep_pretrained
from study.provenance import run_tags
from study.pruner_config import NoPrunerConfig
from study.recovery import read_config
from study.sampler_config import RandomConfig
from study.settling import read_manifest, record_plan
from study.view import PlainView
from study.workspace import StudyFolder, coordinator_lease, open_workspace

QUESTION = "Single trainings, started by hand."


def train_one(
    source: str,
    *,
    study: str,
    seed: int | None,
    devices: str,
    folder: Path,
    objective: Score | None = None,
    num_threads: int = 1,
) -> int:
    """Trains; returns the exit status: 0 where the trial has a result.

    Args:
        source: a trial's config.json, a preset or a study's file.
        study: where the training is recorded.
        seed: None for the source's own.
        devices: as `choose_devices` takes them.
        folder: the workspace.
        objective: chooses the best epoch; None for that of the source, or the default.
        num_threads: of the training.

    Raises:
        ConfigError: no configuration, no such device, the study's name belongs to a sweep or to trainings with another
            objective, or another training in it was interrupted.
    """
    config, own_objective = _trial_config(source)
    if not re.fullmatch(NAME_PATTERN, study):
        raise ConfigError(
            f"--study {study!r} is no name of a study: 64 letters, digits, - and _ at most, a letter or digit first."
        )
    workspace = open_workspace(folder, writable=True)
    single = StudyConfig(
        name=study,
        question=QUESTION,
        space="none",
        trials=1,
        objective=objective or own_objective,
        sampler=RandomConfig(),
        pruner=NoPrunerConfig(),
        evaluate=False,
        trial=TrialConfig.model_validate(config.model_dump(exclude={"seed"})),
    ).model_copy(update={"trials": 0})  # all its trials are asked for by hand
    plan = make_plan(single, workspace=workspace, space=Space("none", ()), devices=devices)
    _refuse_others(workspace.study(study), single.objective)
    config = config if seed is None else config.model_copy(update={"seed": seed})
    return _run(plan, config, num_threads=num_threads)


def _run(plan: StudyPlan, config: TrialConfig, *, num_threads: int) -> int:
    console, stop = make_console(), threading.Event()
    folder = plan.workspace.study(plan.config.name)
    with ExitStack() as stack:
        stack.enter_context(coordinator_lease(folder))
        for name, _ in pending(folder):
            consume(folder, name)  # meant for a command before, also what was killed before it began
        is_open = _is_open(folder, config)
        record_plan(plan, folder)
        ensure_features(plan, console)
        keep_pretrained(config, plan.space, workspace=plan.workspace, study=plan.config.name)
        if not is_open:
            command = send(folder, Enqueue(params={}, seed=config.seed))
            stack.callback(command.unlink, missing_ok=True)  # where it was not begun, nobody else shall begin it
        store = open_trial_store(folder, plan.config, plan.space)
        stack.callback(store.close)
        coordinator = Coordinator(
            plan,
            folder=folder,
            store=store,
            tracker=open_tracker(
                plan.workspace,
                plan.manifest(),
                tags=run_tags(plan.data_hash),
                data_hash=plan.data_hash,
                url=plan.mlflow_url,
            ),
            launcher=InlineLauncher(
                stop=stop,
                watch=_Watch(console.print, folder),
                devices=plan.slots[0].devices,
                num_threads=num_threads,
            ),
            view=PlainView(lambda text: console.print(text, markup=False)),
            stop=stop,
        )
        state = coordinator.run()
        last = read_trials(folder)[-1]
    name = plan.config.name
    console.print(f"recorded: `lidstudy show {name} {last.number}`; all of them in study {name} of `lidstudy ui`")
    return 1 if last.state in FAILED else EXIT_STATUS[state]


def _trial_config(source: str) -> tuple[TrialConfig, Score]:
    """From a trial's config.json, or the base configuration and the objective of a preset or a study's file."""
    if not source.endswith(".json"):
        study = load_study_config(source)
        return study.trial.model_copy(update={"seed": study.seed}), study.objective
    try:
        return TrialConfig.model_validate_json(Path(source).read_bytes()), "cllr_calibrated"
    except OSError as error:
        raise ConfigError(f"{source}: cannot be read: {error.strerror}.") from None
    except ValidationError as error:
        raise ConfigError(f"{source}: {first_finding(error, model=TrialConfig)}") from None


def _refuse_others(folder: StudyFolder, objective: Score) -> None:
    """A sweep, or trainings that could not be compared with this one."""
    if not folder.manifest.exists():
        return
    manifest = read_manifest(folder)
    if manifest["num_trials"] > 0:
        raise ConfigError(f"study '{folder.root.name}' is a sweep; give single trainings another --study.")
    if (before := manifest["objective"].removeprefix("val/")) != objective:
        raise ConfigError(
            f"the trainings in study '{folder.root.name}' are judged by {before}, and this one by {objective}; "
            "give it another --study."
        )


def _is_open(folder: StudyFolder, config: TrialConfig) -> bool:
    """Whether this training was interrupted, and so is gone on with.

    Raises:
        ConfigError: another one was.
    """
    for trial in read_trials(folder):
        place = folder.trial(trial.number)
        if trial.state is TrialState.RUNNING and place.is_frozen:
            if read_config(folder, trial.number) == config:
                return True
            raise ConfigError(
                f"trial {trial.number} of study '{folder.root.name}' was interrupted with another configuration: go on "
                f"with it by `lidstudy train {place.config}`, or give this one another --study."
            )
    return False


class _Watch:
    """Writes a line an epoch, and ends the training at the first word after `lidstudy stop`: what it said is saved."""

    def __init__(self, write: Callable[[str], None], folder: StudyFolder) -> None:
        self._write, self._folder = write, folder
        self._is_unwanted = False

    def __call__(self, event: AnyEvent) -> None:
        if self._is_unwanted:
            raise KeyboardInterrupt
        self._is_unwanted = wants_stop_now(self._folder)
        if isinstance(event, EpochEnded):
            loss, accuracy, epoch = event.metrics[TRAIN_LOSS], event.metrics[VAL_ACCURACY], event.epoch
            self._write(f"epoch {epoch:>3}  loss {loss:.3f}  accuracy {accuracy:.3f}  objective {event.objective:.4f}")
