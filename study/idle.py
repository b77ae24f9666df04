"""What must not work on a study: anything while housekeeping touches its files, and no other launcher's attempts."""

from collections.abc import Iterator
from contextlib import contextmanager

from lightning_modules.errors import ConfigError, StorageError
from study.launchers.census import Census, engine_of
from study.launchers.config import LauncherConfig
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


def refuse_other_launchers(folder: StudyFolder, launcher: LauncherConfig, *, census: Census | None = None) -> None:
    """Keeps a launcher from a study on which attempts work that it cannot see, and would take for lost.

    Those on Ray do no harm: they write on their nodes, and nobody reads them any more.

    Raises:
        ConfigError: names them.
    """
    for attempt in (census or Census()).at_work(folder, but_on=("ray", launcher.engine)).living:
        engine = engine_of(attempt)
        raise ConfigError(
            f"{attempt.relative_to(folder.root)} of study '{folder.root.name}' still runs with launcher {engine}, "
            f"and {launcher.engine} would start the same trial beside it; go on with {engine}, or end it first."
        )
