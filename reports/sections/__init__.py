"""The sections of a report, in reading order: one file each, registered here."""

from typing import Any, Final

from reports.sections import (
    ablation,
    answer,
    attention,
    calibration,
    checks,
    clipping,
    conditions,
    confusion,
    cost,
    curves,
    data,
    effects,
    failures,
    front,
    gradient_flow,
    gradient_parts,
    history,
    importance,
    leaderboard,
    reproduce,
    unseen,
)
from reports.sections._blocks import Section

SECTIONS: Final[tuple[Section[Any], ...]] = (
    answer.SECTION,
    ablation.SECTION,
    unseen.SECTION,
    conditions.SECTION,
    attention.SECTION,
    checks.SECTION,
    leaderboard.SECTION,
    front.SECTION,
    effects.SECTION,
    importance.SECTION,
    history.SECTION,
    curves.SECTION,
    clipping.SECTION,
    gradient_flow.SECTION,
    gradient_parts.SECTION,
    confusion.SECTION,
    calibration.SECTION,
    failures.SECTION,
    cost.SECTION,
    data.SECTION,
    reproduce.SECTION,
)
