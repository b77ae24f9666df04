"""Layers of pretrained networks, of small random ones: against torchaudio's own implementation, and what is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torchaudio.functional import resample
from torchaudio.models.wav2vec2.utils import import_huggingface_model
from transformers import (
    BertConfig,
    BertModel,
    HubertConfig,
    HubertModel,
    Wav2Vec2Config,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMModel,
)

from lightning_modules.config import AugmentationConfig, DataConfig, FeaturesConfig, TrialConfig
from lightning_modules.data import self_supervised
from lightning_modules.data.cards import Progress
from lightning_modules.data.feature_building import build_feature_store
from lightning_modules.data.feature_store import FeatureStore
from lightning_modules.data.features import filterbank
from lightning_modules.data.prepared import prepare_corpus
from lightning_modules.data.self_supervised import SelfSupervised
from lightning_modules.errors import ConfigError

SMALL = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": (8,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}
WITHOUT_BANDS = AugmentationConfig(band_offset=0.0, gain=0.0, warp=0.0, noise=0.0, band_masks=0)


def features(**changes: object) -> FeaturesConfig:
    given = {"kind": "self_supervised", "model": "small", "layer": 1, "size": 16, "hop_ms": 20.0} | changes
    return FeaturesConfig.model_validate(given)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Networks with random weights, as `save_pretrained` writes them."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(0)
    Wav2Vec2Model(Wav2Vec2Config(**SMALL)).save_pretrained(folder / "small")
    HubertModel(HubertConfig(**SMALL)).save_pretrained(folder / "hubert")
    WavLMModel(WavLMConfig(**SMALL)).save_pretrained(folder / "wavlm")
    BertModel(
        BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    ).save_pretrained(folder / "text")
    return folder


def speech(num_samples: int) -> np.ndarray:
    return np.random.default_rng(num_samples).normal(0, 0.05, num_samples).astype(np.float32)


@pytest.mark.parametrize("layer", [1, 2])
def test_a_layer_is_what_torchaudio_s_network_of_the_same_weights_gives(models: Path, layer: int) -> None:
    samples = speech(12_000)
    found = filterbank(features(layer=layer), models=models)(samples)
    reference = import_huggingface_model(Wav2Vec2Model.from_pretrained(models / "small")).eval()
    upsampled = resample(torch.from_numpy(samples), 1, 2)
    normalised = torch.nn.functional.layer_norm(upsampled, upsampled.shape, eps=1e-7)
    with torch.inference_mode():
        layers, _ = reference.extract_features(normalised.unsqueeze(0), num_layers=layer)
    np.testing.assert_allclose(found, layers[-1].squeeze(0).numpy(), atol=1e-4)


@pytest.mark.parametrize("model", ["hubert", "wavlm"])
def test_other_networks_of_the_kind_are_read_too(models: Path, model: str) -> None:
    assert filterbank(features(model=model), models=models)(speech(8000)).shape == (49, 16)


@settings(max_examples=25)
@given(num_samples=st.integers(1, 3000))
def test_as_many_frames_as_were_announced(models: Path, num_samples: int) -> None:
    network = filterbank(features(), models=models)
    assert network(speech(num_samples)).shape == (network.num_frames(num_samples), 16)


def test_long_recordings_are_read_in_pieces(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(self_supervised, "PIECE_S", 1)
    network, samples = SelfSupervised(features(), models), speech(20_100)
    found = network(samples)
    assert len(found) == network.num_frames(20_100) == 125, "as many as in one piece, so that frames stay at their time"
    np.testing.assert_allclose(found[:50], network(samples[:8040]), atol=1e-5)


@pytest.mark.parametrize("num_samples", [8039, 8040, 8199, 8200, 16_039, 16_200])
def test_pieces_lose_and_double_no_frame(models: Path, num_samples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = SelfSupervised(features(), models)(speech(num_samples))
    monkeypatch.setattr(self_supervised, "PIECE_S", 1)
    network = SelfSupervised(features(), models)
    assert len(network(speech(num_samples))) == network.num_frames(num_samples) == len(whole)


def test_a_corpus_s_features_are_of_the_network(models: Path, tiny: object, tmp_path: Path, quiet: Progress) -> None:
    (tmp_path / "models").symlink_to(models)
    corpus = prepare_corpus("tiny", tmp_path, progress=quiet)
    store = FeatureStore.open(build_feature_store(corpus, features(), workspace=tmp_path, progress=quiet))
    assert store.num_bands == 16
    assert store.total_frames == pytest.approx(50 * sum(each.duration_s for each in corpus.recordings), rel=0.05)
    other = build_feature_store(corpus, features(layer=2), workspace=tmp_path, progress=quiet)
    assert other != store.path, "each layer has a store"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "absent"}, "there is no pretrained network 'absent' in .*; there is hubert, small, text, wavlm"),
        ({"layer": 3}, "features.layer must be 0 to 2 for model small but is 3"),
        ({"size": 768}, "features.size must be 16 for model small but is 768"),
        ({"model": "text"}, r"\(bert\) does not read speech"),
    ],
)
def test_what_is_no_such_network_is_refused(models: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        filterbank(features(**changes), models=models)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": ""}, "needs model"),
        ({"size": None}, "and size"),
        ({"hop_ms": 10.0}, "hop_ms must be 20"),
        ({"cepstra": 13}, "cepstra are made of bands"),
        ({"kind": "log_mel"}, "model and size are of kind self_supervised"),
        ({"model": "../elsewhere"}, "pattern"),
    ],
)
def test_configurations_that_cannot_be_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        features(**changes)


def test_what_acts_on_bands_has_to_be_off() -> None:
    data = DataConfig(features=features())
    assert TrialConfig(data=data, augmentation=WITHOUT_BANDS).data.features.num_values == 16
    with pytest.raises(ValidationError, match="set band_offset, gain, warp, noise, band_masks to 0"):
        TrialConfig(data=data)
