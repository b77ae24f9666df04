"""Where Optuna keeps a study: a journal in the study's folder, or a database that is named by its URL."""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, Field, field_serializer, field_validator

from lightning_modules.config import Frozen
from lightning_modules.errors import ConfigError
from study.mlflow_place import checked_mlflow_url
from study.urls import MASK, absolute_sqlite, masked

OPTUNA_VARIABLE: Final = "LIDSTUDY_OPTUNA_STORAGE"
JOURNAL: Final = "journal"
_ALLOWED: Final = "sqlite:///FILE or postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
_POSTGRES: Final = re.compile(r"^(postgres|postgresql|postgresql\+psycopg)://")
_SQLITE: Final = re.compile(r"^sqlite:///.+$")


class StorageConfig(Frozen):
    """Where records go that several machines may share; passwords are masked wherever this is written down.

    Attributes:
        optuna: URL of the database that keeps the trials; by default $LIDSTUDY_OPTUNA_STORAGE, else a journal in the
            study's folder.
        mlflow: URL of MLflow's server or database; by default $LIDSTUDY_MLFLOW, else a database in the workspace.
    """

    optuna: str | None = Field(default=None, repr=False)
    mlflow: Annotated[Annotated[str, AfterValidator(checked_mlflow_url)] | None, Field(repr=False)] = None

    @field_validator("optuna")
    @classmethod
    def _is_known(cls, url: str | None) -> str | None:
        if url is not None:
            _check(url)
        return url

    @field_serializer("optuna", "mlflow", when_used="json")
    def _without_password(self, url: str | None) -> str | None:
        return None if url is None else masked(url)


@dataclass(frozen=True)
class Place:
    """Where Optuna keeps one study.

    Attributes:
        url: for SQLAlchemy, or None for the journal; holds the password.
        journal: the journal's path.
    """

    url: str | None
    journal: Path

    def __repr__(self) -> str:
        return f"Place({self.recorded})"

    @property
    def recorded(self) -> str:
        """What study.json says of it: `journal`, or the URL without its password."""
        return JOURNAL if self.url is None else masked(self.url)

    @property
    def shown(self) -> str:
        """What an error calls it."""
        return f"Optuna's journal {self.journal}" if self.url is None else f"Optuna's storage {masked(self.url)}"


def place_of(config: StorageConfig, *, workspace: Path, journal: Path) -> Place:
    """Where a study that is to run keeps its trials: its file decides, then the environment.

    Raises:
        ConfigError: the URL is of no known kind, or leaves the workspace.
    """
    if config.optuna is not None:
        return _place(config.optuna, "key storage.optuna", workspace=workspace, journal=journal)
    return _place(os.environ.get(OPTUNA_VARIABLE, ""), f"${OPTUNA_VARIABLE}", workspace=workspace, journal=journal)


def recorded_place(recorded: str, *, workspace: Path, journal: Path) -> Place:
    """Where a study that exists keeps its trials; a password that was masked comes from the environment.

    Args:
        recorded: what study.json says.
        workspace: what relative paths are relative to.
        journal: the study's journal.
    """
    if recorded == JOURNAL:
        return Place(None, journal)
    named = _place(os.environ.get(OPTUNA_VARIABLE, ""), f"${OPTUNA_VARIABLE}", workspace=workspace, journal=journal)
    if named.recorded == recorded:
        return named
    return Place(recorded.replace(f":{MASK}@", "@"), journal)  # libpq has other ways: PGPASSWORD, ~/.pgpass


def _place(url: str, source: str, *, workspace: Path, journal: Path) -> Place:
    if not url:
        return Place(None, journal)
    try:
        _check(url)
    except ValueError as error:
        raise ConfigError(f"{source}: {error}") from None
    if not _SQLITE.match(url):
        return Place(_POSTGRES.sub("postgresql+psycopg://", url), journal)
    return Place(absolute_sqlite(url, source, workspace=workspace), journal)


def _check(url: str) -> None:
    if any(character.isspace() for character in url):
        raise ValueError("a URL holds no blanks, but this one does; write a blank in a password as %20.")
    if not (_SQLITE.match(url) or _POSTGRES.match(url)):
        raise ValueError(f"must be {_ALLOWED} but is {masked(url)!r}.")
