"""What a study may minimise, and what cannot be combined with several objectives.

The first objective is a score: it chooses the best epoch within a trial, and the champion of the study. Further ones
are other scores, taken at that epoch, or what a model costs whoever uses it: its parameters, and the time to score one
utterance. Samplers are told all of them, in the order in which the study names them.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final, Literal, assert_never

from pydantic import Field

from lightning_modules.config import TASK_SCORES, Frozen, PositiveInt
from lightning_modules.scoring import cllr_bound
from reports.records import FURTHER_PREFIX, FurtherObjective, heard_of
from study.pruner_config import NoPrunerConfig
from study.sampler_config import CMAESConfig

if TYPE_CHECKING:
    from study.config import StudyConfig

Score = Literal[
    "cllr_calibrated",
    "cllr",
    "c_primary_calibrated",
    "c_primary",
    "c_avg",
    "eer",
    "error_rate",
    "frame_error_rate",
    "sequence_error_rate",
]
FurtherName = Literal[Score, "parameters", "latency"]

LATENCY: Final = "latency"


class LatencyConfig(Frozen):
    """How the objective `latency` is measured: scoring one utterance, from its features, at batch size 1.

    Attributes:
        utterance_s: length of the utterance, in seconds.
        passes: forward passes that are timed; the median counts.
    """

    utterance_s: Annotated[float, Field(gt=0.1, le=3600.0)] = 10.0
    passes: PositiveInt = 30


@dataclass(frozen=True, kw_only=True)
class Goal:
    """One further objective.

    Attributes:
        name: as the study names it.
        bound: what a score of a diverged trial counts as, and what larger ones are cut to; None for what is no score.
    """

    name: FurtherName
    bound: float | None

    @property
    def metric(self) -> str:
        """Its metric in MLflow: what Optuna was told."""
        return FURTHER_PREFIX + self.name


def further_goals(config: "StudyConfig") -> tuple[Goal, ...]:
    """The further objectives of a study, in its order."""
    num_languages = len(config.trial.data.languages)
    return tuple(Goal(name=name, bound=_bound(name, num_languages)) for name in config.further_objectives)


def objective_bound(config: "StudyConfig") -> float:
    """The first objective's upper bound: what a diverged trial counts as, and what larger values are cut to."""
    return score_bound(config.objective, len(config.trial.data.languages))


def score_bound(score: Score, num_languages: int) -> float:
    """A score's upper bound.

    Cllr: twice a guess's 2 log2 N bits; C_primary: 6, all decisions wrong; C_avg, EER and error rates: 1. A sequence
    error rate can exceed 1, that of saying nothing, by saying too much.
    """
    match score:
        case "cllr" | "cllr_calibrated":
            return cllr_bound(num_languages)
        case "c_primary" | "c_primary_calibrated":
            return 6.0
        case "c_avg" | "eer" | "error_rate" | "frame_error_rate" | "sequence_error_rate":
            return 1.0
        case _:
            assert_never(score)


def _bound(name: FurtherName, num_languages: int) -> float | None:
    match name:
        case "parameters" | "latency":
            return None
        case _:
            return score_bound(name, num_languages)


def described(config: "StudyConfig") -> tuple[FurtherObjective, ...]:
    """The further objectives as reports are told of them."""
    return tuple(
        FurtherObjective(name=goal.name, metric=goal.metric, meaning=_meaning(goal.name, config))
        for goal in further_goals(config)
    )


def _meaning(name: FurtherName, config: "StudyConfig") -> str:
    match name:
        case "parameters":
            return "trained parameters of the model"
        case "latency":
            heard, latency = heard_of(config.trial.task.kind), config.latency
            return (
                f"milliseconds to score one {heard} of {latency.utterance_s:g} s from its features at batch size 1, "
                f"the median of {latency.passes} forward passes on the trial's device and threads"
            )
        case _:
            return "development data, at the epoch that the first objective chose"


def objectives_complaint(config: "StudyConfig") -> str | None:
    """Why a study's objectives cannot be searched as it says, or None; begins with the key."""
    return (
        _named_twice(config)
        or _another_tasks(config)
        or _latency_complaint(config)
        or (_several(config) if config.further_objectives else None)
    )


def _another_tasks(config: "StudyConfig") -> str | None:
    kind = config.trial.task.kind
    for key, names in (("objective", (config.objective,)), ("further_objectives", config.further_objectives)):
        for name in names:
            if (wanted := TASK_SCORES.get(name, kind)) != kind:
                return f"{key} {name} is a score of trial.task.kind {wanted}, but that is {kind}; name another score."
    return None


def _named_twice(config: "StudyConfig") -> str | None:
    names = config.further_objectives
    if config.objective in names:
        return f"further_objectives names {config.objective}, which is the study's objective already; leave it out."
    twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
    return None if twice is None else f"further_objectives names {twice} twice; name it once."


def _latency_complaint(config: "StudyConfig") -> str | None:
    if LATENCY not in config.further_objectives:
        is_default = config.latency == LatencyConfig()
        return (
            None if is_default else "latency is set, but not searched; add it to further_objectives, or leave it out."
        )
    if config.deterministic:
        return (
            "deterministic must be false with latency among further_objectives: a measured time is not the same twice; "
            "leave one of the two out."
        )
    return None


def _several(config: "StudyConfig") -> str | None:
    if not isinstance(config.pruner, NoPrunerConfig):
        return (
            f"pruner.kind must be none with further_objectives but is {config.pruner.kind}: a pruner compares a single "
            "number; leave [pruner] out."
        )
    if isinstance(config.sampler, CMAESConfig):
        return (
            "sampler.kind cma_es searches one objective; with further_objectives, name it tpe, gp, nsga2, nsga3, qmc, "
            "random, grid or exhaustive."
        )
    return None
