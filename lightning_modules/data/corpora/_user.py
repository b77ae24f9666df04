"""A corpus of the user's own, in one of the layouts that have a reader."""

import os
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from lightning_modules.config.corpus import CorpusConfig
from lightning_modules.data.audio import Stretch
from lightning_modules.data.cards import CorpusCard, Harvest, Progress, Skipped, SourceCard, most_common
from lightning_modules.data.conversion import Job, convert
from lightning_modules.data.corpora._assignment import assign_splits
from lightning_modules.data.corpora._base import Corpus
from lightning_modules.data.corpora._layout import Found, Layout
from lightning_modules.data.manifest import Recording
from lightning_modules.data.splits import refuse_shared
from lightning_modules.errors import CorpusError

LONGEST_NAME: Final = 200
"""Bytes of a part of a recording's id, which names its audio file: file systems take 255."""
MOST_LISTED: Final = 20
"""Languages that a complaint lists."""


class UserCorpus(Corpus):
    """What a corpus's file describes.

    Args:
        config: the file.
        layout: the reader that it names.
        base: the folder that relative paths start at.
    """

    def __init__(self, config: CorpusConfig, *, layout: Layout, base: Path) -> None:
        self._config = config
        self._layout = layout
        self._base = base
        unsaid = () if config.rename else ("rename",)  # so that corpora of before there was one are the same
        self.definition = config.model_dump_json(exclude={"title", "licence", *unsaid})
        self.allow_shared = config.allow_shared
        self.card = CorpusCard(
            name=config.name,
            title=config.title or f"{config.name} ({layout.card.title})",
            about=f"{layout.card.title}: {layout.card.layout}. Speakers: {layout.card.speakers}.",
            sources=(),
        )

    def prepare(self, folder: Path, *, downloads: Path, progress: Progress) -> Harvest:  # noqa: ARG002 - nothing is fetched
        """Reads the layout, makes the splits, and converts what there is."""
        progress("reading the corpus", 0, 1)
        everything = self._read()
        progress("reading the corpus", 1, 1)
        skipped = [each for each in everything if isinstance(each, Skipped)]
        there = self._renamed([each for each in everything if isinstance(each, Found)])
        wanted = [each for each in there if self._is_wanted(each)]
        usable: dict[str, Found] = {}
        copies: dict[str, str] = {}
        for each in wanted:
            first, named = usable.get(each.id), each
            if first is not None and first.file.suffix != each.file.suffix:  # two codecs of one recording
                named = replace(each, id=f"{each.id}{each.file.suffix}")
                copies[named.id] = each.id
            if reason := _why_unusable(named.id, usable):
                skipped.append(Skipped(path=ascii(each.id), reason=reason))
            else:
                usable[named.id] = named
        for name in _in_a_folder_s_place(usable):
            del usable[name]
            skipped.append(Skipped(path=name, reason="its audio would have the name of another recording's folder"))
        found = list(usable.values())
        self._refuse_nothing(found, skipped, languages={each.language for each in there})
        found = _a_source_a_language(assign_splits(found, self._config.splits))
        first_of = {each.file: each.recording for each in reversed(found)}  # the sides of a call are cuts of one
        num_cuts = Counter(first_of[each.file] for each in found)
        jobs = [
            self._job(
                each,
                copy_of=copies.get(each.id, ""),
                cut_of=first_of[each.file] if num_cuts[first_of[each.file]] > 1 else "",
            )
            for each in found
        ]
        refuse_shared(jobs, allow_shared=self.allow_shared)
        _refuse_divided(found)
        harvest = convert(jobs, folder=folder, progress=progress)
        return replace(
            harvest,
            skipped=tuple(sorted((*harvest.skipped, *skipped), key=lambda entry: entry.path)),
            warnings=self._warnings(),
            sources=_source_cards(harvest.recordings, licence=self._licence),
        )

    @property
    def _licence(self) -> str:
        own = self._config.licence
        return self._layout.card.licence or own if own == "unknown" else own

    def _read(self) -> list[Found | Skipped]:
        place = self._config.reader.path
        for path in [place] if isinstance(place, Path) else place.values():
            if not (self._base / path).exists():
                raise CorpusError(f"corpus {self.card.name}: reader.path: there is no {self._base / path}.")
        if isinstance(place, Path):
            name = place.name.split(".")[0] if (self._base / place).is_file() else place.name
            return [_of_source(each, name) for each in self._layout.read(self._base / place)]
        found: list[Found | Skipped] = []
        for split, path in place.items():
            for each in self._layout.read(self._base / path):
                if isinstance(each, Skipped):
                    found.append(replace(each, path=f"{split}/{each.path}"))
                elif each.split in (None, split):  # of a layout with splits, the one that was asked for
                    recording = _within(split, each.recording)
                    speaker = recording if each.speaker == each.recording else each.speaker
                    named = replace(each, id=_within(split, each.id), recording=recording, speaker=speaker, split=split)
                    found.append(_of_source(named, self._config.name))
        return found

    def _renamed(self, found: list[Found]) -> list[Found]:
        there = {each.language for each in found}
        if unknown := [name for name in self._config.rename if name not in there]:
            raise CorpusError(f"corpus {self.card.name}: rename: there is no {unknown[0]!r}, but {_listed(there)}.")
        return [replace(each, language=self._config.rename.get(each.language, each.language)) for each in found]

    def _is_wanted(self, found: Found) -> bool:
        return self._config.languages is None or found.language in self._config.languages

    def _refuse_nothing(self, found: Sequence[Found], skipped: Sequence[Skipped], *, languages: set[str]) -> None:
        there = {each.language for each in found}
        missing = [language for language in self._config.languages or () if language not in there]
        if missing or not there:
            what = f"no speech in {', '.join(missing)}" if missing else "no speech"
            why = f"; what was left out: {most_common(skipped)}" if skipped else ""
            others = f", but in {_listed(languages)}" if languages else ""
            raise CorpusError(f"corpus {self.card.name}: there is {what} in {self._config.reader.path}{others}{why}.")

    def _job(self, found: Found, *, copy_of: str, cut_of: str) -> Job:
        assert found.split is not None
        return Job(
            id=found.id,
            file=found.file,
            stretch=Stretch(start_s=found.start_s, end_s=found.end_s, channel=found.channel),
            activity=self._config.activity,
            language=found.language,
            source=found.source,
            speaker=found.speaker,
            split=found.split,
            copy_of=copy_of,
            cut_of=cut_of,
        )

    def _warnings(self) -> tuple[str, ...]:
        return tuple(
            f"training may share a {what} with development and test, as the corpus's file allows: scores reward it"
            for what in self.allow_shared
        )


