"""Pitch against signals whose pitch is known, and as features beside bands.

Shape legend: N samples, T frames, D bands.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_modules.config import FeaturesConfig
from lightning_modules.data.features import filterbank, normalise
from lightning_modules.data.pitch import pitch
from lightning_modules.data.representation import represent

RATE = 8000
HOP = 80
Samples = npt.NDArray[np.float32]


def voice(hz_N: npt.NDArray[np.float64], *, harmonics: range = range(1, 12)) -> Samples:
    """Harmonics that fall off by 6 dB an octave."""
    phase_N = 2.0 * np.pi * np.cumsum(hz_N) / RATE
    return np.asarray(sum(np.sin(k * phase_N) / k for k in harmonics), dtype=np.float32)


def tracked(samples: Samples) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Middles of frames, pitch in Hz, voicing; without the frames at the ends."""
    centres_T = np.arange(0, len(samples), HOP)
    found_T2 = pitch(samples, centres_T, sample_rate_hz=RATE).astype(np.float64)
    assert found_T2.shape == (len(centres_T), 2)
    return centres_T[3:-3], np.exp(found_T2[3:-3, 0]), found_T2[3:-3, 1]


def noise(seconds: float, *, seed: int = 0) -> Samples:
    return np.random.default_rng(seed).standard_normal(round(seconds * RATE)).astype(np.float32)


@given(hz=st.floats(70.0, 380.0), level=st.sampled_from([1e-3, 0.1, 1.0]), first=st.sampled_from([1, 2]))
@settings(max_examples=40)
def test_a_steady_voice_has_its_pitch_at_any_level_also_without_a_fundamental(
    hz: float, level: float, first: int
) -> None:
    _, found_T, voicing_T = tracked(level * voice(np.full(RATE, hz), harmonics=range(first, 12)))
    np.testing.assert_allclose(found_T, hz, rtol=0.015)  # half a step, and a little
    assert voicing_T.min() > 0.6


@pytest.mark.parametrize("seed", range(5))
def test_a_gliding_voice_is_followed(seed: int) -> None:
    rng, seconds_N = np.random.default_rng(seed), np.arange(2 * RATE) / RATE
    hz_N = rng.uniform(100, 220) * np.exp(rng.uniform(0.1, 0.4) * np.sin(2 * np.pi * rng.uniform(0.5, 1.5) * seconds_N))
    centres_T, found_T, _ = tracked(voice(hz_N))
    np.testing.assert_allclose(found_T, hz_N[centres_T], rtol=0.04)
    assert np.median(np.abs(found_T / hz_N[centres_T] - 1.0)) < 0.015


def test_noise_in_the_room_costs_little() -> None:
    _, found_T, _ = tracked(voice(np.full(2 * RATE, 150.0)) + 0.3 * noise(2.0))
    assert np.mean(np.abs(found_T / 150.0 - 1.0) < 0.05) > 0.97


def test_what_is_voiced_is_told_from_noise_and_from_silence() -> None:
    silence = np.zeros(RATE, np.float32)
    samples = np.concatenate([voice(np.full(RATE, 130.0)), silence, 0.3 * noise(1.0), voice(np.full(RATE, 180.0))])
    centres_T, _, voicing_T = tracked(samples)
    second_T = centres_T // RATE
    inside_T = np.abs(centres_T % RATE - RATE // 2) < 0.4 * RATE
    of = [np.median(voicing_T[inside_T & (second_T == second)]) for second in range(4)]
    assert min(of[0], of[3]) > 0.8
    assert max(of[1], of[2]) < 0.3


@pytest.mark.parametrize("samples", [np.zeros(0), np.zeros(5000), np.ones(1), np.full(4000, 0.5), noise(0.01)])
def test_nothing_breaks_on_what_has_no_pitch(samples: npt.NDArray[Any]) -> None:
    centres_T = np.arange(0, len(samples) + 1, HOP)
    found_T2 = pitch(samples.astype(np.float32), centres_T, sample_rate_hz=RATE)
    assert found_T2.shape == (len(centres_T), 2)
    assert np.isfinite(found_T2).all()


def test_a_long_recording_is_tracked_as_a_short_one() -> None:
    short = voice(np.full(RATE, 120.0))
    _, found_T, _ = tracked(np.tile(short, 45))  # more than two chunks
    assert np.mean(np.abs(found_T / 120.0 - 1.0) < 0.02) > 0.97


# --- as features ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["log_mel", "kaldi"])
@pytest.mark.parametrize("num_samples", [1, 79, 80, 4321, 16_000])
def test_it_stands_behind_the_bands(kind: str, num_samples: int) -> None:
    samples = voice(np.full(num_samples, 140.0))
    plain, both = (FeaturesConfig.model_validate({"kind": kind, "pitch": has}) for has in (False, True))
    bands, frames = (filterbank(config, models=Path()) for config in (plain, both))
    found_TD = frames(samples)
    assert found_TD.shape == (frames.num_frames(num_samples), 42)
    assert found_TD.shape[1] == both.stored_size == both.num_values
    np.testing.assert_array_equal(found_TD[:, :40], bands(samples))
    if num_samples == 16_000:
        np.testing.assert_allclose(np.exp(found_TD[5:-5, 40]), 140.0, rtol=0.01)


def test_it_moves_with_the_bands() -> None:
    quiet = np.zeros(RATE, np.float32)
    samples = np.concatenate([quiet, voice(np.full(RATE, 140.0)), quiet])
    for kind in ("log_mel", "kaldi"):
        config = FeaturesConfig.model_validate({"kind": kind, "pitch": True})
        found_TD = filterbank(config, models=Path())(samples)
        is_loud_T = found_TD[:, :40].mean(axis=1) > found_TD[:, :40].mean()
        assert np.mean((found_TD[:, 41] > 0.4) == is_loud_T) > 0.97


@pytest.mark.parametrize(
    ("changes", "num_values"),
    [
        ({}, 42),
        ({"cepstra": 7, "dynamics": {"kind": "shifted"}}, 72),
        ({"cepstra": 20, "dynamics": {"kind": "deltas"}, "normalisation": "sliding"}, 66),
    ],
)
def test_cepstra_are_made_of_the_bands_alone(changes: dict[str, Any], num_values: int) -> None:
    config = FeaturesConfig.model_validate(changes | {"pitch": True})
    plain = FeaturesConfig.model_validate(changes)
    x_TD = torch.from_numpy(normalise(np.random.default_rng(0).standard_normal((300, 42))))
    found, bands = represent(x_TD, config), represent(x_TD[:, :40], plain)
    assert found.shape[1] == config.num_values == num_values
    static = config.cepstra or 40
    torch.testing.assert_close(found[:, :static], bands[:, :static])


def test_a_store_without_it_is_the_one_that_was() -> None:
    assert "pitch" not in FeaturesConfig().stored()
    assert FeaturesConfig(pitch=True).stored() == FeaturesConfig().stored() | {"pitch": True}
