"""`espeak`: synthetic speech in five languages, made on this machine without any download.

For machines that cannot fetch `prompts`, and for trying things out. Voice variants stand for speakers, groups of
variants for sources, so training, development and test differ in voices and in words. All of it comes from one formant
synthesiser: it says little about human speech, and no claim about quality may rest on it.
"""

import os
import random
import shutil
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from lightning_modules.data.cards import CorpusCard, Harvest, Progress, SourceCard
from lightning_modules.data.conversion import Job, convert
from lightning_modules.data.corpora._base import Corpus
from lightning_modules.data.manifest import Split
from lightning_modules.data.synthesis import Line, speak_apart, synthesiser_available
from lightning_modules.errors import CorpusError

_WORD_SHARES: Final[Mapping[Split, tuple[float, float]]] = {
    "train": (0.0, 0.6),
    "dev": (0.6, 0.75),
    "test": (0.75, 1.0),
}
_WORDS_A_LINE: Final = 3
_LARGEST_NUMBER: Final = 10_000


@dataclass(frozen=True, kw_only=True)
class VoiceGroup:
    """Voice variants that make one source a language.

    Attributes:
        name: the source is called `espeak-<language>-<name>`.
        split: the split that it serves.
        variants: as eSpeak NG knows them.
        num_lines: a variant; a line lasts about 4 s.
    """

    name: str
    split: Split
    variants: tuple[str, ...]
    num_lines: int


GROUPS: Final = (
    VoiceGroup(name="a", split="train", variants=("m1", "m3", "f1", "f4"), num_lines=15),
    VoiceGroup(name="b", split="train", variants=("Alex", "Andrea", "klatt2", "Michael"), num_lines=15),
    VoiceGroup(name="c", split="dev", variants=("m7", "f2", "Alicia", "Hugo"), num_lines=10),
    VoiceGroup(name="d", split="test", variants=("m4", "f3", "Annie", "Denis"), num_lines=10),
    VoiceGroup(name="e", split="test", variants=("klatt4", "linda", "Gene", "steph"), num_lines=10),
)


class Espeak(Corpus):
    """Synthetic speech: names from the Unicode CLDR and numbers, read out by eSpeak NG."""

    def __init__(self, *, languages: tuple[str, ...] = ("en", "es", "fr", "it", "ru")) -> None:
        self.card = CorpusCard(
            name="espeak",
            title="Synthetic speech in five languages, by eSpeak NG",
            about=(
                "A quarter of an hour a language, made in seconds: names of countries, languages, currencies, days and "
                "months, and numbers. It serves where nothing can be downloaded and for trying things out. One formant "
                "synthesiser says little about human speech: no claim about quality rests on it. Needs the extra "
                "'synth'."
            ),
            sources=tuple(
                SourceCard(
                    name=_source_name(language, group),
                    language=language,
                    splits=(group.split,),
                    licence="synthesiser GPL-3.0, texts Unicode-3.0",
                    note="speakers are variants of one synthetic voice",
                )
                for language in languages
                for group in GROUPS
            ),
        )

    def prepare(self, folder: Path, *, downloads: Path, progress: Progress) -> Harvest:  # noqa: ARG002
        """Synthesises one language a process, as many at a time as there are cores, and converts what comes out."""
        if not synthesiser_available():
            raise CorpusError("corpus 'espeak' needs the extra 'synth': run `pip install 'lidstudy[synth]'`.")
        raw = folder / "raw"
        plans = {language: list(plan(language, raw)) for language in self.card.languages}
        spoken = _speak_all({language: [line for line, _ in lines] for language, lines in plans.items()}, progress)
        jobs = [job for language in spoken for _, job in plans[language]]
        harvest = convert(jobs, folder=folder, progress=progress)
        shutil.rmtree(raw)
        failed = [language for language in self.card.languages if language not in spoken]
        return replace(
            harvest,
            versions=_versions(),
            warnings=tuple(f"the synthesiser aborted on {language}, which is left out" for language in failed),
        )


def plan(language: str, folder: Path) -> Iterator[tuple[Line, Job]]:
    """All lines of one language: what is said, and the recording that it becomes."""
    for group in GROUPS:
        source = _source_name(language, group)
        for variant in group.variants:
            texts = make_texts(language, split=group.split, count=group.num_lines, seed=f"{source}/{variant}")
            for number, text in enumerate(texts):
                name = f"{source}/{variant}/{number:02}"
                path = folder / f"{name}.wav"
                job = Job(
                    id=name,
                    file=path,
                    language=language,
                    source=source,
                    speaker=f"{source}/{variant}",
                    split=group.split,
                )
                yield Line(variant=variant, text=text, path=path), job


def make_texts(language: str, *, split: Split, count: int, seed: str) -> list[str]:
    """Lines of three names and a number each; no name and no number serves two splits."""
    words = words_of(language, split=split)
    first, last = (round(share * _LARGEST_NUMBER) for share in _WORD_SHARES[split])
    numbers = list(range(_LARGEST_NUMBER))
    random.Random(language).shuffle(numbers)  # noqa: S311
    draw = random.Random(seed)  # noqa: S311
    return [
        ", ".join([*draw.sample(words, _WORDS_A_LINE), str(draw.choice(numbers[first:last]))]) for _ in range(count)
    ]


def words_of(language: str, *, split: Split) -> Sequence[str]:
    """The names that a split may use, from the Unicode CLDR."""
    from babel import Locale

    locale = Locale.parse(language)
    names = (locale.territories, locale.languages, locale.currencies, locale.days["format"]["wide"])
    words = sorted({str(word) for group in (*names, locale.months["format"]["wide"]) for word in group.values()})
    random.Random(language).shuffle(words)  # noqa: S311
    first, last = (round(share * len(words)) for share in _WORD_SHARES[split])
    return words[first:last]


def _speak_all(lines: Mapping[str, Sequence[Line]], progress: Progress) -> list[str]:
    """The languages that were spoken to the end."""
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        spoken = []
        outcomes = pool.map(speak_apart, lines, lines.values())
        for done, (language, success) in enumerate(zip(lines, outcomes, strict=True), start=1):
            progress("synthesising languages", done, len(lines))
            spoken += [language] if success else []
    return spoken


def _source_name(language: str, group: VoiceGroup) -> str:
    return f"espeak-{language}-{group.name}"


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("espeakng-loader", "babel")}
