"""The store against features computed directly."""

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import torchaudio

from lightning_modules.config import FeaturesConfig
from lightning_modules.data.cards import Progress
from lightning_modules.data.feature_building import build_feature_store
from lightning_modules.data.feature_store import FeatureStore, feature_store_path
from lightning_modules.data.features import FLOOR
from lightning_modules.data.manifest import Utterance
from lightning_modules.data.prepared import PreparedCorpus, prepare_corpus
from lightning_modules.errors import CorpusError


@pytest.fixture
def corpus(tiny: Any, tmp_path: Path, quiet: Progress) -> PreparedCorpus:
    return prepare_corpus("tiny", tmp_path, progress=quiet)


@pytest.fixture
def store(corpus: PreparedCorpus, tmp_path: Path, quiet: Progress) -> FeatureStore:
    return FeatureStore.open(build_feature_store(corpus, FeaturesConfig(), workspace=tmp_path, progress=quiet))


def test_each_recording_has_the_features_that_torchaudio_computes(corpus: PreparedCorpus, store: FeatureStore) -> None:
    mel = torchaudio.transforms.MelSpectrogram(
        sample_rate=8000,
        n_fft=256,
        win_length=200,
        hop_length=80,
        f_min=100,
        f_max=3400,
        n_mels=40,
        pad_mode="constant",
    )
    for recording in corpus.recordings:
        samples, _ = soundfile.read(corpus.audio_path(recording), dtype="float32")
        expected = torch.log(mel(torch.from_numpy(samples)) + FLOOR).T.numpy()
        np.testing.assert_allclose(store.frames(recording.id), expected, atol=5e-3)


def test_frames_are_a_view_on_the_file(corpus: PreparedCorpus, store: FeatureStore) -> None:
    frames = store.frames(corpus.recordings[0].id)
    assert frames.dtype == np.float16
    assert not frames.flags.owndata
    assert not frames.flags.writeable


def test_processes_share_the_file_rather_than_copy_it(corpus: PreparedCorpus, store: FeatureStore) -> None:
    store.frames(corpus.recordings[0].id)
    maps = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
    permissions = {line[1] for line in maps if line[-1] == str(store.path / "frames.npy")}
    assert permissions == {"r--s"}


def test_the_store_knows_what_it_holds(corpus: PreparedCorpus, store: FeatureStore) -> None:
    assert len(store) == len(corpus.recordings)
    assert corpus.recordings[0].id in store
    assert "nobody" not in store
    assert store.num_bands == 40
    assert store.total_frames == sum(store.num_frames(recording.id) for recording in corpus.recordings)
    assert store.total_frames == pytest.approx(100 * sum(row.duration_s for row in corpus.recordings), rel=0.05)


def test_an_unknown_recording_is_refused(store: FeatureStore) -> None:
    with pytest.raises(CorpusError, match="recording 'nobody' is not in the feature store"):
        store.frames("nobody")


def test_building_again_does_nothing(
    corpus: PreparedCorpus, store: FeatureStore, tmp_path: Path, quiet: Progress
) -> None:
    before = (store.path / "frames.npy").stat()
    assert build_feature_store(corpus, FeaturesConfig(), workspace=tmp_path, progress=quiet) == store.path
    assert (store.path / "frames.npy").stat() == before


def test_two_at_once_build_one_store(corpus: PreparedCorpus, tmp_path: Path) -> None:
    stages: list[str] = []

    def build(_: int) -> Path:
        return build_feature_store(
            corpus, FeaturesConfig(), workspace=tmp_path, progress=lambda stage, _done, _total: stages.append(stage)
        )

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(build, range(2))
    assert first == second
    assert len(stages) == len(corpus.recordings)


def test_what_a_killed_process_left_is_replaced(corpus: PreparedCorpus, tmp_path: Path, quiet: Progress) -> None:
    path = feature_store_path(corpus, FeaturesConfig(), tmp_path)
    partial = path.parent / f".{path.name}.partial"
    partial.mkdir(parents=True)
    (partial / "frames.npy").write_bytes(b"half")
    assert FeatureStore.open(build_feature_store(corpus, FeaturesConfig(), workspace=tmp_path, progress=quiet))
    assert not partial.exists()


