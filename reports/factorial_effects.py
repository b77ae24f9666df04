"""Main effects of a two-level design that is replicated over seeds."""

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

from reports.ablation_statistics import PairedEffect, Replicates, divergence, paired_effect
from search_spaces.two_level_designs import TwoLevelDesign


def main_effects(design: TwoLevelDesign, objectives: Sequence[Replicates]) -> dict[str, PairedEffect]:
    """Factor -> its main effect: within each seed, the mean at its other level minus the mean at its base level.

    Half of a seed's trainings stand on either side of each factor, whose other settings are balanced over both. That
    balance needs all of them: a seed under which one diverged or is missing is left out of every effect. In a fraction
    a main effect includes its aliases (`TwoLevelDesign.aliases`).

    Args:
        design: R trainings.
        objectives: of each of them (R,), in the design's order.

    Returns:
        Effects over seeds; their divergence rates count trainings.

    Raises:
        ValueError: for another number of trainings than the design has.
    """
    signs = design.signs
    if len(objectives) != len(signs):
        raise ValueError(f"objectives of {len(signs)} trainings are needed but got {len(objectives)}.")
    effects = {}
    for place, factor in enumerate(design.factors):
        base = [each for each, row in zip(objectives, signs, strict=True) if row[place] < 0]
        other = [each for each, row in zip(objectives, signs, strict=True) if row[place] > 0]
        effects[factor.name] = replace(
            paired_effect(_seed_means(base), _seed_means(other)),
            base_divergence=divergence(*base),
            arm_divergence=divergence(*other),
        )
    return effects


def _seed_means(trainings: Sequence[Replicates]) -> Replicates:
    """Seed -> mean over trainings; None where one diverged; without the seeds that one lacks."""
    means: dict[int, float | None] = {}
    for seed in set.intersection(*(set(each) for each in trainings)):
        values = [each[seed] for each in trainings]
        reached = [value for value in values if value is not None]
        means[seed] = fmean(reached) if len(reached) == len(values) else None
    return means
