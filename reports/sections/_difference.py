"""Does the choice matter? What levels differ by, against what two seeds of one configuration differ by.

A difference between levels means nothing before it is known how much the same configuration differs from itself. Even
a difference beyond that is no effect here: other parameters vary from trial to trial as well.
"""

from collections import defaultdict
from dataclasses import dataclass
from math import comb
from typing import Final

from reports import selection as select
from reports.records import StudyRecord, TrialRecord
from reports.statistics import PooledSd, least_difference, pooled_sd
from reports.wording import count, listing, number, parameter, short_names

CAUTION: Final = (
    "Other parameters vary over these trials too: what causes a difference, only a comparison that holds them still "
    "can say."
)


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """The levels of one choice that are furthest apart in the mean.

    Attributes:
        best: the level with the least mean objective; `worst` that with the largest.
        gap: difference of their means.
        least: what the gap must exceed to be more than seeds make, or None without replicates.
    """

    name: str
    best: str
    worst: str
    gap: float
    least: float | None

    @property
    def beyond_seeds(self) -> bool:
        """Whether seeds alone do not explain the gap."""
        return self.least is not None and self.gap > self.least


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Contrasts, largest first, and what they are measured against.

    Attributes:
        objectives: of the complete trials.
        noise: standard deviation between seeds of one configuration; None where each has one seed.
    """

    objectives: tuple[float, ...]
    noise: PooledSd | None
    contrasts: tuple[Contrast, ...]


def summarise(study: StudyRecord) -> Difference:
    """Over complete trials alone."""
    trials = select.scored(study)
    by_configuration: dict[str, list[TrialRecord]] = defaultdict(list)
    for trial in trials:
        by_configuration[trial.configuration_hash].append(trial)
    noise = pooled_sd(select.objectives(group) for group in by_configuration.values())
    return Difference(objectives=select.objectives(trials), noise=noise, contrasts=_contrasts(study, noise))


def _contrasts(study: StudyRecord, noise: PooledSd | None) -> tuple[Contrast, ...]:
    names = short_names([searched.path for searched in study.manifest.parameters])
    levels = {names[p.path]: _levels(p.path, p.choices, study) for p in study.manifest.parameters if p.choices}
    num_pairs = sum(comb(len(found), 2) for found in levels.values())
    contrasts = [_contrast(name, found, noise, num_pairs) for name, found in levels.items() if len(found) > 1]
    return tuple(sorted(contrasts, key=lambda contrast: -contrast.gap))


def _levels(path: str, choices: tuple[object, ...], study: StudyRecord) -> dict[str, tuple[float, ...]]:
    """Objectives by level; levels without a complete trial are left out."""
    found = {
        parameter(choice): select.objectives(t for t in select.scored(study) if t.params.get(path) == choice)
        for choice in choices
    }
    return {level: objectives for level, objectives in found.items() if objectives}


def _contrast(
    name: str, levels: dict[str, tuple[float, ...]], noise: PooledSd | None, num_comparisons: int
) -> Contrast:
    means = {level: sum(objectives) / len(objectives) for level, objectives in levels.items()}
    best, worst = min(means, key=means.__getitem__), max(means, key=means.__getitem__)
    counts = len(levels[best]), len(levels[worst])
    return Contrast(
        name=name,
        best=best,
        worst=worst,
        gap=means[worst] - means[best],
        least=least_difference(noise, counts, num_comparisons=num_comparisons) if noise else None,
    )


LEAST_GAP: Final = 0.0005
"""What is shown as 0.000 is no difference to speak of."""


def sentence(difference: Difference) -> str:
    """What the sweep can say of whether the choice matters, and what it cannot."""
    if len(difference.objectives) < 2:  # noqa: PLR2004 - one result differs from nothing
        return "Whether the choice matters cannot be said: fewer than two trials are complete."
    return _unknown(difference) if difference.noise is None else _known(difference, difference.noise)


def _spans(difference: Difference) -> str:
    low, high = min(difference.objectives), max(difference.objectives)
    trials = count(len(difference.objectives), "complete trial")
    return f"the objective runs from {number(low)} to {number(high)} over {trials}"


def _unknown(difference: Difference) -> str:
    levels = ""
    if difference.contrasts and difference.contrasts[0].gap >= LEAST_GAP:
        largest = difference.contrasts[0]
        levels = f"; the levels furthest apart are {_pair(largest)}, whose means differ by {number(largest.gap)}"
    return (
        f"Whether the choice matters, this sweep cannot say: {_spans(difference)}{levels}. But every configuration "
        "has one seed, so how much another seed alone would change is unknown. “lidstudy ablate” would say it: it "
        "trains the best trial, and changes to it one by one, under the same seeds."
    )


def _known(difference: Difference, noise: PooledSd) -> str:
    beyond = [_item(contrast) for contrast in difference.contrasts if contrast.beyond_seeds]
    within = [_item(contrast) for contrast in difference.contrasts if not contrast.beyond_seeds]
    seeds = f"a standard deviation of {number(noise.sd)} ({count(noise.degrees, 'degree')} of freedom)"
    found = [f"Does the choice matter? Here {_spans(difference)}, and seeds of one configuration differ by {seeds}."]
    found += [f"Seeds alone do not explain the differences between {listing(beyond)}."] if beyond else []
    found += [f"Seeds alone may explain those between {listing(within)}."] if within else []
    return " ".join([*found, CAUTION])


def _item(contrast: Contrast) -> str:
    return f"{_pair(contrast)} ({number(contrast.gap)}, of which seeds may make {number(contrast.least)})"


def _pair(contrast: Contrast) -> str:
    return f"{contrast.name} {contrast.best} and {contrast.worst}"
