"""What has to be read with an ablation's numbers: a part of the section on ablations."""

from typing import Final

from reports.ablation import ALPHA, Ablation, Comparison
from reports.sections._ablation_sentences import interim
from reports.sections._ablation_text import (
    named,
    short,
)
from reports.sections._blocks import Block, Items
from reports.sections._scores import chance
from reports.wording import (
    count,
    listing,
    number,
    times,
)

MANY_SOURCES: Final = 12  # more are counted instead of named


def notes(ablation: Ablation) -> tuple[Block, ...]:
    over_seeds = (
        "Replicates differ by their seed: initial weights, and the order and augmentation of the data. Arms share all "
        "of these, weights in every layer that the change leaves alone. Intervals are over seeds, and "
        f"conditional on {_tuned_values(ablation)}the development sources ({_sources(ablation)}){_at_large(ablation)}."
    )
    looked = f"test data was evaluated {times(ablation.num_test_looks)}" if ablation.num_test_looks else ""
    on_development = (
        "The objective is that of each replicate's best epoch on development data, in every arm alike; "
        f"{looked or 'test data was not looked at'}."
    )
    reach = _reach("The smallest p, corrected, that these seeds can reach", ablation.smallest_p)
    if ablation.interactions:
        reach += f" {_reach('Of what changes do together, it', ablation.smallest_interaction_p)}"
        reach += " Each of the two tables is corrected by itself, so that either may be wrong with probability 0.05."
    left_out = [_without(each, ablation) for each in ablation.comparisons if each.effect.left_out]
    said = (over_seeds, on_development, reach, *_afterwards(ablation), *_nothing_learned(ablation))
    return (Items((*said, *_missing(ablation), *_beside(ablation), *left_out, *_in_detail(ablation))),)


def _nothing_learned(ablation: Ablation) -> list[str]:
    """Arms that cannot be told from scores that say nothing: what a change does to them is not about languages."""
    nothing = chance(ablation.objective_name, ablation.num_languages)
    if nothing is None:
        return []
    highs = {arm.name: arm.interval.high if arm.interval else max(arm.objectives, default=0.0) for arm in ablation.arms}
    names = [short(name, ablation) for name, high in highs.items() if high >= nothing]
    if not names:
        return []
    said = f"Of {listing(names)} it is not shown that anything was learned"
    return [f"{said}: scores that say nothing have an objective of {number(nothing)}."]


def _in_detail(ablation: Ablation) -> list[str]:
    if ablation.shown is None:
        return []
    which = f"trial {ablation.shown}, the base's replicate with the middle objective"
    return [f"Where this report shows one trial in more detail, it is {which}: the best of many would flatter."]


def _reach(what: str, least: float) -> str:
    return f"{what} is {least:.3g}{f', so that nothing can be shown at {ALPHA}' if least > ALPHA else ''}."


def _sources(ablation: Ablation) -> str:
    if len(ablation.sources) > MANY_SOURCES:
        return f"{len(ablation.sources)} of them"
    return listing(ablation.sources)


def _tuned_values(ablation: Ablation) -> str:
    """Other draws, or another seed to tune under, would have given an arm other values, and another mean."""
    return "the values that one seed tuned for each arm, and on " if ablation.config["tuning"] else ""


def _at_large(ablation: Ablation) -> str:
    if any(each.over_sources is not None and each.over_sources.interval is not None for each in ablation.comparisons):
        return "; what other sources would show is said beside each effect, with the spread over sources alone"
    return ": they say nothing about speakers at large"


def _afterwards(ablation: Ablation) -> list[str]:
    """What was decided once results could be seen."""
    said = []
    if looks := ablation.config.get("named_after_looks", 0):
        said.append(
            f"The base was named by hand when test data of study {ablation.config['of']} had been evaluated "
            f"{times(looks)}: what chose it may have been that."
        )
    if ablation.looks:
        before = listing(map(str, ablation.looks))
        said.append(
            f"Results could be seen with {before} seeds, and more were asked for: each p is multiplied by the "
            f"{1 + len(ablation.looks)} looks."
        )
    if ablation.config.get("margin"):
        looks = 1 + len(ablation.looks)
        wider = f", which is that of {100 - 5 / looks:.4g} % after {looks} looks" if looks > 1 else ""
        said.append(
            f"What is called equivalent is so by its own interval{wider}, not corrected for the number of changes."
        )
    if untuned := [arm for arm, number in ablation.config.get("draws", {}).items() if not number]:
        names = listing(short(name, ablation) for name in untuned)
        said.append(f"No draw of {names} trained to its end: the middle of each range stands for the best.")
    if ended := ablation.config.get("margin_after", 0):
        said.append(f"The margin was named when {count(ended, 'trial')} had ended already.")
    return said


def _beside(ablation: Ablation) -> list[str]:
    if not ablation.num_beside:
        return []
    are = "is" if ablation.num_beside == 1 else "are"
    return [f"{count(ablation.num_beside, 'trial').capitalize()} under seeds beside the plan {are} in no comparison."]


def _missing(ablation: Ablation) -> list[str]:
    missing = [short(arm.name, ablation) for arm in ablation.arms if len(arm.replicates) < ablation.num_asked]
    if ablation.is_interim:
        return [f"Of this comparison {interim(ablation)}: the same command goes on."]
    if not missing:
        return []
    return [f"Not every seed of {listing(missing)} has a result: trials failed, or their runs or values are gone."]


def _without(each: Comparison, ablation: Ablation) -> str:
    seeds = [str(one.seed) for one in each.effect.left_out]
    return (
        f"{named(each, ablation)}: without seed{'s' if len(seeds) > 1 else ''} {listing(seeds)}, where one side "
        "diverged or has no result; the effect is that of arms that train."
    )
