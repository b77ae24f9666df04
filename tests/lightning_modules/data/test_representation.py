"""Cepstra, slopes, sliding normalisation and Kaldi's filterbank, each against a reference that is named."""

from pathlib import Path
from typing import Any

import kaldi_native_fbank as knf
import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchaudio.functional import sliding_window_cmn

from lightning_modules.config import FeaturesConfig
from lightning_modules.data.features import FULL_SCALE, filterbank
from lightning_modules.data.representation import cepstra, represent, shifted_deltas, sliding, with_deltas

KALDI = FeaturesConfig(kind="kaldi", num_bands=23, low_hz=20.0, high_hz=3700.0)


def speech(num_samples: int, *, seed: int = 0) -> npt.NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    time_s = np.arange(num_samples) / 8000
    wave = sum(np.sin(2 * np.pi * f0 * time_s) / f0**0.5 for f0 in (120.0, 240.0, 700.0, 1800.0))
    return np.asarray(0.05 * wave + 0.01 * rng.normal(size=num_samples), dtype=np.float32)


def frames_of(num_frames: int, num_values: int, *, seed: int = 0) -> Tensor:
    return torch.randn(num_frames, num_values, generator=torch.Generator().manual_seed(seed))


def by_kaldi(computer: Any, samples: npt.NDArray[np.float32]) -> np.ndarray:
    computer.accept_waveform(8000, (samples * FULL_SCALE).tolist())
    computer.input_finished()
    return np.stack([computer.get_frame(i) for i in range(computer.num_frames_ready)])


def set_up(options: Any) -> None:
    options.frame_opts.samp_freq = 8000
    options.frame_opts.dither = 0.0
    options.frame_opts.snip_edges = False
    options.mel_opts.num_bins, options.mel_opts.low_freq, options.mel_opts.high_freq = 23, 20.0, 3700.0


@pytest.mark.parametrize("num_samples", [200, 801, 4040, 8000])
def test_the_filterbank_is_kaldis(num_samples: int) -> None:
    options = knf.FbankOptions()
    set_up(options)
    bank, samples = filterbank(KALDI, models=Path()), speech(num_samples)
    found = bank(samples)
    assert len(found) == bank.num_frames(num_samples)
    np.testing.assert_allclose(found, by_kaldi(knf.OnlineFbank(options), samples), atol=5e-3)


@pytest.mark.parametrize("num_samples", [1, 39, 40, 120])
def test_kaldis_filterbank_takes_what_is_shorter_than_a_window(num_samples: int) -> None:
    bank = filterbank(KALDI, models=Path())
    assert bank(speech(num_samples)).shape == (bank.num_frames(num_samples), 23)


def test_cepstra_are_kaldis() -> None:
    options = knf.MfccOptions()
    set_up(options)
    options.num_ceps, options.use_energy, options.cepstral_lifter = 13, False, 0.0
    samples = speech(8000)
    found = cepstra(torch.from_numpy(filterbank(KALDI, models=Path())(samples)), 13)
    np.testing.assert_allclose(found, by_kaldi(knf.OnlineMfcc(options), samples), atol=2e-2)


@pytest.mark.parametrize("window", [10, 7, 300])
def test_sliding_normalisation_is_kaldis_as_torchaudio_has_it(window: int) -> None:
    x_TV = frames_of(40, 3)
    expected = sliding_window_cmn(x_TV, cmn_window=window, center=True, norm_vars=True)
    torch.testing.assert_close(sliding(x_TV, window=window), expected, rtol=0, atol=5e-3)


@given(num_frames=st.integers(1, 30), spread=st.integers(1, 3), shift=st.integers(1, 4), blocks=st.integers(1, 8))
@settings(max_examples=30)
def test_shifted_deltas_are_those_of_a_naive_loop(num_frames: int, spread: int, shift: int, blocks: int) -> None:
    x_TV = frames_of(num_frames, 2)
    expected = torch.zeros(num_frames, 2 * blocks)
    for t in range(num_frames):
        for block in range(blocks):
            ahead = min(t + block * shift + spread, num_frames - 1)
            behind = max(0, min(t + block * shift - spread, num_frames - 1))
            expected[t, 2 * block : 2 * block + 2] = x_TV[ahead] - x_TV[behind]
    torch.testing.assert_close(shifted_deltas(x_TV, spread=spread, shift=shift, blocks=blocks), expected)


def test_deltas_are_slopes() -> None:
    x_TV = torch.arange(20.0).unsqueeze(1) * torch.tensor([1.0, -2.0])
    found = with_deltas(x_TV, order=2, window=2)
    torch.testing.assert_close(found[5:-5, 2:4], torch.tensor([[1.0, -2.0]]).expand(10, 2))
    torch.testing.assert_close(found[5:-5, 4:], torch.zeros(10, 2))


@pytest.mark.parametrize(
    ("changes", "num_values"),
    [
        ({}, 40),
        ({"cepstra": 13}, 13),
        ({"cepstra": 7, "dynamics": {"kind": "shifted"}}, 56),
        ({"cepstra": 20, "dynamics": {"kind": "deltas"}}, 60),
        ({"dynamics": {"kind": "deltas", "order": 1}, "normalisation": "sliding"}, 80),
    ],
)
@pytest.mark.parametrize("num_frames", [1, 2, 50])
def test_networks_get_as_many_values_as_the_configuration_says_and_all_are_finite(
    changes: dict[str, object], num_values: int, num_frames: int
) -> None:
    config = FeaturesConfig.model_validate(changes)
    assert config.num_values == num_values
    for shape in ((num_frames, 40), (3, num_frames, 40)):
        x_TD = torch.randn(shape, generator=torch.Generator().manual_seed(1))
        found = represent(x_TD, config)
        assert found.shape == (*shape[:-1], num_values)
        assert found.isfinite().all()


def test_a_batch_of_segments_is_each_segment_by_itself() -> None:
    config = FeaturesConfig.model_validate(
        {"cepstra": 7, "dynamics": {"kind": "shifted"}, "normalisation": "sliding", "sliding_s": 0.5}
    )
    x_BTD = torch.randn(3, 80, 40, generator=torch.Generator().manual_seed(2))
    expected = torch.stack([represent(each, config) for each in x_BTD])
    torch.testing.assert_close(represent(x_BTD, config), expected, rtol=1e-4, atol=1e-4)


def test_what_is_made_of_the_store_leaves_the_store_alone() -> None:
    plain = FeaturesConfig()
    changed = FeaturesConfig.model_validate({"cepstra": 7, "dynamics": {"kind": "shifted"}, "normalisation": "sliding"})
    assert plain.stored() == changed.stored()
    assert plain.stored() != KALDI.stored()
