"""After a study's end: its best trials on test data under the conditions that its file names, on this machine."""

from lightning_modules.data.cards import Progress
from reports.records import TrialState
from study.evaluation import read_ledger
from study.opening import read_trials
from study.plan import StudyPlan
from study.trials import TrialSummary


def left_to_score(plan: StudyPlan) -> tuple[int, ...]:
    """Trials that are still to be scored: the best one, or the best one of each value of `conditions_of`."""
    folder, wanted = plan.workspace.study(plan.config.name), set(plan.config.conditions)
    if not wanted:
        return ()
    scored: dict[int, set[str]] = {}
    for entry in read_ledger(folder):
        if (entry.corpus, entry.data_hash, entry.split) == (plan.corpus.name, plan.data_hash, "test"):
            scored.setdefault(entry.trial, set()).update(entry.conditions)
    best = _best(read_trials(folder), by=plan.config.conditions_of)
    return tuple(number for number in best if not wanted <= scored.get(number, set()))


def _best(trials: list[TrialSummary], *, by: str) -> list[int]:
    """The least objective of each value; of equal trials the first."""
    best: dict[object, TrialSummary] = {}
    for trial in trials:
        if trial.state is TrialState.COMPLETE and trial.value is not None and trial.fits:
            value = trial.params.get(by) if by else None
            if value not in best or trial.value < (best[value].value or 0.0):
                best[value] = trial
    return sorted(trial.number for trial in best.values())


def score_conditions_of(plan: StudyPlan, number: int, progress: Progress) -> tuple[str, ...]:
    """Scores one trial; imports torch. Returns the conditions that no speech fits.

    Raises:
        CorpusError: no test speech fits any condition, or an audio file is gone.
    """
    from study.evaluate_on import Asked, evaluate_on

    ledger = read_ledger(plan.workspace.study(plan.config.name))
    is_declared = any(set(plan.config.conditions) <= set(entry.declared) for entry in ledger)
    asked = Asked(corpus=plan.corpus.name, conditions=plan.config.conditions, is_declared=is_declared)
    _, left_out = evaluate_on(plan.config.name, number, asked, workspace=plan.workspace, progress=progress)
    return left_out
