"""The one look at test data: the configuration that development data chose, scored once and entered in the ledger."""

import json
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from lightning_modules.errors import LidstudyError, StorageError, TrialError
from reports.records import ARTIFACT_SCORES_TEST, LedgerEntry, parse_ledger
from study.active import ActiveTrial
from study.events import Ended, read_events
from study.judgement import is_lost
from study.launchers._base import Launcher, Status
from study.plan import StudyPlan
from study.recording import scores_parquet
from study.recovery import read_config
from study.spec import EVENTS_FILE, EXIT_STORAGE_FULL, SPEC_FILE, AttemptSpec, read_spec, remade_spec
from study.tracking import Tracker
from study.workspace import StudyFolder, read_json, read_whole_json, write_atomic


def evaluate_champion(
    number: int,
    *,
    plan: StudyPlan,
    folder: StudyFolder,
    tracker: Tracker,
    tell: Callable[..., None],
    patient: Callable[..., Any],
    launcher: Launcher,
    message: Callable[[str], None],
    wait: Callable[[], bool],
) -> None:
    """Scores a trial's best checkpoint on test data, unless the ledger has it, and tells MLflow.

    Args:
        number: the trial that development data chose.
        plan: the study.
        folder: its files.
        tracker: its MLflow records.
        tell: queues a call that tells MLflow, and makes it again while MLflow is away.
        patient: makes a call, and makes it again while MLflow is away.
        launcher: runs the evaluation on a slot.
        message: tells the user.
        wait: sleeps a moment; False once the user wants to stop.

    Raises:
        TrialError: the evaluation failed.
    """
    if _entry_of(number, plan=plan, folder=folder) is None:
        message(f"trial {number} is best on development data: scoring it on test data")
        checkpoint = folder.trial(number).best_checkpoint
        if not checkpoint.exists():  # `lidstudy clean` leaves those of trials that were not the best to MLflow
            patient(tracker.fetch_checkpoint, number, checkpoint)
        trial = _evaluate(number, plan=plan, folder=folder, launcher=launcher, message=message, wait=wait)
        if trial is None:
            return
        tell(_enter, trial, plan=plan, folder=folder, tracker=tracker)
    tell(_record, number, plan=plan, folder=folder, tracker=tracker)


def _entry_of(number: int, *, plan: StudyPlan, folder: StudyFolder) -> LedgerEntry | None:
    entries = read_ledger(folder)
    of_study = (entry for entry in entries if not entry.corpus)
    return next((entry for entry in of_study if entry.trial == number and entry.data_hash == plan.data_hash), None)


def _enter(trial: ActiveTrial, *, plan: StudyPlan, folder: StudyFolder, tracker: Tracker) -> None:
    """Enters an evaluation in the ledger, with the id of its trial's run."""
    entry = _entry(trial, run_id=tracker.run_id(trial.number), plan=plan)
    lines = [json.dumps(asdict(each)) for each in (*read_ledger(folder), entry)]
    write_atomic(folder.ledger, "\n".join(lines) + "\n", sync=True)


def _record(number: int, *, plan: StudyPlan, folder: StudyFolder, tracker: Tracker) -> None:
    """Tells MLflow what the ledger says of a trial."""
    entry = _entry_of(number, plan=plan, folder=folder)
    assert entry is not None, "it was entered before this call was queued"
    scores = folder.evaluation(number).scores
    is_whole = read_whole_json(scores) is not None  # else a power cut tore it, and MLflow has it from before
    tracker.log_evaluation(
        number,
        entry.metrics,
        time_ms=int(datetime.fromisoformat(entry.time).timestamp() * 1000),
        artifacts={ARTIFACT_SCORES_TEST: scores_parquet(scores)} if is_whole else {},
        ledger=folder.ledger,
    )


def read_ledger(folder: StudyFolder) -> tuple[LedgerEntry, ...]:
    """Every evaluation on test data so far."""
    if not folder.ledger.exists():
        return ()
    try:
        return parse_ledger(folder.ledger.read_text(encoding="utf-8"))
    except ValueError as error:
        raise StorageError(f"the ledger {folder.ledger} cannot be read: {error}") from None


