"""What the end of an attempt means for its trial: every class of the design's table."""

from dataclasses import replace
from pathlib import Path

import pytest

from lightning_modules.config import (
    EncoderConfig,
    RecurrentEncoderConfig,
    TDNNEncoderConfig,
    TrainingConfig,
    TrialConfig,
)
from reports.records import FailureClass, TrialState
from study.active import ActiveTrial
from study.config import LimitsConfig
from study.devices import Slot
from study.events import Ended, EpochEnded
from study.judgement import INTERRUPTED, PRUNED, SILENT, TIMED_OUT, Again, Settled, StorageFull, Verdict, judge
from study.launchers._base import Life, Status
from study.spec import EXIT_STORAGE_FULL, AttemptSpec
from study.workspace import TrialFolder

KILLED = Status(Life.EXITED, -9)


def trial_of(
    *,
    batch_size: int = 32,
    micro_batches: int = 1,
    num_lost: int = 0,
    stop: str | None = None,
    encoder: EncoderConfig | None = None,
) -> ActiveTrial:
    config = TrialConfig(
        training=TrainingConfig(batch_size=batch_size), encoder=encoder or RecurrentEncoderConfig(hidden_size=4)
    )
    trial = ActiveTrial(number=3, config=config, folder=TrialFolder(Path("trial")), num_lost=num_lost)
    trial.begin(
        AttemptSpec(
            number=3,
            attempt=0,
            folder=Path("trial/attempt-0"),
            trial_folder=Path("trial"),
            workspace=Path(),
            objective="cllr",
            slot=Slot(name="cpu-0"),
            micro_batches=micro_batches,
            config=config,
        )
    )
    trial.stop = stop
    return trial


def said(trial: ActiveTrial, outcome: str) -> ActiveTrial:
    trial.take([EpochEnded(time_ms=1, epoch=0, objective=1.5, metrics={})])
    trial.take([Ended.model_validate({"time_ms": 2, "outcome": outcome, "failure": "why", "traceback": "where"})])
    return trial


def judged(
    trial: ActiveTrial, status: Status = KILLED, *, output: str = "", limits: LimitsConfig | None = None
) -> Verdict:
    return judge(trial, status, limits=limits or LimitsConfig(), bound=4.0, output=output)


def outcome_of(verdict: Verdict) -> tuple[TrialState, FailureClass | None]:
    assert isinstance(verdict, Settled)
    return verdict.outcome.state, verdict.outcome.failure_class


def test_a_complete_trial_has_its_best_objective_cut_at_the_bound() -> None:
    verdict = judged(said(trial_of(), "complete"), Status(Life.EXITED, 0))
    assert isinstance(verdict, Settled)
    assert (verdict.outcome.state, verdict.outcome.value) == (TrialState.COMPLETE, 1.5)
    cut = judge(said(trial_of(), "complete"), Status(Life.EXITED, 0), limits=LimitsConfig(), bound=1.0, output="")
    assert isinstance(cut, Settled)
    assert cut.outcome.value == 1.0


def test_divergence_is_a_result_at_the_bound() -> None:
    verdict = judged(said(trial_of(), "diverged"), Status(Life.EXITED, 0))
    assert isinstance(verdict, Settled)
    assert (verdict.outcome.state, verdict.outcome.value) == (TrialState.DIVERGED, 4.0)


def test_a_defect_keeps_its_traceback() -> None:
    verdict = judged(said(trial_of(), "failed"), Status(Life.EXITED, 0))
    assert outcome_of(verdict) == (TrialState.FAILED, FailureClass.DEFECT)
    assert isinstance(verdict, Settled)
    assert verdict.outcome.details == "where"


def test_what_an_attempt_said_counts_more_than_how_it_went() -> None:
    assert outcome_of(judged(said(trial_of(stop=TIMED_OUT), "complete"), KILLED))[0] is TrialState.COMPLETE


