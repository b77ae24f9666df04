"""What a coordinator finds when it comes to a study: trials to adopt, to judge, and to record.

Everything is read back from the workspace. Event logs are read from their start: MLflow and Optuna pass over what
they have already, so there is no offset to keep, and none that could be wrong (docs/decisions/002-no-offset-
checkpoint.md).
"""

from dataclasses import dataclass, field, replace

from lightning_modules.config import TrialConfig
from lightning_modules.errors import StorageError
from reports.records import TrialState
from study.active import ActiveTrial, Outcome, outcome_of
from study.launchers._base import exit_status
from study.recording import attempt_started
from study.spec import EVENTS_FILE, EXIT_STORAGE_FULL, SPEC_FILE, STOP_FILE, AttemptSpec
from study.storage import TrialStore, TrialSummary
from study.tracking import Tracker
from study.workspace import StudyFolder, read_json


@dataclass
class Recovered:
    """What was found.

    Attributes:
        configs: of every trial that started, for counting.
        unsettled: trials that Optuna calls running, with all their events taken.
        unrecorded: trials that have ended in Optuna but not in MLflow.
    """

    configs: list[TrialConfig] = field(default_factory=list)
    unsettled: list[ActiveTrial] = field(default_factory=list)
    unrecorded: list[tuple[ActiveTrial, Outcome]] = field(default_factory=list)


def recover(folder: StudyFolder, *, store: TrialStore, tracker: Tracker, bound: float) -> Recovered:
    """Reads a study's state back; a trial whose configuration was never written is told to have failed."""
    recovered = Recovered()
    recorded = tracker.recorded()
    trials = store.trials()
    _refuse_strangers(tracker.strangers(summary.number for summary in trials), folder)
    for summary in trials:
        if not folder.trial(summary.number).config.exists():
            store.never_started(summary.number)
            continue
        config = read_config(folder, summary.number)
        recovered.configs.append(config)
        if summary.state is TrialState.RUNNING:
            recovered.unsettled.append(_rebuild(summary, config, folder, store=store, tracker=tracker))
        elif summary.number not in recorded:
            trial = _rebuild(summary, config, folder, store=None, tracker=tracker)
            outcome = outcome_of(trial, bound=bound, output="")
            outcome = replace(outcome, state=summary.state, value=summary.value)  # what Optuna was told stands
            recovered.unrecorded.append((trial, outcome))
    return recovered


def read_config(folder: StudyFolder, number: int) -> TrialConfig:
    """The frozen configuration of a trial."""
    return TrialConfig.model_validate(read_json(folder.trial(number).config))


def _refuse_strangers(numbers: set[int], folder: StudyFolder) -> None:
    """Optuna stores a trial before MLflow does, so a run without a trial means that the study's files are gone."""
    if numbers:
        name = folder.root.name
        raise StorageError(
            f"MLflow holds {len(numbers)} run(s) of a study '{name}' whose files are no longer in {folder.root}; "
            "give the study another name, or put the files back."
        )


def _rebuild(
    summary: TrialSummary, config: TrialConfig, folder: StudyFolder, *, store: TrialStore | None, tracker: Tracker
) -> ActiveTrial:
    """Takes all events of all attempts; with a store, also reports them to Optuna."""
    trial = ActiveTrial(number=summary.number, config=config, folder=folder.trial(summary.number))
    tracker.open_trial(trial.number, config)
    if store is not None:
        store.attach(trial.number)
    for attempt in trial.folder.attempts():
        if not (attempt / SPEC_FILE).exists():
            continue  # the coordinator died before it could start it
        if trial.spec is not None and _was_lost(trial, trial.spec):
            trial.num_lost += 1
        trial.begin(AttemptSpec.model_validate(read_json(attempt / SPEC_FILE)))
        log = attempt / EVENTS_FILE
        epochs = trial.take(trial.reader.feed(log.read_bytes() if log.exists() else b""))
        tracker.log_attempt(attempt_started(trial))
        for event in epochs:
            tracker.log_epoch(trial.number, event.metrics, epoch=event.epoch, time_ms=event.time_ms)
            if store is not None:
                store.report(trial.number, epoch=event.epoch, objective=event.objective)
        if (attempt / STOP_FILE).exists():
            trial.stop = str(read_json(attempt / STOP_FILE)["reason"])
    return trial


def _was_lost(trial: ActiveTrial, spec: AttemptSpec) -> bool:
    """Whether an attempt that has a successor was lost, rather than stopped or out of disk."""
    return trial.ended is None and trial.stop is None and exit_status(spec.folder) != EXIT_STORAGE_FULL
