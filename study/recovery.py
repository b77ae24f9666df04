"""What a coordinator finds when it comes to a study: trials to adopt, to judge, and to record.

Everything is read back from the workspace. Event logs are read from their start: MLflow and Optuna pass over what
they have already, so there is no offset to keep, and none that could be wrong (docs/decisions/002-no-offset-
checkpoint.md).
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_modules.config import TrialConfig
from lightning_modules.errors import StorageError
from reports.records import TrialState
from study.active import ActiveTrial, Outcome
from study.config import LimitsConfig
from study.events import EpochEnded
from study.judgement import SILENT, Settled, judge
from study.launchers._base import Life, Status, exit_record
from study.plan import StudyPlan
from study.recording import attempt_started
from study.spec import EVENTS_FILE, EXIT_STORAGE_FULL, SPEC_FILE, STOP_FILE, AttemptSpec, read_spec, remade_spec
from study.trial_store import TrialStore
from study.trials import TrialSummary
from study.workspace import StudyFolder, read_json, read_whole_json

if TYPE_CHECKING:
    from study.tracking import Tracker


@dataclass
class Recovered:
    """What was found.

    Attributes:
        known: every trial that started, with its configuration.
        unstarted: trials that were asked for, but whose configuration was never written.
        unsettled: trials that Optuna calls running, with all their events taken.
        unrecorded: trials that have ended in Optuna but not in MLflow.
        num_told: how many trials, from number 0 on, have ended in Optuna.
    """

    known: list[tuple[TrialSummary, TrialConfig]] = field(default_factory=list)
    unstarted: list[TrialSummary] = field(default_factory=list)
    unsettled: list[ActiveTrial] = field(default_factory=list)
    unrecorded: list[tuple[ActiveTrial, Outcome]] = field(default_factory=list)
    num_told: int = 0


Considered = Callable[[ActiveTrial, EpochEnded], None]


def recover(
    folder: StudyFolder, *, store: TrialStore, tracker: "Tracker", plan: StudyPlan, consider: Considered
) -> Recovered:
    """Reads a study's state back.

    Args:
        folder: its files.
        store: knows its trials.
        tracker: its MLflow records.
        plan: the study.
        consider: is told of each epoch that nobody may have held against the pruner yet.
    """
    recovered = Recovered()
    recorded = tracker.recorded()
    trials = store.trials()
    _refuse_strangers(tracker.strangers((summary.number for summary in trials), recorded=recorded), folder)
    for summary in trials:
        if not folder.trial(summary.number).is_frozen:
            if summary.state is TrialState.RUNNING:
                recovered.unstarted.append(summary)
            continue
        config = read_config(folder, summary.number)
        recovered.known.append((summary, config))
        if summary.state is TrialState.RUNNING:
            trial = _rebuild(summary, config, folder, plan=plan, store=store, tracker=tracker, consider=consider)
            recovered.unsettled.append(trial)
        elif summary.number not in recorded:
            trial = _rebuild(summary, config, folder, plan=plan, store=None, tracker=tracker)
            recovered.unrecorded.append((trial, _told(trial, summary, plan=plan)))
    recovered.num_told = next(
        (place for place, summary in enumerate(trials) if summary.state is TrialState.RUNNING), len(trials)
    )
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
    summary: TrialSummary,
    config: TrialConfig,
    folder: StudyFolder,
    *,
    plan: StudyPlan,
    store: TrialStore | None,
    tracker: "Tracker",
    consider: Considered | None = None,
) -> ActiveTrial:
    """Takes all events of all attempts; with a store, also reports them to Optuna."""
    trial = ActiveTrial(number=summary.number, config=config, folder=folder.trial(summary.number))
    asked_ms = int(trial.folder.config.stat().st_mtime * 1000)  # it is written once
    tracker.open_trial(trial.number, config, start_ms=asked_ms)
    if store is not None:
        store.attach(trial.number)
    for attempt in trial.folder.attempts():
        if not (attempt / SPEC_FILE).exists():
            continue  # the coordinator died before it could start it
        if trial.spec is not None and _was_lost(trial, trial.spec):
            trial.num_lost += 1
        trial.begin(read_spec(attempt) or remade_spec(attempt, config, objective=plan.config.objective))
        _take_stop(trial, attempt)
        log = attempt / EVENTS_FILE
        epochs = trial.take(trial.reader.feed(log.read_bytes() if log.exists() else b""))
        tracker.log_attempt(attempt_started(trial))
        for event in epochs:
            tracker.log_epoch(trial.number, event.metrics, epoch=event.epoch, time_ms=event.time_ms)
            if store is not None and trial.is_told(event.epoch):
                store.report(trial.number, epoch=event.epoch, objective=event.objective)
                if consider is not None and event.epoch >= max(summary.reports, default=-1):
                    consider(trial, event)
    return trial


def _take_stop(trial: ActiveTrial, attempt: Path) -> None:
    """Why an earlier coordinator stopped the attempt, if it did and no power cut tore what it wrote."""
    if (stop := read_whole_json(attempt / STOP_FILE)) is not None:
        trial.stop, trial.pruned_after = str(stop["reason"]), stop.get("epoch")


def _told(trial: ActiveTrial, summary: TrialSummary, *, plan: StudyPlan) -> Outcome:
    """The outcome of a trial that Optuna knows to have ended: what Optuna was told stands."""
    status = Status(Life.LOST) if trial.spec is None else exit_record(trial.spec.folder) or Status(Life.LOST)
    never_again = LimitsConfig(lost_attempts=0)
    verdict = judge(trial, status, limits=never_again, bound=plan.objective_bound, further=plan.further, output="")
    outcome = verdict.outcome if isinstance(verdict, Settled) else Outcome(state=summary.state)
    further = dict(zip((goal.metric for goal in plan.further), summary.further, strict=False))  # a failure has none
    return replace(outcome, state=summary.state, value=summary.value, further=further)


def _was_lost(trial: ActiveTrial, spec: AttemptSpec) -> bool:
    """Whether an attempt that has a successor was lost, rather than stopped, out of memory or out of disk."""
    status = exit_record(spec.folder)
    is_excused = status is not None and (status.exit_status == EXIT_STORAGE_FULL or status.out_of_memory)
    return trial.ended is None and trial.stop in (None, SILENT) and not is_excused
