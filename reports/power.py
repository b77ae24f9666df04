"""What a paired design can see: of the t-test of paired differences, and of the whole rule that tables go by.

The interval alone follows from the noncentral t-distribution. The rule that calls an arm better or worse
(`ablation_statistics.verdict`) also asks the sign-flip test and Holm's correction, and is blunter where seeds are few:
at eight seeds and five comparisons it finds in some 63 % of studies what the t-test at Holm's first step finds in 80 %.
"""

import math
from functools import lru_cache
from typing import Final

import numpy as np

from reports.multiple_comparisons import smallest_adjusted_p
from reports.statistics import Floats

MAX_SEEDS: Final = 100
"""More seeds than this are not proposed."""

SIMULATED_PAIRS: Final = 12
"""Up to this many pairs the rule is simulated; beyond, it is taken for the t-test at Holm's first step.

For up to ten comparisons that understates what it takes by 3 % at most.
"""

SIMULATED_STUDIES: Final = 4_000

_LEAST_PAIRS: Final = 2
_BLOCK: Final = 500  # studies at a time: 8 MB each for twelve pairs
_SEED: Final = 0
_ROUNDING: Final = 1e-9
_TAIL: Final = 1e-14  # of the estimated deviation, left out on either side
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(200)


def smallest_detectable_effect(
    sd: float, *, num_pairs: int, num_comparisons: int = 1, alpha: float = 0.05, power: float = 0.8
) -> float | None:
    """The mean difference that the paired t-test finds with the given power at alpha / num_comparisons.

    That level is Holm's first step: what the clearest of the comparisons has to pass. None for one pair. What the
    rule of the tables finds is `smallest_separable_effect`.

    Args:
        sd: standard deviation of the differences.
        num_pairs: seeds that both arms share.
        num_comparisons: in the table.
        alpha: error rate of the whole table.
        power: probability with which the effect is found.

    Raises:
        ValueError: for arguments outside their ranges.
    """
    from scipy.optimize import brentq

    _check(sd=sd, alpha=alpha, power=power, num_comparisons=num_comparisons)
    if num_pairs < _LEAST_PAIRS:
        return None
    degrees, level = num_pairs - 1, alpha / num_comparisons
    upper = 1.0
    while _t_power(upper, degrees, level) < power:
        upper *= 2
    noncentrality = float(brentq(lambda each: _t_power(each, degrees, level) - power, 0.0, upper))
    return noncentrality * sd / math.sqrt(num_pairs)


def smallest_separable_effect(
    sd: float, *, num_pairs: int, num_comparisons: int = 1, alpha: float = 0.05, power: float = 0.8
) -> float | None:
    """The mean difference that is called better or worse with the given power, as the clearest of the comparisons.

    For normal differences. None where none ever is, however large: for one pair, or where not even the smallest
    p-value of so few seeds passes after Holm's correction.

    Args:
        sd: standard deviation of the differences.
        num_pairs: seeds that both arms share.
        num_comparisons: in the table.
        alpha: error rate of the whole table.
        power: probability with which the effect is found.

    Raises:
        ValueError: for arguments outside their ranges.
    """
    _check(sd=sd, alpha=alpha, power=power, num_comparisons=num_comparisons)
    if not _can_separate(num_pairs, num_comparisons, alpha):
        return None
    if num_pairs > SIMULATED_PAIRS:
        return smallest_detectable_effect(
            sd, num_pairs=num_pairs, num_comparisons=num_comparisons, alpha=alpha, power=power
        )
    return sd * float(np.quantile(_separating_effects(num_pairs, num_comparisons, alpha), power))


def seeds_to_decide(
    mean: float,
    sd: float,
    *,
    num_comparisons: int = 1,
    alpha: float = 0.05,
    power: float = 0.8,
    max_seeds: int = MAX_SEEDS,
) -> int | None:
    """How many seeds would decide an open question, if what was observed is true; None for more than max_seeds.

    The fewest with which the effect is called better or worse with the given power. An observed mean is uncertain,
    and that of the most striking arm is likely too large: the number is a guide. Adding seeds until the answer is
    there is no test; a fresh one takes fresh seeds.

    Args:
        mean: of the differences.
        sd: of the differences.
        num_comparisons: in the table.
        alpha: error rate of the whole table.
        power: probability with which the question is decided.
        max_seeds: to look at.

    Raises:
        ValueError: for arguments outside their ranges.
    """
    _check(sd=sd, alpha=alpha, power=power, num_comparisons=num_comparisons)
    if not mean:
        return None
    for num_pairs in range(_LEAST_PAIRS, max_seeds + 1):
        if not _can_separate(num_pairs, num_comparisons, alpha):
            continue
        if not sd or _separation_power(abs(mean) / sd, num_pairs, num_comparisons, alpha) >= power:
            return num_pairs
    return None


