"""What every reader of a user's corpus does: it finds speech in a folder of a known layout.

A reader names what it finds; what is decoded, cleaned, split and refused is the same for all (`_user.py`).
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lightning_modules.data.cards import Skipped
from lightning_modules.data.manifest import Split
from lightning_modules.errors import CorpusError

AUDIO_SUFFIXES = {".wav", ".flac", ".mp3", ".ogg", ".opus", ".sph", ".gsm", ".aiff", ".aif", ".au", ".m4a", ".mp4"}
"""Files that are taken for audio; those that cannot be decoded are listed with the reason."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """One stretch of speech.

    Attributes:
        id: unique within the corpus; becomes the recording's.
        file: the audio.
        language: as the corpus writes it.
        source: what splits keep apart; "" where the layout knows none.
        speaker: unique within the corpus; where the layout knows none, the recording.
        recording: that this is a cut of; cuts of one recording stay in one split.
        split: as the layout has it; None where it has none.
        start_s: where the stretch begins in the file, in seconds.
        end_s: where it ends; None: with the file.
        channel: counted from 0; None: the mean of all.
    """

    id: str
    file: Path
    language: str
    speaker: str
    recording: str
    source: str = ""
    split: Split | None = None
    start_s: float = 0.0
    end_s: float | None = None
    channel: int | None = None


@dataclass(frozen=True, kw_only=True)
class LayoutCard:
    """What a reader reads.

    Attributes:
        kind: its name in a corpus's file.
        title: one line.
        layout: how the files lie.
        speakers: what is known of them.
        has_splits: whether the layout has training, development and test of its own.
        licence: of the corpora that come this way; "" where it is the user's own.
        url: where such a corpus is described; "" for a layout that anyone may use.
    """

    kind: str
    title: str
    layout: str
    speakers: str
    has_splits: bool
    licence: str = ""
    url: str = ""


class Layout(ABC):
    """A reader."""

    card: LayoutCard

    @abstractmethod
    def read(self, path: Path) -> Iterator[Found | Skipped]:
        """Everything that lies there, in an order that depends on the names alone.

        Args:
            path: the folder or file that the corpus's file names.

        Raises:
            CorpusError: it is not of this layout; the message says what is missing.
        """


def lines_of(path: Path) -> list[str]:
    """The lines of a text file.

    Raises:
        CorpusError: it is not there, or not written in UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise CorpusError(f"{path} is not written in UTF-8.") from None


def audio_files(folder: Path) -> list[Path]:
    """All audio below a folder by its suffix, in the order of names; also a link that leads nowhere, to be listed."""
    return [path for path in _files(folder) if _has_audio_suffix(path)]


def other_files(folder: Path) -> Iterator[Skipped]:
    """What else lies below a folder, in the order of names."""
    for path in _files(folder):
        if not _has_audio_suffix(path):
            yield Skipped(path=path.relative_to(folder).as_posix(), reason="no audio, by its suffix")


def _files(folder: Path) -> list[Path]:
    """All that is no folder and not hidden, through links to folders too: once each, and through none that leads up."""
    found, seen = list[Path](), set[str]()
    above = {str(place) for place in Path(os.path.realpath(folder)).parents}
    for root, folders, names in os.walk(folder, followlinks=True):
        place = os.path.realpath(root)
        if place in seen or place in above:
            folders.clear()
            continue
        seen.add(place)
        folders[:] = sorted(each for each in folders if not each.startswith("."))  # of links the first name is kept
        found += [Path(root, name) for name in names if not name.startswith(".")]
    return sorted(found)


def _has_audio_suffix(path: Path) -> bool:
    return path.suffix.lower() in AUDIO_SUFFIXES
