"""`lidstudy list|show|status`: read what is on disk, beside a living coordinator if there is one."""

import json
import threading
from collections import Counter
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from lightning_modules.errors import ConfigError, StorageError
from reports.records import TRAIN_LOSS, VAL_ACCURACY, VAL_C_AVG, VAL_C_PRIMARY, StudyState, TrialState
from study.commands.console import make_console, print_json
from study.control import num_asked_for
from study.events import Ended, EpochEnded, read_events
from study.following import Follower
from study.launchers.census import AtWork, Census
from study.opening import read_trials
from study.params import flat
from study.patience import Patience
from study.settling import read_manifest
from study.spec import EVENTS_FILE
from study.trials import TrialSummary, best_trial, front
from study.view import LiveView, front_line, further_text, shown
from study.workspace import StudyFolder, TrialFolder, coordinator_pid, open_workspace, read_whole_json

COUNTED = (
    TrialState.COMPLETE,
    TrialState.PRUNED,
    TrialState.FAILED,
    TrialState.DIVERGED,
    TrialState.RUNNING,
    TrialState.INTERRUPTED,
)
FOLLOW_S = 1.0
MAX_FAILURES = 5
TIME_SPENT = "its budget of time is spent"
FAILED_STATES = (TrialState.FAILED, TrialState.TIMED_OUT)
COLUMNS = {"loss": TRAIN_LOSS, "accuracy": VAL_ACCURACY, "C_avg": VAL_C_AVG, "C_primary": VAL_C_PRIMARY}


def study_status(folder: StudyFolder, *, census: Census | None = None) -> dict[str, Any]:
    """The content of `status --json`."""
    name = folder.root.name
    trials = read_trials(folder)
    pid = coordinator_pid(folder)
    running = {trial.number for trial in trials if trial.state is TrialState.RUNNING}
    found = (census or Census()).at_work(folder) if running and pid is None else AtWork()
    unknown = {number: why for attempt, why in found.unknown.items() if (number := int(attempt.parent.name)) in running}
    living = running if pid is not None else {int(attempt.parent.name) for attempt in found.living}
    counts = Counter(_present_state(trial, at_work=living | unknown.keys()) for trial in trials)
    best = best_trial(trials)
    manifest = read_manifest(folder)
    further = _further_names(manifest)
    return {
        "study": name,
        "trials": {state.value: counts[state] for state in COUNTED},
        "budget": manifest["num_trials"],
        "ended_of_budget": sum(_is_of_budget(trial) for trial in trials),
        "asked_for": num_asked_for(folder),
        "foreign": sum(not trial.fits for trial in trials),
        "objective": manifest["objective"],
        "best": None if best is None else {"number": best.number, "value": best.value, "params": best.params},
        "coordinator": {"alive": pid is not None, "pid": pid},
        "ending": (read_whole_json(folder.ending) or {}).get("state") if pid is None else None,
        "not_known": {"trials": sorted(unknown), "why": next(iter(unknown.values()), "")},
        **({"further_objectives": further, "front": [trial.number for trial in front(trials)]} if further else {}),
    }


def _further_names(manifest: dict[str, Any]) -> list[str]:
    """The further objectives of a study; earlier versions knew of none."""
    return [each["name"] for each in manifest.get("further_objectives", ())]


def _is_of_budget(trial: TrialSummary) -> bool:
    """Whether a trial counts against the budget and has ended; those that a user asked for do not count."""
    return not trial.command and trial.state not in (TrialState.RUNNING, TrialState.INTERRUPTED)


def _num_ended_beside(found: dict[str, Any]) -> int:
    """How many trials have ended that do not count against the budget, since a user asked for them."""
    unfinished = (TrialState.RUNNING.value, TrialState.INTERRUPTED.value)
    num_ended: int = sum(count for state, count in found["trials"].items() if state not in unfinished)
    return num_ended - int(found["ended_of_budget"])


def _present_state(trial: TrialSummary, *, at_work: AbstractSet[int]) -> TrialState:
    """One that timed out has failed; one that Optuna calls running but on which nothing works is interrupted."""
    if trial.state is TrialState.TIMED_OUT:
        return TrialState.FAILED
    is_interrupted = trial.state is TrialState.RUNNING and trial.number not in at_work
    return TrialState.INTERRUPTED if is_interrupted else trial.state


