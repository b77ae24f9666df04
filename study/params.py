"""A configuration as flat params, and in a few words."""

from collections.abc import Mapping, Sequence
from typing import Any

from lightning_modules.config import TrialConfig
from reports.records import SearchedParameter, chosen


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
    """What a configuration chose, as `lstm hidden_size 64 attention`: the values of the choices that it had.

    A number and `none` have a name, and a choice of yes or no is the name of what it is about, or nothing.
    """
    params = flat(config.model_dump(mode="json"))
    choices = (each for each in searched if each.choices)
    return " ".join(filter(None, (_word(path, value) for path, value in chosen(choices, params).items())))


def _word(path: str, value: object) -> str:
    section, _, name = path.rpartition(".")
    if name == "kind":
        name = section.rpartition(".")[2]
    if isinstance(value, bool):
        return name if value else ""
    if isinstance(value, int | float):
        return f"{name} {value:g}"
    return f"{name} none" if value == "none" else str(value)
