"""Waiting for Optuna's database: a call that finds it away is made again until it answers or the user stops the study.

Attempts go on meanwhile: they need no database, and what they say waits in their logs.
"""

import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from lightning_modules.errors import StoreAwayError

P = ParamSpec("P")
R = TypeVar("R")

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 5.0


class Patience:
    """Makes calls again while their store is away.

    Args:
        is_stopping: whether the user wants to stop; then the call's error is raised.
        message: tells the user, once that the store is away and once that it is back.
        sleep: waits.
        monotonic: measures durations, in seconds.
    """

    def __init__(
        self,
        *,
        is_stopping: Callable[[], bool],
        message: Callable[[str], None],
        sleep: Callable[[float], None] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._is_stopping = is_stopping
        self._message = message
        self._sleep = sleep
        self._monotonic = monotonic

    def call(self, function: Callable[P, R], *arguments: P.args, **keywords: P.kwargs) -> R:
        """The call's result, however long it takes.

        Raises:
            StoreAwayError: the store is away, and the user wants to stop.
        """
        away_since: float | None = None
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                result = function(*arguments, **keywords)
            except StoreAwayError as error:
                if self._is_stopping():
                    raise
                if away_since is None:
                    away_since = self._monotonic()
                    self._message(f"{error}; trials go on, and it is waited for")
                self._sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            else:
                if away_since is not None:
                    self._message(f"it answers again after {self._monotonic() - away_since:.0f} s")
                return result
