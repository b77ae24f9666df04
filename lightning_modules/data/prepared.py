"""Corpora in a workspace: prepared once, opened often, described in a table. Imports no torch.

A corpus is built in a hidden folder beside its place and renamed into it, under a lock, so a corpus that is there is
whole.
"""

import hashlib
import json
import shutil
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, NamedTuple

from lightning_modules.data.cards import CorpusCard, Harvest, Progress, Skipped
from lightning_modules.data.corpora import CORPORA
from lightning_modules.data.corpora._base import Corpus
from lightning_modules.data.manifest import Recording, Split, manifest_text, read_manifest
from lightning_modules.errors import CorpusError

_SPLITS: Final[tuple[Split, ...]] = ("train", "dev", "test")


@dataclass(frozen=True, kw_only=True)
class PreparedCorpus:
    """A corpus that is whole and on this disk.

    Attributes:
        name: what it is called.
        root: its folder.
        card: what it holds, under which terms.
        recordings: in the order of ids.
        data_hash: 12 hexadecimal digits; over the manifest, which holds a hash of each recording's samples.
        skipped: files that were left out, and why.
        versions: of the packages or data sets that it was made from.
        warnings: what a user should know before trusting results.
    """

    name: str
    root: Path
    card: CorpusCard
    recordings: tuple[Recording, ...]
    data_hash: str
    skipped: tuple[Skipped, ...]
    versions: dict[str, str]
    warnings: tuple[str, ...]

    def audio_path(self, recording: Recording) -> Path:
        """Absolute path of the recording's audio."""
        return self.root / recording.path


class SummaryRow(NamedTuple):
    """What one source gives to one split in one language."""

    split: Split
    language: str
    source: str
    num_recordings: int
    minutes: float
    num_speakers: int


def find_corpus(name: str) -> Corpus:
    """The corpus of that name.

    Raises:
        CorpusError: there is none.
    """
    if name not in CORPORA:
        raise CorpusError(f"there is no corpus {name!r}; choose one of {', '.join(sorted(CORPORA))}.")
    return CORPORA[name]


def corpus_folder(name: str, workspace: Path) -> Path:
    """Where the corpus is, or would be."""
    return workspace / "corpora" / name


def prepare_corpus(name: str, workspace: Path, *, progress: Progress) -> PreparedCorpus:
    """Prepares a corpus unless it is prepared already.

    Downloads are kept, so after an interruption the same call goes on.

    Raises:
        CorpusError: unknown name, or something is missing that the user can provide.
    """
    corpus = find_corpus(name)
    folder = corpus_folder(name, workspace)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.parent / f".{name}.lock"):
        if not (folder / "corpus.json").exists():
            _build(corpus, folder=folder, downloads=workspace / "downloads", progress=progress)
    return open_corpus(name, workspace)


def open_corpus(name: str, workspace: Path) -> PreparedCorpus:
    """Opens a prepared corpus.

    Raises:
        CorpusError: unknown name, not prepared, or damaged.
    """
    card = find_corpus(name).card
    root = corpus_folder(name, workspace)
    try:
        facts = json.loads((root / "corpus.json").read_text(encoding="utf-8"))
        manifest = (root / "manifest.csv").read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CorpusError(
            f"corpus {name!r} is not prepared in {workspace}; run `lidstudy corpus prepare {name}`"
        ) from error
    except ValueError as error:
        raise CorpusError(f"{root / 'corpus.json'} is damaged; remove {root} and prepare it again.") from error
    if data_hash(manifest) != facts["data_hash"]:
        raise CorpusError(f"{root / 'manifest.csv'} was changed; remove {root} and prepare it again.")
    return PreparedCorpus(
        name=name,
        root=root,
        card=card,
        recordings=read_manifest(manifest),
        data_hash=facts["data_hash"],
        skipped=tuple(Skipped(**entry) for entry in facts["skipped"]),
        versions=dict(facts["versions"]),
        warnings=tuple(facts["warnings"]),
    )


def describe_corpus(corpus: PreparedCorpus) -> list[SummaryRow]:
    """One row a split, language and source, in that order."""
    groups = defaultdict[tuple[Split, str, str], list[Recording]](list)
    for recording in corpus.recordings:
        groups[recording.split, recording.language, recording.source].append(recording)
    return [
        SummaryRow(
            *key,
            num_recordings=len(group),
            minutes=sum(recording.duration_s for recording in group) / 60,
            num_speakers=len({recording.speaker for recording in group}),
        )
        for key, group in sorted(groups.items(), key=lambda item: (_SPLITS.index(item[0][0]), *item[0][1:]))
    ]


def data_hash(manifest: str) -> str:
    """12 hexadecimal digits that name the data: speech, splits and all."""
    return hashlib.sha256(manifest.encode()).hexdigest()[:12]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds an exclusive lock on a file, waiting for it if need be; the system releases it if this process dies."""
    import fcntl

    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(corpus: Corpus, *, folder: Path, downloads: Path, progress: Progress) -> None:
    partial = folder.parent / f".{folder.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)  # left by a process that was killed: the lock says that none is at work
    partial.mkdir()
    downloads.mkdir(parents=True, exist_ok=True)
    harvest = corpus.prepare(partial, downloads=downloads, progress=progress)
    _write(harvest, corpus.card, partial)
    shutil.rmtree(folder, ignore_errors=True)  # without corpus.json it is no corpus
    partial.rename(folder)


def _write(harvest: Harvest, card: CorpusCard, folder: Path) -> None:
    if not harvest.recordings:
        raise CorpusError(f"corpus {card.name!r} came out empty; {len(harvest.skipped)} files were skipped.")
    manifest = manifest_text(harvest.recordings, audio_hashes=harvest.audio_hashes)
    facts = {
        "card": {**asdict(card), "languages": card.languages, "licences": card.licences},
        "data_hash": data_hash(manifest),
        "versions": dict(harvest.versions),
        "warnings": harvest.warnings,
        "skipped": [asdict(entry) for entry in harvest.skipped],
    }
    (folder / "manifest.csv").write_text(manifest, encoding="utf-8")
    (folder / "corpus.json").write_text(json.dumps(facts, indent=1, ensure_ascii=False), encoding="utf-8")
