"""Text and tables as LaTeX takes them, in any encoding: what is not ASCII is a command, or left out."""

import re
import unicodedata
from typing import Final

from reports.sections._blocks import Table

LONG: Final = 40
"""Rows from which a table is broken over pages."""
_SENTENCE: Final = "0.45\\linewidth"
_COMMANDS: Final = {
    "\\": r"\textbackslash{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "[": "{[}",  # which would be an option of the line's end before it
    "*": "{*}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "−": "$-$",
    "–": "--",
    "—": "---",
    "…": r"\ldots{}",
    "·": r"$\cdot$",
    "→": r"$\to$",
    "≤": r"$\le$",
    "≥": r"$\ge$",
    "∂": r"$\partial$",
    "β": r"$\beta$",
    "“": "``",
    "”": "''",
    "’": "'",
    "\N{NO-BREAK SPACE}": "~",
}
_ACCENTS: Final = {
    "\u0300": "`",
    "\u0301": "'",
    "\u0302": "^",
    "\u0303": "~",
    "\u0308": '"',
    "\u030c": "v",
    "\u0327": "c",
}


def escaped(text: str) -> str:
    """Text in a table's cell or caption; a character that LaTeX cannot set becomes a question mark."""
    return "".join(_escaped(character) for character in re.sub(r"[^\S\N{NO-BREAK SPACE}]+", " ", text).strip())


def _escaped(character: str) -> str:
    if character in _COMMANDS:
        return _COMMANDS[character]
    if character.isascii():
        return character if character.isprintable() else ""
    letter, marks = (parts := unicodedata.normalize("NFD", character))[0], parts[1:]
    return f"\\{_ACCENTS[marks]}{{{letter}}}" if letter.isascii() and marks in _ACCENTS else "?"


def columns(table: Table) -> str:
    """`lrr`: numbers stand to the right, sentences wrap."""
    return "".join(f"p{{{_SENTENCE}}}" if column.wrap else "r" if column.numeric else "l" for column in table.columns)
