"""What is wrong with a space as a whole: conditions, fields that do not exist under every kind, and its corners."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from lightning_modules.config import unread
from lightning_modules.errors import ConfigError
from search_spaces.assignment import default_config, in_order_of_conditions, is_active, overlay, validated
from search_spaces.parsing import Parameter, Value
from search_spaces.schema import KIND, leaves
from search_spaces.wording import value_in_words

Parameters = Sequence[Parameter]
Complaint = tuple[str, str]
"""A parameter's path, and what is wrong with it."""


def check_parameters(parameters: Parameters, *, around_defaults: bool = True) -> list[Complaint]:
    """What is wrong with parameters that are each well formed; nothing for a valid space.

    Args:
        parameters: of a space.
        around_defaults: whether its corners must suit the default configuration.
    """
    complaints = [*_check_conditions(parameters)]
    if complaints:
        return complaints
    try:
        ordered = in_order_of_conditions(parameters)
    except ConfigError as error:
        return [("", str(error))]
    complaints = [*_check_kinds(parameters)]
    if not complaints and around_defaults:
        complaints = [*check_base(ordered, _base(ordered))]
    return complaints or [*_check_reach(ordered)]


# --- conditions -------------------------------------------------------------------------------------------------------


def _check_conditions(parameters: Parameters) -> Iterator[Complaint]:
    """Every `when` must name choices of parameters that this space searches."""
    searched = {parameter.path: parameter for parameter in parameters}
    for parameter in parameters:
        for path, values in parameter.when.items():
            if path not in searched:
                yield (
                    parameter.path,
                    f'has a when on "{path}", which this space does not search; it searches {", ".join(searched)}.',
                )
            elif searched[path].kind != "choices":
                yield (
                    parameter.path,
                    f'has a when on "{path}", which is a range; only parameters with choices can be a condition.',
                )
            else:
                yield from _check_values(parameter, path, values, searched[path].choices)


def _check_values(
    parameter: Parameter, path: str, values: tuple[Value, ...], choices: tuple[Value, ...]
) -> Iterator[Complaint]:
    unknown = [value for value in values if value not in choices]
    if unknown:
        allowed = ", ".join(map(repr, choices))
        yield parameter.path, f'has a when on "{path}" = {unknown[0]!r}, which is not among its choices: {allowed}.'


def _check_kinds(parameters: Parameters) -> Iterator[Complaint]:
    """A field that only some kinds of a section have may be searched under those alone."""
    for parameter in parameters:
        for kind_path, having in leaves()[parameter.path].kinds.items():
            without = [kind for kind in _possible(parameters, parameter, kind_path) if kind not in having]
            if without:
                condition = ", ".join(f'"{kind}"' for kind in having)
                under = ", ".join(map(str, without))
                advice = f'write when = {{ "{kind_path}" = [{condition}] }}'
                yield parameter.path, f"does not exist under {kind_path} = {under}: {advice}."


def _possible(parameters: Parameters, parameter: Parameter, path: str) -> list[Value]:
    """The values of a searched parameter under which another one can exist; nothing where it is not searched."""
    searched = {parameter.path: parameter for parameter in parameters}
    if path not in searched:
        return []
    possible = [value for value in searched[path].choices if value in parameter.when.get(path, searched[path].choices)]
    for other in parameter.when:
        if other != path:
            beyond = _possible(parameters, searched[other], path)
            possible = [value for value in possible if value in beyond]
    return possible


# --- corners ----------------------------------------------------------------------------------------------------------


def _check_reach(ordered: Parameters) -> Iterator[Complaint]:
    reached = {path for path, _ in corners(ordered)}
    for parameter in ordered:
        if parameter.path not in reached:
            yield parameter.path, "can never exist: its conditions exclude each other."


def check_base(ordered: Parameters, base: Mapping[str, Any]) -> Iterator[Complaint]:
    """What is wrong with the corners of a space around a base configuration, each thing once.

    Every extreme must validate with all others low, with all others high, and with each extreme of another parameter.
    The full product would grow exponentially, and what disagrees is mostly two.
    """
    said: set[str] = set()
    unread_at: list[tuple[dict[str, Value], dict[str, str]]] = []
    for path, params in corners(ordered) if ordered else [("", {})]:
        try:
            unread_at.append((params, unread(validated(overlay(base, params)))))
        except ConfigError as error:
            # A corner has a value of every parameter: the one to blame is the one that the complaint names.
            blamed = next((each for each in params if f"{each} " in f"{error} ".replace(":", " ")), path)
            if str(error) not in said:
                said.add(str(error))
                yield blamed, _refusal(blamed, params, error) if params else str(error)
    yield from _searched_in_vain(unread_at)


