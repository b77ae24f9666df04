"""A configuration as flat params."""

from collections.abc import Mapping
from typing import Any


def flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested configuration as path -> value; lists stay whole."""
    flattened: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, Mapping):
            flattened |= flat(value, f"{prefix}{key}.")
        else:
            flattened[f"{prefix}{key}"] = value
    return flattened
