"""The samplers that a study can name, and how all their random streams are seeded anew before each proposal.

A study that is resumed must propose what an uninterrupted one would have. So nothing that a proposal depends on may
live in the memory of one process alone: random streams are reseeded from (study seed, trial number), caches are
emptied, and everything else is read from the trials.
"""

import warnings
from collections.abc import Iterator
from typing import Any, assert_never

import numpy as np
import optuna
from optuna.samplers import (
    BaseSampler,
    BruteForceSampler,
    CmaEsSampler,
    GPSampler,
    GridSampler,
    NSGAIIISampler,
    NSGAIISampler,
    QMCSampler,
    RandomSampler,
)
from optuna.samplers._lazy_random_state import LazyRandomState
from optuna.samplers.nsgaii import (
    BaseCrossover,
    BLXAlphaCrossover,
    SBXCrossover,
    SPXCrossover,
    UNDXCrossover,
    UniformCrossover,
    VSBXCrossover,
)
from optuna.study import Study
from optuna.trial import FrozenTrial

from search_spaces.space import Space
from study.sampler_config import (
    CMAESConfig,
    Crossover,
    DesignConfig,
    ExhaustiveConfig,
    GPConfig,
    GridConfig,
    NSGA2Config,
    NSGA3Config,
    QMCConfig,
    RandomConfig,
    SamplerConfig,
    TPEConfig,
)
from study.tpe import GroupedTPESampler


def build_sampler(config: SamplerConfig, *, space: Space, seed: int) -> BaseSampler:
    """The sampler that a study names.

    Args:
        config: which, and its options.
        space: what it samples.
        seed: the study's; the order of a grid and the scrambling of a sequence are fixed by it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return _build(config, space=space, seed=seed)


def _build(config: SamplerConfig, *, space: Space, seed: int) -> BaseSampler:  # noqa: C901, PLR0911 - one a kind
    match config:
        case TPEConfig():
            return GroupedTPESampler(
                n_startup_trials=config.startup_trials, n_ei_candidates=config.candidates, seed=seed
            )
        case GPConfig():
            return GPSampler(n_startup_trials=config.startup_trials, seed=seed, warn_independent_sampling=False)
        case CMAESConfig():
            return CmaEsSampler(
                n_startup_trials=config.startup_trials,
                popsize=config.population,
                consider_pruned_trials=config.pruned_trials,
                use_separable_cma=config.separable,
                with_margin=config.margin,
                lr_adapt=config.adapt_rate,
                seed=seed,
                warn_independent_sampling=False,
            )
        case QMCConfig():
            return QMCSampler(
                qmc_type=config.sequence, scramble=config.scramble, seed=seed, warn_independent_sampling=False
            )
        case RandomConfig() | DesignConfig():  # a design leaves nothing open
            return RandomSampler(seed=seed)
        case GridConfig():
            return UnvisitedGridSampler({each.path: list(each.values or ()) for each in space.parameters}, seed=seed)
        case ExhaustiveConfig():
            return ExhaustiveSampler(seed=seed)
        case NSGA2Config():
            return NSGAIISampler(**_genetic(config), seed=seed)
        case NSGA3Config():
            return NSGAIIISampler(**_genetic(config), dividing_parameter=config.divisions, seed=seed)
        case _:
            assert_never(config)


def _genetic(config: NSGA2Config | NSGA3Config) -> dict[str, Any]:
    return {
        "population_size": config.population,
        "mutation_prob": config.mutation_rate,
        "crossover_prob": config.crossover_rate,
        "swapping_prob": config.swap_rate,
        "crossover": _crossover(config.crossover, swap_rate=config.swap_rate),
    }


def _crossover(kind: Crossover, *, swap_rate: float) -> BaseCrossover:
    match kind:
        case "uniform":
            return UniformCrossover(swap_rate)
        case "blx_alpha":
            return BLXAlphaCrossover()
        case "sbx":
            return SBXCrossover()
        case "vsbx":
            return VSBXCrossover()
        case "spx":
            return SPXCrossover()
        case "undx":
            return UNDXCrossover()


class UnvisitedGridSampler(GridSampler):
    """A grid whose next point is the first that no trial has.

    Optuna's own takes the point of the trial's number, and so would lose the points of trials that never started and
    repeat those of trials that came from another space.
    """

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Chooses the point before the first parameter is asked for."""
        names = self._param_names
        visited = {
            tuple(other.params[name] for name in names)
            for other in study.get_trials(deepcopy=False)
            if other.number != trial.number and other.params
        }
        unvisited = next((place for place, point in enumerate(self._all_grids) if tuple(point) not in visited), 0)
        study._storage.set_trial_system_attr(trial._trial_id, "grid_id", unvisited)  # noqa: SLF001 - as GridSampler does


class ExhaustiveSampler(BruteForceSampler):
    """Tries every configuration; a trial without parameters (one that never started) says nothing of any."""

    @staticmethod
    def _populate_tree(tree: Any, trials: list[FrozenTrial], params: dict[str, Any]) -> None:
        BruteForceSampler._populate_tree(tree, [trial for trial in trials if trial.params], params)  # noqa: SLF001


def reseed(sampler: BaseSampler, entropy: tuple[int, ...]) -> None:
    """Seeds every random stream of a sampler from the same entropy, and empties what it keeps between proposals."""
    streams = list(random_streams(sampler))
    seeds = np.random.SeedSequence(entropy).generate_state(len(streams))
    for stream, seed in zip(streams, seeds, strict=True):
        stream.seed(int(seed))
    if isinstance(sampler, GPSampler):  # the last fit would be where the next one starts
        sampler._gprs_cache_list = None  # noqa: SLF001 - no public name for it


def random_streams(sampler: BaseSampler) -> Iterator[np.random.RandomState]:
    """All random streams of a sampler, in the order of its attributes: Optuna has no public way to seed them anew."""
    found: dict[int, np.random.RandomState] = {}
    _search(sampler, found, set())
    return iter(found.values())


def _search(holder: object, found: dict[int, np.random.RandomState], seen: set[int]) -> None:
    if id(holder) in seen:
        return
    seen.add(id(holder))
    for value in vars(holder).values():
        if isinstance(value, LazyRandomState):
            found[id(value.rng)] = value.rng
        elif isinstance(value, np.random.RandomState):
            found[id(value)] = value
        elif type(value).__module__.startswith("optuna.samplers") and hasattr(value, "__dict__"):
            _search(value, found, seen)


def sample_params(space: Space, count: int, *, seed: int) -> list[dict[str, Any]]:
    """Some random configurations of a space, kept nowhere."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=RandomSampler(seed=seed))
    return [space.suggest(study.ask()) for _ in range(count)]
