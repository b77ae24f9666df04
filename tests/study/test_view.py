"""What a user sees while a study runs."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from lightning_modules.config import TrialConfig
from reports.records import SearchedParameter, TrialState
from study.active import ActiveTrial, Outcome
from study.events import EpochEnded
from study.params import in_words
from study.trials import TrialSummary, best_trial
from study.view import MOST_ROWS, LiveView, PlainView, RemainingTime, SlotRow, Snapshot, duration, ending, render
from study.workspace import TrialFolder


def summary(number: int, state: TrialState, value: float | None = None) -> TrialSummary:
    return TrialSummary(
        number=number, state=state, value=value, params={"encoder.cell": "gru", "optimizer.rate": 0.00123}
    )


def trained(number: int = 3) -> ActiveTrial:
    trial = ActiveTrial(number=number, config=TrialConfig(), folder=TrialFolder(Path("nowhere")))
    metrics = {"train/loss": 1.25, "val/c_avg": 0.375}
    trial.take(
        [EpochEnded(time_ms=epoch, epoch=epoch, objective=2.0 - epoch / 10, metrics=metrics) for epoch in (0, 1)]
    )
    return trial


SNAPSHOT = Snapshot(
    study="demo",
    objective="cllr_calibrated",
    num_trials=16,
    elapsed_s=75.0,
    left_s=200.0,
    slots=(SlotRow.of("cpu-0", trained()), SlotRow.of("cpu-1", None)),
    trials=(
        summary(0, TrialState.COMPLETE, 1.9),
        summary(1, TrialState.PRUNED),
        summary(2, TrialState.DIVERGED, 4.6),
        summary(3, TrialState.RUNNING),
    ),
    is_stopping=False,
)


def test_the_live_table_shows_slots_counts_best_and_time_left() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=120, color_system=None)
    with LiveView(console) as view:
        view.update(SNAPSHOT)
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    for expected in (
        "3/16 trials",
        "1 complete",
        "1 pruned",
        "1 diverged",
        "about 3 min 20 s left",
        "2/10",
        "1.250",
        "0.375",
    ):
        assert expected in shown
    assert "best: trial 0" in shown
    assert "optimizer.rate=0.00123" in shown


def test_several_objectives_are_told_in_one_short_line() -> None:
    trials = tuple(
        replace(summary(number, TrialState.COMPLETE, float(number)), further=(100.0 - number, 1.0))
        for number in range(14)
    )
    several = replace(SNAPSHOT, trials=trials, further=("parameters", "latency"))
    line = "front of cllr_calibrated, parameters, latency: trials 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 2 more"
    assert several.front == line
    console = Console(file=io.StringIO(), width=120)
    console.print(render(several))
    assert isinstance(console.file, io.StringIO)
    assert line in console.file.getvalue()
    assert replace(several, trials=()).front == replace(SNAPSHOT, further=()).front == ""
    further = {"objective/parameters": 12345.0, "objective/latency": 3.25}
    assert ", parameters 12,345, latency 3.25 ms" in ending(
        trained(), Outcome(state=TrialState.COMPLETE, further=further)
    )


def test_plain_lines_are_one_an_ending() -> None:
    lines: list[str] = []
    view = PlainView(lines.append)
    view.update(SNAPSHOT)
    view.trial_ended(trained(), Outcome(state=TrialState.PRUNED))
    assert lines == [ending(trained(), Outcome(state=TrialState.PRUNED))]
    assert "trial   3 pruned" in lines[0]
    assert "best 1.900 at epoch 1" in lines[0]


def test_an_ending_names_what_was_chosen_and_nothing_else() -> None:
    searched = (
        SearchedParameter(path="task.attention", kind="choices", choices=("none", "dot")),
        SearchedParameter(path="encoder.hidden_size", kind="choices", choices=(32, 64)),
        SearchedParameter(path="encoder.bidirectional", kind="choices", choices=(False, True)),
        SearchedParameter(path="encoder.dropout", kind="float", low=0.0, high=1.0),
        SearchedParameter(
            path="pooling.kind", kind="choices", choices=("last", "mean"), when={"task.attention": ("none",)}
        ),
    )

    def named(attention: str, *, bidirectional: bool) -> str:
        encoder = {"kind": "recurrent", "hidden_size": 32, "bidirectional": bidirectional}
        config = {"task": {"kind": "sequence", "attention": attention}, "encoder": encoder, "pooling": {"kind": "mean"}}
        return in_words(TrialConfig.model_validate(config), searched)

    assert named("dot", bidirectional=True) == "attention dot hidden_size 32 bidirectional"
    assert named("none", bidirectional=False) == "attention none hidden_size 32 pooling mean"
    trial = replace(trained(), config=TrialConfig.model_validate({"encoder": {"kind": "recurrent", "hidden_size": 32}}))
    assert ending(trial, Outcome(state=TrialState.PRUNED), searched=searched[1:2]).endswith("epoch 1  (hidden_size 32)")
    assert ending(trial, Outcome(state=TrialState.PRUNED)).endswith("epoch 1")
    assert " timed out " in ending(trial, Outcome(state=TrialState.TIMED_OUT))


def test_diverged_trials_are_never_the_best() -> None:
    trials = [
        summary(0, TrialState.DIVERGED, 0.1),
        summary(1, TrialState.COMPLETE, 2.0),
        summary(2, TrialState.COMPLETE, 2.0),
    ]
    best = best_trial(trials)
    assert best is not None
    assert best.number == 1
    assert best_trial(trials[:1]) is None


def test_the_time_left_counts_only_what_was_watched() -> None:
    clock = iter([0.0, 100.0])
    remaining = RemainingTime(clock=lambda: next(clock))
    assert remaining.estimate(num_done=6, num_trials=16) is None  # six had ended before
    assert remaining.estimate(num_done=8, num_trials=16) == pytest.approx(400.0)


@pytest.mark.parametrize(("seconds", "words"), [(3.6, "4 s"), (200, "3 min 20 s"), (7500, "2 h 05 min")])
def test_durations_read_well(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_a_thousand_slots_are_not_all_drawn() -> None:
    slots = tuple(SlotRow.of(f"cpu-{number}", None) for number in range(1000))
    console = Console(file=io.StringIO(), force_terminal=False, width=120, color_system=None)
    console.print(render(replace(SNAPSHOT, slots=slots)))
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    assert f"and {1000 - MOST_ROWS} more" in shown
    assert shown.count("idle") == MOST_ROWS
