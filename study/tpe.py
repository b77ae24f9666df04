"""Optuna's TPE, multivariate and grouped by condition, with its groups in one order and without its slow paths."""

from optuna.distributions import BaseDistribution
from optuna.samplers import TPESampler
from optuna.search_space.group_decomposed import _SearchSpaceGroup
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

LEARNED_FROM = (TrialState.COMPLETE, TrialState.PRUNED)


class GroupedTPESampler(TPESampler):
    """TPE over groups of parameters that occur together.

    Optuna splits its groups in the order in which trials were seen to end. A resumed study sees them in order of
    number, would sample its groups in another order, and propose something else. Here the order is always that of the
    numbers.
    """

    def __init__(self, *, n_startup_trials: int, n_ei_candidates: int, seed: int) -> None:
        super().__init__(
            n_startup_trials=n_startup_trials,
            n_ei_candidates=n_ei_candidates,
            seed=seed,
            multivariate=True,
            group=True,
        )
        self._first_with: dict[frozenset[str], FrozenTrial] = {}
        self._seen: set[int] = set()

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:  # noqa: ARG002
        """All parameters of all groups."""
        self._search_space_group = self._groups(study)
        return {
            name: distribution
            for group in self._search_space_group.search_spaces
            for name, distribution in sorted(group.items())
            if not distribution.single()
        }

    def _groups(self, study: Study) -> _SearchSpaceGroup:
        """The groups that the trials' sets of parameters make; a set that is known changes nothing."""
        trials = study.get_trials(deepcopy=False, states=LEARNED_FROM)
        for trial in (trial for trial in trials if trial.number not in self._seen):
            self._seen.add(trial.number)
            names = frozenset(trial.distributions)
            first = self._first_with.get(names)
            if first is None or trial.number < first.number:
                self._first_with[names] = trial
        groups = _SearchSpaceGroup()
        for trial in sorted(self._first_with.values(), key=lambda trial: trial.number):
            groups.add_distributions(trial.distributions)
        return groups
