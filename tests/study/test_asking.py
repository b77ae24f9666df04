"""Trials that are asked for beside the event loop: how far ahead, within which budget, and what becomes of them."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lightning_modules.config import TrialConfig
from lightning_modules.errors import StorageError
from study.active import ActiveTrial
from study.asking import MOST_AHEAD, AskAhead
from study.workspace import TrialFolder


class Budget:
    """So many trials; asking for one waits while the gate is closed."""

    def __init__(self, count: int) -> None:
        self.left = count
        self.num_asked = 0
        self.gate = threading.Event()
        self.gate.set()

    def ask(self) -> ActiveTrial:
        self.gate.wait()
        if self.left == 0:
            raise StorageError("the budget is spent")
        self.left -= 1
        self.num_asked += 1
        return ActiveTrial(number=self.num_asked - 1, config=TrialConfig(), folder=TrialFolder(Path("nowhere")))

    def more(self) -> bool:
        return self.left > 0


@pytest.fixture
def ahead() -> Iterator[Callable[[Budget], AskAhead]]:
    opened: list[AskAhead] = []

    def make(budget: Budget) -> AskAhead:
        opened.append(AskAhead(budget.ask, more=budget.more))
        return opened[-1]

    yield make
    for each in opened:
        each.stop()


def settled(ahead: AskAhead) -> AskAhead:
    """Waits until it asks no more."""
    if ahead._asking is not None:
        ahead._asking.exception()
    return ahead


def test_one_trial_is_ahead_where_one_slot_is_free(ahead: Callable[[Budget], AskAhead]) -> None:
    budget = Budget(10)
    asking = ahead(budget)
    assert asking.take(num_free=1) is None
    assert (taken := settled(asking).take(num_free=1)) is not None
    assert taken.number == 0
    settled(asking)
    assert budget.num_asked == 2


def test_as_many_are_ahead_as_slots_are_free(ahead: Callable[[Budget], AskAhead]) -> None:
    budget = Budget(100)
    asking = ahead(budget)
    asking.take(num_free=5)
    settled(asking)
    assert budget.num_asked == 5
    taken = [asking.take(num_free=5 - place) for place in range(5)]
    assert [trial.number for trial in taken if trial is not None] == [0, 1, 2, 3, 4]


def test_there_is_an_end_to_how_many_are_ahead(ahead: Callable[[Budget], AskAhead]) -> None:
    budget = Budget(10 * MOST_AHEAD)
    asking = ahead(budget)
    asking.take(num_free=1000)
    settled(asking)
    assert budget.num_asked == MOST_AHEAD


def test_asking_ahead_stays_within_the_budget(ahead: Callable[[Budget], AskAhead]) -> None:
    budget = Budget(3)
    asking = ahead(budget)
    asking.take(num_free=10)
    taken = [settled(asking).take(num_free=10) for _ in range(4)]
    assert [trial.number for trial in taken if trial is not None] == [0, 1, 2]
    assert not settled(asking).is_under_way


def test_trials_that_nobody_took_are_given_back(ahead: Callable[[Budget], AskAhead]) -> None:
    asking = ahead(Budget(10))
    asking.take(num_free=3)
    assert settled(asking).is_under_way
    assert [trial.number for trial in asking.close()] == [0, 1, 2]


def test_an_error_is_raised_where_trials_are_taken(ahead: Callable[[Budget], AskAhead]) -> None:
    budget = Budget(1)
    asking = ahead(budget)
    budget.gate.clear()
    asking.take()
    budget.left = 0
    budget.gate.set()
    assert settled(asking).is_under_way
    with pytest.raises(StorageError, match="spent"):
        asking.take()


def test_a_stop_ends_it_after_the_trial_that_is_asked_for(ahead: Callable[[Budget], AskAhead]) -> None:
    budget = Budget(100)
    asking = ahead(budget)
    budget.gate.clear()
    asking.take(num_free=20)
    stopping = threading.Thread(target=asking.stop)
    stopping.start()
    while asking._wanted:
        stopping.join(0.001)
    budget.gate.set()
    stopping.join()
    assert budget.num_asked == 1