def _evaluate(
    number: int,
    *,
    plan: StudyPlan,
    folder: StudyFolder,
    launcher: Launcher,
    message: Callable[[str], None],
    wait: Callable[[], bool],
) -> ActiveTrial | None:
    """Runs the evaluation as an attempt of its own, again where it was lost; None if the user wants to stop."""
    num_lost = 0
    while True:
        spec = _unfinished(number, plan=plan, folder=folder, launcher=launcher) or _submit(
            _spec(number, plan=plan, folder=folder), launcher=launcher, wait=wait
        )
        if spec is None:
            return None
        trial = ActiveTrial(number=number, config=spec.config, folder=folder.evaluation(number))
        status, is_wanted = _watch(trial, spec, launcher=launcher, wait=wait)
        if trial.ended is not None and trial.ended.outcome == "complete":
            return trial
        if not is_wanted:
            return None
        if trial.ended is not None or not is_lost(trial, status) or num_lost == plan.config.limits.lost_attempts:
            raise _failure(trial, spec, status, output=launcher.output_tail(spec))
        num_lost += 1
        message(f"trial {number}: the process that scored it was lost; it is scored again")


def _failure(trial: ActiveTrial, spec: AttemptSpec, status: Status, *, output: str) -> LidstudyError:
    if status.exit_status == EXIT_STORAGE_FULL:
        return StorageError(f"{spec.folder} cannot be written; mend that and run the same command again.")
    words = output.strip().splitlines() or ["its process was killed"]
    why = trial.ended.failure if trial.ended else words[-1]
    return TrialError(f"trial {trial.number} could not be scored on test data: {why}")


def _watch(
    trial: ActiveTrial, spec: AttemptSpec, *, launcher: Launcher, wait: Callable[[], bool]
) -> tuple[Status, bool]:
    """How the evaluation's process ended, and whether it was still wanted; the trial has heard all that it said."""
    is_wanted = True
    while not (status := launcher.poll(spec)).is_over:
        if not is_wanted:
            launcher.kill(spec)
        is_wanted = wait() and is_wanted
    trial.take(trial.reader.feed(launcher.read(spec, 0)))
    launcher.fetch(spec)
    return status, is_wanted


def _unfinished(number: int, *, plan: StudyPlan, folder: StudyFolder, launcher: Launcher) -> AttemptSpec | None:
    """An evaluation that an earlier coordinator started and that still runs or ended well: no second look is needed."""
    place = folder.evaluation(number)
    for attempt in reversed(place.attempts()):
        if (attempt / SPEC_FILE).exists():
            config = read_config(folder, number)
            spec = read_spec(attempt) or remade_spec(attempt, config, objective=plan.config.objective)
            ended = [event for event in read_events(attempt / EVENTS_FILE) if isinstance(event, Ended)]
            is_good = bool(ended) and ended[-1].outcome == "complete" and read_whole_json(place.scores) is not None
            return spec if is_good or not launcher.poll(spec).is_over else None
    return None


def _submit(spec: AttemptSpec, *, launcher: Launcher, wait: Callable[[], bool]) -> AttemptSpec | None:
    while True:
        for slot in launcher.free_slots():
            placed = spec.model_copy(update={"slot": slot})
            if launcher.submit(placed):
                return placed
        if not wait():
            return None


def _spec(number: int, *, plan: StudyPlan, folder: StudyFolder) -> AttemptSpec:
    evaluation = folder.evaluation(number)
    attempt = len(evaluation.attempts())
    return AttemptSpec(
        purpose="evaluate",
        number=number,
        attempt=attempt,
        folder=evaluation.root / f"attempt-{attempt}",
        trial_folder=evaluation.root,
        checkpoint=folder.trial(number).best_checkpoint,
        development_scores=folder.trial(number).scores,
        workspace=plan.workspace.root,
        objective=plan.config.objective,
        slot=plan.slots[0],
        config=read_config(folder, number),
    )


def _entry(trial: ActiveTrial, *, run_id: str, plan: StudyPlan) -> LedgerEntry:
    assert trial.ended is not None
    scores = read_json(trial.folder.scores)
    return LedgerEntry(
        time=datetime.fromtimestamp(trial.ended.time_ms / 1000, tz=UTC).isoformat(),
        trial=trial.number,
        run_id=run_id,
        data_hash=plan.data_hash,
        metrics=trial.ended.metrics,
        num_sources=len(set(scores["source"])),
        num_speakers=len(set(scores["speaker"])),
        num_utterances=len(scores["utterance"]),
        declared=plan.config.conditions,
    )
