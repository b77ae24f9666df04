"""Many comparisons in one table: what their p-values are worth together, and what they can be worth at best."""

from collections.abc import Sequence

from reports.ablation_statistics import MAX_EXACT_PAIRS, smallest_sign_flip_p


def holm(p_values: Sequence[float | None]) -> tuple[float | None, ...]:
    """Holm's step-down adjustment (1979), in the order given.

    The k-th smallest of m (from 0) is multiplied by m - k, made no smaller than the one before it, and cut at 1. To
    call those at most alpha different makes a single false call with probability alpha at most, whatever the
    dependence between them: arms that share a base depend on each other.

    Args:
        p_values: one a comparison; None, a comparison that could not be made, stays None and counts among the m, as
            planned: which ones fail must not make the others easier.

    Raises:
        ValueError: for a p-value outside [0, 1].
    """
    for p in p_values:
        if p is not None and not 0.0 <= p <= 1.0:
            raise ValueError(f"a p-value must lie between 0 and 1 but got {p}.")
    ascending = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, place) in enumerate(ascending):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p))
        adjusted[place] = largest
    return tuple(adjusted)


def smallest_adjusted_p(*, num_comparisons: int, num_seeds: int) -> float:
    """The least p-value that the clearest of m comparisons can have after Holm's correction.

    Raises:
        ValueError: for fewer than one comparison.
    """
    if num_comparisons < 1:
        raise ValueError(f"num_comparisons must be at least 1 but got {num_comparisons}.")
    return min(1.0, num_comparisons * smallest_sign_flip_p(num_seeds))


def seeds_needed(*, num_comparisons: int, alpha: float = 0.05) -> int | None:
    """The fewest seeds with which one of m comparisons can be called different at all: eight for five at 0.05.

    None where no number of seeds suffices, as the test resolves no smaller p-value.

    Raises:
        ValueError: for fewer than one comparison.
    """
    enough = (
        num_seeds
        for num_seeds in range(1, MAX_EXACT_PAIRS + 1)
        if smallest_adjusted_p(num_comparisons=num_comparisons, num_seeds=num_seeds) <= alpha
    )
    return next(enough, None)
