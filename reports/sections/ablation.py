"""A controlled comparison: every arm beside the base, over the seeds that they share."""

from typing import Final

from reports.ablation import Ablation, Arm, Comparison, compare
from reports.ablation_statistics import Verdict
from reports.figures import EffectLine, effects_figure
from reports.records import StudyRecord
from reports.sections._ablation_notes import notes
from reports.sections._ablation_sentences import sentences
from reports.sections._ablation_text import (
    correction,
    interval_in_words,
    named,
    p_digits,
    short,
    signed_effect,
)
from reports.sections._blocks import Block, Cell, Column, Drawing, Items, Section, Table, Text, Tone, numeric
from reports.sections._factorial import grid, interactions_table
from reports.wording import (
    NOTHING,
    count,
    listing,
    number,
    parameter,
    short_names,
    spread,
)

TONES: Final[dict[Verdict, Tone]] = {
    Verdict.BETTER: "good",
    Verdict.WORSE: "bad",
    Verdict.EQUIVALENT: "",
    Verdict.UNDECIDED: "quiet",
}


def summarise(study: StudyRecord) -> Ablation | None:
    """None for a study that compares no arms."""
    return compare(study)


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
        *notes(ablation),
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
        Cell(named(each, ablation)),
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
        Cell(short(arm.name, ablation)),
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


def _lines(ablation: Ablation) -> tuple[EffectLine, ...]:
    return tuple(
        EffectLine(
            name=named(each, ablation),
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
