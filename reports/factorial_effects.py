"""Main effects and interactions of designs in which factors vary together, replicated over seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from statistics import fmean
from typing import NamedTuple

from reports.ablation_statistics import PairedEffect, Replicates, divergence, paired_effect
from search_spaces.designs import Factor
from search_spaces.parsing import Value


class Training(NamedTuple):
    """One combination of levels: factor -> level, and what it reached under each seed."""

    levels: Mapping[str, Value]
    replicates: Replicates


class Change(NamedTuple):
    """A factor's other level, beside its base level."""

    factor: str
    level: Value
    base: Value


def changes(factors: Sequence[Factor]) -> tuple[Change, ...]:
    """Every other level of every factor."""
    return tuple(Change(factor.name, level, factor.base) for factor in factors for level in factor.others)


def main_effect(change: Change, trainings: Sequence[Training]) -> PairedEffect:
    """Within each seed, the mean over trainings with the other level minus the mean over those with the base level.

    The other factors' settings are balanced over both sides. That balance needs all of these trainings: a seed under
    which one diverged or is missing is left out. In a fraction a main effect includes its aliases
    (`TwoLevelDesign.aliases`).

    Args:
        change: whose effect.
        trainings: of the whole design.

    Returns:
        The effect over seeds; its divergence rates count trainings.
    """
    base, other = (_at(trainings, {change.factor: level}) for level in (change.base, change.level))
    return replace(
        paired_effect(_seed_means(base), _seed_means(other)),
        base_divergence=divergence(*base),
        arm_divergence=divergence(*other),
    )


def interactions(factors: Sequence[Factor]) -> tuple[tuple[Change, Change], ...]:
    """Every two changes of different factors."""
    return tuple((one, other) for one, other in combinations(changes(factors), 2) if one.factor != other.factor)


def interaction(pair: tuple[Change, Change], trainings: Sequence[Training]) -> PairedEffect:
    """What two changes do together beyond what each does at the other's base level.

    Within each seed, what the second change does where the first has been made, minus what it does where the first has
    not: a difference of differences, averaged over the settings of all further factors. Zero where effects add up.

    Args:
        pair: the two changes.
        trainings: of a full factorial design.

    Returns:
        The effect over seeds; its divergence rates count trainings without and with the first change.
    """
    first, second = pair
    sides = []
    for level in (first.base, first.level):
        before, after = (
            _at(trainings, {first.factor: level, second.factor: other}) for other in (second.base, second.level)
        )
        sides.append((_difference(_seed_means(before), _seed_means(after)), divergence(*before, *after)))
    (without, num_without), (given, num_with) = sides
    return replace(paired_effect(without, given), base_divergence=num_without, arm_divergence=num_with)


def _at(trainings: Sequence[Training], levels: Mapping[str, Value]) -> list[Replicates]:
    return [each.replicates for each in trainings if all(each.levels[name] == at for name, at in levels.items())]


def _difference(before: Replicates, after: Replicates) -> Replicates:
    """Seed -> after minus before; None where either diverged; without the seeds that either lacks."""
    found: dict[int, float | None] = {}
    for seed in before.keys() & after.keys():
        one, other = before[seed], after[seed]
        found[seed] = None if one is None or other is None else other - one
    return found


def _seed_means(trainings: Sequence[Replicates]) -> Replicates:
    """Seed -> mean over trainings; None where one diverged; without the seeds that one lacks."""
    means: dict[int, float | None] = {}
    for seed in set.intersection(*(set(each) for each in trainings)):
        values = [each[seed] for each in trainings]
        reached = [value for value in values if value is not None]
        means[seed] = fmean(reached) if len(reached) == len(values) else None
    return means
