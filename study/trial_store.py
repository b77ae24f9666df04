"""TrialStore: the trials of one study, as the coordinator sees them.

What happens is stored first and then put into the mirror in memory (study/mirror.py), from which everything is read. So
a call that fails has changed nothing here and can be made again, and none but `ask` and the pruner look at all trials.
"""

import contextlib
import copy
import math
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from lightning_modules.errors import StorageError
from reports.records import TrialState
from study.carry_over import stored_values
from study.mirror import Mirror, Proposer, hidden
from study.storage import Storage, StoredStudy
from study.trials import (
    COMMAND,
    EPOCHS,
    OPTUNA_STATE,
    OUTCOME,
    SPACE,
    TrialSummary,
    Wish,
    is_foreign,
    noted_values,
    summary_of,
)

Point = frozenset[tuple[str, Any]]


class TrialStore:
    """The trials of one study; calls may come from several threads.

    Args:
        storage: closed with the store.
        stored: where every change is written first.
        mirror: has the pruner.
        proposer: has the sampler; the mirror itself, or one in another process.
        space_hash: of the present search space.
        num_configurations: how many trials a sampler that tries everything has; None for one that never ends.
        at_epoch: the epoch at which sources are compared; None where epochs are.
    """

    def __init__(
        self,
        *,
        storage: Storage,
        stored: StoredStudy,
        mirror: Mirror,
        proposer: Proposer,
        space_hash: str,
        num_configurations: int | None,
        at_epoch: int | None,
    ) -> None:
        self._storage = storage
        self._stored = stored
        self._mirror = mirror
        self._proposer = proposer
        self._space_hash = space_hash
        self._num_configurations = num_configurations
        self._at_epoch = at_epoch
        self._lock = threading.RLock()
        self._trials: dict[int, FrozenTrial] = {}
        self._summaries: dict[int, TrialSummary] = {}  # in order of number
        self._points: dict[int, Point] = {}  # what each trial asked for, where configurations are counted
        self._num_at: Counter[Point] = Counter()
        self._proposed: FrozenTrial | None = None  # but not stored yet
        self._distributions: dict[tuple[str, BaseDistribution], BaseDistribution] = {}  # one of each, for all trials
        self._epochs: dict[int, dict[int, float]] = {}  # objectives that Optuna is not told, by trial

    def load(self, trials: list[FrozenTrial]) -> None:
        """Takes all stored trials."""
        for trial in trials:
            self._put(trial)
        self.sync()  # what an earlier coordinator could not

    def sync(self) -> None:
        """Waits until the disk has all changes, so that what follows from them cannot outlive them."""
        self._stored.sync()

    # --- asking ------------------------------------------------------------------------------------------------------

    @property
    def is_exhausted(self) -> bool:
        """Whether every configuration of the space has been asked for; always False for most samplers."""
        return self._num_configurations is not None and len(self._num_at) >= self._num_configurations

    @property
    def proposes_apart(self) -> bool:
        """Whether another process proposes trials; it takes seconds to start."""
        return self._proposer is not self._mirror

    def ask(self, wish: Wish | None = None) -> TrialSummary:
        """A new trial; where a user has a wish, the sampler proposes only what it leaves open.

        Raises:
            StoreAwayError: the database is away; the same trial is stored by the next call.
        """
        if self._proposed is None:
            self._proposed = self._propose(wish)
        with self._lock:
            self._stored.add(self._proposed)
            trial, self._proposed = self._proposed, None
            self._put(trial)
            summary = self._summaries[trial.number]
        self.sync()  # beside the lock: what runs is reported meanwhile
        return summary

    def _propose(self, wish: Wish | None) -> FrozenTrial:
        """Another process may take its time: everything else goes on meanwhile."""
        fixed = {} if wish is None else wish.params
        with self._lock if self._proposer is self._mirror else contextlib.nullcontext():
            trial = self._proposer.propose(len(self._trials), fixed=fixed)
        shared = self._distributions
        trial.distributions = {
            path: shared.setdefault((path, each), each) for path, each in trial.distributions.items()
        }
        trial.user_attrs = {SPACE: self._space_hash} | ({} if wish is None else {COMMAND: wish.noted()})
        return trial

    def attach(self, number: int) -> None:
        """Takes over a running trial that an earlier coordinator asked for."""
        if self._trials[number].state.is_finished():
            raise StorageError(f"trial {number} has ended and cannot be taken over.")

    # --- while it runs -----------------------------------------------------------------------------------------------

    def report(self, number: int, *, epoch: int, objective: float) -> None:
        """Reports an epoch's objective; one that is reported already stays."""
        with self._lock:
            if epoch in self._summaries[number].reports:
                return
            if self._at_epoch is not None:
                self._epochs.setdefault(number, {})[epoch] = objective
                self._summarise(self._trials[number])
                return
            self._stored.report(number, epoch, objective)
            self._put(_with_reports(self._trials[number], {epoch: objective}))

    def report_sources(self, number: int, scores: Mapping[str, float], *, seen: int | None = None) -> bool:
        """Reports the objective of each development source, and says whether the pruner would stop the trial.

        Args:
            number: the trial.
            scores: objective by source; a source's step is its place in sorted order.
            seen: it is compared with trials 0 … seen-1 only; None for all.
        """
        steps = {step: scores[source] for step, source in enumerate(sorted(scores))}
        with self._lock:
            for step, score in steps.items():
                if step not in self._trials[number].intermediate_values:
                    self._stored.report(number, step, score)
            self._put(_with_reports(self._trials[number], steps))
            return self._asks_pruner(number, seen=seen)

    @property
    def at_epoch(self) -> int | None:
        """The epoch, counted from 0, after which `report_sources` wants to be called; None for never."""
        return self._at_epoch

    def should_prune(self, number: int, *, seen: int | None = None) -> bool:
        """Whether the pruner would stop a trial now.

        Args:
            number: the trial.
            seen: it is compared with trials 0 … seen-1 only; None for all.
        """
        with self._lock:
            return self._at_epoch is None and self._asks_pruner(number, seen=seen)

    def _asks_pruner(self, number: int, *, seen: int | None) -> bool:
        if is_foreign(self._trials[number]):
            return False
        verdict, noted = self._mirror.should_prune(number, seen=seen)
        try:
            for key, value in noted.items():
                self._stored.note(number, key, value)
        except StorageError:
            self._put(self._trials[number])  # the pruner forgets what could not be stored, and can be asked again
            raise
        if noted:
            changed = copy.copy(self._trials[number])
            changed.system_attrs = changed.system_attrs | noted
            self._put(changed)
        return verdict

    # --- ending ------------------------------------------------------------------------------------------------------

    def tell(self, number: int, state: TrialState, *, value: float | None, further: Sequence[float] = ()) -> None:
        """Ends a trial; telling an ended trial again changes nothing.

        Args:
            number: the trial.
            state: how it ended.
            value: of the first objective; finite for complete and diverged trials, None otherwise.
            further: of the others, in the study's order.
        """
        values = () if value is None else (value, *further)
        if not all(map(math.isfinite, values)):
            raise ValueError(f"values must be finite but got {values}.")
        with self._lock:
            attributes: dict[str, Any] = {OUTCOME: state.value}
            if number in self._epochs:
                attributes[EPOCHS] = {str(epoch): each for epoch, each in self._epochs[number].items()}
            if is_foreign(self._trials[number]):
                self._end(number, OptunaState.FAIL, values=(), attributes=attributes | noted_values(values))
            else:
                self._end(number, OPTUNA_STATE[state], values=values, attributes=attributes)

    def _end(self, number: int, state: OptunaState, *, values: Sequence[float], attributes: dict[str, Any]) -> None:
        if self._trials[number].state.is_finished():
            return
        ended = copy.copy(self._trials[number])
        ended.state = state
        ended.datetime_complete = datetime.now()  # noqa: DTZ005 - as Optuna keeps it
        ended.user_attrs = ended.user_attrs | attributes
        ended.values = stored_values(ended, values)
        self._stored.tell(number, state, values=ended.values, attributes=attributes)
        self._epochs.pop(number, None)
        self._put(ended)

    # --- reading -----------------------------------------------------------------------------------------------------

    def trials(self) -> list[TrialSummary]:
        """All trials, in order of number."""
        return list(self._summaries.values())

    def close(self) -> None:
        """Closes connections, and ends the sampler's process if it has one; also where the disk takes no more."""
        with contextlib.ExitStack() as closing:
            closing.callback(self._storage.close)
            closing.callback(self._proposer.close)
            self.sync()

    def _put(self, trial: FrozenTrial) -> None:
        self._trials[trial.number] = trial
        self._summarise(trial)
        shown = as_samplers_see(trial, by_source=self._at_epoch is not None)
        self._mirror.put(shown)
        if self._proposer is not self._mirror:
            self._proposer.put(shown)
        if self._num_configurations is not None:
            self._count(trial)

    def _count(self, trial: FrozenTrial) -> None:
        """Counts the configurations that were asked for."""
        before = self._points.pop(trial.number, None)
        if before is not None:
            self._num_at -= Counter([before])  # which drops what is zero
        if not is_foreign(trial):
            self._points[trial.number] = point = frozenset(trial.params.items())
            self._num_at[point] += 1

    def _summarise(self, trial: FrozenTrial) -> None:
        summary = summary_of(trial)
        if self._at_epoch is not None and summary.state is TrialState.RUNNING:  # Optuna's steps are sources
            summary = replace(summary, reports=dict(self._epochs.get(trial.number, {})))
        self._summaries[trial.number] = summary


def _with_reports(trial: FrozenTrial, reports: Mapping[int, float]) -> FrozenTrial:
    changed = copy.copy(trial)
    changed.intermediate_values = dict(reports) | trial.intermediate_values  # the first report stays
    return changed


def as_samplers_see(trial: FrozenTrial, *, by_source: bool) -> FrozenTrial:
    """Foreign trials hide; a trial pruned over sources counts by their mean."""
    if is_foreign(trial):
        return hidden(trial)
    if by_source and trial.state == OptunaState.PRUNED and trial.intermediate_values:
        changed = copy.copy(trial)
        changed.intermediate_values = {0: sum(trial.intermediate_values.values()) / len(trial.intermediate_values)}
        return changed
    return trial
