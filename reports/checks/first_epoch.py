"""Was a trial best after its first epoch? Then the rest of its training only made it worse."""

from typing import Final

from reports import selection as select
from reports.checks._base import Check, Status
from reports.records import BEST_EPOCH, StudyRecord, TrialRecord
from reports.wording import count

MANY: Final = 0.5


def look(study: StudyRecord) -> tuple[Status, str]:
    """Look for trials whose first epoch was their best, of several."""
    name = study.manifest.objective
    curved = [
        trial
        for trial in select.scored(study)
        if len(select.values(trial.history.get(name))) > 1 and BEST_EPOCH in trial.metrics
    ]
    if not curved:
        return "skipped", "No complete trial has a best epoch of several."
    first = [trial for trial in curved if _best_is_first(trial, name)]
    chosen = select.chosen(study)
    text = f"{len(first)} of {count(len(curved), 'complete trial')} had the best epoch first"
    if chosen is not None and chosen in first:
        advice = "it only got worse. Try smaller learning rates, more augmentation or shorter epochs"
        return "warning", f"{text}, trial {chosen.number}, the chosen one, among them: {advice}."
    if len(first) > MANY * len(curved):
        return "warning", f"{text}: training makes them worse. Try smaller learning rates or shorter epochs."
    return "passed", f"{text}."


def _best_is_first(trial: TrialRecord, objective: str) -> bool:
    first, *others = select.values(trial.history[objective])
    return trial.metrics[BEST_EPOCH] == trial.history[objective][0].step and first < min(others)


CHECK = Check(code="first_epoch", title="Best after the first epoch", look=look)
