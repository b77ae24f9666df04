"""A sampler in a process of its own: the Gaussian process imports torch, which the coordinator should not carry.

The process holds a mirror of the study. It is sent the trials that are new or have changed, and answers with a trial.
It ends with the coordinator; where it dies, another is started and sent everything.
"""

import multiprocessing
import signal
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Final

from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from lightning_modules.errors import StorageError
from search_spaces.space import Space
from study.mirror import Mirror
from study.sampler_config import GPConfig, SamplerConfig

MAX_STARTS_A_PROPOSAL: Final = 2


@dataclass(frozen=True, kw_only=True)
class MirrorSpec:
    """What the process makes its mirror from."""

    name: str
    space: Space
    seed: int
    sampler: SamplerConfig
    num_objectives: int = 1

    def mirror(self, *, sampler: BaseSampler | None, pruner: BasePruner | None = None) -> Mirror:
        """An empty mirror of the study."""
        return Mirror(
            self.name,
            space=self.space,
            seed=self.seed,
            sampler=sampler,
            pruner=pruner,
            num_objectives=self.num_objectives,
        )


class SamplerProcess:
    """Proposes trials from another process; it starts at once, since importing torch takes seconds."""

    def __init__(self, spec: MirrorSpec) -> None:
        self._spec = spec
        self._trials: dict[int, FrozenTrial] = {}
        self._unsent: dict[int, FrozenTrial] = {}
        self._lock = threading.Lock()  # trials change while a proposal is under way
        self._start()

    def put(self, trial: FrozenTrial) -> None:
        """Keeps a trial until it is sent with the next question."""
        with self._lock:
            self._trials[trial.number] = self._unsent[trial.number] = trial

    def propose(self, number: int, *, fixed: Mapping[str, Any] | None = None) -> FrozenTrial:
        """The next trial; the parameters in `fixed` are chosen already.

        Raises:
            StorageError: the process died, and so did the one after it.
        """
        for _ in range(MAX_STARTS_A_PROPOSAL):
            try:
                return self._ask(number, dict(fixed or {}))
            except (EOFError, OSError):
                self.close()
                with self._lock:
                    self._unsent = dict(self._trials)
                self._start()
        raise StorageError(
            f"the process of sampler {self._spec.sampler.kind} ended twice without a proposal (is memory short?); "
            "run the same command again, or name another sampler under another study."
        )

    def close(self) -> None:
        """Ends the process."""
        self._connection.close()
        self._process.terminate()
        self._process.join()

    @property
    def pid(self) -> int | None:
        """The process."""
        return self._process.pid

    def _ask(self, number: int, fixed: dict[str, Any]) -> FrozenTrial:
        with self._lock:
            unsent, self._unsent = self._unsent, {}
        self._connection.send((number, fixed, [unsent[each] for each in sorted(unsent)]))
        proposed: FrozenTrial = self._connection.recv()
        return proposed

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, self._spec), daemon=True, name="sampler")
        self._process.start()
        theirs.close()


def serve(connection: Connection, spec: MirrorSpec) -> None:
    """Answers questions until the other side is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the coordinator
    from study.samplers import build_sampler

    if isinstance(spec.sampler, GPConfig):
        import torch

        torch.set_num_threads(1)  # the other cores train
    sampler = build_sampler(spec.sampler, space=spec.space, seed=spec.seed)
    mirror = spec.mirror(sampler=sampler)
    while True:
        try:
            number, fixed, trials = connection.recv()
        except EOFError:
            return
        for trial in trials:
            mirror.put(trial)
        connection.send(mirror.propose(number, fixed=fixed))
