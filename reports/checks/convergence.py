"""Were trials still getting better when they ended?"""

from typing import Final

from reports import selection as select
from reports.checks._base import Check, Status
from reports.records import StudyRecord, TrialRecord
from reports.wording import count

MANY: Final = 0.5


def look(study: StudyRecord) -> tuple[Status, str]:
    """A trial whose best epoch is its last may not have converged."""
    name = study.manifest.objective
    curved = [trial for trial in select.scored(study) if len(select.values(trial.history.get(name))) > 1]
    if not curved:
        return "skipped", "No complete trial has a curve of the objective."
    rising = [trial for trial in curved if _best_is_last(trial, name)]
    best = select.best(study)
    text = f"{len(rising)} of {count(len(curved), 'complete trial')} had the best epoch last"
    if best is not None and best in rising:
        return "warning", f"{text}, trial {best.number}, the best, among them: train longer before comparing."
    if len(rising) > MANY * len(curved):
        return "warning", f"{text}: train longer before comparing."
    return "passed", f"{text}."


def _best_is_last(trial: TrialRecord, objective: str) -> bool:
    values = select.values(trial.history.get(objective))
    return values[-1] < min(values[:-1])


CHECK = Check(code="convergence", title="Unconverged curves", look=look)
