"""Regular fractions of two-level designs: every main effect from all trainings at once.

A fraction of 2^(k-p) trainings sets p of the k factors by products of the others, and pays with aliases: an effect and
the interactions that share its column cannot be told apart. Its resolution is the length of the shortest product of
factors that is constant over the design: at III main effects are aliased with interactions of two factors, at IV with
those of three. The generators are the usual ones (Box, Hunter & Hunter, Statistics for Experimenters, 2005, table
6.22), with signs such that the base, every factor at its base level, is always one of the trainings.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from math import prod
from typing import Final, NamedTuple

from lightning_modules.errors import ConfigError
from search_spaces.designs import Assignment, Factor, base_assignment, check_two_levels

GENERATORS: Final[dict[tuple[int, int], tuple[str, ...]]] = {
    (3, 1): ("AB",),
    (4, 1): ("ABC",),
    (5, 1): ("ABCD",),
    (5, 2): ("AB", "AC"),
    (6, 1): ("ABCDE",),
    (6, 2): ("ABC", "BCD"),
    (6, 3): ("AB", "AC", "BC"),
    (7, 1): ("ABCDEF",),
    (7, 2): ("ABCD", "ABDE"),
    (7, 3): ("ABC", "BCD", "ACD"),
    (7, 4): ("AB", "AC", "BC", "ABC"),
    (8, 1): ("ABCDEFG",),
    (8, 2): ("ABCD", "ABEF"),
    (8, 3): ("ABC", "ABD", "BCDE"),
    (8, 4): ("BCD", "ACD", "ABC", "ABD"),
}
"""(factors k, halvings p) -> for each of the last p factors, which of the others (A is the first) are multiplied."""


class Alias(NamedTuple):
    """An interaction of two factors that shares a main effect's column.

    Attributes:
        factors: the two.
        sign: 1 where the estimated main effect is the true one plus the interaction, -1 where it is less by it.
    """

    factors: tuple[str, str]
    sign: int

    def in_words(self, name: Callable[[str], str] = str) -> str:
        """`A × B`, or `minus A × B`: what is added to the main effect."""
        product_of = " \N{MULTIPLICATION SIGN} ".join(map(name, self.factors))
        return product_of if self.sign > 0 else f"minus {product_of}"


@dataclass(frozen=True)
class TwoLevelDesign:
    """Trainings of a two-level design.

    Attributes:
        factors: k of them, each with one other level.
        generators: for each of the last p factors, the places of the factors whose product sets it.
    """

    factors: tuple[Factor, ...]
    generators: tuple[tuple[int, ...], ...]

    @property
    def signs(self) -> tuple[tuple[int, ...], ...]:
        """(R, k): -1 for a factor's base level, 1 for its other one; R = 2^(k-p) trainings, the base first."""
        num_free = len(self.factors) - len(self.generators)
        return tuple(
            (
                *free,
                *(_base_sign(generator) * prod(free[place] for place in generator) for generator in self.generators),
            )
            for free in product((-1, 1), repeat=num_free)
        )

    @property
    def assignments(self) -> tuple[Assignment, ...]:
        """The trainings (R,), the base first."""
        return tuple(
            {
                factor.name: factor.base if sign < 0 else factor.others[0]
                for factor, sign in zip(self.factors, signs, strict=True)
            }
            for signs in self.signs
        )

    def aliases(self) -> dict[str, tuple[Alias, ...]]:
        """Factor -> the interactions of two factors that its main effect cannot be told from."""
        columns = list(zip(*self.signs, strict=True))
        found: dict[str, list[Alias]] = {factor.name: [] for factor in self.factors}
        for first, second in combinations(range(len(columns)), 2):
            interaction = tuple(one * other for one, other in zip(columns[first], columns[second], strict=True))
            names = (self.factors[first].name, self.factors[second].name)
            for factor, column in zip(self.factors, columns, strict=True):
                if interaction in (column, tuple(-sign for sign in column)):
                    found[factor.name].append(Alias(names, interaction[0] * column[0]))
        return {name: tuple(aliases) for name, aliases in found.items()}


def two_level_design(factors: Sequence[Factor], *, num_halvings: int) -> TwoLevelDesign:
    """The usual fraction 1 / 2^p of the full factorial of two-level factors.

    Args:
        factors: k of them, each with one other level.
        num_halvings: p.

    Raises:
        ConfigError: for a factor with more levels, or a fraction that is not tabulated.
    """
    base_assignment(factors)
    check_two_levels(factors, design="has two levels")
    words = GENERATORS.get((len(factors), num_halvings))
    if words is None:
        raise ConfigError(
            f"no fraction of {len(factors)} factors halved {num_halvings} times; {_fractions(len(factors))}."
        )
    return TwoLevelDesign(tuple(factors), tuple(tuple(ord(letter) - ord("A") for letter in word) for word in words))


def _fractions(num_factors: int) -> str:
    """What there is instead."""
    trainings = [str(2 ** (k - p)) for k, p in GENERATORS if k == num_factors]
    if not trainings:
        return f"fractions are of {min(GENERATORS)[0]} to {max(GENERATORS)[0]} factors"
    return f"fractions of {num_factors} have {' or '.join(trainings)} trainings"


def _base_sign(generator: Sequence[int]) -> int:
    """The sign that leaves a product of base levels, each -1, at the base level."""
    return 1 if len(generator) % 2 else -1
