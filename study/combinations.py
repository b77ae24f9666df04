"""Samplers, pruners, spaces and budgets that do not go together, found before anything is trained.

Optuna refuses some of these at the first proposal, and of others it says nothing: CMA-ES draws choices at random, the
Gaussian process and the genetic algorithms conditional parameters, and a pruner whose turn never comes is silent.
"""

from importlib.util import find_spec
from typing import Final, assert_never

from lightning_modules.errors import ConfigError
from search_spaces.assignment import is_active
from search_spaces.parsing import Parameter
from search_spaces.space import Space
from study.config import StudyConfig
from study.objectives import objectives_complaint
from study.pruner_config import (
    HyperbandPrunerConfig,
    MedianPrunerConfig,
    NoPrunerConfig,
    PatientPrunerConfig,
    PercentilePrunerConfig,
    PrunerConfig,
    SuccessiveHalvingPrunerConfig,
    WilcoxonPrunerConfig,
)
from study.sampler_config import (
    CMAESConfig,
    DesignConfig,
    ExhaustiveConfig,
    GPConfig,
    GridConfig,
    NSGA2Config,
    NSGA3Config,
    QMCConfig,
    RandomConfig,
    TPEConfig,
)

MAX_CONFIGURATIONS: Final = 100_000
MAX_EPOCHS_PATH: Final = "training.max_epochs"


def check_combination(config: StudyConfig, space: Space) -> None:
    """Refuses what cannot work.

    Raises:
        ConfigError: names the study's key, the space's parameter, and what to do.
    """
    complaint = objectives_complaint(config)  # options of the command line come after the file
    if complaint:
        raise ConfigError(f"study {config.name}: {complaint}")
    complaint = sampler_complaint(config, space)
    if complaint:
        raise ConfigError(f"study {config.name}, key sampler.kind: {config.sampler.kind} {complaint}")
    if "pruner" in config.model_fields_set:  # the default may be idle
        complaint = pruner_complaint(config.pruner, max_epochs=longest_epochs(config, space))
        if complaint:
            raise ConfigError(f"study {config.name}, key pruner.{complaint}")


def idle_pruner(config: StudyConfig, space: Space) -> str:
    """Why the default pruner will stop no trial of this study, or ""; one that a file names is refused for that."""
    if "pruner" in config.model_fields_set:
        return ""
    return pruner_complaint(config.pruner, max_epochs=longest_epochs(config, space)) or ""


def check_sources(config: StudyConfig, num_sources: int) -> None:
    """Refuses a Wilcoxon pruner that could not reach its threshold on so few development sources.

    Raises:
        ConfigError: says which thresholds can be reached.
    """
    pruner = config.pruner
    if not isinstance(pruner, WilcoxonPrunerConfig):
        return
    if num_sources < pruner.min_sources:
        raise ConfigError(
            f"study {config.name}, key pruner.min_sources: must be at most the number of development sources, "
            f"{num_sources}, but is {pruner.min_sources}."
        )
    smallest = 0.5**num_sources
    if smallest >= pruner.p_threshold:
        raise ConfigError(
            f"study {config.name}, key pruner.p_threshold: over {num_sources} development sources the smallest p is "
            f"{smallest:g}, so no trial would ever be below {pruner.p_threshold:g}; raise it, or name another pruner."
        )


def longest_epochs(config: StudyConfig, space: Space) -> int:
    """The longest that a trial may train: the base configuration's epochs, or the most that the space searches."""
    for parameter in space.parameters:
        if parameter.path == MAX_EPOCHS_PATH:
            return max(int(value) for value in parameter.extremes)
    return config.trial.training.max_epochs


def num_configurations(config: StudyConfig, space: Space) -> int | None:
    """How many trials a sampler that tries everything has; None for one that never ends."""
    if isinstance(config.sampler, GridConfig | ExhaustiveConfig):
        return space.count(MAX_CONFIGURATIONS)
    return None


def sampler_complaint(config: StudyConfig, space: Space) -> str | None:  # noqa: PLR0911 - one a kind
    """Why the sampler cannot sample the space, or None."""
    match config.sampler:
        case TPEConfig() | RandomConfig():
            return None
        case GridConfig():
            return _conditional(space, "has no conditions; name the sampler exhaustive") or _uncountable(space)
        case ExhaustiveConfig():
            return _uncountable(space)
        case GPConfig() | QMCConfig() | NSGA2Config() | NSGA3Config() if config.sampler.rest_at_random:
            return None
        case GPConfig() | QMCConfig() | NSGA2Config() | NSGA3Config():
            return _conditional(
                space, "draws conditional parameters at random; say sampler.rest_at_random = true, or name it tpe"
            )
        case CMAESConfig():
            return _cma_es(config.sampler, space)
        case DesignConfig():
            return _design(config.sampler, space)
        case _:
            assert_never(config.sampler)


