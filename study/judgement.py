"""What the end of an attempt means for its trial: one decision, made from what the attempt said and how it went.

The classes are those of the design: a trial that was pruned, that diverged, ran out of memory, was lost, timed out, or
has a defect. Running out of memory brings one more attempt in smaller parts; being lost brings another from the last
checkpoint.
"""

import math
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from reports.records import FailureClass, TrialState
from study.active import ActiveTrial, Outcome
from study.config import LimitsConfig
from study.events import Ended
from study.launchers._base import Life, Status
from study.objectives import LATENCY, Goal
from study.spec import EXIT_STORAGE_FULL

PRUNED, INTERRUPTED, TIMED_OUT, SILENT = "pruned", "interrupted", "timed_out", "silent"
"""Why a coordinator stops an attempt; written into the attempt's folder before it is killed."""


@dataclass(frozen=True, kw_only=True)
class Settled:
    """The trial has ended."""

    outcome: Outcome


@dataclass(frozen=True, kw_only=True)
class Again:
    """The trial needs another attempt; `is_lost` where this one counts against the limit of lost ones."""

    message: str = ""
    micro_batches: int = 1
    is_lost: bool = False


@dataclass(frozen=True, kw_only=True)
class StorageFull:
    """The attempt could not write: nobody's fault, and nothing goes on until there is room."""


Verdict = Settled | Again | StorageFull


def judge(
    trial: ActiveTrial,
    status: Status,
    *,
    limits: LimitsConfig,
    bound: float,
    further: Sequence[Goal] = (),
    output: str,
    is_paired: bool = False,
) -> Verdict:
    """Decides.

    Args:
        trial: with all events of the attempt taken.
        status: of the attempt, which is over.
        limits: when a trial is given up.
        bound: the first objective's upper bound, what a diverged trial counts as.
        further: the other objectives.
        output: the end of what the attempt printed.
        is_paired: whether the trial is an arm beside others, which has to be trained as they are.
    """
    if trial.stop == PRUNED:  # also where it ended before it could be killed: what it is must not depend on that
        return Settled(outcome=Outcome(state=TrialState.PRUNED))
    if trial.ended is not None:
        return _word(trial, trial.ended, bound=bound, further=further, is_paired=is_paired)
    if trial.stop == INTERRUPTED or status.exit_status == -signal.SIGINT:
        return Again()  # it is taken up again, now or by the next coordinator
    if trial.stop == TIMED_OUT:
        return Settled(outcome=_timed_out(limits))
    return _gone(trial, status, limits=limits, output=output, is_paired=is_paired)


def _gone(trial: ActiveTrial, status: Status, *, limits: LimitsConfig, output: str, is_paired: bool) -> Verdict:
    """What the end of a process means that nobody asked for and that did not say why."""
    if status.exit_status == EXIT_STORAGE_FULL:
        return StorageFull()
    if status.out_of_memory:
        return _out_of_memory(trial, "the kernel killed it for want of memory", is_paired=is_paired)
    if is_lost(trial, status):
        return _lost(trial, limits=limits, output=output)
    failure = f"its process ended without a result: {_last_line(output)}"
    return Settled(outcome=_failed(FailureClass.DEFECT, failure, details=output))


def _word(trial: ActiveTrial, ended: Ended, *, bound: float, further: Sequence[Goal], is_paired: bool) -> Verdict:
    """What the attempt itself said last."""
    match ended.outcome:
        case "complete":
            assert trial.best_objective is not None, "a trial that says complete has trained an epoch"
            value, values = min(trial.best_objective, bound), further_values(trial, further, has_diverged=False)
            return Settled(outcome=Outcome(state=TrialState.COMPLETE, value=value, further=values))
        case "diverged":
            values = further_values(trial, further, has_diverged=True)
            outcome = Outcome(state=TrialState.DIVERGED, value=bound, further=values, failure=ended.failure)
            return Settled(outcome=outcome)
        case "out_of_memory":
            return _out_of_memory(trial, ended.failure, is_paired=is_paired)
        case "failed":
            return Settled(outcome=_failed(FailureClass.DEFECT, ended.failure, details=ended.traceback))
        case _:
            assert_never(ended.outcome)


