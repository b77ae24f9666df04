"""The statistics that reports rest on: pure functions of numbers, each named for the question that it answers."""

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from itertools import combinations
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

MAX_EXACT: Final = 50_000
"""Up to this many permutations, all of them are enumerated."""

MONTE_CARLO: Final = 10_000
"""Permutations that are drawn where there are more."""

_TIE: Final = 1e-9  # statistics that differ by rounding alone are equal
_UNASSIGNED: Final = -1

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class PermutationTest(NamedTuple):
    """A test of whether languages were recognised, or only announcers.

    Attributes:
        statistic: the macro accuracy that was observed, 0..1.
        p_value: share of permutations that do at least as well.
        num_permutations: distinct assignments of languages to sources that were compared with, the observed one
            included.
        exact: whether they were all enumerated; else they were drawn at random.
        smallest_p: the least p-value that any result could have had.
    """

    statistic: float
    p_value: float
    num_permutations: int
    exact: bool
    smallest_p: float


def permutation_p_value(
    truth: Sequence[Hashable],
    predicted: Sequence[Hashable],
    sources: Sequence[Hashable],
    *,
    seed: int = 0,
) -> PermutationTest:
    """Is the macro accuracy above chance, when an announcer could be all that was recognised?

    Under the null hypothesis a source's language has nothing to do with how its utterances are recognised: a source
    keeps its utterances and what was predicted for them, and the languages are permuted among the sources. All
    distinct assignments are enumerated up to MAX_EXACT of them, and p is the share with at least the observed
    statistic; beyond that MONTE_CARLO are drawn, and p = (1 + hits) / (1 + drawn) (Phipson & Smyth, 2010). With few
    sources no p-value can be small: see `smallest_p`.

    Args:
        truth: language of each utterance.
        predicted: recognised language of each utterance.
        sources: source of each utterance.
        seed: of the random permutations.

    Raises:
        ValueError: for no utterances, columns of unequal length, or a source that holds several languages.
    """
    table = _tabulate(truth, predicted, sources)
    observed = float(table.macro_accuracy(table.language[None, :])[0])
    num_assignments = _num_assignments(table.language)
    exact = num_assignments <= MAX_EXACT
    assignments = _all_assignments(table.language) if exact else _drawn_assignments(table.language, seed)
    hits = int((table.macro_accuracy(assignments) >= observed - _TIE).sum())
    if exact:
        return PermutationTest(observed, hits / num_assignments, num_assignments, exact, 1.0 / num_assignments)
    drawn = len(assignments)
    return PermutationTest(observed, (1 + hits) / (1 + drawn), drawn, exact, 1.0 / (1 + drawn))


class MeanSd(NamedTuple):
    """A mean and the standard deviation around it (n - 1 in the denominator); sd is None for one value."""

    mean: float
    sd: float | None


class Interval(NamedTuple):
    """A confidence interval."""

    low: float
    high: float


def mean_sd(values: Sequence[float]) -> MeanSd:
    """Mean and standard deviation of replicates.

    Raises:
        ValueError: for no values, or one that is not finite.
    """
    checked = _finite(values)
    return MeanSd(float(checked.mean()), float(checked.std(ddof=1)) if len(checked) > 1 else None)


class PooledSd(NamedTuple):
    """A standard deviation within groups, and the degrees of freedom that it rests on."""

    sd: float
    degrees: int


def pooled_sd(groups: Iterable[Sequence[float]]) -> PooledSd | None:
    """Standard deviation within groups, whatever their means: sqrt(sum of squares / (N - groups)).

    Groups of one value say nothing and are passed over; None where there is no other.

    Raises:
        ValueError: for a value that is not finite.
    """
    checked = [_finite(group) for group in groups if len(group) > 1]
    degrees = sum(len(group) - 1 for group in checked)
    if not degrees:
        return None
    squares = sum(float(((group - group.mean()) ** 2).sum()) for group in checked)
    return PooledSd(math.sqrt(squares / degrees), degrees)


def least_difference(noise: PooledSd, counts: tuple[int, int], *, num_comparisons: int = 1) -> float:
    """What the means of two groups must differ by to be more than noise, at the 5 % level: t sd sqrt(1/n1 + 1/n2).

    Fisher's least significant difference, with t taken at 0.05 / num_comparisons (Bonferroni).

    Args:
        noise: standard deviation of a single value.
        counts: values in either mean.
        num_comparisons: pairs that are looked at.
    """
    from scipy.special import stdtrit

    quantile = float(stdtrit(noise.degrees, 1 - 0.025 / num_comparisons))
    return quantile * noise.sd * math.sqrt(sum(1 / count for count in counts))


