"""Runs that should not be there: of trials that nobody knows, on which nothing works, or second ones of one trial."""

from collections.abc import Collection, Iterable
from typing import Any

from reports.records import TAG_ATTEMPT, TAG_KIND, TAG_NUMBER, TAG_STATE, TAG_TRIAL, TrialState
from study.mlflow_runs import Runs

RUNNING = "attributes.status = 'RUNNING'"


def strangers(runs: Runs, known: Iterable[int], *, recorded: Iterable[int]) -> set[int]:
    """Numbers of trials that have a run but are not known; runs that were deleted in the UI are left out.

    All runs are listed only where there is a sign of one, since that takes long.

    Args:
        runs: of the study.
        known: the numbers of all trials.
        recorded: those of trials that MLflow has whole.
    """
    ours, suspects = set(known), set(recorded)
    trials = f"tags.`{TAG_KIND}` = 'trial'"
    for condition in (RUNNING, f"tags.`{TAG_STATE}` = '{TrialState.INTERRUPTED}'"):
        suspects |= _numbers(runs.search(f"{condition} and {trials}"))
    return _numbers(runs.search(trials)) - ours if suspects - ours else set()


def close_strays(runs: Runs, *, recorded: Collection[int] | None) -> None:
    """Ends runs of trials and attempts that still run; those of recorded trials, or all where that is None.

    A second run of one trial is deleted: the server made it from a request whose answer came too late.
    """
    for run in runs.search(RUNNING):
        tags = run.data.tags
        unique = {"trial": TAG_TRIAL, "attempt": TAG_ATTEMPT}.get(tags.get(TAG_KIND, ""))
        if unique is None or (recorded is not None and int(tags[TAG_NUMBER]) not in recorded):
            continue
        if len(runs.search(f"tags.`{unique}` = '{tags[unique]}'")) > 1:
            runs.delete(run.info.run_id)
        else:
            runs.log(run.info.run_id, tags={TAG_STATE: TrialState.INTERRUPTED.value})
            runs.end(run.info.run_id, TrialState.INTERRUPTED)


def _numbers(runs: Iterable[Any]) -> set[int]:
    return {int(run.data.tags[TAG_NUMBER]) for run in runs}
