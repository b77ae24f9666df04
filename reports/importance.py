"""How much each searched parameter goes with the objective: two measures of Optuna's, each of another question.

fANOVA (Hutter et al., 2014) fits a random forest to all complete trials, and asks what share of its variance over the
whole space each parameter alone makes up. PED-ANOVA (Watanabe et al., 2023) compares the best trials' values of each
parameter with all trials' values. Neither is an ablation: trials differ in everything at once, and a sampler tried more
of what was good. How far either depends on which trials there happen to be is said by resampling them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from reports.records import SearchedParameter, TrialRecord
from reports.statistics import Interval

if TYPE_CHECKING:
    from optuna import Study

FEWEST_TRIALS: Final = 20
MOST_TRIALS: Final = 120
"""Of more, so many are drawn: forests of thousands would take minutes, and say little more."""
RESAMPLES: Final = 10
BEST_SHARE: Final = 0.25
"""Of trials that PED-ANOVA takes for the best; of so few trials a tenth would be two or three."""
NUM_TREES: Final = 16
SEED: Final = 0

Shares = Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Importance:
    """Of one parameter; shares add up to 1 over the parameters.

    Attributes:
        path: the parameter's.
        over_space: share of the variance over the whole space (fANOVA); `_range` from the least to the largest that
            resampled trials give.
        among_best: share of what tells the best trials from all (PED-ANOVA), and its range.
    """

    path: str
    over_space: float
    over_space_range: Interval
    among_best: float
    among_best_range: Interval


def importances(trials: Sequence[TrialRecord], parameters: Sequence[SearchedParameter]) -> tuple[Importance, ...]:
    """Of parameters that every trial has and that vary, the largest first; nothing for too few trials or parameters.

    Args:
        trials: complete ones, with finite objectives.
        parameters: that the study searched.
    """
    comparable = [each for each in parameters if not each.when and _varies(each, trials)]
    known = [trial for trial in trials if all(_allows(each, trial.params.get(each.path)) for each in comparable)]
    if len(known) < FEWEST_TRIALS or len(comparable) < 2 or len({trial.objective for trial in known}) < 2:  # noqa: PLR2004
        return ()  # the only parameter would have all of it
    if len(known) > MOST_TRIALS:
        places = np.random.default_rng(SEED).choice(len(known), size=MOST_TRIALS, replace=False)
        known = [known[place] for place in sorted(places)]
    over_space, over_space_ranges = _with_ranges(_fanova, known, comparable)
    among_best, among_best_ranges = _with_ranges(_ped_anova, known, comparable)
    found = [
        Importance(
            path=each.path,
            over_space=float(over_space[each.path]),
            over_space_range=over_space_ranges[each.path],
            among_best=float(among_best[each.path]),
            among_best_range=among_best_ranges[each.path],
        )
        for each in comparable
    ]
    return tuple(sorted(found, key=lambda each: (-each.over_space, each.path)))


def _with_ranges(
    measure: Callable[["Study"], Shares], trials: Sequence[TrialRecord], parameters: Sequence[SearchedParameter]
) -> tuple[Shares, dict[str, Interval]]:
    generator = np.random.default_rng(SEED)
    resampled = []
    for _ in range(RESAMPLES):
        places = generator.integers(len(trials), size=len(trials))
        resampled.append(measure(_study([trials[place] for place in places], parameters)))
    found = {each.path: [float(shares[each.path]) for shares in resampled] for each in parameters}
    return measure(_study(trials, parameters)), {path: Interval(min(all_), max(all_)) for path, all_ in found.items()}


def _fanova(study: "Study") -> Shares:
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    return get_param_importances(study, evaluator=FanovaImportanceEvaluator(n_trees=NUM_TREES, seed=SEED))


def _ped_anova(study: "Study") -> Shares:
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    evaluator = PedAnovaImportanceEvaluator(target_quantile=BEST_SHARE, evaluate_on_local=False)
    return get_param_importances(study, evaluator=evaluator)


def _study(trials: Sequence[TrialRecord], parameters: Sequence[SearchedParameter]) -> "Study":
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    distributions = {each.path: _distribution(each) for each in parameters}
    study = optuna.create_study(storage=optuna.storages.InMemoryStorage())
    study.add_trials(
        [
            optuna.trial.create_trial(
                params={path: trial.params[path] for path in distributions},
                distributions=distributions,
                value=trial.objective,
            )
            for trial in trials
        ]
    )
    return study


def _distribution(parameter: SearchedParameter) -> Any:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if parameter.low is None or parameter.high is None:
        return CategoricalDistribution(parameter.choices)
    if parameter.kind == "int":
        return IntDistribution(int(parameter.low), int(parameter.high), log=parameter.log)
    return FloatDistribution(parameter.low, parameter.high, log=parameter.log)


def _varies(parameter: SearchedParameter, trials: Sequence[TrialRecord]) -> bool:
    return len({trial.params.get(parameter.path) for trial in trials}) > 1


def _allows(parameter: SearchedParameter, value: object) -> bool:
    """Trials of an earlier space may have others."""
    if parameter.low is None or parameter.high is None:
        return value in parameter.choices
    return isinstance(value, int | float) and parameter.low <= value <= parameter.high