def show_status(study: str, folder: Path, *, as_json: bool) -> None:
    """Prints how a study stands."""
    study_folder = open_workspace(folder).existing_study(study)
    found = study_status(study_folder)
    if as_json:
        print_json(found)
        return
    console = make_console()
    alive = f"coordinator {found['coordinator']['pid']}" if found["coordinator"]["alive"] else "no coordinator"
    counts = ", ".join(f"{count} {state}" for state, count in found["trials"].items())
    beside = f" and {num} that you asked for" if (num := _num_ended_beside(found)) else ""
    console.print(f"{study}, {found['ended_of_budget']} of {found['budget']} trials{beside}: {counts}; {alive}")
    if found["foreign"]:
        console.print(
            f"of these, {found['foreign']} do not fit the search space any more, which has changed since: they keep "
            "their numbers, and none of them is the best",
            soft_wrap=True,
        )
    if found["best"]:
        best = found["best"]
        console.print(f"best: trial {best['number']}, {found['objective']} = {best['value']:.4f}", markup=False)
        for path, value in found["best"]["params"].items():
            console.print(f"  {path:<28} {shown(value)}", markup=False)
    if found.get("front"):
        console.print(front_line(found["front"], [found["objective"], *found["further_objectives"]]), soft_wrap=True)
    _print_failures(console, study_folder)
    if found["asked_for"]:
        console.print(f"trials that you asked for and that have not begun: {found['asked_for']}")
    _print_outlook(console, found)


def _print_outlook(console: Console, found: dict[str, Any]) -> None:
    """What comes next, where that is not simply more trials."""
    if found["coordinator"]["alive"] and not has_more(found):
        console.print("all trials have ended: the best is being scored on test data, and MLflow told of it")
    elif not found["coordinator"]["alive"] and has_more(found):
        why = TIME_SPENT if found["ending"] == StudyState.COMPLETE.value else _unattended(found)
        console.print(f"{why}: run the same sweep command again to go on", markup=False, soft_wrap=True)


def has_more(found: dict[str, Any]) -> bool:
    """Whether a study has trials to go on with: of its budget, that a user asked for, or that were interrupted."""
    trials = found["trials"]
    num_open = trials[TrialState.RUNNING.value] + trials[TrialState.INTERRUPTED.value] + found["asked_for"]
    return bool(num_open or found["ended_of_budget"] < found["budget"])


def _print_failures(console: Console, study_folder: StudyFolder) -> None:
    """The last trials that failed and were not tried again, and why."""
    trials = read_trials(study_folder)
    retried = {trial.retry_of for trial in trials}
    failed = [trial for trial in trials if trial.state in FAILED_STATES and trial.number not in retried]
    for trial in failed[-MAX_FAILURES:]:
        is_late = trial.state is TrialState.TIMED_OUT
        reason = "it trained for longer than limits.trial_s" if is_late else _failure(study_folder.trial(trial.number))
        told = reason or "its process was lost"
        console.print(f"trial {trial.number} failed: {told}", markup=False, soft_wrap=True)
    name = study_folder.root.name
    if any(trial.state is TrialState.TIMED_OUT for trial in failed):
        console.print(f"a larger limits.trial_s counts once `lidstudy sweep` has read {name}'s file", soft_wrap=True)
    if failed:
        console.print(f"to try failed trials again: `lidstudy resume {name} --failed`", soft_wrap=True)


def _unattended(found: dict[str, Any]) -> str:
    num_unknown = len(found["not_known"]["trials"])
    num_living = found["trials"][TrialState.RUNNING.value] - num_unknown
    if not num_living and not num_unknown:
        return "nobody works on it"
    told = [f"{num_living} still run by themselves"] if num_living else []
    if num_unknown:
        still = "1 still runs" if num_unknown == 1 else f"{num_unknown} still run"
        told.append(f"whether {still} is not known ({found['not_known']['why']})")
    return f"its coordinator is gone, but {' and '.join(told)}"


def follow_status(study: str, folder: Path) -> None:
    """Shows a study that another process runs, until that process ends or Ctrl-C; waits where its store is away."""
    study_folder = open_workspace(folder).existing_study(study)
    follower, console, pause = Follower(study_folder), make_console(), threading.Event()
    if not console.is_terminal:
        _follow_plainly(study_folder, follower, console, pause)
    elif coordinator_pid(study_folder) is not None:
        with LiveView(console) as view:
            patience = Patience(is_stopping=pause.is_set, message=view.message)
            while coordinator_pid(study_folder) is not None:
                view.update(patience.call(follower.snapshot))
                pause.wait(FOLLOW_S)
            view.update(patience.call(follower.snapshot))
    show_status(study, folder, as_json=False)


def _follow_plainly(study_folder: StudyFolder, follower: Follower, console: Console, pause: threading.Event) -> None:
    """A line a trial that has ended, for logs and pipes."""
    patience = Patience(is_stopping=pause.is_set, message=lambda line: console.print(line, markup=False))
    known = patience.call(follower.snapshot).trials
    seen: set[int] = {trial.number for trial in known if trial.state is not TrialState.RUNNING}
    is_running = True
    console.print(f"{len(seen)} trials have ended; a line for each that ends from now on")
    while is_running:
        is_running = coordinator_pid(study_folder) is not None
        for trial in patience.call(follower.snapshot).trials:
            if trial.state is not TrialState.RUNNING and trial.number not in seen:
                seen.add(trial.number)
                value = f", {trial.value:.4f}" if trial.value is not None else ""
                console.print(f"trial {trial.number:>3} {trial.state.value}{value}", markup=False)
        if is_running:
            pause.wait(FOLLOW_S)


