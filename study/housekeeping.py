"""What a study no longer needs on disk: checkpoints that MLflow has too, and what killed processes left behind.

A resume, a report and an evaluation go on working: the best trial keeps its checkpoint, and an evaluation that needs
another gets it from MLflow. Nothing is touched of a study on which a coordinator or an attempt works.
"""

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lightning_modules.errors import LidstudyError, StorageError
from reports.records import TrialState
from study.evaluation import read_ledger
from study.idle import idle
from study.launchers.census import Census
from study.leftovers import HeldLocks, Leftover, size_of, workspace_leftovers
from study.mlflow_records import open_records
from study.opening import read_trials
from study.trials import TrialSummary, best_trial
from study.workspace import StudyFolder, Workspace, read_json

NOT_ENDED = (TrialState.RUNNING, TrialState.INTERRUPTED)


@dataclass
class Cleaned:
    """What was removed, or would be.

    Attributes:
        leftovers: files and folders.
        notes: what was left alone, and why.
    """

    leftovers: list[Leftover] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def num_bytes(self) -> int:
        """What it freed."""
        return sum(leftover.num_bytes for leftover in self.leftovers)


def clean_study(folder: StudyFolder, *, dry_run: bool, census: Census | None = None) -> Cleaned:
    """Removes what one study no longer needs.

    Raises:
        StorageError: something works on it, or its records cannot be read.
    """
    with idle(folder, census=census):
        cleaned = Cleaned(list(study_leftovers(folder)))
        if not dry_run:
            remove(cleaned.leftovers)
    return cleaned


def clean_workspace(workspace: Workspace, *, dry_run: bool) -> Cleaned:
    """Removes what the studies and corpora of a workspace no longer need; passes over what is at work."""
    cleaned, busy, census = Cleaned(), set[str](), Census()
    for name in workspace.study_names():
        try:
            found = clean_study(workspace.study(name), dry_run=dry_run, census=census)
            cleaned.leftovers += found.leftovers
        except LidstudyError as error:
            cleaned.notes.append(f"study {name} is left alone: {error}")
            busy.add(_data_hash(workspace.study(name)))
    with HeldLocks() as locks:
        found_here = list(workspace_leftovers(workspace, locks=locks, busy=busy))
        if not dry_run:
            remove(found_here)
    cleaned.leftovers += found_here
    cleaned.notes += locks.notes
    return cleaned


def study_leftovers(folder: StudyFolder) -> Iterator[Leftover]:
    """What a study no longer needs, of trials that are told to have ended alone; nothing may work on it."""
    trials = read_trials(folder)
    ended = [trial for trial in trials if trial.state not in NOT_ENDED]
    yield from _copies(folder, ended, kept=_kept(folder, trials))
    for trial in ended:
        last = folder.trial(trial.number).last_checkpoint
        if last.is_file():
            yield _of_study(folder, last, "states to resume from, of trials that have ended")
        for place in (folder.trial(trial.number).root, folder.evaluation(trial.number).root):
            for path in sorted(place.rglob("*.tmp")):
                yield _of_study(folder, path, "files that were cut off while they were written")


def remove(leftovers: Iterable[Leftover]) -> None:
    """Removes files and folders; a folder is renamed first, so that none is left half under its own name."""
    for leftover in leftovers:
        path = leftover.path
        if not path.is_dir() or path.is_symlink():
            path.unlink(missing_ok=True)
            continue
        hidden = path if path.name.startswith(".") else path.with_name(f".{path.name}.partial")
        if hidden != path:
            shutil.rmtree(hidden, ignore_errors=True)
            path.rename(hidden)
        shutil.rmtree(hidden)


def _data_hash(folder: StudyFolder) -> str:
    try:
        return str(read_json(folder.manifest)["data_hash"])
    except (StorageError, KeyError, TypeError):
        return ""


def _kept(folder: StudyFolder, trials: list[TrialSummary]) -> set[int]:
    """The best trial, and whichever was scored on test data."""
    best = best_trial(trials)
    return {entry.trial for entry in read_ledger(folder)} | ({best.number} if best else set())


def _copies(folder: StudyFolder, ended: Iterable[TrialSummary], *, kept: set[int]) -> Iterator[Leftover]:
    """Checkpoints that MLflow has whole; MLflow is asked only where there are any."""
    candidates = [
        trial.number
        for trial in ended
        if trial.number not in kept and folder.trial(trial.number).best_checkpoint.is_file()
    ]
    records = open_records(Workspace(folder.root.parent.parent), folder.root.name) if candidates else None
    if records is None:
        return
    for number in candidates:
        path = folder.trial(number).best_checkpoint
        if records.checkpoint_bytes(folder.root.name, number) == path.stat().st_size:
            yield _of_study(folder, path, "checkpoints that MLflow has too")


def _of_study(folder: StudyFolder, path: Path, what: str) -> Leftover:
    return Leftover(what=f"{what}, of study {folder.root.name}", path=path, num_bytes=size_of(path))
