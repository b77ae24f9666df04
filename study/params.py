"""A configuration as flat params, and in a few words."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from lightning_modules.config import TrialConfig
from reports.records import SearchedParameter, chosen
from reports.wording import short_names

NAMELESS: Final = ("encoder.kind", "encoder.cell")
"""Whose values say what they are."""


def flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested configuration as path -> value; lists stay whole."""
    flattened: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, Mapping):
            flattened |= flat(value, f"{prefix}{key}.")
        else:
            flattened[f"{prefix}{key}"] = value
    return flattened


def in_words(config: TrialConfig, searched: Sequence[SearchedParameter]) -> str:
    """What a configuration chose, as `lstm hidden_size 64 pooling mean`: the values of the choices that it had.

    All but the encoder and its cell have a name, and a choice of yes or no is the name of what it is about, or nothing.
    """
    params = flat(config.model_dump(mode="json"))
    choices = [each for each in searched if each.choices]
    names = short_names([each.path for each in choices])
    return " ".join(filter(None, (_word(path, value, names[path]) for path, value in chosen(choices, params).items())))


def _word(path: str, value: object, name: str) -> str:
    if isinstance(value, bool):
        return name if value else ""
    if path in NAMELESS:
        return str(value)
    said = f"{value:g}" if isinstance(value, int | float) else str(value)
    return f"{name.removesuffix('.kind')} {said}"
