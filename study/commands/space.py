"""`lidstudy space check|schema`."""

from collections.abc import Sequence
from pathlib import Path

from lightning_modules.errors import ConfigError
from search_spaces.parsing import Parameter
from search_spaces.space import check_file, load_space, space_schema
from study.commands.console import make_console, print_json


def check(name_or_path: str) -> None:
    """Prints what a space searches; a space that is not valid is an error that says why.

    Raises:
        ConfigError: naming file, key and what is allowed.
    """
    findings = check_file(Path(name_or_path)) if name_or_path.endswith(".toml") else []
    if findings:
        raise ConfigError("\n  ".join(str(finding) for finding in findings))
    space = load_space(name_or_path)
    console = make_console()
    console.print(f"{space.name}: {len(space.parameters)} parameters, hash {space.hash}, valid")
    for parameter in space.parameters:
        console.print(f"  {parameter.path:<28} {described(parameter)}", markup=False)


def described(parameter: Parameter) -> str:
    """What a parameter may be, in words: `0.05 … 20, logarithmic, when clipping.kind is norm`."""
    if parameter.choices:
        parts = [_listed(parameter.choices)]
    else:
        parts = [f"{parameter.low:g} … {parameter.high:g}"]
        parts += ["logarithmic"] if parameter.log else []
        parts += [f"in steps of {parameter.step:g}"] if parameter.step else []
        parts += ["whole numbers"] if parameter.kind == "int" else []
    parts += [f"when {path} is {' or '.join(map(str, values))}" for path, values in parameter.when.items()]
    return ", ".join(parts)


def _listed(choices: Sequence[object]) -> str:
    return " | ".join(str(each).lower() if isinstance(each, bool) else str(each) for each in choices)


def schema() -> None:
    """Prints the JSON Schema."""
    print_json(space_schema())
