"""From the TOML of a search space to parameters: the grammar, and what can be said of each line by itself.

    [space]
    "encoder.cell"       = { choices = ["gru", "lstm"] }
    "encoder.num_layers" = { int = [1, 3] }
    "encoder.dropout"    = { float = [0.0, 0.5], step = 0.1 }
    "clipping.max_norm"  = { float = [0.05, 20.0], log = true, when = { "clipping.kind" = ["norm"] } }

Keys are paths in TrialConfig, in quotes. A parameter with `when` exists only where all its conditions hold.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from difflib import get_close_matches
from typing import Any, Final, Literal

from search_spaces.schema import SEED, Leaf, leaves, sections

Value = bool | int | float | str
"""What a parameter may be: what Optuna keeps of a choice (TOML knows no null)."""

SPACE: Final = "space"
_FORMS: Final = ("choices", "int", "float")
_OPTIONS: Final = {"choices": {"when"}, "int": {"log", "step", "when"}, "float": {"log", "step", "when"}}
_GRAMMAR: Final = "{ choices = [...] }, { int = [low, high] } or { float = [low, high] }"


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One line of a search space.

    Attributes:
        path: its path in TrialConfig.
        kind: which of choices, low and high say what to choose from.
        choices: the levels, for kind choices.
        low: smallest value, for int and float.
        high: largest value.
        log: whether it is searched on a logarithmic scale.
        step: distance of the values that are tried, from low; None for every one.
        when: the condition under which it exists: path -> allowed values; all must hold.
    """

    path: str
    kind: Literal["choices", "int", "float"]
    choices: tuple[Value, ...] = ()
    low: float | None = None
    high: float | None = None
    log: bool = False
    step: float | None = None
    when: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)

    @property
    def extremes(self) -> tuple[Value, ...]:
        """The values that a space is checked at: every choice, or both ends."""
        if self.low is None or self.high is None:
            return self.choices
        return (self.low, self.high)

    def allows(self, value: object) -> bool:
        """Whether the parameter can have this value, conditions aside."""
        if self.low is None or self.high is None:
            return any(type(value) is type(choice) and value == choice for choice in self.choices)
        if isinstance(value, bool) or not isinstance(value, int if self.kind == "int" else int | float):
            return False
        steps = (value - self.low) / self.step if self.step else 0.0
        return self.low <= value <= self.high and math.isclose(steps, round(steps), abs_tol=1e-9)

    @property
    def values(self) -> tuple[Value, ...] | None:
        """Every value that it may have, or None where they cannot be counted."""
        if self.low is None or self.high is None:
            return self.choices
        if self.kind == "int":
            return tuple(range(int(self.low), int(self.high) + 1, int(self.step or 1)))
        if self.step is None:
            return None
        low, step = Decimal(str(self.low)), Decimal(str(self.step))  # as Optuna counts them: 0.1, 0.2, 0.3
        return tuple(float(low + place * step) for place in range(round((self.high - self.low) / self.step) + 1))

    def to_json(self) -> dict[str, Any]:
        """The parameter in the grammar of the file, without its path."""
        content: dict[str, Any] = {self.kind: list(self.extremes)}
        if self.log:
            content["log"] = True
        if self.step is not None:
            content["step"] = self.step
        if self.when:
            content["when"] = {path: list(values) for path, values in self.when.items()}
        return content


class LineError(Exception):
    """What is wrong with one line; caught where the file's name is known."""


def parse_parameter(path: str, content: object) -> Parameter:
    """One line of a space, checked against TrialConfig's schema.

    Raises:
        LineError: for an unknown path, or anything but the grammar.
    """
    leaf = find_leaf(path)
    if not isinstance(content, dict):
        raise LineError(f"must be {_GRAMMAR} but is {content!r}.")
    forms = [form for form in _FORMS if form in content]
    if len(forms) != 1:
        raise LineError(
            f"must have exactly one of {', '.join(_FORMS)} but has {', '.join(forms) or 'none'}: write {_GRAMMAR}."
        )
    unknown = sorted(set(content) - {forms[0]} - _OPTIONS[forms[0]])
    if unknown:
        raise LineError(
            f"{forms[0]} does not go with {', '.join(unknown)}; allowed: {', '.join(sorted(_OPTIONS[forms[0]]))}."
        )
    when = _parse_when(content.get("when"))
    match forms[0]:
        case "choices":
            parameter = Parameter(path=path, kind="choices", choices=_parse_choices(content["choices"]), when=when)
        case "int":
            parameter = _parse_range(path, "int", content, when)
        case _:
            parameter = _parse_range(path, "float", content, when)
    _check_values(leaf, parameter)
    return parameter


