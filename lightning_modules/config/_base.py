"""What all parts of a configuration share."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

Probability = Annotated[float, Field(ge=0.0, lt=1.0)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
PositiveInt = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0.0)]


class Frozen(BaseModel):
    """A record that rejects unknown fields and never changes."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _as_written(cls, content: Any) -> Any:
        """A section of several kinds that leaves its kind out has the default's; a file's lists are tuples."""
        if not isinstance(content, dict):
            return content
        defaults = {name: getattr(field.default, "kind", None) for name, field in cls.model_fields.items()}
        return {name: _as_written(given, defaults.get(name)) for name, given in content.items()}


def _as_written(given: Any, default_kind: str | None) -> Any:
    if isinstance(given, list):
        return tuple(given)
    if isinstance(given, dict) and "kind" not in given and default_kind:
        return {"kind": default_kind, **given}
    return given