def _t_power(noncentrality: float, degrees: int, alpha: float) -> float:
    """P(|t| > quantile) for noncentral t, averaged over s = chi / sqrt(degrees), the estimated by the true sd.

    Integrated here because scipy's nct is NaN at places (1.17: 5 degrees and noncentrality 52; 30 and 5.5 at 0.001).
    The integral is split where the test turns; it is right to 1e-9 from two degrees on, to 1e-4 for one.
    """
    from scipy.special import chdtri, gammaln, ndtr, stdtrit

    quantile = float(stdtrit(degrees, 1 - alpha / 2))
    low, high = np.sqrt(chdtri(degrees, (1 - _TAIL, _TAIL)) / degrees)
    turn = min(max(noncentrality / quantile, low), high)
    scale = degrees / 2 * math.log(degrees / 2) - float(gammaln(degrees / 2)) + math.log(2)
    power = 0.0
    for start, end in ((low, turn), (turn, high)):
        s = start + (_NODES + 1) * (end - start) / 2
        density = np.exp(scale + (degrees - 1) * np.log(s) - degrees * s**2 / 2)
        rejects = ndtr(noncentrality - quantile * s) + ndtr(-noncentrality - quantile * s)
        power += float(_WEIGHTS @ (density * rejects)) * float(end - start) / 2
    return power


def _separation_power(effect_in_sd: float, num_pairs: int, num_comparisons: int, alpha: float) -> float:
    if num_pairs > SIMULATED_PAIRS:
        return _t_power(effect_in_sd * math.sqrt(num_pairs), num_pairs - 1, alpha / num_comparisons)
    return float((_separating_effects(num_pairs, num_comparisons, alpha) <= effect_in_sd).mean())


@lru_cache(maxsize=128)
def _separating_effects(num_pairs: int, num_comparisons: int, alpha: float) -> Floats:
    """For each simulated study (SIMULATED_STUDIES,): the least true effect, in sd, that is called worse there.

    With noise z and effect d, flipping the pairs in S moves the mean towards zero unless the mean of z + d over S, or
    over the rest, is negative: each S asks for a d of its own. All but the k - 1 largest have to be met, where k flips
    are as many as the corrected level allows. The interval asks for a d as well.
    """
    from scipy.special import stdtrit

    allowed = math.floor(
        alpha / num_comparisons * 2 ** (num_pairs - 1) + _ROUNDING
    )  # of those that keep the first sign
    quantile = float(stdtrit(num_pairs - 1, 0.975))
    flipped = (np.arange(1, 2**num_pairs - 1, 2)[:, None] >> np.arange(num_pairs)) & 1  # (S, n): with the first pair
    sizes = flipped.sum(axis=1)
    generator = np.random.default_rng(_SEED)
    least = []
    for _ in range(SIMULATED_STUDIES // _BLOCK):
        noise = generator.standard_normal((_BLOCK, num_pairs))
        sums = noise @ flipped.T
        rest = noise.sum(axis=1, keepdims=True) - sums
        asked = -np.minimum(sums / sizes, rest / (num_pairs - sizes))
        by_flips = np.partition(asked, -allowed, axis=1)[:, -allowed]
        by_interval = quantile * noise.std(axis=1, ddof=1) / math.sqrt(num_pairs) - noise.mean(axis=1)
        least.append(np.maximum(by_flips, by_interval))
    return np.concatenate(least)


def _can_separate(num_pairs: int, num_comparisons: int, alpha: float) -> bool:
    return smallest_adjusted_p(num_comparisons=num_comparisons, num_seeds=num_pairs) <= alpha


def _check(*, sd: float, alpha: float, power: float = 0.999, num_comparisons: int = 1) -> None:
    if not 0.0 <= sd < math.inf:
        raise ValueError(f"sd must be finite and not negative but got {sd}.")
    if not 0.0 < alpha < 1.0:
        raise ValueError(f"alpha must lie between 0 and 1 but got {alpha}.")
    if not alpha < power < 1.0:
        raise ValueError(f"power must lie between alpha ({alpha}) and 1 but got {power}.")
    if num_comparisons < 1:
        raise ValueError(f"num_comparisons must be at least 1 but got {num_comparisons}.")
