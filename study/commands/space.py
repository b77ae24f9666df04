"""`lidstudy space check|schema`."""

from pathlib import Path

from lightning_modules.errors import ConfigError
from reports.wording import count
from search_spaces.space import check_file, load_space, space_schema
from search_spaces.wording import described
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
    console.print(f"{space.name}: {count(len(space.parameters), 'parameter')}, hash {space.hash}, valid")
    for parameter in space.parameters:
        console.print(f"  {parameter.path:<28} {described(parameter)}", markup=False)


def schema() -> None:
    """Prints the JSON Schema."""
    print_json(space_schema())
