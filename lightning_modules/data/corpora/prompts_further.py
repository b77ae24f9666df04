"""`prompts_further`: `prompts`, and what else speaks its languages in Debian packages, to train on.

What is scored, and how it is divided, is as in `prompts`. The further sources are small, and their speech is of other
kinds: names of things for children, letters and syllables, cries and orders of games. In a language's training
speech each counts as much as the others unless `training.source_exponent` says otherwise.
"""

import re
from collections.abc import Callable, Collection
from typing import ClassVar, Final

from lightning_modules.data.cards import CorpusCard, SourceCard
from lightning_modules.data.corpora.prompts import SOURCES, Prompts, PromptSource, always, only, packages_of, reader
from lightning_modules.data.debian import DebianPackage

_STAMPS: Final = DebianPackage(
    name="tuxpaint-stamps-default",
    version="2022.06.04-1",
    sha256="6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34",
    size_bytes=160880444,
)
_HEDGEHOGS: Final = DebianPackage(
    name="hedgewars-data",
    version="1.0.2-6",
    sha256="722225903a72604403e6e0026e40e9a6953f47a74d94efc5f55504bc05bb4761",
    size_bytes=145330284,
)
_LETTERS: Final = DebianPackage(
    name="klettres-data",
    version="4:22.12.3-1",
    sha256="1186d257a19e84230856baea0b0b1ded8be9195080fcdb2588970b5cd937f5a8",
    size_bytes=39529084,
)
_POTATO: Final = DebianPackage(
    name="ktuberling-data",
    version="4:22.12.3-1",
    sha256="fba44c875bfa31ea488dadd9263e87a4dcaea0bd47d28817f6c0dc6d2af970ed",
    size_bytes=46661752,
)
_WARZONE: Final = DebianPackage(
    name="warzone2100-data",
    version="4.3.3-3",
    sha256="53ad292569e0bf9d16de1642d13629f29ed5dfb68896787e4c65ac60edc07d3d",
    size_bytes=142612240,
)
_HEDGEHOG_VOICES: Final = {
    "en": ("British", "Classic", "Default", "HillBilly", "Mobster", "Pirate", "Surfer"),
    "es": ("Default_es",),
    "ru": ("Default_ru",),
}
_LETTER_VOICES: Final = {"en": ("en", "en_GB"), "es": ("es",), "fr": ("fr",), "it": ("it",), "ru": ("ru",)}
_CRY: Final = re.compile(r"Jump|Laugh|Nooo|Ooff|Ow\d|Poison|Uh-oh")
_ORDERS: Final = (
    "coltive", "countdown", "memressp", "nexus", "proxmessages", "taunts", "trnsppil", "tutorial", "vtoltalk",
)  # fmt: skip


def _further(
    package: DebianPackage,
    language: str,
    *,
    licence: str,
    folder: str,
    speaker: Callable[[str], str | None],
    note: str,
    has: Callable[[str], bool] = lambda _stem: True,
    archive: str = "",
) -> PromptSource:
    name = f"{package.name}-{language}"
    return PromptSource(
        package=package,
        folder=folder,
        card=SourceCard(name=name, language=language, splits=("train",), licence=licence, note=note),
        speaker=speaker,
        split=always("train"),
        has=has,
        archive=archive,
    )


def _stamp_of(language: str) -> Callable[[str], bool]:
    """Letters and digits, in `symbols`, are spoken by others."""
    return lambda stem: stem.endswith(f"_desc_{language}") and not stem.startswith("symbols/")


def _within(folders: Collection[str]) -> Callable[[str], bool]:
    return lambda stem: reader(stem) in folders


def _hedgehog(stem: str) -> str | None:
    return None if _CRY.search(stem) else reader(stem)


FURTHER: Final = (
    *(
        _further(
            _STAMPS, language, licence="GPL-2", folder="usr/share/tuxpaint/stamps", speaker=only("volunteer"),
            has=_stamp_of(language), note="names of things; nearly all by one volunteer",
        )
        for language in ("es", "fr", "ru")
    ),
    *(
        _further(
            _HEDGEHOGS, language, licence="GFDL-1.3", folder="usr/share/games/hedgewars/Data/Sounds/voices",
            speaker=_hedgehog, has=_within(voices), note="taunts of a game; one actor may have several voices",
        )
        for language, voices in _HEDGEHOG_VOICES.items()
    ),
    *(
        _further(
            _LETTERS, language, licence="GPL-2+", folder="usr/share/klettres", speaker=reader, has=_within(voices),
            note="letters and syllables",
        )
        for language, voices in _LETTER_VOICES.items()
    ),
    *(
        _further(
            _POTATO, language, licence="GPL-2+", folder=f"usr/share/ktuberling/sounds/{language}",
            speaker=only("volunteer"), note="names of things",
        )
        for language in ("en", "fr", "ru")
    ),
    _further(
        _WARZONE, "en", licence="GPL-2+", folder="audio", archive="usr/share/games/warzone2100/base.wz",
        speaker=reader, has=_within(_ORDERS),
        note="orders and reports of a game, some as through a radio; speakers are its folders, and may share a voice",
    ),
)  # fmt: skip


class PromptsFurther(Prompts):
    """`prompts` with further training sources."""

    sources: ClassVar = (*SOURCES, *FURTHER)
    card = CorpusCard(
        name="prompts_further",
        title="`prompts`, with the speech of five more Debian packages to train on",
        about=(
            "Development and test speech are those of `prompts`. Training has names of things, letters, syllables and "
            "the cries and orders of two games besides: more voices and other microphones, little of each. Italian "
            "gains a minute only."
        ),
        sources=tuple(source.card for source in sources),
        download_bytes=sum(package.size_bytes for package in packages_of(sources)),
    )
