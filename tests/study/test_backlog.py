"""The backlog: in order, and nothing that failed is forgotten."""

import threading

import pytest

from study.backlog import Backlog


def fail() -> None:
    raise ValueError("broken")


def test_calls_run_in_the_order_they_came() -> None:
    backlog, done = Backlog(), list[int]()
    for number in range(50):
        backlog.add(done.append, number)
    backlog.drain()
    backlog.close()
    assert done == list(range(50))
    assert len(backlog) == 0


def test_a_failure_is_raised_where_it_is_asked_for() -> None:
    backlog = Backlog()
    backlog.add(fail)
    with pytest.raises(ValueError, match="broken"):
        backlog.drain()
    backlog.close()


def test_closing_drops_what_has_not_begun() -> None:
    backlog, done = Backlog(), list[int]()
    both_queued, pause = threading.Event(), threading.Event()

    def until_the_next_is_dropped() -> None:
        both_queued.wait()
        while not backlog._pending[1].cancelled():
            pause.wait(0.001)

    backlog.add(until_the_next_is_dropped)
    backlog.add(done.append, 1)
    both_queued.set()
    backlog.close()
    assert done == []


def test_nothing_more_is_done_after_a_failure() -> None:
    backlog, done = Backlog(), list[int]()
    backlog.add(fail)
    backlog.add(done.append, 1)
    backlog.close()
    assert done == []
