"""A controlled comparison: every arm beside the base, over the seeds that they share."""

from typing import Final

from reports.ablation import ALPHA, Ablation, Arm, Comparison, compare
from reports.ablation_statistics import Verdict
from reports.figures import EffectLine, effects_figure
from reports.records import StudyRecord
from reports.sections._ablation_text import (
    change_in_words,
    correction,
    interval_in_words,
    p_digits,
    signed_effect,
    signed_number,
)
from reports.sections._blocks import Block, Cell, Column, Drawing, Items, Section, Table, Text, Tone, numeric
from reports.sections._factorial import grid, interactions_table, together
from reports.sections._scores import chance
from reports.wording import NOTHING, count, listing, number, p_value, parameter, short_names, spread, times

MANY_SOURCES: Final = 12  # more are counted instead of named
TONES: Final[dict[Verdict, Tone]] = {
    Verdict.BETTER: "good",
    Verdict.WORSE: "bad",
    Verdict.EQUIVALENT: "",
    Verdict.UNDECIDED: "quiet",
}


def summarise(study: StudyRecord) -> Ablation | None:
    """None for a study that compares no arms."""
    return compare(study)


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
    named = {
        verdict: [_named(each, ablation) for each in ablation.comparisons if each.verdict is verdict]
        for verdict in Verdict
    }
    said = [
        f"{len(names)} {'is' if len(names) == 1 else 'are'} {verdict.value} ({listing(names)})"
        for verdict, names in named.items()
        if names
    ]
    margin = ablation.config.get("margin")
    within = f", within {number(margin)}" if margin else ""
    changes = count(len(ablation.comparisons), "change")
    how = "averaged over the other factors" if ablation.is_factorial else "each alone"
    tuned = " and tuned like the base" if ablation.config["tuning"] else ", with the values that were chosen for it"
    diverged = [_named(each, ablation) for each in ablation.comparisons if each.effect.arm_divergence.diverged]
    more = f" Some trainings diverged with {listing(diverged)}." if diverged else ""
    if base := sum(value is None for value in ablation.arms[0].replicates.values()):
        more += f" The base diverged under {base} of {count(len(ablation.arms[0].replicates), 'seed')}."
    if ablation.is_interim:
        return f"{changes.capitalize()} to the base, {how}{tuned}: {_interim(ablation)}.{more}"
    return f"Of {changes} to the base, {how}{tuned}{within}, {listing(said)}.{more}"


def _interim(ablation: Ablation) -> str:
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
    return f"{_named(each, ablation)} {said}: {_measured(each, ablation)}.{_further(each, ablation)}"


def _undecided(each: Comparison, ablation: Ablation) -> str:
    name = _named(each, ablation)
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
        interactions = listing(alias.in_words(lambda name: _short(name, ablation)) for alias in each.aliases)
        said.append(f"In this fraction it cannot be told from {interactions}.")
    return "".join(f" {sentence}" for sentence in said)


def _named(each: Comparison, ablation: Ablation) -> str:
    return _short(each.name, ablation) if each.change is None else change_in_words(each.change, ablation)


def _short(arm: str, ablation: Ablation) -> str:
    """An arm's name with the short names of its factors."""
    for path, name in short_names(list(ablation.config["factors"])).items():
        arm = arm.replace(path, name)
    return arm


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


def present(ablation: Ablation | None) -> tuple[Block, ...]:
    """Sentences, the effects as a table and a figure, the arms, and what the numbers are conditional on."""
    if ablation is None:
        return ()
    blocks: list[Block] = [Text(_intro(ablation)), Items(sentences(ablation)), _effects_table(ablation)]
    lines = _lines(ablation)
    if lines:
        blocks.append(
            Drawing(
                key="ablation",
                alt="Differences to the base with their intervals.",
                caption="A dot a seed's difference to the base, a bar the 95 % interval of the mean; left is better.",
                draw=lambda: effects_figure(lines, name=f"difference in {ablation.objective_name}"),
            )
        )
    return (
        *blocks,
        *interactions_table(ablation),
        *grid(ablation),
        _arms_table(ablation),
        *_notes(ablation),
    )


def _intro(ablation: Ablation) -> str:
    config = ablation.config
    factors = listing(short_names(list(config["factors"])).values())
    tuned = (
        f"Each arm, the base included, was first tuned by {count(config['tuning'], 'draw')} of "
        f"{listing(short_names(list(config['tuned'])).values())} and of what a level brings with it "
        f"(study {config['tuning_study']}), under a seed that is not used here."
        if config["tuning"]
        else "Nothing was tuned for the arms: the base keeps the values that a sweep chose for it, which favours it."
    )
    return (
        f"Arms differ from trial {config['trial']} of study {config['of']}, the base, in {factors}"
        f"{' and in what was tuned for each' if config['tuning'] else ' alone'} "
        f"({config['design'].replace('_', ' ')}), and share seeds, which nothing was chosen by. {tuned} Lower is "
        "better."
    )


