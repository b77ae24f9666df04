"""A changed search space: the trials of the old one, under their old numbers, in a new study of Optuna's.

A trial fits the new space if the space, applied to the base configuration, makes exactly the configuration that the
trial was trained with. It then has the parameters that the space would have asked for. The others are kept as failed
trials that are marked as foreign, and samplers learn nothing from them.
"""

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from lightning_modules.config import TrialConfig
from lightning_modules.errors import ConfigError
from reports.records import TrialState
from search_spaces.space import Space
from study.trials import FOREIGN, FURTHER, OPTUNA_STATE, OUTCOME, VALUE, noted_values, values_of

RUNG = "completed_rung_"
"""What successive halving notes with a trial: it compares objectives, whatever the space."""

Distributions = dict[str, BaseDistribution]


class Fitting:
    """Parameters and distributions that a space would have asked for, read from a configuration."""

    def __init__(self, config: TrialConfig) -> None:
        self._config = config.model_dump(mode="json")
        self.distributions: Distributions = {}

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """The configuration's value, if it is one of the choices."""
        return self._take(name, CategoricalDistribution(choices))

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """The configuration's value, if it lies in the range."""
        value: int = self._take(name, IntDistribution(low, high, log=log, step=step))
        return value

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """The configuration's value, if it lies in the range."""
        value: float = self._take(name, FloatDistribution(low, high, log=log, step=step))
        return value

    def _take(self, name: str, distribution: BaseDistribution) -> Any:
        value: Any = self._config
        for part in name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if not _contains(distribution, value):
            raise _DoesNotFit
        self.distributions[name] = distribution
        return value


class _DoesNotFit(Exception):  # noqa: N818 - no error: it ends a search
    """A value of the configuration is not one that the space has."""


def _contains(distribution: BaseDistribution, value: object) -> bool:
    try:
        return distribution._contains(distribution.to_internal_repr(value))  # noqa: SLF001 - no public name for it
    except (ValueError, TypeError):
        return False


def fit(config: TrialConfig, *, space: Space, base: Mapping[str, Any]) -> tuple[dict[str, Any], Distributions] | None:
    """What the space would have asked for to make a configuration; None if it cannot make it.

    Args:
        config: a trial's frozen configuration.
        space: the new space.
        base: the study's base configuration, as JSON.
    """
    reading = Fitting(config)
    try:
        params = space.suggest(reading)
        made = space.apply(base, params)
    except (_DoesNotFit, ConfigError):
        return None
    return (params, reading.distributions) if made.configuration_hash() == config.configuration_hash() else None


def carried(
    trials: Iterable[FrozenTrial], configs: Mapping[int, TrialConfig], *, space: Space, base: Mapping[str, Any]
) -> list[FrozenTrial]:
    """All trials as the new study has them.

    Args:
        trials: of the study's last space.
        configs: frozen configurations by number; a trial without one never started.
        space: the new space.
        base: the study's base configuration, as JSON.
    """
    return [_carry(trial, configs.get(trial.number), space=space, base=base) for trial in trials]


def _carry(trial: FrozenTrial, config: TrialConfig | None, *, space: Space, base: Mapping[str, Any]) -> FrozenTrial:
    new = copy.copy(trial)
    new.system_attrs = {key: value for key, value in trial.system_attrs.items() if key.startswith(RUNG)}
    new.user_attrs = {key: value for key, value in trial.user_attrs.items() if key not in {FOREIGN, VALUE, FURTHER}}
    found = None if config is None else fit(config, space=space, base=base)
    new.params, new.distributions = found or ({}, {})
    values = values_of(trial)
    if found is None:
        new.user_attrs |= {FOREIGN: True} | noted_values(values)
        new.state = OptunaState.FAIL if trial.state.is_finished() else trial.state
        new.values = None
    elif trial.state.is_finished():
        new.state = OPTUNA_STATE[TrialState(trial.user_attrs[OUTCOME])]
        new.values = stored_values(new, values)
    return new


def stored_values(trial: FrozenTrial, values: Sequence[float]) -> list[float] | None:
    """What Optuna keeps as the values of a trial that ends: of a pruned one the last report, as its own tell does."""
    if trial.state == OptunaState.PRUNED:
        steps = trial.intermediate_values
        return [steps[max(steps)]] if steps else None
    return None if not values or trial.state == OptunaState.FAIL else list(values)
