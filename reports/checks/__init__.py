"""The checks of a report: one file each, registered here."""

from typing import Final

from reports.checks import (
    budget,
    commits,
    convergence,
    diverged,
    dropped,
    edge,
    evaluations,
    failures,
    first_epoch,
    heads,
    learned,
    levels,
    seeds,
    single_source,
    split,
)
from reports.checks._base import Check

CHECKS: Final[tuple[Check, ...]] = (
    edge.CHECK,
    seeds.CHECK,
    levels.CHECK,
    split.CHECK,
    single_source.CHECK,
    heads.CHECK,
    learned.CHECK,
    convergence.CHECK,
    first_epoch.CHECK,
    evaluations.CHECK,
    diverged.CHECK,
    dropped.CHECK,
    failures.CHECK,
    budget.CHECK,
    commits.CHECK,
)
