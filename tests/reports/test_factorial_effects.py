"""Main effects of designs whose truth is known."""

from collections.abc import Sequence

import numpy as np
import pytest

from reports.ablation_statistics import Divergence, PairedEffect, Replicates, paired_effect
from reports.factorial_effects import Training, changes, interaction, interactions, main_effect
from search_spaces.designs import Factor
from search_spaces.two_level_designs import TwoLevelDesign, two_level_design

SEEDS = (11, 12, 13, 14)


def design_of(num_factors: int, num_halvings: int = 0) -> TwoLevelDesign:
    factors = [Factor(letter, base="off", others=("on",)) for letter in "ABCDEFGH"[:num_factors]]
    return two_level_design(factors, num_halvings=num_halvings) if num_halvings else TwoLevelDesign(tuple(factors), ())


def main_effects(design: TwoLevelDesign, objectives: Sequence[Replicates]) -> dict[str, PairedEffect]:
    """Factor -> its effect."""
    trainings = list(map(Training, design.assignments, objectives))
    return {change.factor: main_effect(change, trainings) for change in changes(design.factors)}


def noiseless(design: TwoLevelDesign, effects: list[float], interaction: float = 0.0) -> list[dict[int, float | None]]:
    """Objectives under an effect a factor, an interaction of the first two, and a shift a seed."""
    signs = np.array(design.signs)
    values = signs @ np.array(effects) / 2 + interaction / 2 * signs[:, 0] * signs[:, 1]
    return [{seed: float(value) + seed / 10 for seed in SEEDS} for value in values]


@pytest.mark.parametrize(("num_factors", "num_halvings"), [(2, 0), (3, 0), (4, 1), (6, 2), (8, 4)])
def test_effects_are_found_whatever_seeds_do(num_factors: int, num_halvings: int) -> None:
    design = design_of(num_factors, num_halvings)
    truth = [0.3, -0.2, 0.0, 0.5, 0.1, -0.4, 0.7, 0.05][:num_factors]
    found = main_effects(design, noiseless(design, truth))
    assert [effect.mean for effect in found.values()] == pytest.approx(truth)
    assert all(effect.seeds == SEEDS and effect.sd == pytest.approx(0.0, abs=1e-12) for effect in found.values())


def test_an_aliased_interaction_is_added_as_the_design_says() -> None:
    design = design_of(3, 1)
    found = main_effects(design, noiseless(design, [0.3, -0.2, 0.1], interaction=0.04))
    (alias,) = design.aliases()["C"]
    assert found["C"].mean == pytest.approx(0.1 + alias.sign * 0.04)
    assert found["A"].mean == pytest.approx(0.3)


def test_an_interaction_of_the_full_factorial_is_in_no_main_effect() -> None:
    design = design_of(3)
    found = main_effects(design, noiseless(design, [0.3, -0.2, 0.1], interaction=0.4))
    assert [effect.mean for effect in found.values()] == pytest.approx([0.3, -0.2, 0.1])


def test_one_factor_is_a_paired_comparison() -> None:
    base: Replicates = {1: 0.5, 2: 0.7, 3: 0.4}
    arm: Replicates = {1: 0.4, 2: 0.75, 3: 0.1}
    assert main_effects(design_of(1), [base, arm]) == {"A": paired_effect(base, arm)}


def test_effects_rest_on_seeds_and_not_on_trainings() -> None:
    design = design_of(4)
    objectives = noiseless(design, [0.1] * 4)
    assert main_effects(design, objectives)["A"].n == len(SEEDS)


def test_a_seed_that_diverged_or_is_missing_once_is_left_out_everywhere() -> None:
    design = design_of(2)
    objectives = noiseless(design, [0.3, -0.2])
    objectives[1][12] = None
    del objectives[2][14]
    found = main_effects(design, objectives)
    assert {effect.seeds for effect in found.values()} == {(11, 13)}
    assert [effect.mean for effect in found.values()] == pytest.approx([0.3, -0.2])


def test_divergence_rates_count_trainings() -> None:
    design = design_of(2)  # trainings: base, B, A, AB
    objectives = noiseless(design, [0.3, -0.2])
    objectives[1][12] = objectives[3][12] = objectives[3][13] = None
    found = main_effects(design, objectives)
    assert (found["A"].base_divergence, found["A"].arm_divergence) == (Divergence(1, 8), Divergence(2, 8))
    assert (found["B"].base_divergence, found["B"].arm_divergence) == (Divergence(0, 8), Divergence(3, 8))


def test_what_two_changes_do_together_is_told_from_what_each_does() -> None:
    design = design_of(3)
    trainings = list(map(Training, design.assignments, noiseless(design, [0.3, -0.2, 0.1], interaction=0.4)))
    found = {
        (one.factor, other.factor): interaction((one, other), trainings) for one, other in interactions(design.factors)
    }
    assert {pair: effect.mean for pair, effect in found.items()} == pytest.approx(
        {("A", "B"): 2 * 0.4, ("A", "C"): 0.0, ("B", "C"): 0.0}
    )
    assert all(effect.seeds == SEEDS for effect in found.values())


def test_levels_of_several_factors_are_compared_with_the_base_each() -> None:
    """Against differences of means over the table, written out."""
    cells, rules = ("gru", "lstm", "rnn"), ("none", "norm")
    table = {("gru", "none"): 1.0, ("gru", "norm"): 1.1, ("lstm", "none"): 1.4, ("lstm", "norm"): 1.2}
    table |= {("rnn", "none"): 2.0, ("rnn", "norm"): 1.5}
    trainings = [
        Training({"cell": cell, "rule": rule}, {seed: value + seed for seed in SEEDS})
        for (cell, rule), value in table.items()
    ]
    factors = [Factor("cell", "gru", cells[1:]), Factor("rule", "none", rules[1:])]
    means = [main_effect(change, trainings).mean for change in changes(factors)]
    assert means == pytest.approx([(1.4 + 1.2 - 1.0 - 1.1) / 2, (2.0 + 1.5 - 1.0 - 1.1) / 2, -0.6 / 3])
    together = [interaction(pair, trainings).mean for pair in interactions(factors)]
    assert together == pytest.approx([(1.2 - 1.4) - (1.1 - 1.0), (1.5 - 2.0) - (1.1 - 1.0)])


def test_an_interaction_leaves_out_a_seed_under_which_one_of_its_trainings_diverged() -> None:
    design = design_of(2)
    objectives = noiseless(design, [0.3, -0.2], interaction=0.4)
    objectives[3][12] = None
    (pair,) = interactions(design.factors)
    found = interaction(pair, list(map(Training, design.assignments, objectives)))
    assert found.seeds == (11, 13, 14)
    assert (found.base_divergence, found.arm_divergence) == (Divergence(0, 8), Divergence(1, 8))
