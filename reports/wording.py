"""Numbers and names as a reader wants them."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

NOTHING: Final = "–"
_MINUTE_S: Final = 60.0
_HOUR_S: Final = 3600.0
_LEAST_P: Final = 0.001
_UNBROKEN: Final = "\N{NO-BREAK SPACE}"
_BIG: Final = 1_000


def number(value: float | None, digits: int = 3) -> str:
    """A number with fixed decimals; – for None."""
    return NOTHING if value is None else f"{value:.{digits}f}"


def significant(value: float | None, digits: int = 3) -> str:
    """A number with so many significant digits; – for None."""
    if value is None:
        return NOTHING
    return f"{value:,.0f}" if _BIG <= abs(value) < math.inf else f"{value:.{digits}g}"


def share(value: float | None) -> str:
    """A share of one as a percentage; – for None."""
    return NOTHING if value is None else f"{100 * value:.1f}{_UNBROKEN}%"


def times(amount: int) -> str:
    """`never`, `once`, `3 times`."""
    return {0: "never", 1: "once"}.get(amount, f"{amount:,} times")


def p_value(value: float) -> str:
    """A p-value with its relation: `p = 0.018`, `p < 0.001`."""
    return f"p = {value:.3f}".replace(" ", _UNBROKEN) if value >= _LEAST_P else "p < 0.001".replace(" ", _UNBROKEN)


def duration(seconds: float | None) -> str:
    """Seconds as seconds, minutes or hours; – for None."""
    if seconds is None:
        return NOTHING
    if seconds < _MINUTE_S:
        return f"{seconds:.1f} s"
    return f"{seconds / _MINUTE_S:.1f} min" if seconds < _HOUR_S else f"{seconds / _HOUR_S:.1f} h"


def spread(mean: float | None, sd: float | None) -> str:
    """A mean ± its sd, and the mean alone where one value gives no sd."""
    return number(mean) if sd is None else f"{number(mean)} ± {number(sd)}"


def parameter(value: object) -> str:
    """A parameter's value, short."""
    if value is None:
        return NOTHING
    if isinstance(value, float):
        return f"{value:.3g}"
    return str(value).lower() if isinstance(value, bool) else str(value)


def values_in_words(low: object, high: object) -> str:
    """`8`, or `8 to 32`."""
    return parameter(low) if low == high else f"{parameter(low)} to {parameter(high)}"


def count(amount: int, noun: str, plural: str = "") -> str:
    """`1 trial`, `2 trials`."""
    return f"{amount:,} {noun if amount == 1 else plural or noun + 's'}"


def listing(items: Iterable[str]) -> str:
    """`a, b and c`."""
    *first, last = tuple(items) or (NOTHING,)
    return f"{', '.join(first)} and {last}" if first else last


def short_names(paths: Sequence[str]) -> dict[str, str]:
    """The shortest ending of each path that no other path shares."""
    names: dict[str, str] = {}
    for path in paths:
        parts = path.split(".")
        first = 2 if parts[-1] == "kind" else 1  # "kind" alone says nothing
        endings = [".".join(parts[-n:]) for n in range(first, len(parts) + 1)]
        names[path] = next(e for e in endings if e == path or sum(f".{p}".endswith(f".{e}") for p in paths) == 1)
    return names


def states_text(states: Counter[str]) -> str:
    """`3 complete, 1 pruned`."""
    return ", ".join(f"{amount} {state}" for state, amount in states.most_common())
