"""Fractions of two-level designs: balanced, orthogonal, with the base, and aliased as they say."""

from itertools import combinations

import numpy as np
import pytest

from lightning_modules.errors import ConfigError
from search_spaces.designs import Factor
from search_spaces.two_level_designs import GENERATORS, Alias, TwoLevelDesign, two_level_design

RESOLUTIONS = {  # Box, Hunter & Hunter (2005), table 6.22
    (3, 1): 3,
    (4, 1): 4,
    (5, 1): 5,
    (5, 2): 3,
    (6, 1): 6,
    (6, 2): 4,
    (6, 3): 3,
    (7, 1): 7,
    (7, 2): 4,
    (7, 3): 4,
    (7, 4): 3,
    (8, 1): 8,
    (8, 2): 5,
    (8, 3): 4,
    (8, 4): 4,
}


def factors(num: int) -> list[Factor]:
    return [Factor(letter, base=False, others=(True,)) for letter in "ABCDEFGH"[:num]]


def signs_of(design: TwoLevelDesign) -> np.ndarray:
    return np.array(design.signs)


@pytest.mark.parametrize(("num_factors", "num_halvings"), GENERATORS)
def test_main_effects_are_balanced_and_told_apart(num_factors: int, num_halvings: int) -> None:
    signs = signs_of(two_level_design(factors(num_factors), num_halvings=num_halvings))
    num_trainings = 2 ** (num_factors - num_halvings)
    assert signs.shape == (num_trainings, num_factors)
    assert len(np.unique(signs, axis=0)) == num_trainings
    assert (signs.sum(axis=0) == 0).all()
    assert (signs.T @ signs == num_trainings * np.eye(num_factors)).all()


@pytest.mark.parametrize(("num_factors", "num_halvings"), GENERATORS)
def test_the_base_is_the_first_training(num_factors: int, num_halvings: int) -> None:
    design = two_level_design(factors(num_factors), num_halvings=num_halvings)
    assert design.assignments[0] == dict.fromkeys("ABCDEFGH"[:num_factors], False)


@pytest.mark.parametrize(("num_factors", "num_halvings"), GENERATORS)
def test_resolution_is_the_published_one(num_factors: int, num_halvings: int) -> None:
    """The length of the shortest product of factors that is constant over the design."""
    signs = signs_of(two_level_design(factors(num_factors), num_halvings=num_halvings))
    constant = [
        size
        for size in range(1, num_factors + 1)
        for chosen in combinations(range(num_factors), size)
        if abs(signs[:, chosen].prod(axis=1).sum()) == len(signs)
    ]
    assert min(constant) == RESOLUTIONS[num_factors, num_halvings]


@pytest.mark.parametrize(("num_factors", "num_halvings"), GENERATORS)
def test_an_interaction_biases_the_main_effects_that_name_it_and_no_others(num_factors: int, num_halvings: int) -> None:
    design = two_level_design(factors(num_factors), num_halvings=num_halvings)
    signs, aliases = signs_of(design), design.aliases()
    for first, second in combinations(range(num_factors), 2):
        bias = (signs[:, first] * signs[:, second]) @ signs / len(signs)
        pair = ("ABCDEFGH"[first], "ABCDEFGH"[second])
        told = [
            sum(alias.sign for alias in aliases[name] if alias.factors == pair) for name in "ABCDEFGH"[:num_factors]
        ]
        assert bias.tolist() == told


def test_aliases_of_the_half_of_three_factors() -> None:
    """C = -AB, so that the base is one of the four."""
    design = two_level_design(factors(3), num_halvings=1)
    assert design.signs == ((-1, -1, -1), (-1, 1, 1), (1, -1, 1), (1, 1, -1))
    assert design.aliases() == {
        "A": (Alias(("B", "C"), -1),),
        "B": (Alias(("A", "C"), -1),),
        "C": (Alias(("A", "B"), -1),),
    }


def test_what_is_not_tabulated_is_refused_with_what_there_is() -> None:
    with pytest.raises(ConfigError, match="5 factors halved 3 times; fractions of 5 have 16 or 8 trainings"):
        two_level_design(factors(5), num_halvings=3)
    with pytest.raises(ConfigError, match="fractions are of 3 to 8 factors"):
        two_level_design(factors(2), num_halvings=1)


def test_a_third_level_is_refused() -> None:
    with pytest.raises(ConfigError, match="has two levels needs one other level a factor but cell"):
        two_level_design([Factor("cell", "gru", ("lstm", "rnn_tanh")), *factors(2)], num_halvings=1)
