"""What an ablation starts from, and what it varies: factors as the command line names them, or the study's choices."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from lightning_modules.config import TrialConfig
from lightning_modules.errors import ConfigError
from search_spaces.assignment import overlay, validated
from search_spaces.designs import Factor
from search_spaces.parsing import LineError, Value, find_leaf
from search_spaces.space import Space
from study.ablation_config import Design
from study.config import StudyConfig
from study.params import flat

OFF: Final[tuple[Value, ...]] = ("none", False, 0, 0.0)
"""What a component is replaced by when it is left out: the first of these that it can be."""


@dataclass(frozen=True, kw_only=True)
class Base:
    """What is ablated.

    Attributes:
        config: the study's configuration.
        space: its search space.
        trial: number of the trial that every arm starts from.
        values: of that trial, path -> value.
        command: the one that made the study.
        last_seed: the largest that the study and its other ablations had used when the ablation began.
        num_test_looks: at test data, before the trial was named by hand; 0 of one that development data chose.
    """

    config: StudyConfig
    space: Space
    trial: int
    values: TrialConfig
    last_seed: int
    command: str = ""
    num_test_looks: int = 0

    @property
    def nested(self) -> dict[str, Any]:
        """The trial's configuration as nested JSON, without its seed."""
        return self.values.model_dump(mode="json", exclude={"seed"})

    @property
    def flat(self) -> dict[str, Any]:
        """The same, path -> value."""
        return flat(self.nested)


def read_factors(texts: Sequence[str], base: Base, *, design: Design) -> tuple[Factor, ...]:
    """Factors as the command line names them: `PATH`, or `PATH=LEVEL,LEVEL`.

    Without levels they are the study's choices; where components are left out, what switches them off. Without any
    text, every choice of the study that exists in the base, with the levels that it could have there alone.

    Raises:
        ConfigError: no such parameter, or levels that it cannot have.
    """
    return tuple(_factor(text, base, design=design) for text in texts) or _choices(base, design=design)


def _choices(base: Base, *, design: Design) -> tuple[Factor, ...]:
    found = []
    for parameter in base.space.parameters:
        if parameter.kind == "choices" and parameter.path in base.flat:
            levels = OFF if design == "leave_one_out" else parameter.choices
            possible = tuple(level for level in levels if _can_be(parameter.path, level, base))
            if possible:
                others = possible[:1] if design == "leave_one_out" else possible
                found.append(Factor(parameter.path, base.flat[parameter.path], others))
    if not found and design == "leave_one_out":
        raise ConfigError(
            f"nothing that study '{base.config.name}' searches can be switched off in trial {base.trial}; name what is "
            "left out by --factor PATH=LEVEL, or another trial by --base."
        )
    if not found:
        raise ConfigError(
            f"study '{base.config.name}' searches no choice that trial {base.trial} could have otherwise alone; name "
            "what is ablated by --factor PATH=LEVEL."
        )
    return tuple(found)


def _factor(text: str, base: Base, *, design: Design) -> Factor:
    path, named, levels = text.partition("=")
    try:
        find_leaf(path)
    except LineError as error:
        raise ConfigError(f"--factor {path}: {error}") from None
    if path not in base.flat:
        raise ConfigError(f"--factor {path}: it does not exist in trial {base.trial}, which is the base.")
    if named and not all(level.strip() for level in levels.split(",")):
        raise ConfigError(f"--factor {text}: a level is empty; name its levels as {path}=LEVEL,LEVEL.")
    here = base.flat[path]
    others = [_value(level, here) for level in levels.split(",")] if levels else _levels(path, base, design=design)
    return Factor(path, here, tuple(level for level in others if not is_same(level, here)))


def _value(text: str, here: object) -> Value:
    """As JSON has it, or a word; a whole number where the base has a fraction is one too."""
    try:
        value = json.loads(text)
    except ValueError:
        return text.strip()
    if isinstance(here, float) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value if isinstance(value, bool | int | float) else text.strip()


def _levels(path: str, base: Base, *, design: Design) -> list[Value]:
    if design == "leave_one_out":
        off = [level for level in OFF if _can_be(path, level, base)]
        if not off:
            raise ConfigError(f"--factor {path}: nothing switches it off; name its other level, as {path}=LEVEL.")
        return off[:1]
    searched = next((each for each in base.space.parameters if each.path == path), None)
    if searched is None or searched.kind != "choices":
        raise ConfigError(f"--factor {path}: it is no choice of the study; name its levels, as {path}=LEVEL,LEVEL.")
    return list(searched.choices)


def _can_be(path: str, level: Value, base: Base) -> bool:
    if type(level) is not type(base.flat[path]) or is_same(level, base.flat[path]):
        return False
    try:
        validated(overlay(base.nested, {path: level}))
    except ConfigError:
        return False
    return True


def is_same(one: object, other: object) -> bool:
    """Equal, and of one type: true is no 1."""
    return type(one) is type(other) and one == other
