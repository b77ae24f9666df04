"""Parameters in words, for people."""

from collections.abc import Sequence

from search_spaces.parsing import Parameter


def described(parameter: Parameter) -> str:
    """What a parameter may be, in words: `0.05 … 20, logarithmic, when clipping.kind is norm`."""
    if parameter.choices:
        parts = [_listed(parameter.choices)]
    else:
        parts = [f"{parameter.low:g} … {parameter.high:g}"]
        parts += ["logarithmic"] if parameter.log else []
        parts += [f"in steps of {parameter.step:g}"] if parameter.step else []
        parts += ["whole numbers"] if parameter.kind == "int" else []
    parts += [f"when {path} is {' or '.join(map(value_in_words, values))}" for path, values in parameter.when.items()]
    return ", ".join(parts)


def _listed(choices: Sequence[object]) -> str:
    return " | ".join(map(value_in_words, choices))


def value_in_words(value: object) -> str:
    """As files have it: `true`, `0.05`, `gru`."""
    return str(value).lower() if isinstance(value, bool) else str(value)