def _design(sampler: DesignConfig, space: Space) -> str | None:
    for arm in sampler.arms:
        try:
            space.check_values(arm.params)
        except ConfigError as error:
            return f"has an arm {arm.name!r} that cannot be: {error}"
        missing = [each.path for each in space.in_order if is_active(each, arm.params) and each.path not in arm.params]
        if missing:
            return f'has an arm {arm.name!r} without "{missing[0]}"; give every parameter a value.'
    return None


def _cma_es(sampler: CMAESConfig, space: Space) -> str | None:
    if find_spec("cmaes") is None:
        return "needs package cmaes, which is not installed: pip install 'lidstudy[cma]'."
    ranges = [parameter for parameter in space.parameters if parameter.kind != "choices"]
    if not ranges:
        return f"searches ranges (int, float), but space {space.name} has choices alone; name another sampler."
    conditional = next((parameter for parameter in ranges if parameter.when), None)
    if conditional is not None:
        return (
            f"cannot search a range that exists only sometimes, but space {space.name} has "
            f'"{conditional.path}" with a when; name the sampler tpe.'
        )
    if sampler.separable and len(ranges) == 1:
        return f"has nothing to separate: space {space.name} has one range; leave sampler.separable out."
    choices = next((parameter for parameter in space.parameters if parameter.kind == "choices"), None)
    if choices is not None and not sampler.rest_at_random:
        return (
            f'draws choices at random, and space {space.name} has "{choices.path}"; '
            "say sampler.rest_at_random = true, or name it tpe."
        )
    return None


def _conditional(space: Space, problem: str) -> str | None:
    found: Parameter | None = next((parameter for parameter in space.parameters if parameter.when), None)
    return None if found is None else f'{problem} (space {space.name}, "{found.path}" has a when).'


def _uncountable(space: Space) -> str | None:
    found = next((parameter for parameter in space.parameters if parameter.values is None), None)
    if found is not None:
        return f'tries every value, but "{found.path}" of space {space.name} is a float without step; give it a step.'
    if space.count(MAX_CONFIGURATIONS + 1) == MAX_CONFIGURATIONS + 1:
        return (
            f"tries every configuration, but space {space.name} has more than {MAX_CONFIGURATIONS:,}; "
            "make it smaller, or name another sampler."
        )
    return None


def pruner_complaint(pruner: PrunerConfig, *, max_epochs: int) -> str | None:  # noqa: PLR0911 - one a kind
    """Why a pruner could never stop a trial of so many epochs, or None; begins with the key."""
    match pruner:
        case NoPrunerConfig():
            return None
        case MedianPrunerConfig() | PercentilePrunerConfig():
            return _too_late("warmup_epochs", pruner.warmup_epochs, pruner.warmup_epochs + 1, max_epochs)
        case SuccessiveHalvingPrunerConfig():
            return _too_late("min_epochs", pruner.min_epochs, pruner.first_rung, max_epochs)
        case HyperbandPrunerConfig():
            if pruner.min_epochs * pruner.reduction_factor > max_epochs:
                return (
                    f"min_epochs: {pruner.min_epochs} and reduction_factor {pruner.reduction_factor} leave one bracket "
                    f"in {max_epochs} epochs; make them smaller, or name the pruner successive_halving."
                )
            return None
        case PatientPrunerConfig():
            late = _too_late("patience", pruner.patience, pruner.patience + 2, max_epochs)
            inner = pruner_complaint(pruner.wraps, max_epochs=max_epochs)
            return late or (f"wraps.{inner}" if inner else None)
        case WilcoxonPrunerConfig():
            return _too_late("at_epoch", pruner.at_epoch, pruner.at_epoch + 1, max_epochs)
        case _:
            assert_never(pruner)


def _too_late(key: str, value: int, first_look: int, max_epochs: int) -> str | None:
    """A trial is looked at after its epochs, but not after its last."""
    if first_look < max_epochs:
        return None
    return (
        f"{key}: {value} is too long for trials of {max_epochs} epochs: the first look would be after epoch number "
        f"{first_look}, and a trial that has trained them all is not stopped; make it smaller."
    )
