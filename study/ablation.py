"""Controlled ablations: arms that differ from a base in named factors alone, each under the same fresh seeds.

Arms are first tuned (ablation_tuning.py). Tuning and comparison are two studies of the sampler `design`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, assert_never

from lightning_modules.config import TrialConfig
from lightning_modules.errors import ConfigError
from reports.ablation import ALPHA, FACTORIAL
from reports.factorial_effects import interactions
from reports.multiple_comparisons import seeds_needed
from reports.records import name_of_tuning
from reports.wording import listing
from search_spaces.assignment import overlay, validated
from search_spaces.designs import Assignment, Factor, full_factorial, leave_one_out, one_at_a_time
from search_spaces.parsing import LineError, Value, find_leaf
from search_spaces.schema import KIND
from search_spaces.space import Space, space_from_json
from search_spaces.two_level_designs import two_level_design
from search_spaces.wording import value_in_words
from study.ablation_config import AblationConfig, AblationOptions, Design
from study.ablation_factors import Base, is_same, read_factors
from study.ablation_tuning import Tuned, best_draws, drawn, middle
from study.config import NAME_PATTERN, StudyConfig
from study.params import flat
from study.pruner_config import NoPrunerConfig
from study.sampler_config import ArmConfig, DesignConfig
from study.trials import TrialSummary

BASE: Final = "base"
LEAST_SEEDS: Final = 8  # that an ablation has by default
INHERITED: Final = ("objective", "limits", "storage", "launcher")


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
        return name_of_tuning(self.name)

    @property
    def num_comparisons(self) -> int:
        """With the base; where factors vary together, main effects: one for each other level."""
        if self.options.design in FACTORIAL:
            return sum(len(factor.others) for factor in self.factors)
        return len(self.arms) - 1

    @property
    def num_interactions(self) -> int:
        """That the design can tell apart from everything else."""
        return len(interactions(self.factors)) if self.options.design == "factorial" else 0

    @property
    def seeds(self) -> int:
        """As asked for; else so many that the smallest p of each table, corrected, is small enough."""
        if self.options.seeds is not None:
            return self.options.seeds
        tables = (self.num_comparisons, self.num_interactions)
        needed = [seeds_needed(num_comparisons=num, alpha=ALPHA) or 0 for num in tables if num]
        return max(LEAST_SEEDS, *needed)

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
            of_command=self.base.command,
            named_after_looks=self.base.num_test_looks,
            design=options.design,
            halvings=self.halvings,
            factors={factor.name: factor.levels for factor in self.factors},
            arms={arm: dict(levels) for arm, levels in self.arms.items()},
            tuned=options.tuned if options.tuning else (),
            tuning=options.tuning,
            tuning_study=self.tuning_name if options.tuning else "",
            first_seed=self.base.last_seed + 2,
            seeds=self.seeds,
            margin=options.margin,
        )


def plan_ablation(base: Base, options: AblationOptions) -> Ablation:
    """The arms of an ablation; each is a configuration that can be trained.

    Raises:
        ConfigError: no such factor, no name for a study, or an arm cannot be, naming the value that does not suit.
    """
    if options.halvings and options.design != "fractional":
        raise ConfigError("--halvings is for --design fractional; leave one of the two out.")
    factors = read_factors(options.factors, base, design=options.design)
    _check_tuned(options.tuned if options.tuning else (), factors)
    arms = {
        _name(each, factors, design=options.design): _existing(each, base) for each in _assignments(factors, options)
    }
    for name, levels in arms.items():
        _check_whole(name, levels, factors, design=options.design)
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
            raise ConfigError(
                f"--tune {path}: it is a factor, whose levels are what is compared; name something else to tune by "
                "--tune, or tune nothing by --draws 0."
            )


def _check_whole(name: str, levels: Assignment, factors: Sequence[Factor], *, design: Design) -> None:
    """Where all factors vary together, an arm without one of them would stand for each of its levels."""
    lacking = [factor.name for factor in factors if factor.name not in levels]
    if lacking and design in FACTORIAL:
        raise ConfigError(
            f"--design {design} takes every factor in every arm, but there is no {lacking[0]} in arm {name!r}; name "
            "other factors, or compare one_at_a_time."
        )


def _assignments(factors: Sequence[Factor], options: AblationOptions) -> tuple[Assignment, ...]:
    match options.design:
        case "one_at_a_time":
            return one_at_a_time(factors)
        case "leave_one_out":
            return leave_one_out(factors)
        case "factorial":
            return full_factorial(factors)
        case "fractional":
            return two_level_design(factors, num_halvings=max(1, options.halvings)).assignments
        case _:
            assert_never(options.design)


def _existing(levels: Assignment, base: Base) -> Assignment:
    """Without the factors, at the base's level, that another factor's level does away with."""
    changed = {path: level for path, level in levels.items() if not is_same(level, base.flat[path])}
    try:
        here = flat(validated(overlay(base.nested, changed)).model_dump(mode="json"))
    except ConfigError:
        return levels  # whoever checks the arms says why
    return {path: level for path, level in levels.items() if path in here or path in changed}


def _name(levels: Assignment, factors: Sequence[Factor], *, design: Design) -> str:
    """What an arm has that the base has not."""
    changed = [factor for factor in factors if not is_same(levels[factor.name], factor.base)]
    if design == "leave_one_out" and changed:
        return f"without {changed[0].name}"
    return ", ".join(f"{factor.name} {value_in_words(levels[factor.name])}" for factor in changed) or BASE


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


def comparison_study(
    ablation: Ablation, tuned: Mapping[str, Tuned], *, said: AblationConfig | None = None
) -> tuple[StudyConfig, Space]:
    """Every arm with its own values, under seeds that nothing was chosen by.

    Args:
        ablation: the arms.
        tuned: arm -> what came of its draws. One that is not there has the middle of each range, or where nothing is
            tuned, the base's.
        said: what is written down of it, where that goes on from an earlier time; None for the first.
    """
    values = {arm: each.values for arm, each in tuned.items()}
    draws: dict[str, int] = {}
    if ablation.options.tuning:
        draws = {arm: tuned[arm].num_draws if arm in tuned else 0 for arm in ablation.arms}
    for arm in (arm for arm, number in draws.items() if not number):
        values[arm] = middle(ablation.base, ablation.arms[arm], tuned=ablation.options.tuned)
    arms = [ArmConfig(name=arm, params={**levels, **values.get(arm, {})}) for arm, levels in ablation.arms.items()]
    of, names = ablation.base.config.name, listing(factor.name for factor in ablation.factors)
    verb = "does" if len(ablation.factors) == 1 else "do"
    question = f"What {verb} {names} do for trial {ablation.base.trial} of study {of}?"
    said = (said or ablation.config).model_copy(update={"draws": draws})
    config, space = _study(ablation, ablation.name, arms, question=question, seed=said.first_seed, num_seeds=said.seeds)
    return config.model_copy(update={"ablation": said}), space


def tuned_values(ablation: Ablation, trials: Sequence[TrialSummary]) -> dict[str, Tuned]:
    """Arm -> the draw with the least objective; without arms of which no draw came to an end."""
    draws = {
        arm: [_drawn(ablation, levels, draw) for draw in range(ablation.options.tuning)]
        for arm, levels in ablation.arms.items()
    }
    return best_draws(ablation.arms, draws, trials)


def _drawn(ablation: Ablation, levels: Assignment, draw: int) -> Assignment:
    options = ablation.options
    return drawn(ablation.base, levels, tuned=options.tuned, draw=draw, num_draws=options.tuning)


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
    """A space of the arms' values; what some arms do not have exists under what tells apart those that have it.

    Raises:
        ConfigError: nothing does.
    """
    lines: dict[str, Any] = {}
    for path in dict.fromkeys(path for arm in arms for path in arm):
        having = [arm for arm in arms if path in arm]
        lines[path] = {"choices": _distinct(arm[path] for arm in having)}
        if lacking := [arm for arm in arms if path not in arm]:
            lines[path]["when"] = _condition(path, having, lacking)
    return space_from_json({"space": lines}, name=name)


def _condition(
    path: str, having: Sequence[Mapping[str, Value]], lacking: Sequence[Mapping[str, Value]]
) -> dict[str, list[Value]]:
    """Kind above the path, or another parameter -> the values of those arms that have the path, which no other has."""
    shared = [each for each in having[0] if each != path and all(each in arm for arm in having)]
    for each in dict.fromkeys([*_kinds_above(path), *shared]):
        if each in shared:
            theirs = {(type(arm[each]), arm[each]) for arm in lacking if each in arm}
            if not any((type(arm[each]), arm[each]) in theirs for arm in having):
                return {each: _distinct(arm[each] for arm in having)}
    raise ConfigError(
        f"{path} exists in some arms and not in others, and no factor tells these apart; name fewer factors."
    )


def _kinds_above(path: str) -> list[str]:
    parents = path.split(".")[:-1]
    found = [".".join([*parents[: depth + 1], KIND]) for depth in range(len(parents))]
    return [each for each in found if each != path]


def _distinct(values: Iterable[Value]) -> list[Value]:
    return list({(type(value), value): value for value in values}.values())
