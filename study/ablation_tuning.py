"""What is tuned anew in each arm of an ablation, by which draws, and which of them came out best.

All arms are tuned under the same budget and with the same draws, in what they are sensitive to: a base that a sweep has
tuned would win for that reason alone.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from lightning_modules.errors import ConfigError
from reports.records import TrialState
from search_spaces.assignment import is_active, overlay, validated
from search_spaces.designs import Assignment
from search_spaces.parsing import Parameter, Value, find_leaf
from study.ablation_factors import Base
from study.params import flat
from study.trials import TrialSummary

SPREAD: Final = 4.0
"""What the study did not search is tuned from a fourth of the value to four times it."""
NUISANCE: Final = ("clipping.", "optimizer.")
"""Sections whose numbers a level is at a loss without: where it brings one that the study did not search."""
MIDDLE: Final = 0.5


class Tuned(NamedTuple):
    """What came of an arm's draws.

    Attributes:
        values: of the best one.
        num_draws: how many trained to the end.
    """

    values: Assignment
    num_draws: int


def drawn(base: Base, levels: Assignment, *, tuned: Sequence[str], draw: int, num_draws: int) -> Assignment:
    """One draw of what is tuned in an arm: the same for all arms, spread evenly over each range.

    That is what the command line names, and what a level of a factor brings with it, as a rule of clipping does its
    threshold: the base's own was chosen by the sweep, and would be at an advantage.

    Args:
        base: of the ablation.
        levels: of the arm.
        tuned: paths that are tuned in every arm that has them.
        draw: which.
        num_draws: of how many.
    """
    return {
        path: _quantile(parameter, _share(path, draw, num_draws, base.last_seed))
        for path, parameter in _ranges(base, levels, tuned).items()
    }


def middle(base: Base, levels: Assignment, *, tuned: Sequence[str]) -> Assignment:
    """The middle of each range: of an arm of which no draw trained to the end."""
    return {path: _quantile(parameter, MIDDLE) for path, parameter in _ranges(base, levels, tuned).items()}


def best_draws(
    arms: Mapping[str, Assignment], draws: Mapping[str, Sequence[Assignment]], trials: Sequence[TrialSummary]
) -> dict[str, Tuned]:
    """Arm -> the draw with the least objective; without arms of which none came to an end.

    Args:
        arms: name -> levels.
        draws: name -> the values that it was tried with.
        trials: of the study that tunes.
    """
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE and trial.value is not None]
    best: dict[str, Tuned] = {}
    for arm, levels in arms.items():
        found = [
            (trial.value, place)
            for place, values in enumerate(draws[arm])
            for trial in complete
            if trial.params == {**levels, **values}
        ]
        if found:
            best[arm] = Tuned(draws[arm][min(found)[1]], len({place for _, place in found}))
    return best


def _ranges(base: Base, levels: Assignment, tuned: Sequence[str]) -> dict[str, Parameter]:
    """Path -> where it is drawn from: the study's own range, or the neighbourhood of its value."""
    here = flat(validated(overlay(base.nested, levels)).model_dump(mode="json"))
    searched = {each.path: each for each in base.space.parameters}
    brought = [path for path, each in searched.items() if each.when.keys() & levels.keys() and is_active(each, here)]
    brought += [path for path, value in here.items() if _is_new_nuisance(path, value, base)]
    return {
        path: searched.get(path) or _around(path, here[path])
        for path in dict.fromkeys([*tuned, *brought])
        if path in here and path not in levels
    }


def _is_new_nuisance(path: str, value: Any, base: Base) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return path not in base.flat and path.startswith(NUISANCE) and is_number and value > 0


def _share(path: str, draw: int, num_draws: int, seed: int) -> float:
    """Where in its range a draw lies: a Latin hypercube, whose columns depend on the path alone."""
    order = np.random.default_rng([seed, *path.encode()]).permutation(num_draws)
    return float((order[draw] + 0.5) / num_draws)


def _around(path: str, value: Value) -> Parameter:
    if isinstance(value, bool | str):
        raise ConfigError(f"--tune {path}: the study does not search it, and {value!r} has no neighbours.")
    if not value > 0:
        raise ConfigError(
            f"--tune {path}: the study does not search it, and it is {value}, which has no neighbours on a logarithmic "
            "scale."
        )
    low, high = find_leaf(path).within(value / SPREAD, value * SPREAD)
    if isinstance(value, int):
        return Parameter(path=path, kind="int", low=max(1, round(low)), high=max(1, int(high)), log=True)
    return Parameter(path=path, kind="float", low=low, high=high, log=True)


def _quantile(parameter: Parameter, share: float) -> Value:
    if parameter.low is None or parameter.high is None:
        return parameter.choices[int(share * len(parameter.choices))]
    if parameter.values is not None and not parameter.log:
        return parameter.values[int(share * len(parameter.values))]
    if parameter.log:
        found = parameter.low * (parameter.high / parameter.low) ** share
    else:
        found = parameter.low + (parameter.high - parameter.low) * share
    return round(found) if parameter.kind == "int" else float(f"{found:.6g}")
