"""What describes a corpus and what preparing one yields: plain records that readers, tools and reports share."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from lightning_modules.data.manifest import Recording, Split

Progress = Callable[[str, int, int], None]
"""Called with the stage, how much of it is done, and the total."""


@dataclass(frozen=True, kw_only=True)
class SourceCard:
    """One source of speech within a corpus.

    Attributes:
        name: as in `Recording.source`.
        language: ISO 639-1 code.
        splits: the splits that it serves.
        licence: what its terms are called.
        note: what a reader of results must know about it.
    """

    name: str
    language: str
    splits: tuple[Split, ...]
    licence: str
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class CorpusCard:
    """What a corpus is, for reports and for the model card.

    Attributes:
        name: what it is called on the command line.
        title: one line.
        about: what it holds, why it exists, what it cannot show.
        sources: where its speech comes from.
        download_bytes: what `prepare` fetches.
    """

    name: str
    title: str
    about: str
    sources: tuple[SourceCard, ...]
    download_bytes: int = 0

    @property
    def languages(self) -> tuple[str, ...]:
        """ISO 639-1 codes, sorted."""
        return tuple(sorted({source.language for source in self.sources}))

    @property
    def licences(self) -> tuple[str, ...]:
        """Names of the licences, sorted."""
        return tuple(sorted({source.licence for source in self.sources}))


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """A file that was left out of a corpus, and why."""

    path: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Damaged:
    """A file that is used as it is, and what is wrong with it."""

    path: str
    reason: str


def most_common(skipped: Iterable[Skipped], limit: int = 5) -> str:
    """The reasons that most files were left out for: `cannot be decoded (3); empty (1)`."""
    reasons = Counter(entry.reason for entry in skipped).most_common()
    said = "; ".join(f"{reason} ({number})" for reason, number in reasons[:limit])
    return said if len(reasons) <= limit else f"{said}; …"


@dataclass(frozen=True, kw_only=True)
class Harvest:
    """What `Corpus.prepare` leaves in its folder.

    Attributes:
        recordings: paths relative to the folder, all of them written.
        skipped: files that were left out.
        damaged: files that are used, though cut short or clipped.
        versions: version of each package or data set that was read.
        warnings: what a user should know before trusting results.
        sources: where its speech comes from, where only reading it tells.
    """

    recordings: tuple[Recording, ...]
    skipped: tuple[Skipped, ...] = ()
    damaged: tuple[Damaged, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    sources: tuple[SourceCard, ...] = ()
