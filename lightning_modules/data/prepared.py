"""Corpora in a workspace: prepared once, opened often, described in a table. Imports no torch.

A corpus is built in a hidden folder beside its place and renamed into it, under a lock, so a corpus that is there is
whole.
"""

import hashlib
import json
import os
import shutil
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from lightning_modules.config import DataConfig, PreparedSplitsConfig, content_hash
from lightning_modules.config.corpus import Shared
from lightning_modules.data.cards import CorpusCard, Damaged, Harvest, Progress, Skipped, SourceCard, most_common
from lightning_modules.data.conversion import JOURNAL
from lightning_modules.data.corpora import CORPORA
from lightning_modules.data.corpora._base import Corpus
from lightning_modules.data.manifest import Recording, Split, manifest_text, read_manifest, samples_hash
from lightning_modules.data.splits import leave_source_out
from lightning_modules.errors import CorpusError
from lightning_modules.processes import worker_pool

_CHUNK: Final = 200
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
        damaged: files that are used, though cut short or clipped.
        versions: of the packages or data sets that it was made from.
        warnings: what a user should know before trusting results.
        allow_shared: what training may share with development and test, since the user insists.
        division: a name for how a study divides it anew; "" as it was prepared.
    """

    name: str
    root: Path
    card: CorpusCard
    recordings: tuple[Recording, ...]
    data_hash: str
    skipped: tuple[Skipped, ...]
    damaged: tuple[Damaged, ...]
    versions: dict[str, str]
    warnings: tuple[str, ...]
    allow_shared: tuple[Shared, ...] = ()
    division: str = ""

    def audio_path(self, recording: Recording) -> Path:
        """Absolute path of the recording's audio."""
        return self.root / recording.path


class LanguageRow(NamedTuple):
    """What one split has in one language.

    Attributes:
        num_recordings: of users, utterances.
        hours: of speech.
        num_speakers: speakers of two sources are two.
        sources: their names, sorted.
    """

    split: Split
    language: str
    num_recordings: int
    hours: float
    num_speakers: int
    sources: tuple[str, ...]


class SummaryRow(NamedTuple):
    """What one source gives to one split in one language."""

    split: Split
    language: str
    source: str
    num_recordings: int
    minutes: float
    num_speakers: int


def find_corpus(name: str) -> Corpus:
    """The corpus of that name, of those that come with the program.

    Raises:
        CorpusError: there is none.
    """
    if name not in CORPORA:
        raise CorpusError(
            f"there is no corpus {name!r}; choose one of {', '.join(sorted(CORPORA))}, or prepare one of your own from "
            "a .toml file."
        )
    return CORPORA[name]


def prepared_names(workspace: Path) -> list[str]:
    """Names of the corpora that are prepared in a workspace, sorted."""
    return sorted(path.parent.name for path in (workspace / "corpora").glob("[!.]*/corpus.json"))


def corpus_folder(name: str, workspace: Path) -> Path:
    """Where the corpus is, or would be."""
    return workspace / "corpora" / name


def prepare_corpus(corpus: Corpus | str, workspace: Path, *, progress: Progress) -> PreparedCorpus:
    """Prepares a corpus unless it is prepared already.

    Downloads and what was converted are kept, so after an interruption the same call goes on.

    Args:
        corpus: a user's own, or the name of one that comes with the program.
        workspace: where it is put.
        progress: told how far it is.

    Raises:
        CorpusError: unknown name, something is missing that the user can provide, or another corpus has that name.
    """
    corpus = find_corpus(corpus) if isinstance(corpus, str) else corpus
    name = corpus.card.name
    folder = corpus_folder(name, workspace)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.parent / f".{name}.lock"):
        if not (folder / "corpus.json").exists():
            _build(corpus, folder=folder, downloads=workspace / "downloads", progress=progress)
        elif _facts(folder).get("definition", "") != corpus.definition:
            raise CorpusError(
                f"corpus {name!r} was prepared in {workspace} from another description of it; give this one another "
                f"name, or remove {folder} to prepare it again."
            )
    return open_corpus(name, workspace)


def open_corpus_of(data: DataConfig, workspace: Path) -> PreparedCorpus:
    """The corpus of a configuration, split as it says.

    Raises:
        CorpusError: as `open_corpus`, or it cannot be split so.
    """
    corpus = open_corpus(data.corpus, workspace)
    if isinstance(data.splits, PreparedSplitsConfig):
        return corpus
    recordings = leave_source_out(corpus.recordings, fold=data.splits.fold, languages=data.languages)
    division = f"fold-{data.splits.fold}-{content_hash(sorted(data.languages))}"
    allowed = tuple(
        what for what in corpus.allow_shared if what == "speaker"
    )  # no source is shared by what is left out
    return replace(corpus, recordings=recordings, allow_shared=allowed, division=division)


