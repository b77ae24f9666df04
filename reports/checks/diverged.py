"""Did trials diverge? They are results, and a sign that the space reaches too far."""

from typing import Final

from reports import selection as select
from reports.checks._base import Check, Status
from reports.records import StudyRecord, TrialState
from reports.wording import count

FEW: Final = 0.1


def look(study: StudyRecord) -> tuple[Status, str]:
    """Warn above a tenth of the trials that ran to an end."""
    diverged = select.with_state(study, TrialState.DIVERGED)
    ended = select.with_state(study, TrialState.DIVERGED, TrialState.COMPLETE, TrialState.PRUNED)
    if not ended:
        return "skipped", "No trial was trained to an end: none is complete, pruned or diverged."
    text = f"{len(diverged)} of {count(len(ended), 'trial')} diverged"
    if len(diverged) > FEW * len(ended):
        return "warning", f"{text}: see which learning rates and clipping rules they had, and narrow the space."
    return "passed", f"{text}."


CHECK = Check(code="diverged", title="Diverged trials", look=look)