def list_all(folder: Path, *, as_json: bool) -> None:
    """Prints the studies of a workspace."""
    workspace = open_workspace(folder)
    found, damaged, census = [], {}, Census()
    for name in workspace.study_names():
        try:
            found.append(study_status(workspace.study(name), census=census))
        except StorageError as error:
            damaged[name] = str(error)
    if as_json:
        print_json([*found, *({"study": name, "error": why} for name, why in damaged.items())])
        return
    console = make_console()
    if not found and not damaged:
        console.print(f"no studies in {workspace.root} yet; start one with `lidstudy sweep demo`", soft_wrap=True)
        return
    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in ("study", "trials", "best", "now"):
        table.add_column(column)
    for each in found:
        best = f"trial {each['best']['number']}: {each['best']['value']:.4f}" if each["best"] else "none yet"
        best += f", front of {len(each['front'])}" if each.get("front") else ""
        beside = f" + {num}" if (num := _num_ended_beside(each)) else ""
        trials = f"{each['ended_of_budget']}/{each['budget']}{beside}"
        table.add_row(each["study"], trials, best, _standing(each))
    console.print(table)
    for name, why in damaged.items():
        console.print(f"{name}: {why}", markup=False, soft_wrap=True)


def _standing(found: dict[str, Any]) -> str:
    if found["coordinator"]["alive"]:
        return "running"
    if found["ending"] == StudyState.FAILED.value:
        return "failed"
    if not has_more(found):
        return "done"
    return "time spent" if found["ending"] == StudyState.COMPLETE.value else "stopped"


def show_trial(study: str, number: int, folder: Path, *, as_json: bool) -> None:
    """Prints one trial: state, parameters, epochs, and where its files lie."""
    study_folder = open_workspace(folder).existing_study(study)
    trials = {trial.number: trial for trial in read_trials(study_folder)}
    if number not in trials:
        known = f"0 to {max(trials)}" if trials else "none yet"
        raise ConfigError(f"study '{study}' has no trial {number}; trials: {known}.")
    trial, place = trials[number], study_folder.trial(number)
    epochs = _epochs(place.attempts())
    config = read_whole_json(place.config) or {}
    if as_json:
        print_json(_trial_json(trial, config, epochs))
        return
    console = make_console()
    further = dict(zip(_further_names(read_manifest(study_folder)), trial.further, strict=False))  # a failure has none
    value = f", {_value(trial.value, epochs)}{further_text(further)}" if trial.value is not None else ""
    num_attempts = len(place.attempts())
    console.print(
        f"trial {number}: {trial.state.value}{value}, {num_attempts} {'attempt' if num_attempts == 1 else 'attempts'}"
    )
    settings = flat(config)
    width = max(map(len, settings), default=0)
    for path, setting in settings.items():
        mark = "*" if path in trial.params else " "
        console.print(f"{mark} {path:<{width}} {json.dumps(setting)}", markup=False)
    console.print("(* searched)" if config else "its configuration cannot be read: config.json is broken or missing")
    if reason := _failure(place):
        verb = "diverged" if trial.state is TrialState.DIVERGED else "failed"
        console.print(f"it {verb}: {reason}", markup=False, soft_wrap=True)
    if epochs:
        console.print(_epoch_table(epochs))
    console.print(f"files: {place.root}", soft_wrap=True)


def _value(value: float, epochs: list[EpochEnded]) -> str:
    """What a trial counts as; said so where no epoch reached it: the objective's bound."""
    return f"{value:.4f}" if any(event.objective == value for event in epochs) else f"counts as {value:.4f}"


def _failure(place: TrialFolder) -> str:
    """What a trial's last attempt said of why it failed, or ""."""
    attempts = place.attempts()
    events = read_events(attempts[-1] / EVENTS_FILE) if attempts else []
    if not events or not isinstance(ended := events[-1], Ended):
        return ""
    return f"out of memory: {ended.failure}" if ended.outcome == "out_of_memory" else ended.failure


def _trial_json(trial: TrialSummary, config: dict[str, Any], epochs: list[EpochEnded]) -> dict[str, Any]:
    return {
        "number": trial.number,
        "state": trial.state.value,
        "value": trial.value,
        **({"values": trial.values} if trial.further else {}),
        "params": trial.params,
        "config": config,
        "epochs": [event.model_dump(exclude={"type"}) for event in epochs],
    }


def _epochs(attempts: list[Path]) -> list[EpochEnded]:
    """Epochs in order; one that a resumed attempt repeated is taken once."""
    by_epoch: dict[int, EpochEnded] = {}
    for attempt in attempts:
        for event in read_events(attempt / EVENTS_FILE):
            if isinstance(event, EpochEnded):
                by_epoch.setdefault(event.epoch, event)
    return [by_epoch[epoch] for epoch in sorted(by_epoch)]


def _epoch_table(epochs: list[EpochEnded]) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in ("epoch", "objective", *COLUMNS):
        table.add_column(column, justify="right")
    for event in epochs:
        table.add_row(
            str(event.epoch), f"{event.objective:.4f}", *(f"{event.metrics[key]:.4f}" for key in COLUMNS.values())
        )
    return table
