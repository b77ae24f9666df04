"""Does the best value lie at the edge of the space? Then a better one may lie outside (Google's tuning playbook)."""

import math
from typing import Any, Final

from reports import selection as select
from reports.checks._base import Check, Status
from reports.records import SearchedParameter, StudyRecord
from reports.wording import listing, parameter

NEAR: Final = 0.05
"""Share of the range, on the scale that is searched, that counts as its edge."""


def look(study: StudyRecord) -> tuple[Status, str]:
    """Compare the best trial with the ends of each numeric parameter, and of choices that are numbers."""
    if study.manifest.config.get("ablation"):
        return "skipped", "The study compares arms, and searches nothing."
    trial = select.best(study)
    if trial is None:
        return "skipped", "No complete trial."
    at_edge = [
        f"{searched.path} = {parameter(trial.params[searched.path])} ({side} end)"
        for searched in study.manifest.parameters
        if select.having(searched, (trial,)) and (side := _side(searched, trial.params[searched.path]))
    ]
    if not at_edge:
        return "passed", f"Trial {trial.number}, the best, lies inside the space."
    return "warning", f"Trial {trial.number}, the best, has {listing(at_edge)}: search further on that side."


def _side(searched: SearchedParameter, value: Any) -> str:
    if searched.kind == "choices":
        numbers = [
            choice for choice in searched.choices if isinstance(choice, int | float) and not isinstance(choice, bool)
        ]
        if len(numbers) < 3 or len(numbers) != len(searched.choices):  # noqa: PLR2004 - of two values each is an end
            return ""
        return "lower" if value == min(numbers) else "upper" if value == max(numbers) else ""
    if searched.low is None or searched.high is None or searched.low == searched.high:
        return ""
    place = _scaled(searched, value, searched.low) / _scaled(searched, searched.high, searched.low)
    return "lower" if place <= NEAR else "upper" if place >= 1 - NEAR else ""


def _scaled(searched: SearchedParameter, value: float, low: float) -> float:
    return math.log(value / low) if searched.log else value - low


CHECK = Check(code="edge", title="Best value at the edge of the space", look=look)
