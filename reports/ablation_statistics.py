"""What changing one thing did: effects paired over the seeds that two arms of an ablation share.

An arm and its base train under the same seeds, so that what a seed does to both cancels in the difference. Objectives
are better when smaller: a negative effect is an improvement. All of it is conditional on the data that were scored:
seeds say nothing about speakers at large (see source_bootstrap.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import isfinite
from typing import Final, Literal, NamedTuple

import numpy as np

from reports.statistics import MONTE_CARLO, Floats, Interval, mean_sd, t_interval

MAX_EXACT_PAIRS: Final = 16
"""Up to this many pairs, all 2^n flips of signs are enumerated."""

_LEAST_FOR_CORRELATION: Final = 3
_TIE: Final = 1e-9  # sums that differ by rounding alone are equal

Replicates = Mapping[int, float | None]
"""Seed -> objective of one arm; None where training diverged. A seed that is not there was not trained, or failed."""

Ending = Literal["value", "diverged", "missing"]


class LeftOut(NamedTuple):
    """A seed that makes no pair, and what became of it on either side."""

    seed: int
    base: Ending
    arm: Ending


class Divergence(NamedTuple):
    """How many trainings diverged, of those that ended with a value or by diverging."""

    diverged: int
    trained: int


@dataclass(frozen=True, kw_only=True)
class PairedEffect:
    """How an arm's objective differs from its base's, over the seeds for which both have a value.

    A seed under which either side diverged is no part of the effect, which is that of an arm *that trains*; the
    divergence rates stand beside it and have to be read with it.

    Attributes:
        seeds: of the pairs, ascending.
        differences: arm minus base, one a seed.
        mean: of the differences, in the objective's unit; None without a pair.
        sd: standard deviation of the differences; None for fewer than two.
        interval: 95 % t-interval of the mean; None for fewer than two.
        correlation: of arm and base over seeds (Pearson): what pairing gains, as the variance of a difference falls
            with it; None for fewer than three pairs, or where one side is constant.
        p_value: of the sign-flip test, before any correction; None without a pair.
        left_out: seeds that make no pair, ascending.
        base_divergence: over all trainings of the base; `arm_divergence` over those of the arm.
    """

    seeds: tuple[int, ...]
    differences: tuple[float, ...]
    mean: float | None
    sd: float | None
    interval: Interval | None
    correlation: float | None
    p_value: float | None
    left_out: tuple[LeftOut, ...]
    base_divergence: Divergence
    arm_divergence: Divergence

    @property
    def n(self) -> int:
        """Number of pairs."""
        return len(self.differences)

    @property
    def is_tied(self) -> bool:
        """Whether both sides have the same objective under each seed that both have one for, to the last bit."""
        return bool(self.differences) and not any(self.differences)


def paired_effect(base: Replicates, arm: Replicates) -> PairedEffect:
    """Compares an arm with its base over shared seeds.

    Raises:
        ValueError: for an objective that is not finite; a training that diverged is None.
    """
    _check_finite(base)
    _check_finite(arm)
    endings = {seed: (_ending(base, seed), _ending(arm, seed)) for seed in sorted({*base, *arm})}
    seeds = tuple(seed for seed, sides in endings.items() if sides == ("value", "value"))
    ours, theirs = (np.array([each[seed] for seed in seeds], dtype=np.float64) for each in (base, arm))
    differences = tuple((theirs - ours).tolist())
    mean, sd = mean_sd(differences) if seeds else (None, None)
    return PairedEffect(
        seeds=seeds,
        differences=differences,
        mean=mean,
        sd=sd,
        interval=t_interval(differences) if seeds else None,
        correlation=_correlation(ours, theirs),
        p_value=sign_flip_p_value(differences) if seeds else None,
        left_out=tuple(LeftOut(seed, *sides) for seed, sides in endings.items() if seed not in seeds),
        base_divergence=divergence(base),
        arm_divergence=divergence(arm),
    )


def divergence(*replicates: Replicates) -> Divergence:
    """How many trainings of some arms diverged."""
    objectives = [objective for each in replicates for objective in each.values()]
    return Divergence(objectives.count(None), len(objectives))


# --- sign flips -------------------------------------------------------------------------------------------------------


def sign_flip_p_value(differences: Sequence[float], *, seed: int = 0) -> float:
    """Is the mean difference other than zero? A permutation test of pairs (Fisher, 1935), two-sided.

    Where the arm makes no difference, each pair could as well have come out the other way round: its difference may
    change its sign. Up to MAX_EXACT_PAIRS pairs, p is the share of all 2^n flips whose mean is at least as far from
    zero as the observed one; beyond, MONTE_CARLO flips are drawn, and p = (1 + hits) / (1 + drawn) (Phipson & Smyth,
    2010).

    Args:
        differences: arm minus base, one a seed.
        seed: of the random flips.

    Raises:
        ValueError: for no differences.
    """
    if not differences:
        raise ValueError("at least one difference is needed but got none.")
    given = np.asarray(differences, dtype=np.float64)
    if len(given) <= MAX_EXACT_PAIRS:
        sums = _all_flips(given)
        return float((np.abs(sums) >= _at_least(sums[0], given)).mean())
    signs = np.random.default_rng(seed).choice((-1.0, 1.0), size=(MONTE_CARLO, len(given)))
    hits = int((np.abs(signs @ given) >= _at_least(given.sum(), given)).sum())
    return (1 + hits) / (1 + MONTE_CARLO)


def smallest_sign_flip_p(num_pairs: int) -> float:
    """The least p-value of the sign-flip test: 2 / 2^n where flips are enumerated (0.0625 for five pairs)."""
    if num_pairs > MAX_EXACT_PAIRS:
        return 1 / (1 + MONTE_CARLO)
    return min(1.0, 2.0 ** (1 - num_pairs))


def _all_flips(differences: Floats) -> Floats:
    """Sums (2^(n-1),) under every flip that keeps the first sign, the observed one first.

    The other half are the same sums with the other sign, which a two-sided test does not tell apart.
    """
    sums = differences[:1]
    for difference in differences[1:]:
        sums = np.concatenate((sums + difference, sums - difference))
    return sums


def _at_least(observed: float, differences: Floats) -> float:
    return abs(observed) - _TIE * float(np.abs(differences).sum())


# --- what to conclude -------------------------------------------------------------------------------------------------


class Verdict(StrEnum):
    """What a comparison says about an arm."""

    BETTER = "better"
    WORSE = "worse"
    EQUIVALENT = "equivalent"
    UNDECIDED = "undecided"


def verdict(
    effect: PairedEffect,
    *,
    adjusted_p: float | None,
    margin: float | None = None,
    num_looks: int = 1,
    alpha: float = 0.05,
) -> Verdict:
    """What a comparison says; undecided where it does not say anything else.

    Equivalent: the 95 % interval lies inside ±margin (`is_equivalent`), whether or not it also excludes zero: the
    margin states which differences do not matter. After k looks it is the wider interval of 1 - alpha / k. Better or
    worse: the interval excludes zero *and* the corrected p-value is at most alpha. A large p-value is no sign of
    equivalence, nor is an interval that includes zero.

    Args:
        effect: the comparison.
        adjusted_p: its p-value, corrected for all comparisons of the table (`holm`).
        margin: the largest difference that does not matter, in the objective's unit; None where nobody has said.
        num_looks: how often all results could be seen, this time included.
        alpha: the error rate of the whole table.
    """
    if effect.interval is None:
        return Verdict.UNDECIDED
    if margin is not None:
        widened = t_interval(effect.differences, confidence=1.0 - alpha / num_looks)
        if widened is not None and is_equivalent(widened, margin=margin):
            return Verdict.EQUIVALENT
    if adjusted_p is not None and adjusted_p <= alpha:
        if effect.interval.high < 0:
            return Verdict.BETTER
        if effect.interval.low > 0:
            return Verdict.WORSE
    return Verdict.UNDECIDED


def is_equivalent(interval: Interval, *, margin: float) -> bool:
    """Whether an interval lies inside (-margin, margin).

    For a 95 % interval this is two one-sided tests (TOST; Schuirmann, 1987) at 0.025 each; the usual 0.05 would take
    a 90 % interval. The wider one is used because it is the one that tables show, so that a reader can see the
    statement hold, and because several arms are looked at without a correction of this test.

    Raises:
        ValueError: for a margin that is not above zero.
    """
    if not margin > 0:
        raise ValueError(f"margin must be above zero but got {margin}.")
    return -margin < interval.low and interval.high < margin


def _check_finite(replicates: Replicates) -> None:
    for seed, objective in replicates.items():
        if objective is not None and not isfinite(objective):
            raise ValueError(f"seed {seed}: objectives must be finite but got {objective}; None says diverged.")


def _ending(replicates: Replicates, seed: int) -> Ending:
    if seed not in replicates:
        return "missing"
    return "diverged" if replicates[seed] is None else "value"


def _correlation(base: Floats, arm: Floats) -> float | None:
    if len(base) < _LEAST_FOR_CORRELATION or not np.ptp(base) or not np.ptp(arm):
        return None
    return float(np.corrcoef(base, arm)[0, 1])