def test_an_arm_that_is_compared_with_others_is_not_trained_in_parts() -> None:
    verdict = judge(
        said(trial_of(), "out_of_memory"),
        Status(Life.EXITED, 1),
        limits=LimitsConfig(),
        bound=4.0,
        output="",
        is_paired=True,
    )
    assert outcome_of(verdict) == (TrialState.FAILED, FailureClass.OUT_OF_MEMORY)
    assert isinstance(verdict, Settled)
    assert "arms that are compared train it whole" in verdict.outcome.failure


def test_a_pruned_trial_is_pruned_however_soon_it_could_be_killed() -> None:
    assert outcome_of(judged(said(trial_of(stop=PRUNED), "complete"), KILLED))[0] is TrialState.PRUNED


@pytest.mark.parametrize(
    ("stop", "expected"),
    [(PRUNED, (TrialState.PRUNED, None)), (TIMED_OUT, (TrialState.TIMED_OUT, FailureClass.TIMED_OUT))],
)
def test_a_stop_of_the_coordinators_own(stop: str, expected: tuple[TrialState, FailureClass | None]) -> None:
    assert outcome_of(judged(trial_of(stop=stop), limits=LimitsConfig(trial_s=5))) == expected


def test_an_interrupted_trial_goes_on_and_was_not_lost() -> None:
    assert judged(trial_of(stop=INTERRUPTED)) == Again()


@pytest.mark.parametrize("status", [KILLED, Status(Life.LOST)])
def test_a_lost_attempt_is_followed_by_two_others_and_then_has_failed(status: Status) -> None:
    for num_lost in (0, 1):
        verdict = judged(trial_of(num_lost=num_lost, micro_batches=2), status)
        assert isinstance(verdict, Again)
        assert verdict.is_lost
        assert verdict.micro_batches == 2
    verdict = judged(trial_of(num_lost=2), status, output="last words")
    assert outcome_of(verdict) == (TrialState.FAILED, FailureClass.LOST)
    assert isinstance(verdict, Settled)
    assert verdict.outcome.failure == "its process was lost 3 times; the last words: last words"


def test_silence_is_a_loss() -> None:
    verdict = judged(trial_of(stop=SILENT))
    assert isinstance(verdict, Again)
    assert verdict.is_lost
    assert "said nothing for too long" in verdict.message


@pytest.mark.parametrize("status", [Status(Life.EXITED, 0), replace(KILLED, out_of_memory=True)])
def test_out_of_memory_brings_one_attempt_at_half_the_batch(status: Status) -> None:
    def end(trial: ActiveTrial) -> Verdict:
        return judged(said(trial, "out_of_memory") if status.exit_status == 0 else trial, status)

    first = end(trial_of())
    assert isinstance(first, Again)
    assert (first.micro_batches, first.is_lost) == (2, False)
    assert outcome_of(end(trial_of(micro_batches=2))) == (TrialState.FAILED, FailureClass.OUT_OF_MEMORY)
    assert outcome_of(end(trial_of(batch_size=1))) == (TrialState.FAILED, FailureClass.OUT_OF_MEMORY)
    normalised = end(trial_of(encoder=TDNNEncoderConfig(channels=8)))
    assert outcome_of(normalised) == (TrialState.FAILED, FailureClass.OUT_OF_MEMORY), "in parts it is another network"


def test_a_full_disk_is_nobodys_fault() -> None:
    assert judged(trial_of(), Status(Life.EXITED, EXIT_STORAGE_FULL)) == StorageFull()


def test_an_exit_without_a_word_is_a_defect() -> None:
    verdict = judged(trial_of(num_lost=1), Status(Life.EXITED, 1), output="Traceback\nKeyError: 'x'\n")
    assert outcome_of(verdict) == (TrialState.FAILED, FailureClass.DEFECT)
    assert isinstance(verdict, Settled)
    assert verdict.outcome.failure == "its process ended without a result: KeyError: 'x'"
