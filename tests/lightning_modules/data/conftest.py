"""A tiny corpus of noise that comes and goes like speech, and the sounds that it is made of."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from lightning_modules.data.cards import CorpusCard, Harvest, Progress, SourceCard
from lightning_modules.data.conversion import relative_path, write_flac
from lightning_modules.data.corpora import CORPORA
from lightning_modules.data.corpora._base import Corpus
from lightning_modules.data.manifest import Recording, Split

MakeSpeech = Callable[..., npt.NDArray[np.float32]]


def _make_speech(*, seconds: float, rate_hz: int = 8000, seed: int = 0) -> npt.NDArray[np.float32]:
    """Noise in syllables, four a second, at about -23 dB re full scale."""
    count = round(seconds * rate_hz)
    noise = np.random.default_rng(seed).normal(scale=0.1, size=count)
    syllables = 0.55 + 0.45 * np.sin(2 * np.pi * 4 * np.arange(count) / rate_hz)
    return (noise * syllables).clip(-1, 1).astype(np.float32)


class TinyCorpus(Corpus):
    """Two languages, a source for training and one for each other split."""

    card = CorpusCard(
        name="tiny",
        title="Noise",
        about="For tests.",
        sources=tuple(
            SourceCard(name=f"{language}-{split}", language=language, splits=(split,), licence="none")
            for language in ("en", "fr")
            for split in ("train", "dev", "test")
        ),
    )

    def __init__(self) -> None:
        self.num_calls = 0
        self.fails = False

    def prepare(self, folder: Path, *, downloads: Path, progress: Progress) -> Harvest:  # noqa: ARG002
        self.num_calls += 1
        recordings: list[Recording] = []
        for source in self.card.sources:
            for number in range(3):
                recording = self._recording(source, number=number, split=source.splits[0])
                samples = _make_speech(seconds=recording.duration_s, seed=len(recordings))
                audio_hash = write_flac(folder / recording.path, samples)
                recordings.append(replace(recording, audio_hash=audio_hash))
            if self.fails:
                raise KeyboardInterrupt
        progress("making noise", 1, 1)
        return Harvest(recordings=tuple(reversed(recordings)), versions={"noise": "1"})

    @staticmethod
    def _recording(source: SourceCard, *, number: int, split: Split) -> Recording:
        name = f"{source.name}/{number}"
        return Recording(
            id=name,
            path=relative_path(name),
            language=source.language,
            source=source.name,
            speaker=f"{source.name}/a",
            duration_s=0.5 + 0.25 * number,
            split=split,
        )


@pytest.fixture(scope="session")
def make_speech() -> MakeSpeech:
    return _make_speech


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> TinyCorpus:
    corpus = TinyCorpus()
    monkeypatch.setitem(CORPORA, "tiny", corpus)
    return corpus


@pytest.fixture(scope="session")
def quiet() -> Progress:
    return lambda _stage, _done, _total: None
