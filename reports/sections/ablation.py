"""A controlled comparison: every arm beside the base, over the seeds that they share."""

from typing import Final

from reports.ablation import Ablation, Arm, Comparison, compare
from reports.ablation_statistics import Verdict
from reports.figures import EffectLine, effects_figure
from reports.records import StudyRecord
from reports.sections._blocks import Block, Cell, Column, Drawing, Items, Section, Table, Text, Tone
from reports.sections._text import NOTHING, count, listing, number, numeric, p_value, parameter, short_names, spread
from reports.statistics import Interval

ALPHA: Final = 0.05
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
    """What every comparison says, the decided ones first; then what could not be decided."""
    decided = [each for each in ablation.comparisons if each.verdict is not Verdict.UNDECIDED]
    open_ones = [each for each in ablation.comparisons if each.verdict is Verdict.UNDECIDED]
    return (*(_decided(each, ablation) for each in decided), *(_undecided(each, ablation) for each in open_ones))


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
    how = "averaged over the other factors" if ablation.is_two_level else "each alone"
    tuned = " and tuned like the base" if ablation.config["tuning"] else ", with the values that were chosen for it"
    return f"Of {changes} to the base, {how}{tuned}{within}, {listing(said)}."


def _decided(each: Comparison, ablation: Ablation) -> str:
    if each.verdict is Verdict.EQUIVALENT:
        return (
            f"{_named(each, ablation)} is equivalent to the base within {number(ablation.config['margin'])}: "
            f"{_measured(each, ablation)}."
        )
    return f"{_named(each, ablation)} is {each.verdict.value} than the base: {_measured(each, ablation)}."


def _undecided(each: Comparison, ablation: Ablation) -> str:
    name = _named(each, ablation)
    if each.effect.mean is None:
        return f"{name}: nothing can be said, as no seed trained to the end on both sides."
    more = ""
    if each.seeds_needed is not None:
        more = f" Were that difference the true one, {count(each.seeds_needed, 'seed')} would probably show it."
    return f"{name} against the base is undecided: {_measured(each, ablation)}.{more}"


def _named(each: Comparison, ablation: Ablation) -> str:
    if not ablation.is_two_level:
        return _short(each.name, ablation)
    base, *others = ablation.config["factors"][each.name]
    name = short_names(list(ablation.config["factors"]))[each.name]
    return f"{name} {parameter(others[0])} instead of {parameter(base)}"


def _short(arm: str, ablation: Ablation) -> str:
    """An arm's name with the short names of its factors."""
    for path, name in short_names(list(ablation.config["factors"])).items():
        arm = arm.replace(path, name)
    return arm


def _measured(each: Comparison, ablation: Ablation) -> str:
    effect = each.effect
    assert effect.mean is not None
    p = "" if each.adjusted_p is None else f", {p_value(each.adjusted_p)} after correction"
    return (
        f"{ablation.objective_name} {_signed(effect.mean)} ({_interval(effect.interval)}; "
        f"{count(effect.n, 'paired seed')}{p})"
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
    return (*blocks, _arms_table(ablation), *_notes(ablation))


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
        f"Arms differ from trial {config['trial']} of study {config['of']}, the base, in {factors} alone "
        f"({config['design'].replace('_', ' ')}), and share seeds, which nothing was chosen by. {tuned} Lower is "
        "better."
    )


def _effects_table(ablation: Ablation) -> Table:
    what = "main effect" if ablation.is_two_level else "arm"
    columns = (
        Column(what, numeric=False),
        Column("difference", hint="mean over paired seeds; below zero is better"),
        Column("95 % interval", numeric=False),
        Column("seeds"),
        Column("p", hint="sign-flip test over seeds"),
        Column("p, corrected", hint="Holm, over this table"),
        Column("pair correlation", hint="of arm and base over seeds: what pairing gains"),
        Column("diverged", numeric=False, hint="arm and base, of the seeds that ended"),
        Column("verdict", numeric=False),
    )
    rows = tuple(_effect_row(each, ablation) for each in ablation.comparisons)
    return Table(caption=f"Effects on {ablation.objective_name}, against the base", columns=columns, rows=rows)


