"""Search spaces: a checked TOML file, sampled define-by-run and turned into TrialConfigs.

The grammar is in parsing.py, what paths there are in schema.py. A space is checked as a whole when it is read
(checking.py), so that no study fails at trial 80 for a mistake that was there from the start.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from lightning_modules.config import TrialConfig, content_hash
from lightning_modules.errors import ConfigError
from search_spaces import SPACES
from search_spaces.assignment import complete_base, in_order_of_conditions, is_active, overlay, unmet, validated
from search_spaces.checking import check_base, check_parameters, set_in_vain
from search_spaces.parsing import SPACE, LineError, Parameter, Value, parse_parameter
from search_spaces.schema import space_schema
from search_spaces.wording import described

__all__ = [
    "Finding",
    "Parameter",
    "Space",
    "SuggestsParameters",
    "Value",
    "check_file",
    "load_space",
    "space_from_json",
    "space_schema",
]


class SuggestsParameters(Protocol):
    """What a space asks of an Optuna trial."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """One of the choices."""

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """A whole number in [low, high]."""

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """A number in [low, high]."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is wrong with a space.

    Attributes:
        file: where.
        key: the parameter, or "" for the file itself.
        message: what was given, and what is allowed.
    """

    file: str
    key: str
    message: str

    def __str__(self) -> str:
        return f'{self.file}: "{self.key}" {self.message}' if self.key else f"{self.file}: {self.message}"


@dataclass(frozen=True)
class Space:
    """Which configurations a study may try.

    Attributes:
        name: the shipped name, or the file's name without .toml.
        parameters: in the order of the file.
    """

    name: str
    parameters: tuple[Parameter, ...]

    @cached_property
    def hash(self) -> str:
        """12 hexadecimal digits, equal for spaces that search the same: comments and order do not count."""
        return content_hash(self.to_json())

    @cached_property
    def in_order(self) -> tuple[Parameter, ...]:
        """The parameters in the order in which they are asked for: each after those that its condition names."""
        return in_order_of_conditions(self.parameters)

    def count(self, limit: int) -> int | None:
        """How many configurations there are, counted up to a limit; None where a range has no steps."""
        if any(parameter.values is None for parameter in self.parameters):
            return None
        partial: list[dict[str, Value]] = [{}]
        for parameter in self.in_order:
            partial = [
                chosen | extended
                for chosen in partial
                for extended in (
                    [{parameter.path: value} for value in parameter.values or ()]
                    if is_active(parameter, chosen)
                    else [{}]
                )
            ][: limit + 1]
        return min(len(partial), limit)

    def to_json(self) -> dict[str, Any]:
        """The space in the grammar of its file."""
        return {SPACE: {parameter.path: parameter.to_json() for parameter in self.parameters}}

    def searched_parameters(self) -> tuple[dict[str, Any], ...]:
        """The fields of `reports.records.SearchedParameter`, which is above this layer: a dictionary a parameter."""
        return tuple(
            {
                "path": parameter.path,
                "kind": parameter.kind,
                "choices": parameter.choices,
                "low": parameter.low,
                "high": parameter.high,
                "log": parameter.log,
                "when": dict(parameter.when),
            }
            for parameter in self.parameters
        )

    def suggest(self, trial: SuggestsParameters) -> dict[str, Value]:
        """Asks the trial for the parameters that exist, given those already asked for; path -> value."""
        chosen: dict[str, Value] = {}
        for parameter in self.in_order:
            if is_active(parameter, chosen):
                chosen[parameter.path] = _suggest(trial, parameter)
        return chosen

    def check_values(self, params: Mapping[str, Any]) -> None:
        """Refuses values that this space would never propose, and those whose conditions are not among them.

        Where a condition is left to the sampler, what exists only under it would be dropped as often as not.

        Raises:
            ConfigError: naming the parameter and what is allowed, or what has to be added.
        """
        known = {parameter.path: parameter for parameter in self.parameters}
        for path, value in params.items():
            if path not in known:
                raise ConfigError(f"space {self.name} has no parameter '{path}'; it has {', '.join(known)}.")
            if not known[path].allows(value):
                allowed = described(known[path])
                raise ConfigError(f"space {self.name}, key {path}: {value!r} is none of its values: {allowed}.")
        for path in params:
            if complaint := unmet(known[path], params):
                raise ConfigError(f"space {self.name}, key {path} {complaint}")

    def check_base(self, base: Mapping[str, Any]) -> None:
        """Refuses a base configuration that some corner of this space does not suit.

        Raises:
            ConfigError: naming the parameter and what is wrong.
        """
        for path, complaint in check_base(in_order_of_conditions(self.parameters), complete_base(base)):
            raise ConfigError(f'space {self.name}, key "{path}" {complaint}')

    def check_read(self, base: Mapping[str, Any]) -> None:
        """Refuses a base configuration, which has passed `check_base`, with a value that nothing would read.

        Raises:
            ConfigError: naming the key.
        """
        for path, complaint in set_in_vain(in_order_of_conditions(self.parameters), complete_base(base)):
            raise ConfigError(f"key trial.{path} {complaint}")

    def apply(self, base: Mapping[str, Any], params: Mapping[str, Value]) -> TrialConfig:
        """The configuration that params make of a base.

        Where a union section is given another kind, fields of the base that the new kind does not have are dropped.

        Args:
            base: nested JSON of a TrialConfig; what it leaves out has its default.
            params: path -> value, as `suggest` returns.

        Raises:
            ConfigError: naming each value that does not suit.
        """
        return validated(overlay(complete_base(base), params))


def load_space(name_or_path: str, *, around_defaults: bool = True) -> Space:
    """A space that ships, by name, or one from a file.

    Args:
        name_or_path: a key of SPACES, or a path that ends in .toml.
        around_defaults: whether its corners must suit the default configuration; a study has one of its own, to be
            tried by `check_base`.

    Raises:
        ConfigError: for an unknown name, or naming the first thing that is wrong with the file.
    """
    if name_or_path in SPACES:
        path, name = SPACES[name_or_path], name_or_path
    elif name_or_path.endswith(".toml"):
        path, name = Path(name_or_path), Path(name_or_path).stem
    else:
        hint = "one of your own is given by a path that ends in .toml"
        raise ConfigError(f"there is no search space {name_or_path!r}; those that ship: {', '.join(SPACES)}; {hint}.")
    space, findings = _read(path, name, around_defaults=around_defaults)
    if findings:
        others = f" (and {len(findings) - 1} more, see `lidstudy space check`)" if len(findings) > 1 else ""
        raise ConfigError(f"{findings[0]}{others}")
    return space


def space_from_json(content: Mapping[str, Any], *, name: str) -> Space:
    """A space as `Space.to_json` wrote it.

    Raises:
        ConfigError: it was written for another version of the schema.
    """
    if not content[SPACE]:
        return Space(name, ())
    space, findings = _parse(content, f"space {name}", name)
    if findings:
        raise ConfigError(str(findings[0]))
    return space


def check_file(path: Path) -> list[Finding]:
    """Everything that is wrong with a space's file; nothing for a valid one."""
    return _read(path, path.stem)[1]