def t_interval(values: Sequence[float], confidence: float = 0.95) -> Interval | None:
    """Student's t-interval of the mean: mean ± t(confidence, n-1) sd / sqrt(n); None for one value.

    Raises:
        ValueError: for no values, one that is not finite, or a confidence outside (0, 1).
    """
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence must lie between 0 and 1 but got {confidence}.")
    mean, sd = mean_sd(values)
    if sd is None:
        return None
    from scipy.special import stdtrit  # half a second cheaper to import than scipy.stats

    n = len(values)
    half = float(stdtrit(n - 1, 0.5 + confidence / 2)) * sd / math.sqrt(n)
    return Interval(mean - half, mean + half)


def sign_test(num_above: int, num_below: int) -> float:
    """Two-sided p-value of as many pairs above as below; ties are left out, and no pair at all gives 1."""
    total = num_above + num_below
    tail = sum(math.comb(total, few) for few in range(min(num_above, num_below) + 1))
    return min(1.0, 2.0 * float(tail / 2**total))


def _finite(values: Sequence[float]) -> Floats:
    checked = np.asarray(values, dtype=np.float64)
    if checked.ndim != 1 or not len(checked):
        raise ValueError(f"at least one value is needed but got shape {checked.shape}.")
    if not np.isfinite(checked).all():
        raise ValueError(f"values must be finite but got {checked[~np.isfinite(checked)][0]}.")
    return checked


# --- languages permuted over sources ----------------------------------------------------------------------------------
# S sources, L languages, A assignments of languages to sources.


class _Table(NamedTuple):
    """Each source's language (S,), number of utterances (S,), and how many were recognised as each language (S, L)."""

    language: Ints
    size: Ints
    recognised: Ints

    def macro_accuracy(self, assignments: Ints) -> Floats:
        """Macro accuracy (A,) if the sources had the languages of each assignment (A, S)."""
        num_languages = self.recognised.shape[1]
        recalls = np.zeros(len(assignments))
        for language in range(num_languages):
            chosen = assignments == language  # (A, S)
            recalls += (chosen @ self.recognised[:, language]) / (chosen @ self.size)
        return np.asarray(recalls / num_languages, dtype=np.float64)


def _tabulate(truth: Sequence[Hashable], predicted: Sequence[Hashable], sources: Sequence[Hashable]) -> _Table:
    if not len(truth) or not len(truth) == len(predicted) == len(sources):
        lengths = f"{len(truth)}, {len(predicted)} and {len(sources)}"
        raise ValueError(f"truth, predicted and sources must be equally long and not empty but hold {lengths}.")
    languages = {language: index for index, language in enumerate(dict.fromkeys(truth))}
    language_of: dict[Hashable, Hashable] = {}
    for source, language in zip(sources, truth, strict=True):
        if language_of.setdefault(source, language) != language:
            found = f"{language_of[source]} and {language}"
            raise ValueError(f"a source must hold one language but {source} holds {found}.")
    index_of = {source: index for index, source in enumerate(language_of)}
    size = np.zeros(len(index_of), dtype=np.int64)
    recognised = np.zeros((len(index_of), len(languages)), dtype=np.int64)
    for source, guess in zip(sources, predicted, strict=True):
        size[index_of[source]] += 1
        if guess in languages:  # a language that no source speaks is wrong under every assignment
            recognised[index_of[source], languages[guess]] += 1
    return _Table(
        np.array([languages[language] for language in language_of.values()], dtype=np.int64), size, recognised
    )


def _num_assignments(language: Ints) -> int:
    """S! / (product over languages of the factorial of its sources)."""
    sources_per_language = Counter(language.tolist()).values()
    return math.factorial(len(language)) // math.prod(math.factorial(count) for count in sources_per_language)


def _all_assignments(language: Ints) -> Ints:
    """Every distinct assignment (A, S): languages take their places one after the other among those still free."""
    assignments = np.full((1, len(language)), _UNASSIGNED, dtype=np.int64)
    for index, count in sorted(Counter(language.tolist()).items()):
        num_free = int((assignments[0] == _UNASSIGNED).sum())
        places = np.array(list(combinations(range(num_free), count)), dtype=np.int64)  # (C, count)
        free = np.nonzero(assignments == _UNASSIGNED)[1].reshape(len(assignments), num_free)
        chosen = free[:, places].reshape(-1, count)  # (A C, count)
        assignments = np.repeat(assignments, len(places), axis=0)
        np.put_along_axis(assignments, chosen, index, axis=1)
    return assignments


def _drawn_assignments(language: Ints, seed: int) -> Ints:
    """Random assignments (MONTE_CARLO, S)."""
    return np.random.default_rng(seed).permuted(np.tile(language, (MONTE_CARLO, 1)), axis=1)
