"""`prompts`: real speech in seven languages, out of Debian packages.

Telephone prompts, the dialogue of two adventure games and the recordings behind a speech synthesiser. Which source
serves which split, and why:

- Training: asterisk-core-sounds, one announcer a language. English and Spanish share theirs, so a model that confuses
  these two hears the announcer. Czech and Dutch have one source each: they train only and are never scored.
- English: Drascula, its roles divided between development (the protagonist, L, T: one speaker with much speech, two
  with less) and test (the other seven). Two roles may have one actor: nobody wrote down who spoke what.
- English, test: the ten sentences of pocketsphinx-testdata, half a minute of clean read speech. In training, where
  each source of a language is drawn equally often, they would be half of all English.
- Spanish: Drascula is the test, asterisk-prompt-es-co the development set, not the other way round: it has four times
  the speech and ten roles against one announcer, and as English is tested on the other dub of the same game,
  recording conditions cannot tell the two languages apart. Its Spanish is Castilian, the training announcer's
  Mexican, es-co's Colombian.
- French, Italian, Russian: the one other source serves both, divided by recording: in the order of names, ten for
  development, ten for test, and so on, so that similar lines stay together. Development and test share that speaker.
"""

import os
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import ClassVar, Final

from lightning_modules.data.cards import CorpusCard, Harvest, Progress, Skipped, SourceCard
from lightning_modules.data.conversion import Job, convert
from lightning_modules.data.corpora._base import Corpus
from lightning_modules.data.debian import DebianPackage, FetchedPackage, fetch_packages, unpack
from lightning_modules.data.manifest import Split
from lightning_modules.data.splits import by_block
from lightning_modules.errors import CorpusError

_SUFFIXES: Final = {".wav", ".gsm", ".ogg", ".als"}
_DEV_ROLES: Final = {"protagonist", "L", "T"}

SplitRule = Callable[[str, int], Split]
"""From the speaker's name within the source and the number of the file in the order of names."""


@dataclass(frozen=True, kw_only=True)
class PromptSource:
    """The speech of one language in a package, and how to read it.

    Attributes:
        package: pinned.
        folder: of the audio within the package, or within `archive`.
        card: what to say about it.
        speaker: from the file's stem, relative to `folder`, to a name within the source; None leaves the file out.
        split: which split a file serves.
        has: whether a stem is of this source at all; a package may hold several languages.
        archive: a zip within the package that holds the audio, or "".
    """

    package: DebianPackage
    folder: str
    card: SourceCard
    speaker: Callable[[str], str | None]
    split: SplitRule
    has: Callable[[str], bool] = lambda _stem: True
    archive: str = ""


def _drascula_role(stem: str) -> str | None:
    """The letters before the number; none for the protagonist; S is music and effects."""
    role = re.match(r"[A-Z]*", stem)
    name = role.group() if role else ""
    return None if name == "S" else name or "protagonist"


def _fish(stem: str) -> str | None:
    """The small fish `m`, the big fish `v`, or one of many others, as a part of the file's name says."""
    parts = PurePosixPath(stem).name.split("-")
    return next((part for part in parts if part in {"m", "v"}), "others")


def reader(stem: str) -> str | None:
    """The first folder: a voice, or what stands for one."""
    return PurePosixPath(stem).parts[0]


def only(name: str) -> Callable[[str], str | None]:
    """All files are that speaker's."""
    return lambda _stem: name


def always(split: Split) -> SplitRule:
    """All files serve that split."""
    return lambda _speaker, _number: split


def _by_role(speaker: str, _number: int) -> Split:
    return "dev" if speaker in _DEV_ROLES else "test"


def _by_recording(_speaker: str, number: int) -> Split:
    return by_block(number)


def _source(
    name: str,
    *,
    language: str,
    version: str,
    sha256: str,
    size_bytes: int,
    licence: str,
    folder: str,
    speaker: Callable[[str], str | None],
    split: SplitRule,
    splits: tuple[Split, ...],
    note: str = "",
) -> PromptSource:
    return PromptSource(
        package=DebianPackage(name=name, version=version, sha256=sha256, size_bytes=size_bytes),
        folder=folder,
        card=SourceCard(name=name, language=language, splits=splits, licence=licence, note=note),
        speaker=speaker,
        split=split,
    )


_CORE: Final = "usr/share/asterisk/sounds"
_BY_RECORDING_NOTE: Final = "development and test are different recordings of the same speaker"

