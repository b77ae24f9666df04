"""Did clipping drop every step of a trial? Its network is as it was made."""

from reports import selection as select
from reports.checks._base import Check, Status
from reports.records import GRAD_NON_FINITE, GRAD_NORM_AFTER, StudyRecord, TrialRecord, TrialState
from reports.wording import listing


def look(study: StudyRecord) -> tuple[Status, str]:
    """Warn of complete trials whose optimiser never got a gradient."""
    complete = select.with_state(study, TrialState.COMPLETE)
    measured = [trial for trial in complete if _is_measured(trial)]
    if not measured:
        return "skipped", "No complete trial has gradient norms on record."
    untrained = [trial for trial in measured if not any(select.values(trial.history.get(GRAD_NORM_AFTER)))]
    if not untrained:
        return "passed", "Every complete trial took steps."
    numbers = listing(str(trial.number) for trial in untrained)
    noun = "trial" if len(untrained) == 1 else "trials"
    return "warning", (
        f"Clipping dropped every step of {noun} {numbers}, so that nothing was trained: all gradients exceed "
        "clipping.skip_above, or are not finite."
    )


def _is_measured(trial: TrialRecord) -> bool:
    """Where no gradient was finite, there are no norms."""
    has_norms = bool(select.values(trial.history.get(GRAD_NORM_AFTER)))
    return has_norms or any(select.values(trial.history.get(GRAD_NON_FINITE)))


CHECK = Check(code="dropped", title="Steps that were all dropped", look=look)
