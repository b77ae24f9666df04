"""`lidstudy score FILE`."""

from dataclasses import asdict
from pathlib import Path
from typing import Literal

from rich.table import Table

from reports.score_file import read_scores, score_table
from study.commands.console import make_console, print_json


def score_file(file: Path, *, kind: Literal["llr", "log_posterior"], as_json: bool) -> None:
    """Scores a file of any system's output."""
    result = score_table(read_scores(file), kind)
    if as_json:
        print_json(asdict(result))
        return
    console = make_console()
    console.print(result)
    _ = Table