SOURCES: Final[tuple[PromptSource, ...]] = (
    _source(
        "asterisk-core-sounds-en-wav", language="en", version="1.6.1-1", size_bytes=18272864,
        sha256="2be3ea287d83299d143815fa804f11179a75b7affd4a758b98b55f5afc18a35d", licence="CC-BY-SA-3.0",
        folder=f"{_CORE}/en_US_f_Allison", speaker=only("allison"), split=always("train"), splits=("train",),
        note="the same announcer as in asterisk-core-sounds-es-wav",
    ),
    _source(
        "asterisk-core-sounds-es-wav", language="es", version="1.6.1-1", size_bytes=23767256,
        sha256="9283a09a6d56fccdcc2bcfe86c48f0f844289cfbd46a3184d8785a6f7f569903", licence="CC-BY-SA-3.0",
        folder=f"{_CORE}/es_MX_f_Allison", speaker=only("allison"), split=always("train"), splits=("train",),
        note="Mexican Spanish; the same announcer as in asterisk-core-sounds-en-wav",
    ),
    _source(
        "asterisk-core-sounds-fr-wav", language="fr", version="1.6.1-1", size_bytes=18516060,
        sha256="8d4e1bc32ed5ba7fbda40841ca1825ed20cc6232724a473c90f8bb0e53e6073e", licence="CC-BY-SA-3.0",
        folder=f"{_CORE}/fr_CA_f_June", speaker=only("june"), split=always("train"), splits=("train",),
        note="Canadian French",
    ),
    _source(
        "asterisk-core-sounds-it-wav", language="it", version="1.6.1-1", size_bytes=18262124,
        sha256="5a26638089e134b8ac39363fe249c5c93c50cd8bfdc9b2499ae61ec4a35e2fcb", licence="CC-BY-SA-3.0",
        folder=f"{_CORE}/it_IT_m_Carlo", speaker=only("carlo"), split=always("train"), splits=("train",),
    ),
    _source(
        "asterisk-core-sounds-ru-wav", language="ru", version="1.6.1-1", size_bytes=18788860,
        sha256="ccbfaebfa450b7a9ddf644ae0f3d1e9017d5df7c0aebe816e946345589d38201", licence="CC-BY-3.0",
        folder=f"{_CORE}/ru_RU_f_IvrvoiceRU", speaker=only("ivrvoice"), split=always("train"), splits=("train",),
    ),
    _source(
        "fillets-ng-data-cs", language="cs", version="1.0.1-1.1", size_bytes=39042172,
        sha256="3ecef99b9456f1c80c9625c6f2418642b52d58e7167a46bad7a412db17991b14", licence="GPL-2",
        folder="usr/share/games/fillets-ng/sound", speaker=_fish, split=always("train"), splits=("train",),
        note="the language's only source, so it is never scored; speaker 'others' is many voices",
    ),
    _source(
        "fillets-ng-data-nl", language="nl", version="1.0.1-1.1", size_bytes=32593580,
        sha256="afb4443fda9ab507dee578b75be857d121718a1cd6017a474f30e0eb13dc9d10", licence="GPL-2",
        folder="usr/share/games/fillets-ng/sound", speaker=_fish, split=always("train"), splits=("train",),
        note="the language's only source, so it is never scored; speaker 'others' is many voices",
    ),
    _source(
        "asterisk-prompt-es-co", language="es", version="0.20070403-2.1", size_bytes=992708,
        sha256="6702696e045514699e87dc8fb70f370717e5df91f821f7bec8dd0df1be008e83", licence="GPL-2",
        folder=f"{_CORE}/es", speaker=only("july"), split=always("dev"), splits=("dev",),
        note="Colombian Spanish, GSM",
    ),
    _source(
        "asterisk-prompt-fr-armelle", language="fr", version="20070613-2.2", size_bytes=1496780,
        sha256="162570b1a9b3512a98f06b89f60c7c17cf1b9b52297315adca9a4e5be728bea3", licence="BSD-like",
        folder=f"{_CORE}/fr", speaker=only("armelle"), split=_by_recording, splits=("dev", "test"),
        note=f"GSM; {_BY_RECORDING_NOTE}",
    ),
    _source(
        "asterisk-prompt-it-menardi-wav", language="it", version="1:1.4.22+mm20110907-3.1", size_bytes=18776300,
        sha256="3094530d98f8758ac275572d59624c41f60969fef883f34f4886d144f3dfeb21", licence="CC-BY-SA-3.0-IT",
        folder=f"{_CORE}/it_IT_f_Menardi", speaker=only("paola"), split=_by_recording, splits=("dev", "test"),
        note=_BY_RECORDING_NOTE,
    ),
    _source(
        "festvox-ru", language="ru", version="0.5+dfsg-6", size_bytes=178728512,
        sha256="21ef3f0f2978ecf2e2eddb367cb0ff4a72572196d28dc69feb84f4177af5e6c4", licence="BSD-like",
        folder="usr/share/festival/voices/russian/msu_ru_nsh_clunits/wav", speaker=only("nsh"), split=_by_recording,
        splits=("dev", "test"), note=_BY_RECORDING_NOTE,
    ),
    _source(
        "drascula", language="en", version="1.0+ds4-2", size_bytes=26302044,
        sha256="ed4af8e2d41ad446e2f3b73533daa1804e2f13f62f596c0b02b8dc39544f22b4", licence="Drascula",
        folder="usr/share/scummvm/drascula/en", speaker=_drascula_role, split=_by_role, splits=("dev", "test"),
        note="8 bits; speakers are roles of a game, divided between development and test; one actor may have several",
    ),
    _source(
        "drascula-spanish", language="es", version="1.0+ds4-2", size_bytes=13286564,
        sha256="87b5f12df3fcd7ca16097c802dff1ab55e40c9ebc21209fa3f031e1661b4b8e5", licence="Drascula",
        folder="usr/share/scummvm/drascula/es", speaker=_drascula_role, split=always("test"), splits=("test",),
        note="8 bits; Castilian; speakers are roles of a game; one actor may have several",
    ),
    _source(
        "pocketsphinx-testdata", language="en", version="0.8+5prealpha+1-15", size_bytes=1822580,
        sha256="eaeb7a01d54f20b799d1a81ef110ec544b2cb47ea006614078220737a33019f0", licence="BSD-2-Clause",
        folder="usr/share/pocketsphinx/test/data", speaker=reader, split=always("test"), splits=("test",),
        note="half a minute",
    ),
)  # fmt: skip