def find_leaf(path: str) -> Leaf:
    """The leaf of TrialConfig with this path.

    Raises:
        LineError: if there is none, or it cannot be searched.
    """
    if path == SEED:
        raise LineError("the seed cannot be searched: replicates are drawn under their own seeds.")
    if path in sections():
        raise LineError(f"is a section; name one of its fields, the whole path in quotes: {_quoted(sections()[path])}.")
    leaf = leaves().get(path)
    if leaf is None:
        raise LineError(f"is no parameter of a configuration; {near(path)}")
    if not leaf.searchable:
        raise LineError("holds a list, which cannot be searched; fix it in the study's base configuration.")
    return leaf


def near(path: str) -> str:
    """What else an unknown path may have meant."""
    section = path.rpartition(".")[0]
    found = get_close_matches(path, leaves(), n=3) or sections().get(section)
    if found:
        return f"near it: {_quoted(found)}."
    return f"its sections are {', '.join(name for name in sections() if '.' not in name)}."


def _quoted(paths: "tuple[str, ...] | list[str]") -> str:
    return ", ".join(f'"{path}"' for path in paths)


def _parse_choices(choices: object) -> tuple[Value, ...]:
    if not isinstance(choices, list) or not choices:
        raise LineError(f"choices must be a list with at least one value but is {choices!r}.")
    for choice in choices:
        if not isinstance(choice, bool | int | float | str) or (
            isinstance(choice, float) and not math.isfinite(choice)
        ):
            raise LineError(f"choices may be booleans, finite numbers and strings but one is {choice!r}.")
    if len({(type(choice), choice) for choice in choices}) != len(choices):
        raise LineError(f"choices must differ but are {choices!r}.")
    return tuple(choices)


def _parse_when(when: object) -> dict[str, tuple[Value, ...]]:
    if when is None:
        return {}
    form = 'when must be { "path" = [values] }'
    if not isinstance(when, dict) or not when:
        raise LineError(f"{form} but is {when!r}.")
    for path, values in when.items():
        if not isinstance(values, list) or not values:
            hint = "; put the whole path in quotes" if isinstance(values, dict) else ""
            raise LineError(f'{form} but "{path}" has {values!r}{hint}.')
    return {path: tuple(values) for path, values in when.items()}


def _parse_range(
    path: str, kind: Literal["int", "float"], content: Mapping[str, Any], when: Mapping[str, tuple[Value, ...]]
) -> Parameter:
    ends = content[kind]
    if not isinstance(ends, list) or len(ends) != 2 or not all(_is_number(end, kind) for end in ends):  # noqa: PLR2004
        wanted = "two whole numbers" if kind == "int" else "two finite numbers"
        raise LineError(f"{kind} must be [low, high], {wanted}, but is {ends!r}.")
    low, high = (float(end) for end in ends) if kind == "float" else ends
    if low >= high:
        raise LineError(
            f"{kind} must rise from low to high but is {ends!r}; for one value write choices = [{ends[0]}]."
        )
    log = content.get("log", False)
    if not isinstance(log, bool):
        raise LineError(f"log must be true or false but is {log!r}.")
    if log and low <= 0:
        raise LineError(f"log = true needs a low end above 0 but it is {low}.")
    step = _parse_step(kind, content.get("step"), low, high)
    if log and step is not None:
        raise LineError("log and step exclude each other: Optuna spaces a logarithmic range by itself.")
    return Parameter(path=path, kind=kind, low=low, high=high, log=log, step=step, when=when)


def _parse_step(kind: Literal["int", "float"], step: object, low: float, high: float) -> float | None:
    if step is None:
        return None
    if not _is_number(step, kind) or not isinstance(step, int | float) or step <= 0:
        raise LineError(f"step must be a positive {'whole ' if kind == 'int' else ''}number but is {step!r}.")
    steps = (high - low) / step
    if not math.isclose(steps, round(steps), abs_tol=1e-9) or round(steps) < 1:
        raise LineError(f"step must divide high - low, {high - low:g}, but is {step!r}.")
    return step


def _is_number(value: object, kind: Literal["int", "float"]) -> bool:
    if isinstance(value, bool):
        return False
    return isinstance(value, int) if kind == "int" else isinstance(value, int | float) and math.isfinite(value)


def _check_values(leaf: Leaf, parameter: Parameter) -> None:
    """Each extreme must suit the leaf under some kind; the corners of the space show whether under those in use."""
    for value in parameter.extremes:
        complaints = [variant.complaint(value) for variant in leaf.variants]
        if None not in complaints:
            raise LineError(f"cannot be {value!r}: {complaints[0]}.")
