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
        of_command: the command that made that study.
        named_after_looks: looks at test data before the trial was named by hand; 0 of one that development data chose.
        design: how the arms were chosen.
        halvings: of a fractional design.
        factors: path -> its levels, the base's first.
        arms: name -> levels of the factors that exist in it.
        tuned: paths that were tuned for each arm, under the same budget.
        tuning: draws of these that each arm was tried with; 0: none.
        tuning_study: where.
        draws: arm -> how many of its draws trained to the end; an arm without any has the middle of each range.
        first_seed: of the comparison.
        seeds: that each arm is trained under.
        looks: seeds that each arm had results of whenever these could be seen and more seeds were asked for.
        margin: a difference in the objective below which arms count as equivalent; None where nobody has said.
        margin_after: trials of the comparison that had ended when the margin was named.
    """

    of: str
    trial: Annotated[int, Field(ge=0)]
    of_command: str = ""
    named_after_looks: Annotated[int, Field(ge=0)] = 0
    design: Design = "one_at_a_time"
    halvings: Annotated[int, Field(ge=0)] = 0
    factors: dict[str, tuple[Value, ...]]
    arms: dict[str, dict[str, Value]]
    tuned: tuple[str, ...] = ()
    tuning: Annotated[int, Field(ge=0)] = 0
    tuning_study: str = ""
    draws: dict[str, int] = Field(default_factory=dict)
    first_seed: Annotated[int, Field(ge=0)] = 0
    seeds: PositiveInt = 1
    looks: tuple[PositiveInt, ...] = ()
    margin: Annotated[float, Field(gt=0.0)] | None = None
    margin_after: Annotated[int, Field(ge=0)] = 0

    def compares(self) -> "AblationConfig":
        """What is compared, without what may be said later, or comes of how far the study is."""
        later = {"draws": {}, "seeds": 1, "looks": (), "margin": None, "margin_after": 0, "named_after_looks": 0}
        return self.model_copy(update=later | {"of_command": ""})

    @property
    def untuned(self) -> tuple[str, ...]:
        """Arms of which no draw trained to its end."""
        return tuple(arm for arm, number in self.draws.items() if not number)

    def after(self, before: "AblationConfig", *, num_ended: int, num_seen: int) -> "AblationConfig":
        """The same comparison, asked for again.

        Args:
            before: as it is on record.
            num_ended: trials of it that have ended.
            num_seen: seeds of which that is results.
        """
        seeds, looks, margin_after = max(self.seeds, before.seeds), before.looks, before.margin_after
        if seeds > before.seeds and num_seen:
            looks = (*looks, min(num_seen, before.seeds))
        margin = self.margin if self.margin is not None else before.margin
        if margin != before.margin:
            margin_after = num_ended
        update = {"seeds": seeds, "looks": looks, "margin": margin, "margin_after": margin_after}
        return self.model_copy(update=update | {"named_after_looks": before.named_after_looks})


class AblationOptions(Frozen):
    """What the command line says of an ablation.

    Attributes:
        name: of the study that compares; "" for the ablated study's with `-ablation` behind it.
        trial: the base; None for the best trial.
        factors: as `PATH` or `PATH=LEVEL,LEVEL`; none for every choice of the study.
        design: which combinations of levels are arms.
        halvings: of a fractional design.
        seeds: under how many each arm is trained; None for as many as can show anything.
        tuned: paths that are tuned for each arm.
        tuning: draws for each arm; 0 for none.
        margin: of equivalence.
    """

    name: str = ""
    trial: int | None = None
    factors: tuple[str, ...] = ()
    design: Design = "one_at_a_time"
    halvings: Annotated[int, Field(ge=0)] = 0
    seeds: PositiveInt | None = None
    tuned: tuple[str, ...] = ("optimizer.learning_rate",)
    tuning: Annotated[int, Field(ge=0)] = 6
    margin: Annotated[float, Field(gt=0.0)] | None = None
