"""`lidstudy stop|enqueue|retry`: what users tell a coordinator that runs, or the next one."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning_modules.errors import ConfigError
from reports.records import TrialState
from study.commands.console import make_console
from study.control import Enqueue, Stop, pending, send
from study.opening import read_trials
from study.recovery import read_config
from study.settling import recorded_study, refuse_single_trainings
from study.trials import TrialSummary
from study.workspace import StudyFolder, coordinator_pid, open_workspace

FAILED = (TrialState.FAILED, TrialState.TIMED_OUT)


def stop(study: str, folder: Path, *, now: bool) -> None:
    """Asks the study's coordinator to end: after what runs, or at once.

    Raises:
        ConfigError: nobody works on the study.
    """
    study_folder = open_workspace(folder).existing_study(study)
    pid = coordinator_pid(study_folder)
    if pid is None:
        raise ConfigError(f"nobody works on study '{study}', so there is nothing to stop.")
    send(study_folder, Stop(now=now))
    when = "at once" if now else "when the trials that run have ended"
    make_console().print(f"told coordinator {pid}, which ends {when}; watch it with `lidstudy status {study} --follow`")


def enqueue(study: str, params: str, folder: Path, *, seed: int | None) -> None:
    """Has the study try these values next; what is left out is proposed by the sampler.

    Raises:
        ConfigError: no JSON object, or values that the search space does not have.
    """
    study_folder = open_workspace(folder).existing_study(study)
    try:
        chosen = json.loads(params, object_pairs_hook=_each_once)
    except json.JSONDecodeError as error:
        raise ConfigError(f'the parameters must be a JSON object as {{"encoder.cell": "gru"}}: {error}') from None
    if not isinstance(chosen, dict) or not chosen:
        raise ConfigError(f"the parameters must be a JSON object with one value at least but are {params}.")
    config, space = recorded_study(study_folder)
    space.check_values(chosen)
    space.apply(config.trial.model_dump(mode="json"), chosen)
    send(study_folder, Enqueue(params=chosen, seed=seed))
    _say(study_folder, "queued; it comes next")


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; of a key that stands there twice nobody knows which value was meant."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ConfigError(f"'{next(key for key in keys if keys.count(key) > 1)}' is given twice.")
    return found


def retry(study: str, number: int, folder: Path) -> None:
    """Has the study try a failed trial again, as a new trial with the same values and seed.

    Raises:
        ConfigError: there is no such trial, it has not failed, it was tried again already, or the study's search space
            has changed and cannot make its configuration any more.
    """
    study_folder = open_workspace(folder).existing_study(study)
    refuse_single_trainings(study_folder)
    queued = _queued_again(study_folder)  # before the trials: a coordinator makes the one into the other meanwhile
    trials = {trial.number: trial for trial in read_trials(study_folder)}
    if number not in trials:
        known = f"0 to {max(trials)}" if trials else "none yet"
        raise ConfigError(f"study '{study}' has no trial {number}; trials: {known}.")
    if trials[number].state not in FAILED:
        raise ConfigError(f"trial {number} is {trials[number].state.value}; only a failed one is tried again.")
    if number in queued:
        raise ConfigError(f"trial {number} is queued again already; it comes next.")
    again = next((trial.number for trial in trials.values() if trial.retry_of == number), None)
    if again is not None:
        raise ConfigError(f"trial {number} was tried again as trial {again}; see `lidstudy show {study} {again}`.")
    if not trials[number].fits:
        raise ConfigError(
            f"trial {number} does not fit the study's search space, which has changed since; to train it by itself: "
            f"`lidstudy train {study_folder.trial(number).config}`."
        )
    _send_retry(study_folder, trials[number])
    _say(study_folder, f"trial {number} is queued again")


def retry_failed(study_folder: StudyFolder, trials: Sequence[TrialSummary]) -> list[str]:
    """Queues every failed trial that has not been tried again yet; returns a line about those that cannot be.

    Args:
        study_folder: of a study whose lease is held, so that nobody takes up what is queued meanwhile.
        trials: of the study.
    """
    retried = _queued_again(study_folder) | {trial.retry_of for trial in trials}
    failed = [trial for trial in trials if trial.state in FAILED and trial.number not in retried]
    for trial in failed:
        if trial.fits:
            _send_retry(study_folder, trial)
    foreign = [str(trial.number) for trial in failed if not trial.fits]
    if not foreign:
        return []
    which = f"trial {foreign[0]} does" if len(foreign) == 1 else f"trials {', '.join(foreign)} do"
    return [f"failed {which} not fit the study's search space, which has changed since: not tried again"]


def _queued_again(study_folder: StudyFolder) -> set[int | None]:
    """Trials whose retry waits for a coordinator."""
    return {command.retry_of for _, command in pending(study_folder) if isinstance(command, Enqueue)}


def _send_retry(study_folder: StudyFolder, trial: TrialSummary) -> None:
    seed = read_config(study_folder, trial.number).seed
    send(study_folder, Enqueue(params=trial.params, seed=seed, retry_of=trial.number))


def _say(study_folder: StudyFolder, what: str) -> None:
    name = study_folder.root.name
    hint = "" if coordinator_pid(study_folder) else f"; nobody works on the study: `lidstudy resume {name}` goes on"
    make_console().print(f"{what}{hint}", soft_wrap=True)
