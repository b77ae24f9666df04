"""Copies of a corpus's speech: made once beside its features, and drawn from as often as a configuration says."""

from collections import Counter
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import soundfile

from lightning_modules.config import CopiesConfig, CopyKind, FeaturesConfig
from lightning_modules.data import copies, feature_building
from lightning_modules.data.cards import Progress
from lightning_modules.data.copies import changed
from lightning_modules.data.feature_building import build_copy, build_feature_store
from lightning_modules.data.feature_store import FeatureStore, copy_path
from lightning_modules.data.features import filterbank
from lightning_modules.data.prepared import PreparedCorpus, prepare_corpus
from lightning_modules.data.segments import Segments
from lightning_modules.errors import CorpusError

MUSIC = np.sin(np.arange(4000) / 7).astype(np.float32)
KINDS = get_args(CopyKind)


@pytest.fixture
def corpus(tiny: Any, tmp_path: Path, quiet: Progress) -> PreparedCorpus:
    return prepare_corpus("tiny", tmp_path, progress=quiet)


@pytest.fixture
def store(corpus: PreparedCorpus, tmp_path: Path, quiet: Progress) -> FeatureStore:
    return FeatureStore.open(build_feature_store(corpus, FeaturesConfig(), workspace=tmp_path, progress=quiet))


@pytest.fixture(autouse=True)
def _own_music(monkeypatch: pytest.MonkeyPatch) -> None:
    """The package that it comes from is fetched in tests of services."""
    for module in (copies, feature_building):
        monkeypatch.setattr(module, "fetch_music", lambda *_, **__: MUSIC)


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_is_as_long_as_the_speech_and_another(kind: CopyKind) -> None:
    time_s = np.arange(12_000) / 8000
    speech = (0.1 * np.sin(2 * np.pi * 300 * time_s) * (1 + np.sin(9 * time_s))).astype(np.float32)
    first, again, other = (changed(speech, kind, rng=np.random.default_rng(seed), music=MUSIC) for seed in (1, 1, 2))
    assert first.shape == speech.shape
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - speech).max() > 1e-3
    assert np.abs(first - other).max() > 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_the_store_has_the_features_of_the_copy(
    kind: CopyKind, corpus: PreparedCorpus, store: FeatureStore, tmp_path: Path, quiet: Progress
) -> None:
    path = build_copy(kind, corpus, FeaturesConfig(), workspace=tmp_path, progress=quiet)
    assert path == copy_path(store.path, kind)
    change, compute = copies.change_of(kind, tmp_path, progress=quiet), filterbank(FeaturesConfig(), models=tmp_path)
    for recording in corpus.recordings[:3]:
        samples, _ = soundfile.read(corpus.audio_path(recording), dtype="float32")
        expected = compute(change(samples, recording.id)).astype(np.float16)
        np.testing.assert_array_equal(store.copy(kind).frames(recording.id), expected)


def test_several_processes_make_what_one_makes(
    corpus: PreparedCorpus, store: FeatureStore, tmp_path: Path, quiet: Progress, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = build_copy("noise", corpus, FeaturesConfig(), workspace=tmp_path, progress=quiet)
    alone = np.load(path / "frames.npy")
    path.rename(tmp_path / "alone")
    monkeypatch.setattr(feature_building, "WORTH_S", 0.0)
    monkeypatch.setattr(feature_building, "_CHUNK", 2)
    build_copy("noise", corpus, FeaturesConfig(), workspace=tmp_path, progress=quiet)
    np.testing.assert_array_equal(np.load(path / "frames.npy"), alone)


def test_a_store_without_copies_says_so(store: FeatureStore) -> None:
    with pytest.raises(CorpusError, match=r"no usable feature store in .*copies/music"):
        store.copy("music")


def test_segments_come_from_speech_and_copies_as_often_as_asked(
    corpus: PreparedCorpus, store: FeatureStore, tmp_path: Path, quiet: Progress
) -> None:
    for kind in ("noise", "telephone"):
        build_copy(kind, corpus, FeaturesConfig(), workspace=tmp_path, progress=quiet)
    languages = sorted({each.language for each in corpus.recordings if each.split == "train"})
    weights = CopiesConfig(noise=1.0, telephone=2.0)
    segments = Segments(corpus.recordings, store=store, languages=languages, copies=weights, source_exponent=0.0)
    frames = {
        kind: {row.tobytes() for each in corpus.recordings for row in source.frames(each.id).astype(np.float32)}
        for kind, source in {"clean": store, "noise": store.copy("noise"), "telephone": store.copy("telephone")}.items()
    }
    rng, drawn = np.random.default_rng(0), Counter[str]()
    for number in range(400):
        segment = segments.draw(rng, number % len(languages), num_frames=20)
        origins = [kind for kind, known in frames.items() if all(row.tobytes() in known for row in segment)]
        assert len(origins) == 1, "all of a segment is of one kind"
        drawn[origins[0]] += 1
    assert drawn["clean"] / 400 == pytest.approx(0.25, abs=0.07)
    assert drawn["noise"] / 400 == pytest.approx(0.25, abs=0.07)
    assert drawn["telephone"] / 400 == pytest.approx(0.5, abs=0.08)


def test_without_copies_segments_are_drawn_as_if_there_were_none(corpus: PreparedCorpus, store: FeatureStore) -> None:
    languages = sorted({each.language for each in corpus.recordings if each.split == "train"})
    first, second = (
        Segments(corpus.recordings, store=store, languages=languages, copies=weights, source_exponent=0.0).draw(
            np.random.default_rng(5), 0, num_frames=50
        )
        for weights in (CopiesConfig(), CopiesConfig(music=0.0))
    )
    np.testing.assert_array_equal(first, second)


def test_shares_are_weights_beside_the_speech_s_own() -> None:
    assert CopiesConfig().shares() == {None: 1.0}
    assert CopiesConfig(noise=0.5, pitch=0.5).shares() == {None: 0.5, "noise": 0.25, "pitch": 0.25}
