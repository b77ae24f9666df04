"""A study in memory, which samplers and pruners look at.

The coordinator is the only writer of a study, so it need not ask a database what it wrote itself: the stored trials are
put into a mirror once, and each change after that. A proposal is made in the mirror and stored as a whole, so that no
stored trial is ever half asked. What samplers note about the study is kept with the trial that they noted it for.
"""

import copy
from collections.abc import Mapping
from typing import Any, Final, Protocol

import optuna
from optuna.pruners import BasePruner, NopPruner
from optuna.samplers import BaseSampler, RandomSampler
from optuna.storages import InMemoryStorage
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from search_spaces.space import Space
from study.samplers import reseed

NOTES: Final = "lidstudy:study_notes"
"""System attribute of a trial: what its sampler noted about the study when it was asked for."""

_SCRATCH: Final = ("tpe:relative_params", "gp:relative_params")
"""What samplers leave for others that ask at the same moment; of no use once all parameters are known."""


class Proposer(Protocol):
    """Proposes trials, given all that came before."""

    def put(self, trial: FrozenTrial) -> None:
        """A trial is new, or has changed."""

    def propose(self, number: int, *, fixed: Mapping[str, Any] | None = None) -> FrozenTrial:
        """The next trial, with its parameters; those in `fixed` are chosen already."""

    def close(self) -> None:
        """Lets go of what it holds."""


class Mirror:
    """The study in memory.

    Args:
        name: the study's name; Hyperband chooses brackets by it.
        space: what trials are asked for.
        seed: the study's; a proposal depends on it, its number and the trials before.
        sampler: proposes; None where another mirror does.
        pruner: None where another mirror has it.
        num_objectives: how many are minimised; pruners know one alone.
    """

    def __init__(
        self,
        name: str,
        *,
        space: Space,
        seed: int,
        sampler: BaseSampler | None = None,
        pruner: BasePruner | None = None,
        num_objectives: int = 1,
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._space = space
        self._seed = seed
        self._num_objectives = num_objectives
        self._storage = _Storage()
        self._study = optuna.create_study(
            storage=self._storage,
            study_name=name,
            directions=["minimize"] * num_objectives,
            sampler=sampler or RandomSampler(),
            pruner=pruner or NopPruner(),
        )
        self._id = self._study._study_id  # noqa: SLF001 - no public name for it

    def put(self, trial: FrozenTrial) -> None:
        """Puts a trial in its place, or in that of an earlier state of it."""
        self._storage.put(self._id, trial)
        for key, value in trial.system_attrs.get(NOTES, {}).items():
            self._storage.set_study_system_attr(self._id, key, value)

    def propose(self, number: int, *, fixed: Mapping[str, Any] | None = None) -> FrozenTrial:
        """The next trial, running and with its parameters; it is in the mirror from now on."""
        if fixed:
            self._study.enqueue_trial(dict(fixed))
        reseed(self._study.sampler, (self._seed, number))
        before = self._storage.get_study_system_attrs(self._id)
        trial = self._study.ask()
        self._space.suggest(trial)
        assert trial.number == number, "the mirror holds every trial of the study"
        after = self._storage.get_study_system_attrs(self._id)
        frozen = copy.copy(self._storage.get_trial(number))
        noted = {key: value for key, value in after.items() if key not in before or before[key] != value}
        kept = {key: value for key, value in frozen.system_attrs.items() if not key.startswith(_SCRATCH)}
        frozen.system_attrs = kept | ({NOTES: noted} if noted else {})
        self.put(frozen)
        return frozen

    def should_prune(self, number: int, *, seen: int | None = None) -> tuple[bool, dict[str, Any]]:
        """Whether the pruner would stop a trial now, and what it noted with the trial.

        Args:
            number: the trial.
            seen: it is compared with trials 0 … seen-1 only; None for all.
        """
        if seen is not None:
            return self._part(number, seen=seen).should_prune(number)
        before = self._storage.get_trial(number)
        verdict = self._study.pruner.prune(self._study, before)
        noted = self._storage.get_trial(number).system_attrs
        changed = {key: value for key, value in noted.items() if before.system_attrs.get(key) != value}
        return verdict, changed

    def _part(self, number: int, *, seen: int) -> "Mirror":
        """A mirror of trials 0 … seen-1 and this one; those between hide."""
        part = Mirror(
            self._study.study_name,
            space=self._space,
            seed=self._seed,
            pruner=self._study.pruner,
            num_objectives=self._num_objectives,
        )
        for each in range(number + 1):
            trial = self._storage.get_trial(each)
            part.put(trial if each < seen or each == number else hidden(trial))
        return part

    def close(self) -> None:
        """Nothing to let go of."""


def hidden(trial: FrozenTrial) -> FrozenTrial:
    """A trial as samplers and pruners see one that they should not learn from: failed, without parameters."""
    shown = copy.copy(trial)
    shown.state = OptunaState.FAIL
    shown.values = None
    shown.params = {}
    shown.distributions = {}
    shown.intermediate_values = {}
    shown.system_attrs = {key: value for key, value in trial.system_attrs.items() if key == NOTES}
    return shown


def in_order_of(space: Space, trial: FrozenTrial) -> FrozenTrial:
    """A trial with its parameters in the order in which the space asks; a database may return them in another."""
    order = {parameter.path: place for place, parameter in enumerate(space.in_order)}
    paths = sorted(trial.params, key=lambda path: order.get(path, len(order)))
    ordered = copy.copy(trial)
    ordered.params = {path: trial.params[path] for path in paths}
    ordered.distributions = {path: trial.distributions[path] for path in paths}
    return ordered


class _Storage(InMemoryStorage):
    """Optuna's storage in memory, into which trials can be put as they are; a trial's id is its number."""

    def put(self, study_id: int, trial: FrozenTrial) -> None:
        study = self._studies[study_id]
        placed = copy.copy(trial)
        placed._trial_id = trial.number  # noqa: SLF001 - no public name for it
        if trial.number == len(study.trials):
            study.trials.append(placed)
            self._trial_id_to_study_id_and_number[trial.number] = (study_id, trial.number)
            self._max_trial_id = trial.number
        else:
            study.trials[trial.number] = placed
        self._update_cache(trial.number, study_id)
