"""A trial as Optuna keeps it, and what the rest of the program is told of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from reports.pareto import non_dominated
from reports.records import TrialState

# --- user attributes of a trial ---------------------------------------------------------------------------------------
OUTCOME: Final = "outcome"
"""How it ended: a TrialState."""
COMMAND: Final = "command"
"""What a user asked it to be: the command's name, the seed, the failed trial that it tries again."""
SPACE: Final = "space"
"""Hash of the search space that asked for it."""
FOREIGN: Final = "foreign"
"""True for a trial that does not fit the present space; Optuna calls it failed, whatever it was."""
VALUE: Final = "value"
"""The value of a foreign trial, since Optuna keeps none for failed ones; of the first objective."""
FURTHER: Final = "further"
"""Its values of further objectives."""
EPOCHS: Final = "epochs"
"""Objective by epoch, where Optuna's steps are sources."""

OPTUNA_STATE: Final = {
    TrialState.COMPLETE: OptunaState.COMPLETE,
    TrialState.DIVERGED: OptunaState.COMPLETE,
    TrialState.PRUNED: OptunaState.PRUNED,
    TrialState.FAILED: OptunaState.FAIL,
    TrialState.TIMED_OUT: OptunaState.FAIL,
}


@dataclass(frozen=True, kw_only=True)
class TrialSummary:
    """One trial as Optuna knows it.

    Attributes:
        number: its number.
        state: how it stands.
        value: what Optuna was told, or None; of the first objective where there are several.
        further: what it was told of the others.
        params: the searched parameters; none for a trial that does not fit the present space.
        reports: objective by epoch.
        space: hash of the search space that asked for it, or "" where that was not kept.
        fits: whether it lies in the present space; samplers learn from no other, and no other is the best.
        command: the user's command that it came from, or "".
        seed: the seed that a user chose for it, or None.
        retry_of: the failed trial that it tries again, or None.
    """

    number: int
    state: TrialState
    value: float | None
    further: tuple[float, ...] = ()
    params: dict[str, Any]
    reports: dict[int, float] = field(default_factory=dict)
    space: str = ""
    fits: bool = True
    command: str = ""
    seed: int | None = None
    retry_of: int | None = None

    @property
    def values(self) -> tuple[float, ...]:
        """Of all objectives, in the study's order; none where there is no result."""
        return () if self.value is None else (self.value, *self.further)


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What a user asked a trial to be.

    Attributes:
        name: of the command; unique, so that it is carried out once. "" for a trial of the study's own.
        params: values of searched parameters; the sampler proposes the others.
        seed: of the trial; None for the study's own rule.
        retry_of: the failed trial that is tried again, or None.
    """

    name: str
    params: Mapping[str, Any]
    seed: int | None = None
    retry_of: int | None = None

    def noted(self) -> dict[str, Any]:
        """What the trial keeps of it."""
        return {"name": self.name, "seed": self.seed, "retry_of": self.retry_of}


def is_foreign(trial: FrozenTrial) -> bool:
    """Whether it lies outside the present space."""
    return bool(trial.user_attrs.get(FOREIGN, False))


def summary_of(trial: FrozenTrial) -> TrialSummary:
    """What the rest of the program is told of a trial."""
    attributes = trial.user_attrs
    command = attributes.get(COMMAND, {})
    value, *further = values_of(trial) or (None,)
    return TrialSummary(
        number=trial.number,
        state=TrialState(attributes[OUTCOME]) if trial.state.is_finished() else TrialState.RUNNING,
        value=value,
        further=tuple(each for each in further if each is not None),
        params=dict(trial.params),
        reports=_reports(attributes.get(EPOCHS), trial.intermediate_values),
        space=str(attributes.get(SPACE, "")),
        fits=not is_foreign(trial),
        command=command.get("name", ""),
        seed=command.get("seed"),
        retry_of=command.get("retry_of"),
    )


def values_of(trial: FrozenTrial) -> tuple[float, ...]:
    """What Optuna was told of each objective, also where the trial is foreign; none without a result."""
    if trial.state == OptunaState.COMPLETE:
        return tuple(trial.values)
    if not trial.state.is_finished() or VALUE not in trial.user_attrs:
        return ()
    return (trial.user_attrs[VALUE], *trial.user_attrs.get(FURTHER, ()))


def noted_values(values: Sequence[float]) -> dict[str, Any]:
    """The user attributes that keep a foreign trial's values."""
    if not values:
        return {}
    return {VALUE: values[0]} | ({FURTHER: list(values[1:])} if len(values) > 1 else {})


def _reports(epochs: Mapping[str, float] | None, steps: Mapping[int, float]) -> dict[int, float]:
    return dict(steps) if epochs is None else {int(epoch): value for epoch, value in epochs.items()}


def best_trial(trials: Sequence[TrialSummary]) -> TrialSummary | None:
    """The complete trial of the present space with the smallest value; the earlier of equals."""
    complete = [each for each in trials if each.state is TrialState.COMPLETE and each.value is not None and each.fits]
    return min(complete, key=lambda trial: (trial.value, trial.number), default=None)


def front(trials: Sequence[TrialSummary]) -> list[TrialSummary]:
    """Complete trials of the present space than which no other is as good in every objective and better in one."""
    complete = [each for each in trials if each.state is TrialState.COMPLETE and each.values and each.fits]
    return [complete[place] for place in non_dominated([each.values for each in complete])]