def _refusal(blamed: str, params: Mapping[str, Value], error: ConfigError) -> str:
    said = f"cannot be {value_in_words(params[blamed])} in this space: {error}"
    others = [path for path in params if path != blamed and path in str(error)]
    return f"{said} Or search one of {blamed} and {others[0]} under a when on the other." if others else said


def set_in_vain(ordered: Parameters, base: Mapping[str, Any]) -> Iterator[Complaint]:
    """What a base configuration sets, the space leaves as it is, and no corner reads; all of which have to be sound."""
    places = [params for _, params in corners(ordered)] or [{}]
    yield from _set_in_vain(base, [(params, unread(validated(overlay(base, params)))) for params in places])


Unread = Sequence[tuple[Mapping[str, Value], Mapping[str, str]]]
"""Of corners: the values of parameters, and what nothing reads under them, with the reason."""


def _searched_in_vain(unread_at: Unread) -> Iterator[Complaint]:
    """A parameter that exists where nothing reads it would be compared, and reported, as if it did something."""
    found = {
        path: why
        for params, unread_here in unread_at
        for unread_path, why in unread_here.items()
        for path in params
        if _is_in(path, unread_path)
    }
    for path, why in found.items():
        yield path, f"changes nothing where {why}: give it a when, or leave it out."


def _set_in_vain(base: Mapping[str, Any], unread_at: Unread) -> Iterator[Complaint]:
    """What the base sets, and no corner reads."""
    searched = {path for params, _ in unread_at for path in params}
    first = unread_at[0][1] if unread_at else {}
    for unread_path, why in first.items():
        is_set = _at(base, unread_path) != _at(default_config(), unread_path)
        is_searched = any(_is_in(path, unread_path) for path in searched)
        if is_set and not is_searched and all(unread_path in unread_here for _, unread_here in unread_at):
            yield unread_path, f"is set, but nothing reads it: {why}; leave it out."


def _is_in(path: str, section: str) -> bool:
    return f"{path}.".startswith(f"{section}.")


def _at(config: Mapping[str, Any], path: str) -> Any:
    found: Any = config
    for part in path.split("."):
        found = found[part]
    return found


def corners(ordered: Parameters) -> Iterator[tuple[str, dict[str, Value]]]:
    """Parameter's path -> a complete set of values with one of its choices or ends; then with those of another too."""
    fixed = [(parameter, value) for parameter in ordered for value in parameter.extremes]
    for parameter, value in fixed:
        for end in (0, -1):
            corner = _complete(ordered, {parameter.path: value}, end)
            if corner is not None:
                yield parameter.path, corner
    for (one, value), (other, other_value) in combinations(fixed, 2):
        if one is not other:
            corner = _complete(ordered, {one.path: value, other.path: other_value}, 0)
            if corner is not None:
                yield one.path, corner


def _complete(ordered: Parameters, fixed: Mapping[str, Value], end: int) -> dict[str, Value] | None:
    """All parameters, some fixed, the others at their first or last extreme; None where those exclude each other."""
    wanted: dict[str, Value] = dict(fixed)
    for parameter in reversed(ordered):  # what a condition names comes before what it conditions
        if parameter.path in wanted:
            for path, values in parameter.when.items():
                if wanted.setdefault(path, values[end]) not in values:
                    return None
    chosen: dict[str, Value] = {}
    for parameter in ordered:
        if is_active(parameter, chosen):
            chosen[parameter.path] = wanted.get(parameter.path, parameter.extremes[end])
    return chosen if fixed.keys() <= chosen.keys() else None


def _base(ordered: Parameters) -> dict[str, Any]:
    """The default configuration, with kinds that the space does not search but its parameters need."""
    kinds: dict[str, Value] = {}
    searched = {parameter.path for parameter in ordered}
    for parameter in ordered:
        for path, having in leaves()[parameter.path].kinds.items():
            if path not in searched and _default_kind(path) not in having:
                kinds.setdefault(path, having[0])
    return overlay(default_config(), kinds)


def _default_kind(path: str) -> object:
    section: Any = default_config()
    for part in path.removesuffix(f".{KIND}").split("."):
        section = section.get(part) or {}
    return section.get(KIND)
