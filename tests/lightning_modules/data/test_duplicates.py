"""Copies are found whatever they went through, and nothing else is."""

import dataclasses
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from lightning_modules.config import FeaturesConfig
from lightning_modules.data import duplicates
from lightning_modules.data.duplicates import fingerprint, near_duplicates
from lightning_modules.data.feature_store import FeatureStore
from lightning_modules.data.features import LogMel
from lightning_modules.data.manifest import Recording
from lightning_modules.data.prepared import PreparedCorpus, open_corpus

Samples = npt.NDArray[np.float32]
LATER = 4296  # samples that the copy begins later: half a second, and a part of a frame


@pytest.fixture(scope="module")
def corpus(shared_speech: Path) -> PreparedCorpus:
    return open_corpus("espeak", shared_speech)


def through(format_: str, subtype: str) -> Callable[[Samples], Samples]:
    def go(samples: Samples) -> Samples:
        file = io.BytesIO()
        soundfile.write(file, samples, 8000, format=format_, subtype=subtype)
        file.seek(0)
        return np.asarray(soundfile.read(file, dtype="float32")[0])

    return go


def noisy(samples: Samples) -> Samples:
    noise = np.random.default_rng(0).normal(size=samples.size) * 0.1 * np.sqrt(np.square(samples).mean())
    return np.asarray(samples + noise, dtype=np.float32)


def store_of(recordings: list[tuple[Recording, Samples]], folder: Path) -> FeatureStore:
    log_mel = LogMel(FeaturesConfig())
    frames = [log_mel(samples) for _, samples in recordings]
    folder.mkdir()
    np.save(folder / "frames.npy", np.concatenate(frames).astype(np.float16))
    np.save(folder / "offsets.npy", np.cumsum([0, *map(len, frames)]))
    ids = ", ".join(f'"{recording.id}"' for recording, _ in recordings)
    (folder / "index.json").write_text(f'{{"ids": [{ids}]}}')
    return FeatureStore.open(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda samples: samples,
        lambda samples: 0.3 * samples,
        noisy,
        through("WAV", "GSM610"),
        through("WAV", "ULAW"),
        through("MP3", "MPEG_LAYER_III"),
        lambda samples: np.round(samples * 127.0).astype(np.float32) / 127.0,
    ],
    ids=["cut", "level", "noise", "gsm", "ulaw", "mp3", "8bit"],
)
def test_a_copy_is_found_among_other_speech(
    change: Callable[[Samples], Samples], corpus: PreparedCorpus, tmp_path: Path
) -> None:
    chosen = [each for each in corpus.recordings if each.split != "dev" and each.duration_s > 3.0][::6]
    read = [(each, soundfile.read(corpus.audio_path(each), dtype="float32")[0]) for each in chosen]
    original, samples = next(pair for pair in read if pair[0].split == "train")
    copy = dataclasses.replace(original, id="copy", split="test")
    store = store_of([*read, (copy, change(samples[LATER:]))], tmp_path / "features")
    (found,) = near_duplicates([*chosen, copy], store, frames_per_s=100.0)
    assert (found.first, found.second) == (original.id, "copy")
    assert found.seconds == pytest.approx(original.duration_s - LATER / 8000, abs=0.1)
    assert found.error < 0.35


def test_what_is_looked_up_block_by_block_is_what_is_looked_up_at_once(
    corpus: PreparedCorpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = [each for each in corpus.recordings if each.split != "dev" and each.duration_s > 3.0][::6]
    read = [(each, soundfile.read(corpus.audio_path(each), dtype="float32")[0]) for each in chosen]
    copied = [pair for pair in read if pair[0].split == "train"][::2]
    copies = [(dataclasses.replace(each, id=f"copy-{each.id}", split="test"), noisy(its)) for each, its in copied]
    rows, store = [*chosen, *(each for each, _ in copies)], store_of([*read, *copies], tmp_path / "features")
    at_once = near_duplicates(rows, store, frames_per_s=100.0)
    monkeypatch.setattr(duplicates, "BLOCK", 3000)
    told: list[tuple[int, int]] = []

    def progress(_stage: str, done: int, total: int) -> None:
        told.append((done, total))

    assert near_duplicates(rows, store, frames_per_s=100.0, progress=progress) == at_once
    assert len(told) > duplicates.FEW + 1, "in processes of their own"
    assert told == [(done, len(told) - 1) for done in range(len(told))]
    assert len(at_once) == len(copies) > 1


def test_recordings_of_a_corpus_without_copies_are_told_apart(corpus: PreparedCorpus, shared_speech: Path) -> None:
    (path,) = (shared_speech / "features").glob("espeak-*")
    assert near_duplicates(corpus.recordings, FeatureStore.open(path), frames_per_s=100.0) == ()


def test_what_is_short_or_constant_is_no_copy(tmp_path: Path, corpus: PreparedCorpus) -> None:
    first = corpus.recordings[0]
    still = [
        (dataclasses.replace(first, id=name, split=name), np.zeros(40_000, np.float32)) for name in ("train", "dev")
    ]
    short = [(dataclasses.replace(first, id=name, split="test"), np.zeros(800, np.float32)) for name in ("t1", "t2")]
    store = store_of([*still, *short], tmp_path / "features")
    assert near_duplicates([each for each, _ in (*still, *short)], store, frames_per_s=100.0) == ()
    assert len(fingerprint(np.zeros((33, 40), np.float16))) == 0


@pytest.mark.parametrize("place_s", [0.0, 1.5])
def test_what_is_shared_is_found_between_speech_that_is_not(
    place_s: float, corpus: PreparedCorpus, tmp_path: Path
) -> None:
    """At the same offset in both, so that all of their length overlaps."""
    chosen = [each for each in corpus.recordings if each.duration_s > 3.5][:60:4]
    common, *others = (soundfile.read(corpus.audio_path(each), dtype="float32")[0][:28_000] for each in chosen)
    start = round(place_s * 8000)
    around = [np.concatenate(part) for part in (others[:7], others[7:])]
    mixed = [np.concatenate([each[:start], common[:20_000], each[start:]]) for each in around]
    rows = [dataclasses.replace(chosen[0], id=split, split=split) for split in ("train", "test")]
    store = store_of(list(zip(rows, mixed, strict=True)), tmp_path / "features")
    (found,) = near_duplicates(rows, store, frames_per_s=100.0)
    assert 2.0 < found.seconds < 4.0, "two and a half, and what a passage may reach beyond on either side"
