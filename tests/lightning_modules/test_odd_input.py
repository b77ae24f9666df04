"""A test a row of the table in docs/models.md, "What odd input does"."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from pydantic import ValidationError
from torch import Tensor

from lightning_modules import language_id
from lightning_modules.build import build_module
from lightning_modules.config import DataConfig, FeaturesConfig, TrialConfig
from lightning_modules.data.audio import NotSpeechError, clean, decode
from lightning_modules.data.batches import Batch, SwitchedBatch
from lightning_modules.data.features import LogMel
from lightning_modules.data.manifest import Recording
from lightning_modules.data.utterances import join_utterances
from lightning_modules.errors import CorpusError
from lightning_modules.lid_module import Diverged, LidModule

DOCS = Path(__file__).parents[2] / "docs" / "models.md"
NUM_BANDS = 8
ENCODERS: list[dict[str, Any]] = [
    {"kind": "recurrent", "cell": "lstm", "hidden_size": 4},
    {"kind": "output_recurrent", "hidden_size": 4},
    {
        "kind": "hierarchical",
        "low": {"hidden_size": 3, "window": 4, "hop": 2},
        "middle": {"hidden_size": 3, "window": 3, "hop": 3},
        "top": {"hidden_size": 3},
    },
    {"kind": "tdnn", "channels": 8, "output_channels": 6},
    {"kind": "ecapa_tdnn", "channels": 8, "output_channels": 6, "bottleneck": 4},
]
POOLINGS = ["last", "mean", "max", "statistics", "attention", "multi_head", "attentive_statistics"]


def make(**parts: Any) -> LidModule:
    data = {"languages": ["en", "fr"], "features": {"num_bands": NUM_BANDS}}
    return build_module(TrialConfig.model_validate({"data": data, **parts}))


def batch_of(*utterances: Tensor) -> Batch:
    lengths_B = torch.tensor([len(features_TD) for features_TD in utterances])
    features_BTD = torch.nn.utils.rnn.pad_sequence(list(utterances), batch_first=True)
    return Batch(features_BTD, lengths_B, torch.arange(len(utterances)) % 2, torch.arange(len(utterances)))


def train_on(module: LidModule, batch: Batch) -> None:
    torch.autograd.backward(module.training_step(batch, 0))
    module.configure_gradient_clipping(module.configure_optimizers())


def test_every_row_of_the_table_has_its_test() -> None:
    table = DOCS.read_text().split("## What odd input does")[1]
    rows = re.findall(r"^\| (.+?) \| (.+?) \|$", table, re.MULTILINE)[2:]
    assert [row[0] for row in rows] == [
        "an empty or silent recording",
        "a recording with samples that are not finite",
        "a recording shorter than a window",
        "one frame",
        "no frame at all",
        "features that are not finite, in training",
        "features that are not finite, in development data",
        "anything in the padding, NaN included",
        "one language",
        "a language without speech in a split",
        "an hour",
    ]


def test_an_empty_or_silent_recording_is_left_out_with_its_reason(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), 8000)
    with pytest.raises(NotSpeechError, match="empty"):
        decode(tmp_path / "empty.wav")
    with pytest.raises(NotSpeechError, match="silent"):
        clean(np.zeros(8000, np.float32), rate_hz=8000)


def test_a_recording_with_samples_that_are_not_finite_is_left_out_with_its_reason(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "nan.wav", np.array([0.1, np.nan, 0.2]), 8000, subtype="FLOAT")
    with pytest.raises(NotSpeechError, match="samples that are not finite"):
        decode(tmp_path / "nan.wav")


def test_a_recording_shorter_than_a_window_has_one_frame_of_its_own() -> None:
    frames = LogMel(FeaturesConfig())(np.full(40, 0.1, np.float32))
    assert frames.shape == (1, 40)
    assert np.isfinite(frames).all()
    assert frames.std() > 0


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("encoder", ENCODERS, ids=lambda encoder: str(encoder["kind"]))
def test_one_frame_is_scored(encoder: dict[str, Any], pooling: str) -> None:
    module = make(encoder=encoder, pooling={"kind": pooling}).eval()
    scored = module.score(batch_of(torch.randn(1, NUM_BANDS), torch.randn(30, NUM_BANDS)))
    alone = module.score(batch_of(torch.randn(1, NUM_BANDS)))
    assert torch.isfinite(scored.log_likelihoods).all()
    assert torch.isfinite(alone.log_likelihoods).all()


def test_no_frame_at_all_is_an_error_that_names_the_row() -> None:
    with pytest.raises(ValueError, match=r"those in rows \[1\] of the batch have none"):
        make().score(batch_of(torch.randn(3, NUM_BANDS), torch.randn(0, NUM_BANDS)))


@pytest.mark.parametrize("task", ["labelling", "sequence"])
def test_a_recording_without_frames_is_one_too(task: str) -> None:
    batch = SwitchedBatch(
        features=torch.randn(2, 9, NUM_BANDS),
        lengths=torch.tensor([9, 0]),
        part_languages=torch.tensor([[0, 1], [1, 0]]),
        part_frames=torch.tensor([[4, 5], [0, 0]]),
        num_parts=torch.tensor([2, 2]),
        indices=torch.arange(4).view(2, 2),
    )
    with pytest.raises(ValueError, match=r"those in rows \[1\] of the batch have none"):
        make(task={"kind": task}).score(batch)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("encoder", ENCODERS, ids=lambda encoder: str(encoder["kind"]))
def test_features_that_are_not_finite_in_training_end_in_diverged(encoder: dict[str, Any], value: float) -> None:
    module, batch = make(encoder=encoder), batch_of(torch.randn(20, NUM_BANDS), torch.randn(20, NUM_BANDS))
    batch.features[1, 7] = value
    with pytest.raises(Diverged, match="at step 0"):
        train_on(module, batch)


def test_features_that_are_not_finite_in_development_data_end_in_diverged() -> None:
    module, batch = make().eval(), batch_of(torch.randn(20, NUM_BANDS), torch.randn(20, NUM_BANDS))
    batch.features[1, 7] = float("nan")
    module.on_validation_epoch_start()
    module.validation_step(batch, 0)
    with pytest.raises(Diverged, match="at epoch 0"):
        module.on_validation_epoch_end()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
@pytest.mark.parametrize("encoder", ENCODERS, ids=lambda encoder: str(encoder["kind"]))
def test_nothing_in_the_padding_changes_a_score(encoder: dict[str, Any], value: float) -> None:
    module = make(encoder=encoder).eval()
    batch = batch_of(torch.randn(9, NUM_BANDS), torch.randn(31, NUM_BANDS))
    clean_BL = module.score(batch).log_likelihoods
    batch.features[0, 9:] = value
    assert torch.equal(module.score(batch).log_likelihoods, clean_BL)


def test_one_language_is_refused() -> None:
    with pytest.raises(ValidationError, match="at least two languages are needed"):
        DataConfig(languages=("en",))


def test_a_language_without_speech_in_a_split_is_named_with_those_that_have_some(
    recordings: Sequence[Recording],
) -> None:
    data = DataConfig(languages=("en", "it"), utterance_s=0.3, minimum_s=0.1)
    with pytest.raises(CorpusError, match=r"no train utterance .* in it; train speech exists in en, fr"):
        join_utterances(recordings, split="train", data=data)


@pytest.mark.parametrize("encoder", ENCODERS, ids=lambda encoder: str(encoder["kind"]))
def test_an_hour_is_scored_in_pieces_of_two_minutes(encoder: dict[str, Any]) -> None:
    module = make(encoder=encoder, pooling={"kind": "mean"}).eval()
    seen: list[int] = []
    module.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[1]))
    num_frames = 360_000 if encoder["kind"] == "recurrent" else 24_001  # the others are slower, and do the same
    with torch.no_grad():
        scored = module.score(batch_of(torch.randn(num_frames, NUM_BANDS)))
    assert max(seen) <= language_id.MAX_FRAMES == 12_000
    assert sum(seen) == num_frames
    assert torch.isfinite(scored.log_likelihoods).all()
