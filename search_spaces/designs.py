"""Designs of ablations: which combinations of factors' levels are tried, so that an effect can be told from another.

A design is a tuple of assignments, factor -> level. The first one is the base: every factor at its base level.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from lightning_modules.errors import ConfigError
from search_spaces.parsing import Value

Assignment = dict[str, Value]


@dataclass(frozen=True)
class Factor:
    """Something that is varied.

    Attributes:
        name: unique in a design.
        base: its level in the base.
        others: the levels that are compared with it, at least one.

    Raises:
        ConfigError: for no other level, or one that is there twice.
    """

    name: str
    base: Value
    others: tuple[Value, ...]

    def __post_init__(self) -> None:
        if not self.others:
            raise ConfigError(f"factor {self.name} has no level besides {self.base!r}; name one to compare it with.")
        named = {(type(level), level) for level in self.levels}  # True is no 1
        if len(named) < len(self.levels):
            raise ConfigError(f"factor {self.name} has a level twice: {', '.join(map(repr, self.levels))}.")

    @property
    def levels(self) -> tuple[Value, ...]:
        """All levels, the base first."""
        return (self.base, *self.others)


def one_at_a_time(factors: Sequence[Factor]) -> tuple[Assignment, ...]:
    """The base, then every other level of each factor with all else at the base.

    What factors do together is not seen.

    Raises:
        ConfigError: for no factors, or two of one name.
    """
    base = base_assignment(factors)
    return (base, *(base | {factor.name: level} for factor in factors for level in factor.others))


def leave_one_out(components: Sequence[Factor]) -> tuple[Assignment, ...]:
    """The base, which has all components, then the base without each of them.

    Args:
        components: factors of two levels: with the component, which is the base, and without it.

    Raises:
        ConfigError: for no components, two of one name, or one with several levels that it could be replaced by.
    """
    check_two_levels(components, design="leaves a component out")
    return one_at_a_time(components)


def full_factorial(factors: Sequence[Factor]) -> tuple[Assignment, ...]:
    """Every combination of all levels of all factors, the base first.

    Raises:
        ConfigError: for no factors, or two of one name.
    """
    names = list(base_assignment(factors))
    return tuple(dict(zip(names, levels, strict=True)) for levels in product(*(factor.levels for factor in factors)))


def base_assignment(factors: Sequence[Factor]) -> Assignment:
    """Every factor at its base level.

    Raises:
        ConfigError: for no factors, or two of one name.
    """
    if not factors:
        raise ConfigError("a design needs at least one factor but got none.")
    names = [factor.name for factor in factors]
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise ConfigError(f"factor {repeated} is there twice; give it all its levels at once.")
    return {factor.name: factor.base for factor in factors}


def check_two_levels(factors: Sequence[Factor], *, design: str) -> None:
    """Refuses factors with more than two levels.

    Raises:
        ConfigError: naming the factor.
    """
    for factor in factors:
        if len(factor.others) > 1:
            shown = ", ".join(map(repr, factor.others))
            raise ConfigError(f"a design that {design} needs one other level a factor but {factor.name} has {shown}.")