def _effects_table(ablation: Ablation) -> Table:
    what = "main effect" if ablation.is_factorial else "arm"
    columns = (
        Column(what, numeric=False),
        Column("difference", hint="mean over paired seeds; below zero is better"),
        Column("95 % interval", numeric=False),
        Column("verdict", numeric=False),
        Column("seeds"),
        Column("p", hint="sign-flip test over seeds"),
        Column("p, corrected", hint=correction(ablation)),
        Column("pair correlation", hint="of arm and base over seeds: what pairing gains"),
        Column("diverged", numeric=False, hint="arm and base, of the seeds that ended"),
    )
    rows = tuple(_effect_row(each, ablation) for each in ablation.comparisons)
    return Table(caption=f"Effects on {ablation.objective_name}, against the base", columns=columns, rows=rows)


def _effect_row(each: Comparison, ablation: Ablation) -> tuple[Cell, ...]:
    effect = each.effect
    arm, base = effect.arm_divergence, effect.base_divergence
    return (
        Cell(_named(each, ablation)),
        numeric(effect.mean, signed_effect(effect)),
        Cell(interval_in_words(effect.interval, words=False), sort=effect.interval.low if effect.interval else None),
        Cell(NOTHING) if ablation.is_interim else Cell(each.verdict.value, tone=TONES[each.verdict]),
        Cell(str(effect.n), sort=float(effect.n)),
        numeric(effect.p_value, p_digits(effect.p_value)),
        numeric(each.adjusted_p, p_digits(each.adjusted_p)),
        numeric(effect.correlation, number(effect.correlation, 2).replace("-", "\N{MINUS SIGN}")),
        Cell(f"{arm.diverged} of {arm.trained}, {base.diverged} of {base.trained}"),
    )


def _arms_table(ablation: Ablation) -> Table:
    names = short_names(list(ablation.config["factors"]))
    tuned = list(dict.fromkeys(path for arm in ablation.arms for path in arm.tuned))
    tuned_names = short_names(tuned)
    columns = (
        Column("arm", numeric=False),
        *(Column(name, numeric=False) for name in names.values()),
        *(Column(tuned_names[path], hint="tuned") for path in tuned),
        Column("objective"),
        Column("95 % interval", numeric=False),
        Column("n"),
        Column("diverged"),
        Column("failed"),
    )
    rows = tuple(_arm_row(arm, list(names), tuned, ablation) for arm in ablation.arms)
    caption = f"Arms; {ablation.objective_name}, mean ± standard deviation over seeds"
    return Table(caption=caption, columns=columns, rows=rows)


def _arm_row(arm: Arm, factors: list[str], tuned: list[str], ablation: Ablation) -> tuple[Cell, ...]:
    mean = arm.mean
    diverged = sum(value is None for value in arm.replicates.values())
    return (
        Cell(_short(arm.name, ablation)),
        *(Cell(parameter(arm.levels.get(path))) for path in factors),
        *(Cell(parameter(arm.tuned.get(path))) for path in tuned),
        numeric(mean.mean if mean else None, spread(mean.mean, mean.sd) if mean else NOTHING),
        Cell(
            interval_in_words(arm.interval, words=False, signed=False), sort=arm.interval.low if arm.interval else None
        ),
        Cell(str(len(arm.objectives)), sort=float(len(arm.objectives))),
        Cell(str(diverged), sort=float(diverged)),
        Cell(str(arm.num_failed), sort=float(arm.num_failed)),
    )


def _notes(ablation: Ablation) -> tuple[Block, ...]:
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
    names = [_short(name, ablation) for name, high in highs.items() if high >= nothing]
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
        names = listing(_short(name, ablation) for name in untuned)
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
    missing = [_short(arm.name, ablation) for arm in ablation.arms if len(arm.replicates) < ablation.num_asked]
    if ablation.is_interim:
        return [f"Of this comparison {_interim(ablation)}: the same command goes on."]
    if not missing:
        return []
    return [f"Not every seed of {listing(missing)} has a result: trials failed, or their runs or values are gone."]


def _without(each: Comparison, ablation: Ablation) -> str:
    seeds = [str(one.seed) for one in each.effect.left_out]
    return (
        f"{_named(each, ablation)}: without seed{'s' if len(seeds) > 1 else ''} {listing(seeds)}, where one side "
        "diverged or has no result; the effect is that of arms that train."
    )


def _lines(ablation: Ablation) -> tuple[EffectLine, ...]:
    return tuple(
        EffectLine(
            name=_named(each, ablation),
            differences=each.effect.differences,
            low=None if each.effect.interval is None else each.effect.interval.low,
            high=None if each.effect.interval is None else each.effect.interval.high,
        )
        for each in ablation.comparisons
        if each.effect.differences
    )


SECTION: Section[Ablation | None] = Section(
    key="ablation", title="What each change does", summarise=summarise, present=present
)
