"""The pruners that a study can name."""

import copy
import warnings
from typing import assert_never

import optuna
from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    NopPruner,
    PatientPruner,
    PercentilePruner,
    SuccessiveHalvingPruner,
    WilcoxonPruner,
)
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

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


def build_pruner(config: PrunerConfig, *, max_epochs: int) -> BasePruner:
    """The pruner that a study names.

    Args:
        config: which, and its options.
        max_epochs: the longest that a trial may train; Hyperband divides it into brackets.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return _build(config, max_epochs=max_epochs)


def _build(config: PrunerConfig, *, max_epochs: int) -> BasePruner:  # noqa: PLR0911 - one a kind
    match config:
        case MedianPrunerConfig():
            return MedianPruner(
                n_startup_trials=config.startup_trials,
                n_warmup_steps=config.warmup_epochs,
                interval_steps=config.interval_epochs,
                n_min_trials=config.min_trials,
            )
        case PercentilePrunerConfig():
            return PercentilePruner(
                config.percentile,
                n_startup_trials=config.startup_trials,
                n_warmup_steps=config.warmup_epochs,
                interval_steps=config.interval_epochs,
                n_min_trials=config.min_trials,
            )
        case SuccessiveHalvingPrunerConfig():
            return EpochsTrained(
                SuccessiveHalvingPruner(
                    min_resource=config.min_epochs,
                    reduction_factor=config.reduction_factor,
                    min_early_stopping_rate=config.skipped_rungs,
                    bootstrap_count=config.bootstrap_trials,
                )
            )
        case HyperbandPrunerConfig():
            return EpochsTrained(
                HyperbandPruner(
                    min_resource=config.min_epochs,
                    max_resource=max_epochs,
                    reduction_factor=config.reduction_factor,
                    bootstrap_count=config.bootstrap_trials,
                )
            )
        case PatientPrunerConfig():
            return PatientPruner(_build(config.wraps, max_epochs=max_epochs), config.patience, config.min_delta)
        case WilcoxonPrunerConfig():
            return OverSourcesPruner(WilcoxonPruner(p_threshold=config.p_threshold, n_startup_steps=config.min_sources))
        case NoPrunerConfig():
            return NopPruner()
        case _:
            assert_never(config)


class EpochsTrained(BasePruner):
    """Tells a pruner that counts resources how many epochs were trained: epoch 0 is one of them."""

    def __init__(self, pruner: BasePruner) -> None:
        self._pruner = pruner

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether the pruner would stop the trial now."""
        counted = copy.copy(trial)
        counted.intermediate_values = {epoch + 1: value for epoch, value in trial.intermediate_values.items()}
        return self._pruner.prune(study, counted)


class OverSourcesPruner(BasePruner):
    """Wilcoxon's test against the best trial, where that one was scored on the same sources."""

    def __init__(self, pruner: WilcoxonPruner) -> None:
        self._pruner = pruner

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        """Whether the trial is worse than the best one."""
        if not study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            return False
        if study.best_trial.intermediate_values.keys() != trial.intermediate_values.keys():
            return False  # the best trial ended before its sources were scored
        return self._pruner.prune(study, trial)
