"""URLs of stores: `masked`, which reports show and so is theirs, and where a SQLite file lies."""

import os
from pathlib import Path
from typing import Final

from lightning_modules.errors import ConfigError
from reports.urls import MASK, masked

__all__ = ["MASK", "SQLITE_FILE", "absolute_sqlite", "masked"]

SQLITE_FILE: Final = "sqlite:///"


def absolute_sqlite(url: str, source: str, *, workspace: Path) -> str:
    """The URL of a SQLite file with an absolute path; relative ones are inside the workspace.

    Args:
        url: sqlite:///FILE.
        source: what an error calls the place where the URL was found.
        workspace: the workspace's folder.

    Raises:
        ConfigError: a relative path leads out of the workspace.
    """
    file, root = url.removeprefix(SQLITE_FILE), Path(os.path.normpath(workspace))
    path = Path(os.path.normpath(root / file))
    if not Path(file).is_absolute() and not path.is_relative_to(root):
        raise ConfigError(
            f"{source}: a relative path is inside the workspace, {root}, but {url} leads out of it; "
            "give an absolute path (sqlite:////…) or one inside."
        )
    return f"{SQLITE_FILE}{path}"
