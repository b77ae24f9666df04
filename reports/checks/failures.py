"""Did trials fail? What failed is missing from every comparison, and seldom at random."""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from reports import selection as select
from reports.checks._base import Check, Status
from reports.records import SearchedParameter, StudyRecord, TrialRecord, TrialState
from reports.wording import count, parameter, values_in_words

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
    """The level that failures go with, if chance does not explain it (Fisher's exact test, Bonferroni)."""
    from scipy.stats import fisher_exact

    found = []
    for searched in study.manifest.parameters:
        trials = [trial for trial in select.having(searched, study.trials) if trial.state is not TrialState.RUNNING]
        for level, group in _levels(searched, trials):
            inside = {trial.number for trial in group}
            here = [trial.number in failed for trial in group]
            others = [trial.number in failed for trial in trials if trial.number not in inside]
            if here and others:
                table = [[sum(each), len(each) - sum(each)] for each in (here, others)]
                p = float(fisher_exact(np.array(table), alternative="greater").pvalue)
                found.append((p, f"{searched.path} = {level}", sum(here), len(here)))
    if not found or min(found)[0] * len(found) >= ALPHA:
        return ""
    _, level, num_failed, number = min(found)
    return (
        f" They are no random part: {num_failed} of {number} with {level} did, so that what is left of it is selected."
    )


def _levels(searched: SearchedParameter, trials: Sequence[TrialRecord]) -> Iterator[tuple[str, Sequence[TrialRecord]]]:
    """Each choice, or each third of the values of a number, and the trials that have it."""
    path = searched.path
    if searched.kind == "choices":
        for choice in searched.choices:
            yield parameter(choice), [trial for trial in trials if trial.params.get(path) == choice]
        return
    for group in select.in_thirds(searched, trials):
        yield values_in_words(group[0].params[path], group[-1].params[path]), group


CHECK = Check(code="failures", title="Failed trials", look=look)