def _effect_row(each: Comparison, ablation: Ablation) -> tuple[Cell, ...]:
    effect = each.effect
    arm, base = effect.arm_divergence, effect.base_divergence
    return (
        Cell(_named(each, ablation)),
        numeric(effect.mean, NOTHING if effect.mean is None else _signed(effect.mean)),
        Cell(_interval(effect.interval, words=False)),
        Cell(str(effect.n), sort=float(effect.n)),
        numeric(effect.p_value, number(effect.p_value)),
        numeric(each.adjusted_p, number(each.adjusted_p)),
        numeric(effect.correlation, number(effect.correlation, 2)),
        Cell(f"{arm.diverged} of {arm.trained}, {base.diverged} of {base.trained}"),
        Cell(each.verdict.value, tone=TONES[each.verdict]),
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
        *(Cell(parameter(arm.levels[path])) for path in factors),
        *(Cell(parameter(arm.tuned.get(path))) for path in tuned),
        numeric(mean.mean if mean else None, spread(mean.mean, mean.sd) if mean else NOTHING),
        Cell(_interval(arm.interval, words=False, signed=False)),
        Cell(str(len(arm.objectives)), sort=float(len(arm.objectives))),
        Cell(str(diverged), sort=float(diverged)),
        Cell(str(arm.num_failed), sort=float(arm.num_failed)),
    )


def _notes(ablation: Ablation) -> tuple[Block, ...]:
    over_seeds = (
        "Replicates differ by their seed: initial weights, and the order and augmentation of the data. Arms share all "
        "of these, weights in every part of the network that the change leaves alone. Intervals are over seeds, and "
        f"conditional on the development sources ({listing(ablation.sources)}): they say nothing about speakers at "
        "large."
    )
    on_development = (
        "The objective is that of each replicate's best epoch on development data, in every arm alike; test data was "
        "not looked at."
    )
    least = f"The smallest p, corrected, that these seeds can reach is {ablation.smallest_p:.3g}"
    reach = f"{least}, so that nothing can be shown at {ALPHA}." if ablation.smallest_p > ALPHA else f"{least}."
    left_out = [_without(each, ablation) for each in ablation.comparisons if each.effect.left_out]
    aliases = [_aliased(each) for each in ablation.comparisons if each.aliases]
    return (Items((over_seeds, on_development, reach, *_missing(ablation), *left_out, *aliases)),)


def _missing(ablation: Ablation) -> list[str]:
    missing = [_short(arm.name, ablation) for arm in ablation.arms if len(arm.replicates) < ablation.num_asked]
    if not missing:
        return []
    return [f"Not every seed of {listing(missing)} has a result: the same command goes on, or trials failed."]


def _without(each: Comparison, ablation: Ablation) -> str:
    seeds = [str(one.seed) for one in each.effect.left_out]
    return (
        f"{_named(each, ablation)}: without seed{'s' if len(seeds) > 1 else ''} {listing(seeds)}, where one side "
        "diverged or has no result; the effect is that of arms that train."
    )


def _aliased(each: Comparison) -> str:
    interactions = listing(" × ".join(alias.factors) for alias in each.aliases)
    return f"{each.name} cannot be told from {interactions} in this fraction."


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


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "\N{MINUS SIGN}")


def _interval(interval: Interval | None, *, words: bool = True, signed: bool = True) -> str:
    if interval is None:
        return "one seed gives no interval" if words else NOTHING
    low, high = (_signed(value) if signed else number(value) for value in (interval.low, interval.high))
    return f"95 % interval {low} to {high}" if words else f"{low} to {high}"


SECTION: Section[Ablation | None] = Section(
    key="ablation", title="What each change does", summarise=summarise, present=present
)
