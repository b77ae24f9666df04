"""The event log: what is torn is not read, what is whole is read once."""

import math
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from study.events import Ended, EpochEnded, EventLog, EventReader, read_events


def epoch_line(epoch: int) -> bytes:
    return (
        EpochEnded(time_ms=epoch, epoch=epoch, objective=1.0, metrics={"val/loss": 0.5}).model_dump_json().encode()
        + b"\n"
    )


@given(cuts=st.lists(st.integers(0, 600), max_size=8))
def test_events_do_not_depend_on_how_the_bytes_arrive(cuts: list[int]) -> None:
    data = b"".join(epoch_line(epoch) for epoch in range(5))
    reader = EventReader()
    places = sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})
    events = [event for start, end in pairwise(places) for event in reader.feed(data[start:end])]
    assert [event.time_ms for event in events] == [0, 1, 2, 3, 4]
    assert reader.offset == len(data)


def test_a_torn_last_line_is_not_an_event() -> None:
    assert [event.time_ms for event in EventReader().feed(epoch_line(0) + epoch_line(1)[:-7])] == [0]


def test_a_broken_line_is_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    events = EventReader().feed(epoch_line(0) + b"\x00\xffrubbish\n" + b'{"type": "unheard"}\n' + epoch_line(1))
    assert [event.time_ms for event in events] == [0, 1]
    assert "passed over" in caplog.text


def test_what_is_appended_is_read_back(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl")
    ended = Ended(time_ms=log.now_ms(), outcome="failed", failure="no", traceback="line 1\nline 2")
    log.append(ended)
    assert read_events(tmp_path / "events.jsonl") == [ended]


def test_time_never_runs_backwards_within_a_log(tmp_path: Path) -> None:
    clock = iter([100.0, 50.0, 101.0])
    log = EventLog(tmp_path / "events.jsonl", clock=lambda: next(clock))
    assert [log.now_ms(), log.now_ms(), log.now_ms()] == [100_000, 100_000, 101_000]


def test_a_missing_log_has_no_events(tmp_path: Path) -> None:
    assert read_events(tmp_path / "none.jsonl") == []


def test_metrics_that_are_no_numbers_survive_the_log(tmp_path: Path) -> None:
    metrics = {"val/loss": math.inf, "val/eer": math.nan, "val/cllr": -math.inf}
    EventLog(tmp_path / "log").append(EpochEnded(time_ms=1, epoch=0, objective=1.0, metrics=metrics))
    (event,) = read_events(tmp_path / "log")
    assert isinstance(event, EpochEnded)
    assert (event.metrics["val/loss"], event.metrics["val/cllr"]) == (math.inf, -math.inf)
    assert math.isnan(event.metrics["val/eer"])


def test_an_objective_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValidationError, match="finite"):
        EpochEnded(time_ms=1, epoch=0, objective=math.nan, metrics={})
