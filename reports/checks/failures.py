"""Did trials fail? What failed is missing from every comparison, and seldom at random."""

from typing import Final

import numpy as np

from reports.checks._base import Check, Status
from reports.records import StudyRecord, TrialState
from reports.sections import _selection as select
from reports.sections._text import count, parameter

ALPHA: Final = 0.05


def look(study: StudyRecord) -> tuple[Status, str]:
    """Warn about any trial that failed or timed out."""
    if not study.trials:
        return "skipped", "The study has no trials."
    failed = select.with_state(study, TrialState.FAILED, TrialState.TIMED_OUT)
    if not failed:
        return "passed", "No trial failed or timed out."
    said = f"{count(len(failed), 'trial')} of {len(study.trials)} failed or timed out: no comparison has them."
    return "warning", f"{said}{_where(study, {trial.number for trial in failed})}"


def _where(study: StudyRecord, failed: set[int]) -> str:
    """The level of a choice that failures go with, if chance does not explain it (Fisher's exact test, Bonferroni)."""
    from scipy.stats import fisher_exact

    found = []
    for searched in study.manifest.parameters:
        trials = [trial for trial in select.having(searched, study.trials) if trial.state is not TrialState.RUNNING]
        for choice in searched.choices:
            here = [trial.number in failed for trial in trials if trial.params.get(searched.path) == choice]
            others = [trial.number in failed for trial in trials if trial.params.get(searched.path) != choice]
            if here and others:
                table = [[sum(each), len(each) - sum(each)] for each in (here, others)]
                p = float(fisher_exact(np.array(table), alternative="greater").pvalue)
                found.append((p, f"{searched.path} = {parameter(choice)}", sum(here), len(here)))
    if not found or min(found)[0] * len(found) >= ALPHA:
        return ""
    _, level, num_failed, number = min(found)
    return (
        f" They are no random part: {num_failed} of {number} with {level} did, so that what is left of it is selected."
    )


CHECK = Check(code="failures", title="Failed trials", look=look)
