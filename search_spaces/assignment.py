"""What values of parameters mean: which parameters exist under them, and which TrialConfig they make."""

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from lightning_modules.config import TrialConfig
from lightning_modules.errors import ConfigError
from search_spaces.parsing import Parameter, Value, near
from search_spaces.plain_words import in_plain_words
from search_spaces.schema import KIND, fields_of_kind, leaves, sections


def is_active(parameter: Parameter, chosen: Mapping[str, Value]) -> bool:
    """Whether a parameter exists, given the values of those that its condition names (absent where inactive)."""
    return all(path in chosen and chosen[path] in values for path, values in parameter.when.items())


def unmet(parameter: Parameter, chosen: Mapping[str, Value]) -> str:
    """Why a parameter may not exist under these values, and what to do; "" where its conditions are met."""
    failing = {path: values for path, values in parameter.when.items() if chosen.get(path) not in values}
    if not failing:
        return ""
    only = " and ".join(f"{path} is {' or '.join(map(json.dumps, values))}" for path, values in failing.items())
    missing = ", ".join(f'"{path}": {json.dumps(values[0])}' for path, values in failing.items() if path not in chosen)
    advice = f"add {missing}" if missing else f"choose that, or leave {parameter.path} out"
    return f"exists only where {only}: {advice}."


def in_order_of_conditions(parameters: Sequence[Parameter]) -> tuple[Parameter, ...]:
    """The parameters, each after those that its condition names, else as they come.

    Raises:
        ConfigError: for conditions that go round in a circle.
    """
    waiting = {parameter.path: parameter for parameter in parameters}
    ordered: list[Parameter] = []
    while waiting:
        ready = next((p for p in waiting.values() if not waiting.keys() & p.when.keys()), None)
        if ready is None:
            raise ConfigError(f"conditions go round in a circle among {', '.join(waiting)}; leave out one `when`.")
        ordered.append(waiting.pop(ready.path))
    return tuple(ordered)


@cache
def default_config() -> Mapping[str, Any]:
    """TrialConfig's defaults as nested JSON; not to be changed."""
    return TrialConfig().model_dump(mode="json")


def complete_base(base: Mapping[str, Any]) -> dict[str, Any]:
    """A nested TrialConfig with the defaults of all that it leaves out."""
    return overlay(default_config(), dict(_flat(base, "")))


def overlay(base: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a nested TrialConfig with other values, path -> value.

    Where a union section is given another kind, the fields that the new kind does not have are dropped.
    """
    merged: dict[str, Any] = copy.deepcopy(dict(base))
    # Kinds first, and outer ones before inner ones: they decide which other fields there are.
    for path in sorted(params, key=lambda path: (not path.endswith(f".{KIND}"), path.count("."))):
        *parents, name = path.split(".")
        section = merged
        for parent in parents:
            inner = section.get(parent)
            if not isinstance(inner, dict):  # an optional section that was off
                inner = section[parent] = {}
            section = inner
        if name == KIND and section.get(KIND) != params[path] and path in leaves() and leaves()[path].is_union:
            kept = fields_of_kind(path, str(params[path]))
            for field in [field for field in section if field not in kept]:
                del section[field]
        section[name] = params[path]
    return merged


def validated(config: Mapping[str, Any]) -> TrialConfig:
    """The TrialConfig.

    Raises:
        ConfigError: naming each value that does not suit.
    """
    try:
        return TrialConfig.model_validate(config)
    except ValidationError as error:
        complaints = " ".join(_complaint(detail, config) for detail in error.errors(include_url=False))
        raise ConfigError(complaints) from error


def _flat(config: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _complaint(detail: ErrorDetails, config: Mapping[str, Any]) -> str:
    """One sentence, under the path that a space or a study's file would name the value by."""
    path = _path(detail["loc"], config)
    if detail["type"] != "extra_forbidden":
        reason = in_plain_words(detail["msg"]).rstrip(".")
        given = "" if isinstance(detail["input"], Mapping | list | tuple) else f" (got {detail['input']!r})"
        return f"{path}: {reason[0].lower()}{reason[1:]}{given}." if path else f"{reason}."
    if path not in leaves() and path in sections():
        path = sections()[path][0]
    if path not in leaves():
        return f"{path} is no parameter of a configuration; {near(path)}"
    only = " and ".join(f"{kind_path} = {' or '.join(kinds)}" for kind_path, kinds in leaves()[path].kinds.items())
    return f"{path} exists only under {only}; choose that kind, or leave this out."


def _path(location: tuple[int | str, ...], config: Mapping[str, Any]) -> str:
    """Pydantic's location without the kinds that it puts in below a union."""
    parts: list[str] = []
    section: Any = config
    for part in location:
        if isinstance(section, dict) and section.get(KIND) == part and part not in section:
            continue
        parts.append(str(part))
        section = section.get(part) if isinstance(section, dict) else None
    return ".".join(parts)
