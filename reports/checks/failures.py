"""Did trials fail? What failed is missing from every comparison, and seldom at random."""

from reports.checks._base import Check, Status
from reports.records import StudyRecord, TrialState
from reports.sections import _selection as select
from reports.sections._text import count


def look(study: StudyRecord) -> tuple[Status, str]:
    """Warn about any trial that failed or timed out."""
    if not study.trials:
        return "skipped", "The study has no trials."
    failed = select.with_state(study, TrialState.FAILED, TrialState.TIMED_OUT)
    if not failed:
        return "passed", "No trial failed or timed out."
    return (
        "warning",
        f"{count(len(failed), 'trial')} of {len(study.trials)} failed or timed out: no comparison has them.",
    )


CHECK = Check(code="failures", title="Failed trials", look=look)
