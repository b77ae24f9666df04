"""What the terminal's width does, and what happens where there is no terminal."""

import pytest
from rich.table import Table

from study.commands.console import make_console


def test_tables_are_as_wide_as_they_need_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    name = "a-source-of-" + "speech-" * 30
    table = Table(box=None)
    table.add_column("source")
    table.add_row(name)
    make_console().print(table)
    assert name in capsys.readouterr().out