def _read(path: Path, name: str, *, around_defaults: bool = True) -> tuple[Space, list[Finding]]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        return Space(name, ()), [Finding(file=str(path), key="", message=f"cannot be read: {error.strerror}.")]
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        return Space(name, ()), [Finding(file=str(path), key="", message=f"is not TOML: {error}.")]
    space, findings = _parse(content, str(path), name)
    if not findings:
        findings = [
            Finding(file=str(path), key=key, message=message)
            for key, message in check_parameters(space.parameters, around_defaults=around_defaults)
        ]
    return space, findings


def _parse(content: Mapping[str, Any], file: str, name: str) -> tuple[Space, list[Finding]]:
    """The parameters that can be read, and what is wrong with the lines of the others."""
    lines = content.get(SPACE)
    extra = sorted(set(content) - {SPACE, "$schema"})
    if not isinstance(lines, dict) or not lines or extra:
        found = f"has {', '.join(content) or 'nothing'}" if lines is None or extra else "its [space] is empty"
        message = f"must have one table, [space], with a line a parameter, but {found}."
        return Space(name, ()), [Finding(file=file, key="", message=message)]
    parameters: list[Parameter] = []
    findings: list[Finding] = []
    for path, line in lines.items():
        try:
            parameters.append(parse_parameter(path, line))
        except LineError as error:
            findings.append(Finding(file=file, key=path, message=str(error)))
    return Space(name, tuple(parameters)), findings


def _suggest(trial: SuggestsParameters, parameter: Parameter) -> Value:
    low, high = parameter.low, parameter.high
    if low is None or high is None:
        value: Value = trial.suggest_categorical(parameter.path, list(parameter.choices))
        return value
    if parameter.kind == "int":
        step = 1 if parameter.step is None else int(parameter.step)
        return trial.suggest_int(parameter.path, int(low), int(high), step=step, log=parameter.log)
    return trial.suggest_float(parameter.path, low, high, step=parameter.step, log=parameter.log)
