"""Has every level of a choice a complete trial? One that has none was never compared, however often it was tried."""

from collections import Counter

from reports import selection as select
from reports.checks._base import Check, Status
from reports.records import SearchedParameter, StudyRecord, TrialState
from reports.wording import listing, parameter, states_text


def look(study: StudyRecord) -> tuple[Status, str]:
    """Name the levels that no complete trial has."""
    complete = select.scored(study)
    if not complete:
        return "skipped", "No complete trial."
    empty = [
        f"{searched.path} = {parameter(choice)}{_ended(searched, choice, study)}"
        for searched in study.manifest.parameters
        for choice in searched.choices
        if not _has(searched, choice, study)
    ]
    if not empty:
        return "passed", "Every level of every choice has a complete trial."
    return (
        "warning",
        f"No trial was completed with {listing(empty)}: nothing can be said of it.{_advice(study)}",
    )


def _ended(searched: SearchedParameter, choice: object, study: StudyRecord) -> str:
    """` (2 diverged)`; "" where it was never tried."""
    states = Counter(
        trial.state.value for trial in select.having(searched, study.trials) if trial.params[searched.path] == choice
    )
    return f" ({states_text(states)})" if states else ""


def _advice(study: StudyRecord) -> str:
    if select.with_state(study, TrialState.PRUNED):
        return " Prune later, or run more trials."
    return " Run more trials."


def _has(searched: SearchedParameter, choice: object, study: StudyRecord) -> bool:
    return any(trial.params[searched.path] == choice for trial in select.having(searched, select.scored(study)))


CHECK = Check(code="levels", title="Levels without a complete trial", look=look)
