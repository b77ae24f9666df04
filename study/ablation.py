"""Controlled ablations: arms that differ from a base in named factors alone, each under the same fresh seeds.

Arms are first tuned, all under the same budget and with the same draws, in what they are sensitive to: a base that a
sweep has tuned would win for that reason alone. Tuning and comparison are two studies of the sampler `design`.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, assert_never

import numpy as np

from lightning_modules.config import TrialConfig
from lightning_modules.errors import ConfigError
from reports.records import TrialState
from search_spaces.assignment import is_active, overlay, validated
from search_spaces.designs import Assignment, Factor, leave_one_out, one_at_a_time
from search_spaces.parsing import LineError, Parameter, Value, find_leaf
from search_spaces.schema import KIND
from search_spaces.space import Space, space_from_json
from search_spaces.two_level_designs import two_level_design
from study.ablation_config import AblationConfig, AblationOptions, Design
from study.config import NAME_PATTERN, StudyConfig
from study.params import flat
from study.pruner_config import NoPrunerConfig
from study.sampler_config import ArmConfig, DesignConfig
from study.trials import TrialSummary

BASE: Final = "base"
INHERITED: Final = ("objective", "limits", "storage", "launcher")
SPREAD: Final = 4.0
"""What the study did not search is tuned from a fourth of the base's value to four times it."""
OFF: Final[tuple[Value, ...]] = ("none", False, 0, 0.0)
"""What a component is replaced by when it is left out: the first of these that it can be."""


@dataclass(frozen=True, kw_only=True)
class Base:
    """What is ablated.

    Attributes:
        config: the study's configuration.
        space: its search space.
        trial: number of the trial that every arm starts from.
        values: of that trial, path -> value.
        last_seed: the largest that the study used.
    """

    config: StudyConfig
    space: Space
    trial: int
    values: TrialConfig
    last_seed: int

    @property
    def nested(self) -> dict[str, Any]:
        """The trial's configuration as nested JSON, without its seed."""
        return self.values.model_dump(mode="json", exclude={"seed"})

    @property
    def flat(self) -> dict[str, Any]:
        """The same, path -> value."""
        return flat(self.nested)


# --- factors ----------------------------------------------------------------------------------------------------------


def read_factors(texts: Sequence[str], base: Base, *, design: Design) -> tuple[Factor, ...]:
    """Factors as the command line names them: `PATH`, or `PATH=LEVEL,LEVEL`.

    Without levels they are the study's choices; where components are left out, what switches them off. Without any
    text, every choice of the study that exists in the base.

    Raises:
        ConfigError: no such parameter, or levels that it cannot have.
    """
    return tuple(_factor(text, base, design=design) for text in texts or _choices(base))


def _choices(base: Base) -> list[str]:
    found = [each.path for each in base.space.parameters if each.kind == "choices" and each.path in base.flat]
    if not found:
        raise ConfigError(
            f"study '{base.config.name}' searches no choices; name what is ablated by --factor PATH=LEVEL."
        )
    return found


def _factor(text: str, base: Base, *, design: Design) -> Factor:
    path, _, levels = text.partition("=")
    try:
        find_leaf(path)
    except LineError as error:
        raise ConfigError(f"--factor {path}: {error}") from None
    if path not in base.flat:
        raise ConfigError(f"--factor {path}: it does not exist in trial {base.trial}, which is the base.")
    others = [_value(level) for level in levels.split(",")] if levels else _levels(path, base, design=design)
    here = base.flat[path]
    return Factor(path, here, tuple(level for level in others if not _is_same(level, here)))


def _value(text: str) -> Value:
    try:
        value = json.loads(text)
    except ValueError:
        return text.strip()
    return value if isinstance(value, bool | int | float) else text.strip()


def _levels(path: str, base: Base, *, design: Design) -> list[Value]:
    if design == "leave_one_out":
        off = [level for level in OFF if _can_be(path, level, base)]
        if not off:
            raise ConfigError(f"--factor {path}: nothing switches it off; name its other level, as {path}=LEVEL.")
        return off[:1]
    searched = next((each for each in base.space.parameters if each.path == path), None)
    if searched is None or searched.kind != "choices":
        raise ConfigError(f"--factor {path}: it is no choice of the study; name its levels, as {path}=LEVEL,LEVEL.")
    return list(searched.choices)


def _can_be(path: str, level: Value, base: Base) -> bool:
    if type(level) is not type(base.flat[path]) or _is_same(level, base.flat[path]):
        return False
    try:
        validated(overlay(base.nested, {path: level}))
    except ConfigError:
        return False
    return True


def _is_same(one: object, other: object) -> bool:
    return type(one) is type(other) and one == other


