"""What every corpus is: a card that says what it holds, and a way to prepare it.

A corpus owns where its audio comes from, who speaks it and which split it belongs to. It does not own where it is
kept, locks, hashes or manifests: `prepared.py` does, so that `prepare` may simply write into the empty folder that it
is given.
"""

from abc import ABC, abstractmethod
from pathlib import Path

from lightning_modules.config.corpus import Shared
from lightning_modules.data.cards import CorpusCard, Harvest, Progress


class Corpus(ABC):
    """A corpus that can be prepared on this machine."""

    card: CorpusCard
    definition: str = ""
    """What the user said of it, as JSON; a prepared corpus that was made by another one is not taken for this."""
    allow_shared: tuple[Shared, ...] = ()
    """What training may share with development and test, since the user insists."""

    @abstractmethod
    def prepare(self, folder: Path, *, downloads: Path, progress: Progress) -> Harvest:
        """Writes audio (mono FLAC, 8 kHz, 16 bit) below `folder / "audio"`.

        Args:
            folder: empty, or with what an interrupted call converted.
            downloads: kept between calls, shared by all corpora.
            progress: told how far it is.

        Raises:
            CorpusError: something is missing that the user can provide.
        """
