"""What factors do together: a part of the section on ablations, for designs in which they vary together."""

from typing import Final

from reports.ablation import ALPHA, Ablation, Interaction
from reports.sections._ablation_text import change_in_words, correction, interval_in_words, p_digits, signed_effect
from reports.sections._blocks import Cell, Column, Table, numeric
from reports.wording import NOTHING, count, listing, p_value, parameter, short_names, spread

AXES: Final = 2  # of a table


def together(ablation: Ablation) -> tuple[str, ...]:
    """What changes do together beyond what each does alone."""
    if not ablation.interactions:
        return ()
    shown = tuple(
        f"{_pair(each, ablation)} do not add up: what they do together is {signed_effect(each.effect)} beside the "
        f"sum of what each does alone ({interval_in_words(each.effect.interval)}; "
        f"{count(each.effect.n, 'paired seed')}, "
        f"{p_value(each.adjusted_p)} after correction)."
        for each in ablation.interactions
        if each.is_shown and each.effect.mean is not None and each.adjusted_p is not None
    )
    if shown:
        return shown
    least = min((each.adjusted_p for each in ablation.interactions if each.adjusted_p is not None), default=None)
    p = "" if least is None else f", the least corrected {p_value(least)}"
    if ablation.is_interim:
        return ()
    if ablation.smallest_interaction_p > ALPHA:
        return (
            f"Whether changes add up could not be shown with {count(ablation.num_asked, 'seed')}, whatever they do.",
        )
    combinations = count(len(ablation.interactions), "combination")
    return (f"That one change does more or less where another is made is not shown for any of {combinations}{p}.",)


def _pair(each: Interaction, ablation: Ablation) -> str:
    return listing([change_in_words(change, ablation) for change in each.changes])


def interactions_table(ablation: Ablation) -> tuple[Table, ...]:
    if not ablation.interactions:
        return ()
    columns = (
        Column("change", numeric=False),
        Column("and", numeric=False),
        Column("beyond the sum", hint="a difference of differences, mean over paired seeds; zero where effects add up"),
        Column("95 % interval", numeric=False),
        Column("seeds"),
        Column("p", hint="sign-flip test over seeds"),
        Column("p, corrected", hint=correction(ablation)),
    )
    rows = tuple(
        (
            *(Cell(change_in_words(change, ablation)) for change in each.changes),
            numeric(each.effect.mean, signed_effect(each.effect)),
            Cell(
                interval_in_words(each.effect.interval, words=False),
                sort=each.effect.interval.low if each.effect.interval else None,
            ),
            Cell(str(each.effect.n), sort=float(each.effect.n)),
            numeric(each.effect.p_value, p_digits(each.effect.p_value)),
            numeric(each.adjusted_p, p_digits(each.adjusted_p)),
        )
        for each in ablation.interactions
    )
    return (Table(caption="Whether changes add up", columns=columns, rows=rows),)


def grid(ablation: Ablation) -> tuple[Table, ...]:
    """Two factors' levels against each other."""
    if ablation.config["design"] != "factorial" or len(ablation.config["factors"]) != AXES:
        return ()
    (down, down_levels), (across, across_levels) = ablation.config["factors"].items()
    names = short_names([down, across])
    means = {(arm.levels[down], arm.levels[across]): arm.mean for arm in ablation.arms}
    columns = (
        Column(names[down], numeric=False),
        *(Column(f"{names[across]} {parameter(level)}") for level in across_levels),
    )
    rows = tuple(
        (
            Cell(parameter(level)),
            *(
                numeric(mean.mean if mean else None, spread(mean.mean, mean.sd) if mean else NOTHING)
                for mean in (means[level, other] for other in across_levels)
            ),
        )
        for level in down_levels
    )
    caption = f"{names[down]} against {names[across]}; {ablation.objective_name}, mean ± standard deviation over seeds"
    return (Table(caption=caption, columns=columns, rows=rows),)
