"""`[storage]` of a study's file: databases and servers that several machines may share."""

from typing import Annotated

from pydantic import AfterValidator, Field, field_serializer

from lightning_modules.config import Frozen
from study.mlflow_place import checked_mlflow_url
from study.urls import masked


class StorageConfig(Frozen):
    """Where records are kept; passwords are masked wherever the configuration is written down.

    Attributes:
        optuna: URL of the database that keeps the trials.
        mlflow: URL of MLflow's server or database; by default $LIDSTUDY_MLFLOW, else a database in the workspace.
    """

    optuna: Annotated[str | None, Field(repr=False)] = None
    mlflow: Annotated[Annotated[str, AfterValidator(checked_mlflow_url)] | None, Field(repr=False)] = None

    @field_serializer("optuna", "mlflow", when_used="json")
    def _without_password(self, url: str | None) -> str | None:
        return None if url is None else masked(url)
