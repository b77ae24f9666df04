"""Which sampler proposes configurations, and its options: a union told apart by `kind`.

What each can do with a space is checked in combinations.py; samplers.py builds them.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from lightning_modules.config import Frozen, PositiveInt
from search_spaces.parsing import Value

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Crossover = Literal["uniform", "blx_alpha", "sbx", "vsbx", "spx", "undx"]
PARENTS_OF_THREE: tuple[Crossover, ...] = ("spx", "undx")


class TPEConfig(Frozen):
    """Tree-structured Parzen estimator, multivariate and grouped by condition (Bergstra et al., 2011).

    Attributes:
        startup_trials: trials sampled at random before the estimator is used.
        candidates: points drawn a proposal, the most promising of which is proposed.
    """

    kind: Literal["tpe"] = "tpe"
    startup_trials: PositiveInt = 8
    candidates: PositiveInt = 24


class RandomConfig(Frozen):
    """Independent uniform samples."""

    kind: Literal["random"] = "random"


class _ModelsSomeParameters(Frozen):
    """A sampler that has no model of some parameters.

    Attributes:
        rest_at_random: draw those parameters independently at random; without it a space that has any is refused.
    """

    rest_at_random: bool = False


class GPConfig(_ModelsSomeParameters):
    """Gaussian process with a Matérn kernel and expected improvement; it has no model of conditional parameters.

    Attributes:
        startup_trials: trials sampled at random before the process is fitted.
    """

    kind: Literal["gp"] = "gp"
    startup_trials: PositiveInt = 10


class CMAESConfig(_ModelsSomeParameters):
    """Covariance matrix adaptation (Hansen & Ostermeier, 2001): ranges only, it has no model of choices.

    Attributes:
        startup_trials: trials sampled at random before the first generation.
        population: trials a generation; by default 4 + ⌊3 ln(number of ranges)⌋.
        pruned_trials: learn also from the last report of pruned trials.
        separable: a diagonal covariance matrix, for many ranges (Ros & Hansen, 2008).
        margin: keep the variance of whole numbers and steps from vanishing (Hamano et al., 2022).
        adapt_rate: adapt the learning rate to noisy and multimodal objectives (Nomura et al., 2023).
    """

    kind: Literal["cma_es"] = "cma_es"
    startup_trials: PositiveInt = 1
    population: Annotated[int, Field(ge=3)] | None = None
    pruned_trials: bool = False
    separable: bool = False
    margin: bool = False
    adapt_rate: bool = False

    @model_validator(mode="after")
    def _one_variant(self) -> Self:
        if self.separable + self.margin + self.adapt_rate > 1:
            raise ValueError("separable, margin and adapt_rate exclude each other; set one of them at most.")
        return self


class QMCConfig(_ModelsSomeParameters):
    """A low-discrepancy sequence: random search that leaves no gaps; it has no model of conditional parameters.

    Attributes:
        sequence: `sobol` (best with 2, 4, 8 … trials) or `halton`.
        scramble: randomise the sequence with the study's seed.
    """

    kind: Literal["qmc"] = "qmc"
    sequence: Literal["sobol", "halton"] = "sobol"
    scramble: bool = True


class GridConfig(Frozen):
    """Every combination of choices, whole numbers and steps, in an order shuffled by the seed; no conditions."""

    kind: Literal["grid"] = "grid"


class ExhaustiveConfig(Frozen):
    """Every configuration of a finite space, conditions included, in a random order (Optuna's BruteForceSampler)."""

    kind: Literal["exhaustive"] = "exhaustive"


class _Genetic(_ModelsSomeParameters):
    """A genetic algorithm; it draws conditional parameters at random.

    Attributes:
        population: trials a generation; the first is random.
        mutation_rate: how often a parameter is drawn anew; by default once a configuration.
        crossover_rate: how often a configuration has two parents rather than one.
        swap_rate: how often the second parent gives a parameter.
        crossover: how ranges are mixed; choices are always swapped (`uniform`).
    """

    population: Annotated[int, Field(ge=2)] = 20
    mutation_rate: Share | None = None
    crossover_rate: Share = 0.9
    swap_rate: Share = 0.5
    crossover: Crossover = "uniform"

    @model_validator(mode="after")
    def _enough_parents(self) -> Self:
        if self.crossover in PARENTS_OF_THREE and self.population < 3:  # noqa: PLR2004
            raise ValueError(f"population must be at least 3 for crossover {self.crossover} but is {self.population}.")
        return self


class NSGA2Config(_Genetic):
    """NSGA-II (Deb et al., 2002)."""

    kind: Literal["nsga2"] = "nsga2"


class NSGA3Config(_Genetic):
    """NSGA-III (Deb & Jain, 2014).

    Attributes:
        divisions: of each axis, on which its reference points lie.
    """

    kind: Literal["nsga3"] = "nsga3"
    divisions: PositiveInt = 3


class ArmConfig(Frozen):
    """One configuration of a design.

    Attributes:
        name: unique in the design.
        params: path -> value, of every searched parameter that exists in it.
    """

    name: str
    params: dict[str, Value]


class DesignConfig(Frozen):
    """Named configurations, each under the study's seed, then each under the next one, and so on.

    Attributes:
        arms: what is compared.
    """

    kind: Literal["design"] = "design"
    arms: Annotated[tuple[ArmConfig, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _each_once(self) -> Self:
        names = [arm.name for arm in self.arms]
        if repeated := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"two arms are called {repeated[0]!r}.")
        return self


SamplerConfig = Annotated[
    TPEConfig
    | GPConfig
    | CMAESConfig
    | QMCConfig
    | RandomConfig
    | GridConfig
    | ExhaustiveConfig
    | NSGA2Config
    | NSGA3Config
    | DesignConfig,
    Field(discriminator="kind"),
]
