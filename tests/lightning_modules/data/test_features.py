"""Normalisation and the filterbank."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lightning_modules.config import FeaturesConfig
from lightning_modules.data.features import FLOOR, LogMel, normalise

frames_arrays = hnp.arrays(
    np.float16, st.tuples(st.integers(1, 30), st.integers(1, 6)), elements=st.floats(-12, 8, width=16)
)


@given(frames_arrays)
def test_normalised_bands_have_mean_0_and_variance_1_or_are_all_zero(frames: npt.NDArray[np.float16]) -> None:
    normalised = normalise(frames)
    assert normalised.dtype == np.float32
    assert normalised.shape == frames.shape
    np.testing.assert_allclose(normalised.mean(axis=0), 0, atol=1e-3)
    for band in normalised.T:
        assert not band.any() or band.std() == pytest.approx(1, abs=1e-3)


def test_a_constant_band_becomes_zero_and_leaves_the_others_alone() -> None:
    frames = np.array([[1.0, -11.5], [3.0, -11.5]], np.float16)
    np.testing.assert_allclose(normalise(frames), [[-1, 0], [1, 0]])


def test_a_channel_with_a_fixed_colour_and_gain_changes_nothing() -> None:
    frames = np.random.default_rng(0).normal(size=(50, 4))
    np.testing.assert_allclose(normalise(frames * [1, 2, 3, 4] + [5, -5, 0, 1]), normalise(frames), atol=1e-5)


def test_what_is_given_is_not_changed() -> None:
    frames = np.arange(6, dtype=np.float32).reshape(3, 2)
    normalise(frames)
    np.testing.assert_array_equal(frames, np.arange(6).reshape(3, 2))


def test_no_frames_stay_no_frames() -> None:
    assert normalise(np.zeros((0, 40), np.float16)).shape == (0, 40)


@pytest.mark.parametrize("num_samples", [1, 79, 80, 800, 8001])
def test_the_number_of_frames_is_known_beforehand(num_samples: int) -> None:
    log_mel = LogMel(FeaturesConfig())
    assert log_mel(np.zeros(num_samples, np.float32)).shape == (log_mel.num_frames(num_samples), 40)


def test_silence_lies_on_the_floor() -> None:
    np.testing.assert_allclose(LogMel(FeaturesConfig())(np.zeros(800, np.float32)), np.log(FLOOR), rtol=1e-5)


def test_a_tone_is_strongest_in_its_band() -> None:
    config = FeaturesConfig(low_hz=0, high_hz=4000)
    time_s = np.arange(8000) / 8000
    frames = LogMel(config)(np.sin(2 * np.pi * 1000 * time_s).astype(np.float32))
    mel = 2595 * np.log10(1 + 1000 / 700) / (2595 * np.log10(1 + 4000 / 700)) * 41 - 1
    assert abs(int(frames.mean(axis=0).argmax()) - mel) <= 1
