"""What an ablation found, in sentences: a part of the section on ablations."""

from reports.ablation import Ablation, Comparison
from reports.ablation_statistics import Verdict
from reports.sections._ablation_text import (
    interval_in_words,
    named,
    short,
    signed_effect,
    signed_number,
)
from reports.sections._factorial import together
from reports.wording import (
    count,
    listing,
    number,
    p_value,
)


def sentences(ablation: Ablation) -> tuple[str, ...]:
    """What every comparison says, the decided ones first; then what could not be decided, and what does not add up."""
    decided = [each for each in ablation.comparisons if each.verdict is not Verdict.UNDECIDED]
    open_ones = [each for each in ablation.comparisons if each.verdict is Verdict.UNDECIDED]
    return (
        *(_decided(each, ablation) for each in decided),
        *(_undecided(each, ablation) for each in open_ones),
        *together(ablation),
    )


def in_a_sentence(ablation: Ablation | None) -> str:
    """How many changes did what; "" for a study that compares no arms."""
    if ablation is None:
        return ""
    of_verdict = {
        verdict: [named(each, ablation) for each in ablation.comparisons if each.verdict is verdict]
        for verdict in Verdict
    }
    said = [
        f"{len(names)} {'is' if len(names) == 1 else 'are'} {verdict.value} ({listing(names)})"
        for verdict, names in of_verdict.items()
        if names
    ]
    margin = ablation.config.get("margin")
    within = f", within {number(margin)}" if margin else ""
    changes = count(len(ablation.comparisons), "change")
    how = "averaged over the other factors" if ablation.is_factorial else "each alone"
    tuned = " and tuned like the base" if ablation.config["tuning"] else ", with the values that were chosen for it"
    diverged = [named(each, ablation) for each in ablation.comparisons if each.effect.arm_divergence.diverged]
    more = f" Some trainings diverged with {listing(diverged)}." if diverged else ""
    if base := sum(value is None for value in ablation.arms[0].replicates.values()):
        more += f" The base diverged under {base} of {count(len(ablation.arms[0].replicates), 'seed')}."
    if ablation.is_interim:
        return f"{changes.capitalize()} to the base, {how}{tuned}: {interim(ablation)}.{more}"
    return f"Of {changes} to the base, {how}{tuned}{within}, {listing(said)}.{more}"


def interim(ablation: Ablation) -> str:
    total = ablation.num_asked * len(ablation.arms)
    return f"{ablation.num_ended} of {count(total, 'trial')} have ended, and there is no verdict before all have"


def _decided(each: Comparison, ablation: Ablation) -> str:
    """Where factors vary together the name says what is compared, and the effect is over all arms."""
    to, than = " to the base", " than the base"
    if ablation.is_factorial:
        to, than = "", ", averaged over the other factors"
    said = f"is {each.verdict.value}{than}"
    if each.verdict is Verdict.EQUIVALENT:
        said = f"is equivalent{to} within {number(ablation.config['margin'])}"
    return f"{named(each, ablation)} {said}: {_measured(each, ablation)}.{_further(each, ablation)}"


def _undecided(each: Comparison, ablation: Ablation) -> str:
    name = named(each, ablation)
    if each.effect.mean is None:
        return f"{name}: nothing can be said, as no seed trained to the end on both sides.{_further(each, ablation)}"
    if each.effect.is_tied:
        return f"{name}: {_tied(each, ablation)}.{_further(each, ablation)}"
    against = "" if ablation.is_factorial else " against the base"
    if ablation.is_interim:
        return f"{name}{against}, so far: {_measured(each, ablation)}.{_further(each, ablation)}"
    more = ""
    if each.seeds_needed is not None and 2 * _num_same(each) <= each.effect.n:  # else it seldom acts at all
        more = f" Were that difference the true one, {count(each.seeds_needed, 'seed')} would probably show it."
    return f"{name}{against} is undecided: {_measured(each, ablation)}.{more}{_further(each, ablation)}"


def _tied(each: Comparison, ablation: Ablation) -> str:
    """Equal networks, or an objective too coarse to tell them apart."""
    if ablation.is_factorial:
        return "on average over the other factors it changed the objective under no seed"
    seeds = "the one seed" if each.effect.n == 1 else f"each of {each.effect.n} seeds"
    return f"the objective came out the same as the base's under {seeds} that both have one for"


def _further(each: Comparison, ablation: Ablation) -> str:
    """What has to be read with an effect: which trainings diverged, other sources, and what it cannot be told from."""
    said, (arm, base) = [], (each.effect.arm_divergence, each.effect.base_divergence)
    if arm.diverged or base.diverged:
        names = ("its trainings", "those beside it") if ablation.is_factorial else ("its trainings", "the base's")
        said.append(
            f"Of {names[0]} {arm.diverged} of {arm.trained} diverged, of {names[1]} {base.diverged} of {base.trained}."
        )
    if each.over_sources is not None and each.over_sources.interval is not None:
        low, high = (signed_number(value) for value in each.over_sources.interval)
        said.append(
            f"Of calibrated Cllr, over other sources of these languages: {signed_number(each.over_sources.mean)} bits "
            f"(95 % interval {low} to {high}, bootstrap over sources, not corrected)."
        )
    if each.aliases:
        interactions = listing(alias.in_words(lambda name: short(name, ablation)) for alias in each.aliases)
        said.append(f"In this fraction it cannot be told from {interactions}.")
    return "".join(f" {sentence}" for sentence in said)


def _num_same(each: Comparison) -> int:
    """Seeds under which both sides have the same objective, to the last bit."""
    return each.effect.differences.count(0.0)


def _measured(each: Comparison, ablation: Ablation) -> str:
    effect = each.effect
    p = "" if each.adjusted_p is None else f", {p_value(each.adjusted_p)} after correction"
    same = _num_same(each)
    equal = f", the same under {same} of them" if same else ""
    return (
        f"{ablation.objective_name} {signed_effect(effect)} ({interval_in_words(effect.interval)}; "
        f"{count(effect.n, 'paired seed')}{equal}{p})"
    )