def further_values(trial: ActiveTrial, goals: Sequence[Goal], *, has_diverged: bool) -> dict[str, float]:
    """Metric -> what Optuna is told: the scores of the best epoch, or their bounds, and what the model costs."""
    return {goal.metric: _further_value(trial, goal, has_diverged=has_diverged) for goal in goals}


def _further_value(trial: ActiveTrial, goal: Goal, *, has_diverged: bool) -> float:
    if goal.bound is not None:
        score = math.inf if has_diverged else trial.best_metrics[f"best/{goal.name}"]
        return min(goal.bound, score)  # in this order, the bound also where the score is no number
    assert trial.measured is not None, "an attempt says what its model costs before it trains"
    cost = trial.measured.latency_ms if goal.name == LATENCY else trial.measured.num_parameters
    assert cost is not None, "its spec asked for the latency"
    return float(cost)


def _out_of_memory(trial: ActiveTrial, why: str, *, is_paired: bool) -> Verdict:
    """One more attempt with twice the parts a batch; then the trial has failed.

    At once where the encoder normalises over the batch: in parts it would be another network. And at once where it is
    paired with others: dropout draws other masks for parts, so that the two would differ in more than they are to.
    """
    assert trial.spec is not None
    if trial.spec.memory_mb is not None:
        why = f"{why} (limits.memory_mb = {trial.spec.memory_mb} MB)"
    if trial.config.has_batch_norm:
        failure = f"out of memory; a smaller training.batch_size, since batch normalisation allows no parts: {why}"
        return Settled(outcome=_failed(FailureClass.OUT_OF_MEMORY, failure))
    if is_paired:
        failure = f"out of memory; a smaller training.batch_size, since arms that are compared train it whole: {why}"
        return Settled(outcome=_failed(FailureClass.OUT_OF_MEMORY, failure))
    if trial.spec.micro_batches == 1 and trial.config.training.batch_size > 1:
        message = f"trial {trial.number} ran out of memory; it goes on with half a batch at a time"
        return Again(message=message, micro_batches=2)
    failure = f"out of memory, also with half a batch at a time: {why}"
    return Settled(outcome=_failed(FailureClass.OUT_OF_MEMORY, failure))


def _lost(trial: ActiveTrial, *, limits: LimitsConfig, output: str) -> Verdict:
    how = "said nothing for too long" if trial.stop == SILENT else "was lost"
    if trial.num_lost < limits.lost_attempts:
        assert trial.spec is not None
        message = f"trial {trial.number}: its process {how}; it goes on from its last checkpoint"
        return Again(message=message, micro_batches=trial.spec.micro_batches, is_lost=True)
    failure = f"its process was lost {trial.num_lost + 1} times; the last words: {_last_line(output)}"
    return Settled(outcome=_failed(FailureClass.LOST, failure, details=output))


def is_lost(trial: ActiveTrial, status: Status) -> bool:
    """Whether an attempt that did not say how it ended was killed from outside."""
    was_killed = status.exit_status is not None and status.exit_status < 0
    return trial.stop == SILENT or status.life is Life.LOST or was_killed


def _timed_out(limits: LimitsConfig) -> Outcome:
    failure = f"it trained for longer than limits.trial_s = {limits.trial_s:g} s"
    return Outcome(state=TrialState.TIMED_OUT, failure=failure, failure_class=FailureClass.TIMED_OUT)


def _failed(failure_class: FailureClass, failure: str, *, details: str = "") -> Outcome:
    return Outcome(state=TrialState.FAILED, failure=failure, details=details, failure_class=failure_class)


def _last_line(output: str) -> str:
    return output.strip().splitlines()[-1] if output.strip() else "it said nothing"
