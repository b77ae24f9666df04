"""The terminal: one console for words, and progress that is a bar in a terminal and a few lines elsewhere."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn

from lightning_modules.data.cards import Progress as ReportsProgress
from lightning_modules.errors import StorageError

UNLIMITED: Final = 10_000
"""Columns."""


def make_console() -> Console:
    """Writes to standard output; where that is no terminal, lines are not wrapped and tables as wide as they need."""
    is_terminal = sys.stdout.isatty()
    return Console(highlight=False, soft_wrap=not is_terminal, width=None if is_terminal else UNLIMITED)


def print_json(content: object) -> None:
    """JSON for other programs."""
    sys.stdout.write(json.dumps(content, indent=2, ensure_ascii=False) + "\n")


@contextmanager
def progress_bars(console: Console) -> Iterator[ReportsProgress]:
    """A callback that shows a bar a stage in a terminal, and elsewhere a line at its beginning and at its end."""
    if not console.is_terminal:
        yield _plain(console)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bars:
        tasks: dict[str, TaskID] = {}

        def show(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield show


def _plain(console: Console) -> ReportsProgress:
    begun, finished = set[str](), set[str]()

    def show(stage: str, done: int, total: int) -> None:
        if done < total and stage not in begun:
            begun.add(stage)
            console.print(f"{stage} …")
        if done >= total and stage not in finished:
            finished.add(stage)
            console.print(f"{stage}: done")

    return show


@contextmanager
def folder_of_figures(folder: Path) -> Iterator[Path]:
    """The folder that `--figures` names, made if need be.

    Raises:
        StorageError: it cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
    except OSError as error:
        raise StorageError(
            f"figures cannot be drawn in {folder}: {error.strerror}; choose another --figures."
        ) from error
