"""A study on which nothing works, held so that nothing begins to: what housekeeping needs before it touches a file."""

from collections.abc import Iterator
from contextlib import contextmanager

from lightning_modules.errors import StorageError
from study.launchers.census import Census
from study.workspace import StudyFolder, coordinator_lease


@contextmanager
def idle(folder: StudyFolder, *, census: Census | None = None) -> Iterator[None]:
    """Keeps coordinators away from a study on which nothing works.

    Raises:
        StorageError: its coordinator lives, or an attempt that a coordinator left behind, or may do so.
    """
    with coordinator_lease(folder):
        found, name = (census or Census()).at_work(folder), folder.root.name
        if found.living:
            raise StorageError(
                f"study '{name}' has no coordinator, but {len(found.living)} of its attempts still run "
                f"({found.living[0].relative_to(folder.root)}); wait for them, or let `lidstudy resume {name}` take "
                "them up."
            )
        if found.unknown:
            attempt, why = next(iter(found.unknown.items()))
            raise StorageError(
                f"study '{name}' has no coordinator, and whether {len(found.unknown)} of its attempts still run is not "
                f"known ({attempt.relative_to(folder.root)}: {why}); `lidstudy resume {name}` settles it."
            )
        yield
