"""Has every level of a choice a complete trial? One that has none was never compared, however often it was tried."""

from reports.checks._base import Check, Status
from reports.records import SearchedParameter, StudyRecord
from reports.sections import _selection as select
from reports.sections._text import listing, parameter


def look(study: StudyRecord) -> tuple[Status, str]:
    """Name the levels that no complete trial has."""
    complete = select.scored(study)
    if not complete:
        return "skipped", "No complete trial."
    empty = [
        f"{searched.path} = {parameter(choice)}"
        for searched in study.manifest.parameters
        for choice in searched.choices
        if not _has(searched, choice, study)
    ]
    if not empty:
        return "passed", "Every level of every choice has a complete trial."
    return (
        "warning",
        f"No trial was completed with {listing(empty)}: nothing can be said of it. Prune later, or run more trials.",
    )


def _has(searched: SearchedParameter, choice: object, study: StudyRecord) -> bool:
    return any(trial.params[searched.path] == choice for trial in select.having(searched, select.scored(study)))


CHECK = Check(code="levels", title="Levels without a complete trial", look=look)
