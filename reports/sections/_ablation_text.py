"""Words and numbers that the sections on ablations share."""

from math import floor, log10
from typing import Final

from reports.ablation import Ablation, Comparison
from reports.ablation_statistics import PairedEffect
from reports.factorial_effects import Change
from reports.statistics import Interval
from reports.wording import NOTHING, number, parameter, short_names, significant

LEAST_P: Final = 0.01  # below it, three digits behind the point say too little
DIGITS: Final = 3
MOST_DIGITS: Final = 6


def change_in_words(change: Change, ablation: Ablation) -> str:
    name = short_names(list(ablation.config["factors"]))[change.factor]
    return f"{name} {parameter(change.level)} instead of {parameter(change.base)}"


def correction(ablation: Ablation) -> str:
    looks = 1 + len(ablation.looks)
    return "Holm, over this table" + (f", times {looks} looks" if looks > 1 else "")


def p_digits(value: float | None) -> str:
    """`0.0078`, and no zero: a p-value is none."""
    return number(value) if value is None or value >= LEAST_P else significant(value, 2)


def signed_number(value: float, digits: int = DIGITS) -> str:
    return f"{value:+.{digits}f}".replace("-", "\N{MINUS SIGN}")


def signed_effect(effect: PairedEffect) -> str:
    """Its mean difference, with as many digits as its interval has."""
    return NOTHING if effect.mean is None else signed_number(effect.mean, _digits(effect.interval))


def _digits(interval: Interval | None) -> int:
    """Behind the point: three, or as many as show two of the interval's half width."""
    half = 0.0 if interval is None else (interval.high - interval.low) / 2
    return DIGITS if half <= 0 else min(MOST_DIGITS, max(DIGITS, 1 - floor(log10(half))))


def interval_in_words(interval: Interval | None, *, words: bool = True, signed: bool = True) -> str:
    if interval is None:
        return "one seed gives no interval" if words else NOTHING
    digits = _digits(interval)
    low, high = (signed_number(value, digits) if signed else number(value) for value in (interval.low, interval.high))
    return f"95 % interval {low} to {high}" if words else f"{low} to {high}"


def named(each: Comparison, ablation: Ablation) -> str:
    return short(each.name, ablation) if each.change is None else change_in_words(each.change, ablation)


def short(arm: str, ablation: Ablation) -> str:
    """An arm's name with the short names of its factors."""
    for path, name in short_names(list(ablation.config["factors"])).items():
        arm = arm.replace(path, name)
    return arm
