"""What a study that compares arms says of itself: written by `lidstudy ablate`, read by reports."""

from typing import Annotated, Literal

from pydantic import Field

from lightning_modules.config import Frozen, PositiveInt
from search_spaces.parsing import Value

Design = Literal["one_at_a_time", "leave_one_out", "factorial", "fractional"]


class AblationConfig(Frozen):
    """A controlled comparison of arms, which are the study's `sampler.arms`; the first is the base.

    Attributes:
        of: the study whose trial is the base.
        trial: that trial.
        design: how the arms were chosen.
        halvings: of a fractional design.
        factors: path -> its levels, the base's first.
        arms: name -> levels of the factors.
        tuned: paths that were tuned for each arm, under the same budget.
        tuning: draws of these that each arm was tried with; 0: none.
        tuning_study: where.
        margin: a difference in the objective below which arms count as equivalent; None where nobody has said.
    """

    of: str
    trial: Annotated[int, Field(ge=0)]
    design: Design = "one_at_a_time"
    halvings: Annotated[int, Field(ge=0)] = 0
    factors: dict[str, tuple[Value, ...]]
    arms: dict[str, dict[str, Value]]
    tuned: tuple[str, ...] = ()
    tuning: Annotated[int, Field(ge=0)] = 0
    tuning_study: str = ""
    margin: Annotated[float, Field(gt=0.0)] | None = None


class AblationOptions(Frozen):
    """What the command line says of an ablation.

    Attributes:
        name: of the study that compares; "" for the ablated study's with `-ablation` behind it.
        trial: the base; None for the best trial.
        factors: as `PATH` or `PATH=LEVEL,LEVEL`; none for every choice of the study.
        design: which combinations of levels are arms.
        halvings: of a fractional design.
        seeds: under how many each arm is trained.
        tuned: paths that are tuned for each arm.
        tuning: draws for each arm; 0 for none.
        margin: of equivalence.
    """

    name: str = ""
    trial: int | None = None
    factors: tuple[str, ...] = ()
    design: Design = "one_at_a_time"
    halvings: Annotated[int, Field(ge=0)] = 0
    seeds: PositiveInt = 8
    tuned: tuple[str, ...] = ("optimizer.learning_rate",)
    tuning: Annotated[int, Field(ge=0)] = 6
    margin: Annotated[float, Field(gt=0.0)] | None = None
