"""The order in which a deterministic study tells its sampler how trials ended: by number, whichever ended first.

With a window of W, trial k is asked for exactly when trials 0 … k-W are told, one ask after each tell, so that what the
sampler and the pruner know does not depend on time.
"""

from study.active import ActiveTrial, Outcome


def seen_by(number: int, *, window: int) -> int:
    """How many trials, from 0 on, a trial's proposal and pruning may depend on."""
    return max(0, number - window + 1)


class InOrder:
    """Holds outcomes until those of all smaller numbers are told."""

    def __init__(self, window: int, *, num_told: int = 0) -> None:
        self._window = window
        self._num_told = num_told
        self._held: dict[int, tuple[ActiveTrial, Outcome]] = {}

    def may_ask(self, number: int) -> bool:
        """Whether trial `number` may be asked for now."""
        return number < self._num_told + self._window

    def hold(self, trial: ActiveTrial, outcome: Outcome) -> None:
        """Keeps an outcome until its turn."""
        self._held[trial.number] = (trial, outcome)

    def release(self) -> tuple[ActiveTrial, Outcome] | None:
        """The next outcome, if it is its turn."""
        if self._num_told not in self._held:
            return None
        self._num_told += 1
        return self._held.pop(self._num_told - 1)

    @property
    def held(self) -> list[ActiveTrial]:
        """Trials that have ended and are not told yet."""
        return [trial for trial, _ in self._held.values()]
