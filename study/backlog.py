"""Work that may wait, done in order by one thread, so that no slot waits for MLflow or a figure.

While MLflow is away the thread tries the call at the head again and again; everything behind it waits its turn, so
that nothing is lost, doubled or out of order.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from study.outage import MlflowAwayError

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 5.0
STUCK_S = 10.0
CLOSE_S = 5.0


class Call(NamedTuple):
    """One piece of work; it may be done more than once, so doing it again must change nothing."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]


class Backlog:
    """A queue of calls, run one at a time in the order they came.

    Its thread is a daemon: one that hangs in a dead connection must not keep the program from ending.
    """

    def __init__(self, *, first_pause_s: float = FIRST_PAUSE_S, clock: Callable[[], float] = time.monotonic) -> None:
        self._first_pause_s = first_pause_s
        self._clock = clock
        self._changed = threading.Condition()
        self._calls: deque[Call] = deque()
        self._news: deque[str] = deque()
        self._error: BaseException | None = None
        self._away_since: float | None = None
        self._moved_at = clock()
        self._is_closed = False
        self._thread = threading.Thread(target=self._work, name="backlog", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        return len(self._calls)

    @property
    def is_away(self) -> bool:
        """Whether MLflow did not answer when it was last asked."""
        return self._away_since is not None

    @property
    def is_stuck(self) -> bool:
        """Whether waiting may be in vain: MLflow is away, or has not finished a call for long."""
        return self.is_away or (bool(self._calls) and self._clock() - self._moved_at > STUCK_S)

    def add(self, call: Callable[..., Any], *arguments: Any, **keywords: Any) -> None:
        """Queues a call."""
        with self._changed:
            if not self._calls:
                self._moved_at = self._clock()
            self._calls.append(Call(call, arguments, keywords))
            self._changed.notify_all()

    def check(self) -> None:
        """Raises what a call raised."""
        if self._error is not None:
            raise self._error

    def news(self) -> list[str]:
        """Lines to show, each once: that MLflow is away, that it is back."""
        lines = []
        while self._news:
            lines.append(self._news.popleft())
        return lines

    def close(self) -> bool:
        """Drops what has not begun, and waits a moment for what has.

        Returns:
            False if a call is still under way: what it uses is its thread's alone, since nobody knows for how long.
        """
        with self._changed:
            patience_s = 0.0 if self._is_closed else CLOSE_S  # whoever closes it again has waited already
            self._is_closed = True
            self._changed.notify_all()
        self._thread.join(patience_s)
        return not self._thread.is_alive()

    # --- the thread --------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        """After a failure nothing more is done: later calls build on earlier ones."""
        pause_s = self._first_pause_s
        while (call := self._next()) is not None:
            try:
                call.function(*call.arguments, **call.keywords)
            except MlflowAwayError as error:
                self._rest(error, pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            except BaseException as error:  # noqa: BLE001 - raised again by check(), where somebody can act on it
                self._fail(error)
                return
            else:
                pause_s = self._first_pause_s
                self._advance()

    def _next(self) -> Call | None:
        with self._changed:
            self._changed.wait_for(lambda: bool(self._calls) or self._is_closed)
            return None if self._is_closed else self._calls[0]

    def _rest(self, error: MlflowAwayError, pause_s: float) -> None:
        with self._changed:
            if self._away_since is None:
                self._away_since = self._clock()
                since = time.strftime("%H:%M:%S")  # for people; what is measured is `clock`'s
                self._news.append(
                    f"MLflow is away since {since} ({error.why}); the study goes on, and MLflow is told when it is back"
                )
            self._changed.wait_for(lambda: self._is_closed, timeout=pause_s)

    def _advance(self) -> None:
        with self._changed:
            if self._away_since is not None:
                away_s = self._clock() - self._away_since
                self._news.append(f"MLflow is back after {away_s:.0f} s; it is told what waited")
                self._away_since = None
            self._moved_at = self._clock()
            self._calls.popleft()
            self._changed.notify_all()

    def _fail(self, error: BaseException) -> None:
        with self._changed:
            self._error = error
            self._changed.notify_all()
