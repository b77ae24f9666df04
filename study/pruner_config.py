"""Which pruner stops hopeless trials, and its options: a union told apart by `kind`."""

from typing import Annotated, Literal

from pydantic import Field

from lightning_modules.config import Frozen, PositiveInt

NotNegative = Annotated[int, Field(ge=0)]
Factor = Annotated[int, Field(ge=2)]


class _Percentile(Frozen):
    """Compares a trial's best objective so far with the others' at the same epoch.

    Attributes:
        startup_trials: trials that must be complete before any is pruned.
        warmup_epochs: epochs during which no trial is pruned.
        interval_epochs: epochs between two looks.
        min_trials: complete trials that must have reached an epoch before any is pruned there.
    """

    startup_trials: PositiveInt = 4
    warmup_epochs: NotNegative = 2
    interval_epochs: PositiveInt = 1
    min_trials: PositiveInt = 1


class MedianPrunerConfig(_Percentile):
    """Stops a trial whose best objective so far is worse than the median of the others' at the same epoch."""

    kind: Literal["median"] = "median"


class PercentilePrunerConfig(_Percentile):
    """Stops a trial whose best objective so far is not among the best `percentile` percent at the same epoch.

    Attributes:
        percentile: share of the trials that is kept, in percent.
    """

    kind: Literal["percentile"] = "percentile"
    percentile: Annotated[float, Field(gt=0.0, lt=100.0)] = 25.0


class SuccessiveHalvingPrunerConfig(Frozen):
    """Asynchronous successive halving (Li et al., 2018): of the trials at each rung, the best go on.

    Attributes:
        min_epochs: epochs up to the first rung.
        reduction_factor: each rung is that many times further than the one before, and one trial in that many goes on.
        skipped_rungs: rungs left out at the start.
        bootstrap_trials: trials that must have reached a rung before any goes on.
    """

    kind: Literal["successive_halving"] = "successive_halving"
    min_epochs: PositiveInt = 1
    reduction_factor: Factor = 4
    skipped_rungs: NotNegative = 0
    bootstrap_trials: NotNegative = 0

    @property
    def first_rung(self) -> int:
        """Epochs after which the first trial can be stopped."""
        return int(self.min_epochs * self.reduction_factor**self.skipped_rungs)


class HyperbandPrunerConfig(Frozen):
    """Successive halving in several brackets, each with another first rung (Li et al., 2018); knows `max_epochs`.

    Attributes:
        min_epochs: epochs up to the first rung of the first bracket.
        reduction_factor: each rung is that many times further than the one before, and one trial in that many goes on.
        bootstrap_trials: trials of a bracket that must have reached a rung before any goes on.
    """

    kind: Literal["hyperband"] = "hyperband"
    min_epochs: PositiveInt = 1
    reduction_factor: Factor = 3
    bootstrap_trials: NotNegative = 0


class WilcoxonPrunerConfig(Frozen):
    """Stops a trial that is worse than the best one over development sources, by Wilcoxon's signed-rank test.

    The test is made once, at one epoch, on the objective of each source: epochs of a trial are no independent samples.

    Attributes:
        at_epoch: the epoch, counted from 0.
        p_threshold: a trial is stopped below this one-sided p-value.
        min_sources: no trial is stopped on fewer sources.
    """

    kind: Literal["wilcoxon"] = "wilcoxon"
    at_epoch: NotNegative
    p_threshold: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.1
    min_sources: Annotated[int, Field(ge=2)] = 2


class NoPrunerConfig(Frozen):
    """Every trial runs to its end."""

    kind: Literal["none"] = "none"


WrappedPrunerConfig = Annotated[
    MedianPrunerConfig | PercentilePrunerConfig | SuccessiveHalvingPrunerConfig | HyperbandPrunerConfig,
    Field(discriminator="kind"),
]


class PatientPrunerConfig(Frozen):
    """Lets another pruner speak only once a trial has stopped improving.

    Attributes:
        patience: epochs without a better objective.
        min_delta: by how much an objective must be better to count.
        wraps: the other pruner.
    """

    kind: Literal["patient"] = "patient"
    patience: NotNegative
    min_delta: Annotated[float, Field(ge=0.0)] = 0.0
    wraps: WrappedPrunerConfig = MedianPrunerConfig()


PrunerConfig = Annotated[
    MedianPrunerConfig
    | PercentilePrunerConfig
    | SuccessiveHalvingPrunerConfig
    | HyperbandPrunerConfig
    | PatientPrunerConfig
    | WilcoxonPrunerConfig
    | NoPrunerConfig,
    Field(discriminator="kind"),
]
