"""The trials that wait for a slot, and where the next ones come from."""

from collections import deque
from collections.abc import Callable
from functools import partial

from study.active import ActiveTrial
from study.asking import AskAhead, Asking
from study.ending import Ending
from study.ordering import InOrder
from study.patience import Patience

SLOW_ASK_S = 0.05


class Line:
    """First come, first served; a new trial is asked for when a slot is free and nobody waits.

    Args:
        asking: makes trials.
        ending: says whether new ones are wanted.
        patience: waits for Optuna's database.
        is_apart: whether another process proposes trials, so that each is asked for beside the event loop.
        opened: is called with each new trial.
        monotonic: a clock that cannot be set back.
    """

    def __init__(
        self,
        asking: Asking,
        *,
        ending: Ending,
        patience: Patience,
        is_apart: bool,
        opened: Callable[[ActiveTrial], None],
        monotonic: Callable[[], float],
    ) -> None:
        self._asking = asking
        self._ending = ending
        self._patience = patience
        self._opened = opened
        self._monotonic = monotonic
        self._waiting: deque[ActiveTrial] = deque()
        self._ask_ahead = self._beside() if is_apart else None  # else once asking takes long
        self.order: InOrder | None = None
        """Which trial may be asked for when; None where that does not matter."""

    @property
    def has_more(self) -> bool:
        """Whether anybody who may start waits, or more is to be asked for."""
        is_waiting = bool(self._waiting) and not self._ending.is_draining
        return is_waiting or self._is_asking_ahead() or self.wants_more()

    def wants_more(self) -> bool:
        """Whether more trials are asked for."""
        return self._ending.starts_new and self._asking.has_more()

    def add(self, trial: ActiveTrial) -> None:
        """A trial needs another attempt."""
        self._waiting.append(trial)

    def put_back(self, trial: ActiveTrial) -> None:
        """Its slot was not free after all."""
        self._waiting.appendleft(trial)

    def next(self, *, num_free: int) -> ActiveTrial | None:
        """The next trial; None where there is none to be had now, and once nothing more is to be started.

        Args:
            num_free: slots that wait for one.
        """
        if self._ending.is_draining:
            return None
        if not self._waiting:
            self.ask(num_free=num_free)
        return self._waiting.popleft() if self._waiting else None

    def ask(self, *, num_free: int = 1) -> bool:
        """Puts one more trial in line; False where there is none to be had now."""
        if not self._is_asking_ahead() and not self.wants_more():
            return False
        if self.order is not None and not self.order.may_ask(self._asking.num_asked):
            return False
        if self._ask_ahead is None or self.order is not None:
            trial: ActiveTrial | None = self._ask_here()
        else:
            trial = self._ask_ahead.take(num_free=num_free)
        if trial is None:
            return False
        self._opened(trial)
        self._waiting.append(trial)
        return True

    def close(self) -> list[ActiveTrial]:
        """Everything that still waits, for the next coordinator; nothing more is asked for."""
        for asked in self._ask_ahead.close() if self._ask_ahead is not None else ():
            self._opened(asked)
            self._waiting.append(asked)
        held = self.order.held if self.order is not None else ()
        return [*self._waiting, *held]

    def stop(self) -> None:
        """Asks no more; trials that nobody has taken are left to the next coordinator."""
        if self._ask_ahead is not None:
            self._ask_ahead.stop()

    def _is_asking_ahead(self) -> bool:
        """Whether a trial was asked for beside the loop that is still to be started."""
        return self._ask_ahead is not None and self._ask_ahead.is_under_way and not self._ending.is_draining

    def _ask_here(self) -> ActiveTrial:
        """Asks in the event loop; once that takes long, it is done beside the loop from then on."""
        began = self._monotonic()
        trial: ActiveTrial = self._patience.call(self._asking.next)
        if self._ask_ahead is None and self._monotonic() - began > SLOW_ASK_S:
            self._ask_ahead = self._beside()
        return trial

    def _beside(self) -> AskAhead:
        ask = partial(self._patience.call, self._asking.next)
        return AskAhead(ask, more=lambda: self.wants_more() and not self._ending.is_near)
