"""What a section is, and the few kinds of block that it presents itself in.

A section takes a study in two steps: `summarise` draws a typed summary from the records, which tests assert on, and
`present` says it in blocks that know neither HTML nor Markdown. A template sets every block once a medium.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

from reports.records import StudyRecord

if TYPE_CHECKING:
    from matplotlib.figure import Figure

S = TypeVar("S")
Tone = Literal["", "good", "warn", "bad", "quiet"]


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str
    tone: Tone = ""


@dataclass(frozen=True)
class Column:
    """A column's heading; `hint` says more where there is room for it, `wrap` lets sentences break."""

    title: str
    numeric: bool = True
    hint: str = ""
    wrap: bool = False


@dataclass(frozen=True)
class Cell:
    """A table's cell: `sort` is what it is sorted by where its text would not do."""

    text: str
    sort: float | str | None = None
    strong: bool = False
    tone: Tone = ""


def numeric(value: float | None, text: str, *, strong: bool = False) -> Cell:
    """A cell that shows a text and sorts by the exact number."""
    return Cell(text, sort=value, strong=strong)


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table that a reader can sort by any column."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A figure that is drawn when the page is made."""

    key: str
    alt: str
    caption: str
    draw: "Callable[[], Figure]"


@dataclass(frozen=True, kw_only=True)
class Code:
    """Text to copy."""

    caption: str
    text: str
    language: str


@dataclass(frozen=True)
class Items:
    """A list of sentences."""

    items: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Clip:
    """Something to hear, as MP3."""

    key: str
    title: str
    mp3: bytes


@dataclass(frozen=True, kw_only=True)
class Clips:
    """Players, where the medium has any."""

    caption: str
    clips: tuple[Clip, ...]


Block = Text | Table | Drawing | Code | Items | Clips


@dataclass(frozen=True, kw_only=True)
class Section(Generic[S]):
    """One part of a report.

    Attributes:
        key: its anchor on the page.
        title: its heading.
        summarise: records to numbers; pure.
        present: numbers to blocks; none where there is nothing to say, and then the section is left out.
    """

    key: str
    title: str
    summarise: Callable[[StudyRecord], S]
    present: Callable[[S], tuple[Block, ...]]

    def blocks(self, study: StudyRecord) -> tuple[Block, ...]:
        """The section of this study."""
        return self.present(self.summarise(study))
