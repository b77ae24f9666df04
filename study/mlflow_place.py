"""Where MLflow keeps a study: a database in the workspace, or a server or database that is named by its URL.

A study's file decides, then the environment. study.json says where an existing study is, without its password; that
comes from the environment, or from where MLflow's server and PostgreSQL themselves look for one.
"""

import os
from typing import Final
from urllib.parse import unquote, urlsplit, urlunsplit

from lightning_modules.errors import ConfigError
from study.urls import MASK, SQLITE_FILE, absolute_sqlite, masked
from study.workspace import Workspace, read_description

MLFLOW_VARIABLE: Final = "LIDSTUDY_MLFLOW"
WORKSPACE: Final = "workspace"
CONNECT_TIMEOUT_S: Final = 10
_ALLOWED: Final = "http://HOST:PORT, https://HOST, postgresql://USER@HOST/DATABASE or sqlite:///FILE"


def checked_mlflow_url(url: str) -> str:
    """The URL, if MLflow can keep records there; ValueError says what is allowed."""
    schemes = ("http", "https", "postgresql", "postgresql+psycopg", "postgres", "sqlite")
    scheme, separator, place = url.partition("://")
    if scheme not in schemes or not separator or not place.strip("/") or any(letter.isspace() for letter in url):
        raise ValueError(f"must be {_ALLOWED} but is {masked(url)!r}.")
    return url


def mlflow_url(named: str | None, workspace: Workspace) -> str:
    """Where a study that is to run is recorded, with the password; paths are relative to the workspace.

    Args:
        named: what its file says, or None.
        workspace: where everything else lies.

    Raises:
        ConfigError: the environment's URL is of no known kind, or a relative path leaves the workspace.
    """
    if named is not None:
        return _absolute(named, "key storage.mlflow", workspace=workspace)
    return _named_by_environment(workspace) or workspace.tracking_uri


def recorded_mlflow(url: str, workspace: Workspace) -> str:
    """What study.json says of it: `workspace`, or the URL without its password."""
    return WORKSPACE if url == workspace.tracking_uri else masked(url)


def records_url(workspace: Workspace, study: str) -> str:
    """Where an existing study is recorded; one that this workspace does not know may be where the environment says."""
    manifest = workspace.study(study).manifest
    named = _named_by_environment(workspace)
    if not manifest.is_file():
        return named or workspace.tracking_uri
    recorded = str(read_description(manifest).get("mlflow", WORKSPACE))
    if recorded == WORKSPACE:
        return workspace.tracking_uri
    if named is not None and masked(named) == recorded:
        return named
    return recorded.replace(f":{MASK}@", "@")  # there are MLFLOW_TRACKING_PASSWORD, PGPASSWORD and ~/.pgpass


def mlflow_tracking_uri(url: str) -> str:
    """The URL as MLflow takes it.

    A user and password of a server go into MLflow's own variables, so that they are in none of its messages. A
    database that does not answer is given up after some seconds.
    """
    parts = urlsplit(url)
    if is_server(url):
        if parts.password is not None:
            os.environ["MLFLOW_TRACKING_USERNAME"] = unquote(parts.username or "")
            os.environ["MLFLOW_TRACKING_PASSWORD"] = unquote(parts.password)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))
    if not parts.scheme.startswith("postgres"):
        return url
    patient = "connect_timeout" in parts.query
    limit = "" if patient else f"{'&' if parts.query else '?'}connect_timeout={CONNECT_TIMEOUT_S}"
    return f"postgresql+psycopg{url.removeprefix(parts.scheme)}{limit}"


def is_server(url: str) -> bool:
    """Whether it is an MLflow server, rather than a database that MLflow opens itself."""
    return url.startswith(("http://", "https://"))


def _absolute(url: str, source: str, *, workspace: Workspace) -> str:
    return absolute_sqlite(url, source, workspace=workspace.root) if url.startswith(SQLITE_FILE) else url


def _named_by_environment(workspace: Workspace) -> str | None:
    url = os.environ.get(MLFLOW_VARIABLE)
    try:
        return _absolute(checked_mlflow_url(url), f"${MLFLOW_VARIABLE}", workspace=workspace) if url else None
    except ValueError as error:
        raise ConfigError(f"${MLFLOW_VARIABLE}: {error}") from None
