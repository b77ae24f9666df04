"""Words and numbers that the sections on ablations share."""

from typing import Final

from reports.ablation import Ablation
from reports.factorial_effects import Change
from reports.sections._text import NOTHING, number, parameter, short_names, significant
from reports.statistics import Interval

LEAST_P: Final = 0.01  # below it, three digits behind the point say too little


def change_in_words(change: Change, ablation: Ablation) -> str:
    name = short_names(list(ablation.config["factors"]))[change.factor]
    return f"{name} {parameter(change.level)} instead of {parameter(change.base)}"


def correction(ablation: Ablation) -> str:
    looks = 1 + len(ablation.looks)
    return "Holm, over this table" + (f", times {looks} looks" if looks > 1 else "")


def p_digits(value: float | None) -> str:
    """`0.0078`, and no zero: a p-value is none."""
    return number(value) if value is None or value >= LEAST_P else significant(value, 2)


def signed_number(value: float) -> str:
    return f"{value:+.3f}".replace("-", "\N{MINUS SIGN}")


def interval_in_words(interval: Interval | None, *, words: bool = True, signed: bool = True) -> str:
    if interval is None:
        return "one seed gives no interval" if words else NOTHING
    low, high = (signed_number(value) if signed else number(value) for value in (interval.low, interval.high))
    return f"95 % interval {low} to {high}" if words else f"{low} to {high}"