def packages_of(sources: tuple[PromptSource, ...]) -> tuple[DebianPackage, ...]:
    """Each once."""
    return tuple({source.package.name: source.package for source in sources}.values())


class Prompts(Corpus):
    """Real speech from Debian packages."""

    sources: ClassVar = SOURCES
    card = CorpusCard(
        name="prompts",
        title="Telephone prompts and game dialogue in seven languages, from Debian packages",
        about=(
            "Nearly nine hours of real speech that installs by name, for studies that anyone can repeat. It has few "
            "speakers a language: English and Spanish are tested on several voices, French, Italian and Russian on "
            "one announcer each, whom development data share. Czech and Dutch have one source each, so they can train "
            "but not be scored. Results say how well a model carries over to these other recordings, not to speakers "
            "at large."
        ),
        sources=tuple(source.card for source in SOURCES),
        download_bytes=sum(package.size_bytes for package in packages_of(SOURCES)),
    )

    def prepare(self, folder: Path, *, downloads: Path, progress: Progress) -> Harvest:
        """Fetches the packages, unpacks them beside the audio for as long as that takes, converts their speech."""
        pinned = packages_of(self.sources)
        fetched = fetch_packages(pinned, downloads=downloads, progress=progress)
        unpacked = folder / "packages"
        _unpack_all(fetched, unpacked, progress=progress)
        found = [entry for source in self.sources for entry in read_source(source, unpacked / source.package.name)]
        jobs = [entry for entry in found if isinstance(entry, Job)]
        skipped = [entry for entry in found if isinstance(entry, Skipped)]
        harvest = convert(jobs, folder=folder, progress=progress)
        shutil.rmtree(unpacked)
        return replace(
            harvest,
            skipped=tuple(sorted((*harvest.skipped, *skipped), key=lambda entry: entry.path)),
            versions={package.name: package.version for package in fetched},
            warnings=_warnings(fetched, pinned),
        )


def read_source(source: PromptSource, unpacked: Path) -> Iterator[Job | Skipped]:
    """What to convert from one unpacked package, in the order of names."""
    if source.archive:
        _unzip(unpacked / source.archive, unpacked)
    root = unpacked / source.folder
    files = sorted(path for path in root.rglob("*") if path.suffix.lower() in _SUFFIXES and path.is_file())
    stems = [(path.relative_to(root).with_suffix("").as_posix(), path) for path in files]
    for number, (stem, path) in enumerate(pair for pair in stems if source.has(pair[0])):
        speaker = source.speaker(stem)
        if speaker is None:
            yield Skipped(path=f"{source.card.name}/{stem}", reason="music or an effect, by its name")
            continue
        yield Job(
            id=f"{source.card.name}/{stem}",
            file=path,
            language=source.card.language,
            source=source.card.name,
            speaker=f"{source.card.name}/{speaker}",
            split=source.split(speaker, number),
        )


def _unpack_all(packages: tuple[FetchedPackage, ...], folder: Path, *, progress: Progress) -> None:
    folder.mkdir()
    largest_first = sorted(packages, key=lambda package: package.file.stat().st_size, reverse=True)
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        unpacked = pool.map(lambda package: unpack(package.file, folder / package.name), largest_first)
        for done, _ in enumerate(unpacked, start=1):
            progress("unpacking packages", done, len(packages))


def _unzip(archive: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(archive) as file:
            file.extractall(folder)
    except (FileNotFoundError, zipfile.BadZipFile) as error:
        raise CorpusError(f"{archive} cannot be unpacked ({error}); is the package another version?") from None


def _warnings(fetched: tuple[FetchedPackage, ...], pinned: tuple[DebianPackage, ...]) -> tuple[str, ...]:
    versions = {package.name: package.version for package in pinned}
    return tuple(
        f"{package.name} is version {package.version}, not {examined} that was examined: results may differ"
        for package in fetched
        if package.version != (examined := versions[package.name])
    )