# --- arms -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """What is compared with what.

    Attributes:
        base: where every arm starts from.
        factors: what differs.
        arms: name -> levels; the first is the base.
        options: what the command line said.
    """

    base: Base
    factors: tuple[Factor, ...]
    arms: Mapping[str, Assignment]
    options: AblationOptions

    @property
    def name(self) -> str:
        """Of the study that compares."""
        return self.options.name or f"{self.base.config.name}-ablation"

    @property
    def tuning_name(self) -> str:
        """Of the study that tunes the arms."""
        return f"{self.name}-tuning"

    @property
    def halvings(self) -> int:
        """Of a fractional design, one at least; none of any other."""
        return max(1, self.options.halvings) if self.options.design == "fractional" else 0

    @property
    def config(self) -> AblationConfig:
        """What is written down of it."""
        options = self.options
        return AblationConfig(
            of=self.base.config.name,
            trial=self.base.trial,
            design=options.design,
            halvings=self.halvings,
            factors={factor.name: factor.levels for factor in self.factors},
            arms={arm: dict(levels) for arm, levels in self.arms.items()},
            tuned=options.tuned if options.tuning else (),
            tuning=options.tuning,
            tuning_study=self.tuning_name if options.tuning else "",
            margin=options.margin,
        )


def plan_ablation(base: Base, options: AblationOptions) -> Ablation:
    """The arms of an ablation; each is a configuration that can be trained.

    Raises:
        ConfigError: no such factor, no name for a study, or an arm cannot be, naming the value that does not suit.
    """
    factors = read_factors(options.factors, base, design=options.design)
    _check_tuned(options.tuned if options.tuning else (), factors)
    arms = {_name(each, factors, design=options.design): each for each in _assignments(factors, options)}
    for name, levels in arms.items():
        try:
            validated(overlay(base.nested, levels))
        except ConfigError as error:
            raise ConfigError(f"arm {name!r} cannot be trained: {error}") from None
    ablation = Ablation(base=base, factors=factors, arms=arms, options=options)
    if not re.fullmatch(NAME_PATTERN, ablation.tuning_name):
        raise ConfigError(
            f"an ablation cannot be called {ablation.name!r}: letters, digits, - and _, and room for -tuning behind it "
            "within 64 characters; choose a --name."
        )
    return ablation


def _check_tuned(paths: Sequence[str], factors: Sequence[Factor]) -> None:
    """What no arm has would be tuned nowhere, and the base would keep what was chosen for it."""
    for path in paths:
        try:
            find_leaf(path)
        except LineError as error:
            raise ConfigError(f"--tune {path}: {error}") from None
        if path in {factor.name for factor in factors}:
            raise ConfigError(f"--tune {path}: it is a factor, whose levels are what is compared.")


def _assignments(factors: Sequence[Factor], options: AblationOptions) -> tuple[Assignment, ...]:
    match options.design:
        case "one_at_a_time":
            return one_at_a_time(factors)
        case "leave_one_out":
            return leave_one_out(factors)
        case "factorial":
            return two_level_design(factors).assignments
        case "fractional":
            return two_level_design(factors, num_halvings=max(1, options.halvings)).assignments
        case _:
            assert_never(options.design)


def _name(levels: Assignment, factors: Sequence[Factor], *, design: Design) -> str:
    """What an arm has that the base has not."""
    changed = [factor for factor in factors if not _is_same(levels[factor.name], factor.base)]
    if design == "leave_one_out" and changed:
        return f"without {changed[0].name}"
    return ", ".join(f"{factor.name} {levels[factor.name]}" for factor in changed) or BASE


# --- tuning -----------------------------------------------------------------------------------------------------------


def tuning_study(ablation: Ablation) -> tuple[StudyConfig, Space]:
    """Every arm with every draw, under one seed."""
    arms = [
        ArmConfig(name=f"{arm} #{draw}", params={**levels, **_drawn(ablation, levels, draw)})
        for draw in range(ablation.options.tuning)
        for arm, levels in ablation.arms.items()
    ]
    question = f"Which values suit each arm of {ablation.name} best, each tried with the same draws?"
    return _study(ablation, ablation.tuning_name, arms, question=question, seed=ablation.base.last_seed + 1)


def comparison_study(ablation: Ablation, tuned: Mapping[str, Assignment]) -> tuple[StudyConfig, Space]:
    """Every arm with its own values, under seeds that nothing was chosen by.

    Args:
        ablation: the arms.
        tuned: arm -> its values; none where nothing is tuned.
    """
    arms = [ArmConfig(name=arm, params={**levels, **tuned.get(arm, {})}) for arm, levels in ablation.arms.items()]
    of, names = ablation.base.config.name, ", ".join(factor.name for factor in ablation.factors)
    question = f"What do {names} do for trial {ablation.base.trial} of study {of}?"
    num_seeds, seed = ablation.options.seeds, ablation.base.last_seed + 2
    config, space = _study(ablation, ablation.name, arms, question=question, seed=seed, num_seeds=num_seeds)
    return config.model_copy(update={"ablation": ablation.config}), space


def tuned_values(ablation: Ablation, trials: Sequence[TrialSummary]) -> dict[str, Assignment]:
    """Arm -> the draw with the least objective; of an arm that never came to an end, the middle one."""
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE and trial.value is not None]
    best: dict[str, Assignment] = {}
    for arm, levels in ablation.arms.items():
        draws = [_drawn(ablation, levels, draw) for draw in range(ablation.options.tuning)]
        found = [
            (trial.value, place)
            for place, values in enumerate(draws)
            for trial in complete
            if trial.params == {**levels, **values}
        ]
        best[arm] = draws[min(found)[1] if found else len(draws) // 2]
    return best


def _drawn(ablation: Ablation, levels: Assignment, draw: int) -> Assignment:
    """What is tuned in an arm: the same draws for all arms, spread evenly over each range.

    That is what the command line names, and what a level of a factor brings with it, as a rule of clipping does its
    threshold: the base's own was chosen by the sweep, and would be at an advantage.
    """
    here = flat(validated(overlay(ablation.base.nested, levels)).model_dump(mode="json"))
    searched = {each.path: each for each in ablation.base.space.parameters}
    brought = [path for path, each in searched.items() if each.when.keys() & levels.keys() and is_active(each, here)]
    return {
        path: _quantile(searched.get(path) or _around(path, here[path]), _share(path, draw, ablation))
        for path in dict.fromkeys([*ablation.options.tuned, *brought])
        if path in here and path not in levels
    }


def _share(path: str, draw: int, ablation: Ablation) -> float:
    """Where in its range a draw lies: a Latin hypercube, whose columns depend on the path alone."""
    seed = [ablation.base.last_seed, *path.encode()]
    return float(
        (np.random.default_rng(seed).permutation(ablation.options.tuning)[draw] + 0.5) / ablation.options.tuning
    )


def _around(path: str, value: Value) -> Parameter:
    if isinstance(value, bool | str):
        raise ConfigError(f"--tune {path}: the study does not search it, and {value!r} has no neighbours.")
    return Parameter(path=path, kind="float", low=value / SPREAD, high=value * SPREAD, log=True)


def _quantile(parameter: Parameter, share: float) -> Value:
    if parameter.values is not None:
        return parameter.values[int(share * len(parameter.values))]
    assert parameter.low is not None
    assert parameter.high is not None
    if parameter.log:
        return float(f"{parameter.low * (parameter.high / parameter.low) ** share:.6g}")
    return float(f"{parameter.low + (parameter.high - parameter.low) * share:.6g}")


# --- studies ----------------------------------------------------------------------------------------------------------


def _study(
    ablation: Ablation, name: str, arms: Sequence[ArmConfig], *, question: str, seed: int, num_seeds: int = 1
) -> tuple[StudyConfig, Space]:
    of = ablation.base.config
    config = StudyConfig(
        name=name,
        question=question,
        space=name,
        trials=len(arms) * num_seeds,
        seed=seed,
        sampler=DesignConfig(kind="design", arms=tuple(arms)),  # with its kind set, so that it is written down
        pruner=NoPrunerConfig(kind="none"),
        evaluate=False,
        **{key: getattr(of, key) for key in INHERITED if key in of.model_fields_set},
        trial=TrialConfig.model_validate(ablation.base.nested),
    )
    return config, space_of_arms([arm.params for arm in arms], name=name)


def space_of_arms(arms: Sequence[Mapping[str, Value]], *, name: str) -> Space:
    """A space of the arms' values; what some arms do not have exists under the kinds of those that have it."""
    lines: dict[str, Any] = {}
    for path in dict.fromkeys(path for arm in arms for path in arm):
        having = [arm for arm in arms if path in arm]
        line: dict[str, Any] = {"choices": _distinct(arm[path] for arm in having)}
        if len(having) < len(arms):
            kinds = [each for each in _kinds_above(path) if any(each in arm for arm in arms)]
            line["when"] = {each: _distinct(arm[each] for arm in having) for each in kinds}
        lines[path] = line
    return space_from_json({"space": lines}, name=name)


def _kinds_above(path: str) -> list[str]:
    parents = path.split(".")[:-1]
    found = [".".join([*parents[: depth + 1], KIND]) for depth in range(len(parents))]
    return [each for each in found if each != path]


def _distinct(values: Iterable[Value]) -> list[Value]:
    return list({(type(value), value): value for value in values}.values())
