"""The backlog: in order, nothing that failed is forgotten, and what MLflow cannot take now it gets later."""

import runpy
import threading
import time
from collections.abc import Iterator

import pytest

from study.backlog import Backlog
from study.outage import MlflowAwayError
from tests.study.helpers import catch_up


@pytest.fixture
def backlog() -> Iterator[Backlog]:
    backlog = Backlog(first_pause_s=0.001)
    yield backlog
    backlog.close()


class Store:
    """Keeps what it is told, but for the first times that it is away."""

    def __init__(self, *, num_away: int = 0) -> None:
        self.told: list[int] = []
        self._num_away = num_away

    def tell(self, number: int) -> None:
        if self._num_away:
            self._num_away -= 1
            raise MlflowAwayError("connection refused")
        self.told.append(number)


def fail() -> None:
    raise ValueError("broken")


def away() -> None:
    raise MlflowAwayError("connection refused")


def test_calls_run_in_the_order_they_came(backlog: Backlog) -> None:
    store = Store()
    for number in range(50):
        backlog.add(store.tell, number)
    catch_up(backlog)
    assert store.told == list(range(50))
    assert len(backlog) == 0


def test_a_failure_is_raised_where_it_is_asked_for(backlog: Backlog) -> None:
    backlog.add(fail)
    with pytest.raises(ValueError, match="broken"):
        catch_up(backlog)
    with pytest.raises(ValueError, match="broken"):
        backlog.check()


def test_closing_drops_what_has_not_begun(backlog: Backlog) -> None:
    store = Store()
    begun, go_on = threading.Event(), threading.Event()

    def until_the_backlog_closes() -> None:
        begun.set()
        go_on.wait()

    backlog.add(until_the_backlog_closes)
    backlog.add(store.tell, 1)
    begun.wait()
    closing = threading.Thread(target=backlog.close)
    closing.start()
    while not backlog._is_closed:
        closing.join(0.001)
    go_on.set()
    closing.join()
    assert store.told == []


def test_nothing_more_is_done_after_a_failure(backlog: Backlog) -> None:
    store = Store()
    backlog.add(fail)
    backlog.add(store.tell, 1)
    with pytest.raises(ValueError, match="broken"):
        catch_up(backlog)
    backlog.close()
    assert store.told == []


def test_what_waits_while_the_store_is_away_follows_once_and_in_order(backlog: Backlog) -> None:
    store = Store(num_away=3)
    for number in range(5):
        backlog.add(store.tell, number)
    catch_up(backlog)
    assert store.told == [0, 1, 2, 3, 4]


def test_an_outage_is_told_once_and_its_end_once(backlog: Backlog) -> None:
    store = Store(num_away=3)
    backlog.add(store.tell, 0)
    backlog.add(store.tell, 1)
    catch_up(backlog)
    gone, back = backlog.news()
    assert gone.startswith("MLflow is away since ")
    assert "(connection refused)" in gone
    assert back.startswith("MLflow is back after ")
    assert backlog.news() == []
    assert not backlog.is_away


def test_closing_does_not_wait_for_a_store_that_is_away() -> None:
    backlog = Backlog(first_pause_s=3600.0)
    backlog.add(away)
    while not backlog.is_away:
        backlog._thread.join(0.001)
    assert backlog.is_stuck
    backlog.close()
    assert not backlog._thread.is_alive()
    assert len(backlog) == 1


def test_a_call_that_hangs_is_stuck_after_a_while() -> None:
    now = [0.0]
    hang = threading.Event()
    backlog = Backlog(clock=lambda: now[0])
    backlog.add(hang.wait)
    assert not backlog.is_stuck
    now[0] = 11.0
    assert backlog.is_stuck
    hang.set()
    catch_up(backlog)
    assert not backlog.is_stuck
    backlog.close()


def test_closing_says_whether_a_call_is_still_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("study.backlog.CLOSE_S", 0.01)
    begun, go_on = threading.Event(), threading.Event()

    def hang() -> None:
        begun.set()
        go_on.wait()

    backlog = Backlog()
    assert backlog._thread.daemon, "it must not keep the program from ending"
    backlog.add(hang)
    begun.wait()
    assert not backlog.close()
    go_on.set()
    backlog._thread.join()
    assert backlog.close()


@pytest.mark.filterwarnings("ignore:'study.backlog' found in sys.modules:RuntimeWarning")
def test_a_wall_clock_that_is_set_makes_no_call_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    wall = [1000.0]
    monkeypatch.setattr(time, "time", lambda: wall[0])
    backlog = runpy.run_module("study.backlog")["Backlog"]()  # as if it were imported first now
    hang = threading.Event()
    backlog.add(hang.wait)
    wall[0] += 3600.0
    assert not backlog.is_stuck
    hang.set()
    backlog.close()


def test_an_outage_is_told_with_the_time_of_the_wall() -> None:
    backlog = Backlog(first_pause_s=0.001, clock=lambda: 12345.0)
    before = int(time.time())
    backlog.add(Store(num_away=1).tell, 0)
    catch_up(backlog)
    backlog.close()
    told = {time.strftime("%H:%M:%S", time.localtime(second)) for second in range(before, int(time.time()) + 1)}
    assert backlog.news()[0].split()[4] in told