def test_other_features_or_data_have_another_store(corpus: PreparedCorpus, tmp_path: Path) -> None:
    path = feature_store_path(corpus, FeaturesConfig(), tmp_path)
    assert path.name.startswith(f"tiny-{corpus.data_hash}-")
    assert feature_store_path(corpus, FeaturesConfig(num_bands=24), tmp_path) != path


def test_a_missing_recording_is_refused_with_what_to_do(
    corpus: PreparedCorpus, tmp_path: Path, quiet: Progress
) -> None:
    corpus.audio_path(corpus.recordings[1]).unlink()
    with pytest.raises(CorpusError, match="prepare the corpus again"):
        build_feature_store(corpus, FeaturesConfig(), workspace=tmp_path, progress=quiet)
    assert not feature_store_path(corpus, FeaturesConfig(), tmp_path).exists()


def test_a_recording_that_was_replaced_is_refused(corpus: PreparedCorpus, tmp_path: Path, quiet: Progress) -> None:
    first, second = (corpus.audio_path(recording) for recording in corpus.recordings[:2])
    shutil.copy(first, second)
    with pytest.raises(CorpusError, match=f"{second} is not the recording that was prepared"):
        build_feature_store(corpus, FeaturesConfig(), workspace=tmp_path, progress=quiet)


def test_a_missing_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no usable feature store"):
        FeatureStore.open(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["frames.npy", "offsets.npy", "index.json"])
@pytest.mark.parametrize("content", [b"", b"[]", b"\0" * 50])
def test_a_store_that_a_power_cut_tore_is_refused(store: FeatureStore, name: str, content: bytes) -> None:
    (store.path / name).write_bytes(content)
    with pytest.raises(CorpusError, match="no usable feature store"):
        FeatureStore.open(store.path)


@pytest.mark.parametrize("damage", ["truncated", "of another corpus"])
def test_a_damaged_store_is_refused(store: FeatureStore, damage: str) -> None:
    if damage == "truncated":
        frames = store.path / "frames.npy"
        frames.write_bytes(frames.read_bytes()[:-100])
    else:
        np.save(store.path / "offsets.npy", np.load(store.path / "offsets.npy")[:-1])
    with pytest.raises(CorpusError, match="no usable feature store"):
        FeatureStore.open(store.path)


def test_the_index_says_what_the_features_are(store: FeatureStore) -> None:
    index = json.loads((store.path / "index.json").read_text())
    assert FeaturesConfig.model_validate(index["features"]) == FeaturesConfig()


def test_opening_a_store_imports_no_torch(store: FeatureStore) -> None:
    code = (
        "import sys; from pathlib import Path; from lightning_modules.data.feature_store import FeatureStore; "
        f"FeatureStore.open(Path({str(store.path)!r})); print('torch' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ended.stdout.strip() == "False"


def test_what_is_heard_of_an_utterance_is_its_recordings_or_a_stretch_of_one(
    corpus: PreparedCorpus, store: FeatureStore
) -> None:
    first, second = corpus.recordings[:2]
    given: Any = {"id": "u", "language": "en", "source": "s", "speaker": "a", "split": first.split}
    joined = Utterance(**given, recordings=(first.id, second.id), duration_s=first.duration_s + second.duration_s)
    whole = np.concatenate([store.frames(first.id), store.frames(second.id)])
    np.testing.assert_array_equal(store.utterance(joined, frames_per_s=100.0), whole)
    assert store.utterance_frames(joined, frames_per_s=100.0) == len(whole)
    stretch = Utterance(**given, recordings=(first.id,), duration_s=0.2, start_s=0.1)
    np.testing.assert_array_equal(store.utterance(stretch, frames_per_s=100.0), store.frames(first.id)[10:30])
    assert store.utterance_frames(stretch, frames_per_s=100.0) == 20