def open_corpus(name: str, workspace: Path) -> PreparedCorpus:
    """Opens a prepared corpus.

    Raises:
        CorpusError: unknown name, not prepared, or damaged.
    """
    root = corpus_folder(name, workspace)
    try:
        facts = _facts(root)
        manifest = (root / "manifest.csv").read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError) as error:
        if name in CORPORA:
            missing = f"corpus {name!r} is not prepared in {workspace}; run `lidstudy corpus prepare {name}`."
        else:
            there = ", ".join(prepared_names(workspace)) or "none yet"
            missing = (
                f"there is no corpus {name!r} in {workspace} (prepared there: {there}); with the program come "
                f"{', '.join(sorted(CORPORA))}, and one of your own is prepared from its .toml file."
            )
        raise CorpusError(missing) from error
    if data_hash(manifest) != facts["data_hash"]:
        raise CorpusError(f"{root / 'manifest.csv'} was changed; remove {root} and prepare it again.")
    return PreparedCorpus(
        name=name,
        root=root,
        card=_card(facts["card"]),
        recordings=read_manifest(manifest),
        data_hash=facts["data_hash"],
        skipped=tuple(Skipped(**entry) for entry in facts["skipped"]),
        damaged=tuple(Damaged(**entry) for entry in facts.get("damaged", ())),
        versions=dict(facts["versions"]),
        warnings=tuple(facts["warnings"]),
        allow_shared=tuple(facts.get("allow_shared", ())),
    )


def verify(corpus: PreparedCorpus, *, progress: Progress) -> None:
    """Reads all audio, on all cores, and compares it with the manifest.

    Raises:
        CorpusError: names the first recording that is missing or damaged.
    """
    items = [(corpus.audio_path(each), each.audio_hash) for each in corpus.recordings]
    chunks = [items[start : start + _CHUNK] for start in range(0, len(items), _CHUNK)]
    broken: list[Path] = []
    with worker_pool(min(os.cpu_count() or 1, len(chunks))) as pool:
        for done, found in enumerate(pool.map(_broken, chunks), start=1):
            broken += found
            progress("verifying recordings", min(done * _CHUNK, len(items)), len(items))
    if broken:
        raise CorpusError(
            f"corpus {corpus.name!r}: {len(broken)} of {len(items)} recordings are missing or not what they were, such "
            f"as {broken[0]}; remove {corpus.root} and prepare it again."
        )


def _broken(items: Sequence[tuple[Path, str]]) -> list[Path]:
    import soundfile

    found: list[Path] = []
    for path, audio_hash in items:
        try:
            pcm, _ = soundfile.read(path, dtype="int16")
        except (OSError, RuntimeError):
            found.append(path)
        else:
            found += [path] if samples_hash(pcm) != audio_hash else []
    return found


def _facts(root: Path) -> dict[str, Any]:
    try:
        facts: dict[str, Any] = json.loads((root / "corpus.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise CorpusError(f"{root / 'corpus.json'} is damaged; remove {root} and prepare it again.") from error
    return facts


def _card(content: dict[str, Any]) -> CorpusCard:
    known = {field.name for field in fields(CorpusCard)}
    sources = tuple(SourceCard(**{**source, "splits": tuple(source["splits"])}) for source in content["sources"])
    return CorpusCard(**{name: value for name, value in content.items() if name in known} | {"sources": sources})


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


def describe_languages(corpus: PreparedCorpus) -> list[LanguageRow]:
    """One row a split and language, in that order."""
    groups = defaultdict[tuple[Split, str], list[Recording]](list)
    for recording in corpus.recordings:
        groups[recording.split, recording.language].append(recording)
    return [
        LanguageRow(
            *key,
            num_recordings=len(group),
            hours=sum(each.duration_s for each in group) / 3600.0,
            num_speakers=len({(each.source, each.speaker) for each in group}),
            sources=tuple(sorted({each.source for each in group})),
        )
        for key, group in sorted(groups.items(), key=lambda item: (_SPLITS.index(item[0][0]), item[0][1]))
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
    """Builds on what a process that was killed has converted: the lock says that none is at work."""
    partial = folder.parent / f".{folder.name}.partial"
    partial.mkdir(exist_ok=True)
    for left in partial.iterdir():
        if left.name not in ("audio", JOURNAL):
            shutil.rmtree(left) if left.is_dir() else left.unlink()
    downloads.mkdir(parents=True, exist_ok=True)
    try:
        harvest = corpus.prepare(partial, downloads=downloads, progress=progress)
    except CorpusError:
        with suppress(OSError):  # what was converted stays for the next try
            partial.rmdir()
        raise
    _write(harvest, corpus, partial)
    (partial / JOURNAL).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)  # without corpus.json it is no corpus
    partial.rename(folder)


def _write(harvest: Harvest, corpus: Corpus, folder: Path) -> None:
    card = replace(corpus.card, sources=harvest.sources or corpus.card.sources)
    if not harvest.recordings:
        raise CorpusError(
            f"corpus {card.name!r} came out empty: of {len(harvest.skipped)} files none could be used: "
            f"{most_common(harvest.skipped)}."
        )
    manifest = manifest_text(harvest.recordings)
    facts = {
        "card": {**asdict(card), "languages": card.languages, "licences": card.licences},
        "data_hash": data_hash(manifest),
        "versions": dict(harvest.versions),
        "warnings": harvest.warnings,
        "skipped": [asdict(entry) for entry in harvest.skipped],
        "damaged": [asdict(entry) for entry in harvest.damaged],
        "definition": corpus.definition,
        "allow_shared": corpus.allow_shared,
    }
    (folder / "manifest.csv").write_text(manifest, encoding="utf-8")
    (folder / "corpus.json").write_text(json.dumps(facts, indent=1, ensure_ascii=False), encoding="utf-8")
