"""Was anything learned? A trial whose objective is that of scores that say nothing has no result to compare."""

from typing import Final

from reports import selection as select
from reports.checks._base import Check, Status
from reports.records import StudyRecord
from reports.sections._scores import chance
from reports.wording import count, number

MANY: Final = 0.5
NEAR: Final = 1e-3  # calibration that finds nothing to scale ends this near


def look(study: StudyRecord) -> tuple[Status, str]:
    """Count complete trials whose objective is no better than that of scores that say nothing."""
    nothing, scored = chance(study.manifest.objective, len(study.manifest.languages)), select.scored(study)
    if nothing is None or not scored:
        return "skipped", "No complete trial has an objective whose value at chance is known."
    useless = [trial for trial in scored if trial.objective is not None and trial.objective > nothing * (1 - NEAR)]
    text = f"{len(useless)} of {count(len(scored), 'complete trial')} are no better than scores that say nothing"
    chosen = select.chosen(study)
    if chosen in useless:
        return "warning", f"{text} ({number(nothing)}), the chosen one among them: nothing was learned here."
    if len(useless) > MANY * len(scored):
        advice = "they tell little of what was searched. Try longer training, or narrower ranges"
        return "warning", f"{text} ({number(nothing)}): {advice}."
    return "passed", f"{text} ({number(nothing)})."


CHECK = Check(code="learned", title="Trials that learned nothing", look=look)