def _listed(languages: set[str]) -> str:
    named = sorted(languages)
    return ", ".join(named[:MOST_LISTED]) + (f", … ({len(named)})" if len(named) > MOST_LISTED else "")


def _within(split: str, name: str) -> str:
    return name if name.startswith(f"{split}/") else f"{split}/{name}"


def _of_source(found: Found | Skipped, name: str) -> Found | Skipped:
    """Where the layout knows no source, what was named is one: splits of a corpus do not become sources."""
    return replace(found, source=name) if isinstance(found, Found) and not found.source else found


def _refuse_divided(found: Sequence[Found]) -> None:
    """Whoever heard one side of a call has heard the other's words, room and line.

    Raises:
        CorpusError: names a recording, or a file, that is in two splits.
    """
    seen: dict[tuple[str, str], Found] = {}
    for each in found:
        names = [("recording", each.recording), *([("file", str(each.file))] if os.path.exists(each.file) else [])]  # noqa: PTH110 - too long a name is none
        for what, name in names:
            first = seen.setdefault((what, name), each)
            if first.split != each.split:
                raise CorpusError(
                    f"{first.id} and {each.id} are cuts of {what} {name!r} in {first.split} and {each.split}: the cuts "
                    "of a recording belong into one split."
                )


def _a_source_a_language(found: Sequence[Found]) -> list[Found]:
    """Sources that have several languages become one each: what is claimed of sources is claimed of each language."""
    languages: dict[str, set[str]] = {}
    for each in found:
        languages.setdefault(each.source, set()).add(each.language)
    return [
        replace(each, source=f"{each.source}/{each.language}") if len(languages[each.source]) > 1 else each
        for each in found
    ]


def _why_unusable(name: str, taken: Collection[str]) -> str:
    """Why a recording cannot have that id; "" where it can."""
    if name in taken:
        return "another recording has the same name"
    if not name.isprintable() or any(part in ("", ".", "..") for part in name.split("/")):
        return "a name that cannot be printed, or is none"
    if any(len(part.encode()) > LONGEST_NAME for part in name.split("/")):
        return "a name that is too long"
    return ""


def _in_a_folder_s_place(names: Collection[str]) -> list[str]:
    """Ids whose audio another's folder keeps out: `a` beside `a.flac/b`."""
    folders = {str(place) for name in names for place in Path(name).parents}
    return [name for name in names if f"{name}.flac" in folders]


def _source_cards(recordings: Sequence[Recording], *, licence: str) -> tuple[SourceCard, ...]:
    """A card for each source and language that came out."""
    splits: dict[tuple[str, str], set[str]] = {}
    for recording in recordings:
        splits.setdefault((recording.source, recording.language), set()).add(recording.split)
    return tuple(
        SourceCard(
            name=source,
            language=language,
            splits=tuple(split for split in ("train", "dev", "test") if split in found),
            licence=licence,
        )
        for (source, language), found in sorted(splits.items())
    )
