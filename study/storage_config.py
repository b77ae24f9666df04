"""Where a study's records are kept: URLs of Optuna's and MLflow's stores, from the study's file or the environment.

The environment comes first, so that a team shares one file and nobody's password stands in it. What study.json keeps
has its passwords masked: a store with a password is found again through the environment.
"""

import os
from typing import Annotated, Final, Self
from urllib.parse import unquote, urlsplit, urlunsplit

from pydantic import AfterValidator, Field, field_serializer

from lightning_modules.config import Frozen
from lightning_modules.errors import ConfigError
from study.urls import MASK, masked
from study.workspace import Workspace, read_json

ENV_MLFLOW: Final = "LIDSTUDY_MLFLOW"
CONNECT_TIMEOUT_S: Final = 10
ALLOWED: Final = "http://HOST:PORT, https://HOST, postgresql://USER@HOST/DATABASE or sqlite:////ABSOLUTE/PATH.db"


def checked_mlflow_url(url: str) -> str:
    """The URL, if MLflow can keep records there; ValueError says what is allowed."""
    scheme = url.partition("://")[0].partition("+")[0]
    if scheme == "sqlite" and not url.startswith("sqlite:////"):
        raise ValueError(f"{masked(url)} is a relative path; write sqlite:////ABSOLUTE/PATH.db, with four slashes.")
    if "://" not in url or scheme not in ("http", "https", "postgresql", "postgres", "sqlite"):
        raise ValueError(f"{masked(url)} is no place that MLflow keeps records in; allowed: {ALLOWED}.")
    return url


class StorageConfig(Frozen):
    """Where records are kept; without a URL, in the workspace.

    Attributes:
        optuna: Optuna's storage.
        mlflow: MLflow's tracking server or database.
    """

    optuna: Annotated[str | None, Field(repr=False)] = None
    mlflow: Annotated[Annotated[str, AfterValidator(checked_mlflow_url)] | None, Field(repr=False)] = None

    @field_serializer("optuna", "mlflow")
    def _without_passwords(self, url: str | None) -> str | None:
        return None if url is None else masked(url)

    def with_environment(self) -> Self:
        """The environment's URL where it has one."""
        return self.model_copy(update={"mlflow": _environment_url() or self.mlflow})


def records_url(workspace: Workspace, study: str) -> str:
    """Where MLflow keeps a study that exists: LIDSTUDY_MLFLOW, else what its study.json says, else the workspace.

    Raises:
        ConfigError: study.json names a store with a password, and the environment does not.
    """
    if url := _environment_url():
        return url
    manifest = workspace.study(study).manifest
    known = read_json(manifest).get("storage", {}).get("mlflow") if manifest.is_file() else None
    if known is None:
        return workspace.tracking_uri
    if MASK in known:
        raise ConfigError(
            f"study '{study}' is recorded in {known}, and passwords are not kept; "
            f"set {ENV_MLFLOW} to that URL with its password."
        )
    return str(known)


def mlflow_tracking_uri(url: str) -> str:
    """The URL as MLflow takes it.

    A user and password of a server go into MLflow's own variables, so that they are in none of its messages. A
    database that does not answer is given up after some seconds.
    """
    parts = urlsplit(url)
    if is_server(url):
        if parts.username:
            os.environ["MLFLOW_TRACKING_USERNAME"] = unquote(parts.username)
            os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(parts.password or "")
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))
    if parts.scheme.startswith("postgres"):
        url = "postgresql+psycopg" + url[len(parts.scheme) :] if "+" not in parts.scheme else url
        return url if "connect_timeout" in parts.query else f"{url}{'&' if parts.query else '?'}{_TIMEOUT}"
    return url


_TIMEOUT: Final = f"connect_timeout={CONNECT_TIMEOUT_S}"


def is_server(url: str) -> bool:
    """Whether it is an MLflow server, rather than a database that MLflow opens itself."""
    return url.startswith(("http://", "https://"))


def _environment_url() -> str | None:
    url = os.environ.get(ENV_MLFLOW)
    if not url:
        return None
    try:
        return checked_mlflow_url(url)
    except ValueError as error:
        raise ConfigError(f"{ENV_MLFLOW}: {error}") from None
