"""A study on which nothing works, held so that nothing begins to: what housekeeping needs before it touches a file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lightning_modules.errors import StorageError
from study.launchers._base import exit_record
from study.launchers.local import lives
from study.spec import EVENTS_FILE, SPEC_FILE, SUPERVISOR_FILE
from study.workspace import StudyFolder, coordinator_lease, read_json, try_lock


@contextmanager
def idle(folder: StudyFolder) -> Iterator[None]:
    """Keeps coordinators away from a study on which nothing works.

    Raises:
        StorageError: its coordinator lives, or an attempt that a coordinator left behind.
    """
    with coordinator_lease(folder):
        living = living_attempts(folder)
        if living:
            name = folder.root.name
            raise StorageError(
                f"study '{name}' has no coordinator, but {len(living)} of its attempts still run "
                f"({living[0].relative_to(folder.root)}); wait for them, or let `lidstudy resume {name}` take them up."
            )
        yield


def living_attempts(folder: StudyFolder) -> list[Path]:
    """Folders of the attempts, at training or at an evaluation, whose processes still run."""
    slots = folder.root.parent.parent / "slots"
    attempts = [*folder.root.glob("trials/*/attempt-*"), *folder.root.glob("evaluations/*/attempt-*")]
    return [attempt for attempt in sorted(attempts) if _lives(attempt, slots)]


def _lives(attempt: Path, slots: Path) -> bool:
    """As its supervisor says; before that has signed in, its slot's lock does."""
    if not (attempt / SPEC_FILE).exists() or exit_record(attempt) is not None:
        return False
    if (attempt / SUPERVISOR_FILE).exists():
        return lives(attempt)
    if (attempt / EVENTS_FILE).exists():
        return False  # it ran in a coordinator's own process, and that is gone
    lock = slots / f"{read_json(attempt / SPEC_FILE)['slot']['name']}.lock"
    if not lock.exists():
        return False
    with lock.open() as file:
        return not try_lock(file.fileno(), shared=True)
