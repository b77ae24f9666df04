"""Noises: their colour, their sets, and that a seed says all."""

import itertools

import numpy as np
import pytest

from lightning_modules.data.noises import MUSIC, NOISES, NoiseSplit, coloured, music_stretch, noise, unit_power


def _slope(samples: np.ndarray) -> float:
    """Of the logarithm of power over that of frequency, from 60 Hz to 3 kHz."""
    power = np.square(np.abs(np.fft.rfft(samples)))
    frequency = np.fft.rfftfreq(len(samples), 1 / 8000)
    edges = np.geomspace(60, 3000, 20)
    bands = [power[(frequency >= low) & (frequency < high)].mean() for low, high in itertools.pairwise(edges)]
    return float(np.polyfit(np.log(np.sqrt(edges[:-1] * edges[1:])), np.log(bands), 1)[0])


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_coloured_noise_falls_as_its_exponent_says(exponent: float) -> None:
    samples = coloured(np.random.default_rng(1), 60_000, exponent=exponent)
    assert _slope(samples) == pytest.approx(-exponent, abs=0.15)


@pytest.mark.parametrize(("split", "kind"), [(split, kind) for split, kinds in NOISES.items() for kind in kinds])
def test_every_noise_has_unit_power_and_no_surprises(split: NoiseSplit, kind: str) -> None:
    first, second = (NOISES[split][kind](np.random.default_rng(3), 12_345) for _ in range(2))
    assert first.dtype == np.float32
    assert first.shape == (12_345,)
    assert np.square(first, dtype=np.float64).mean() == pytest.approx(1.0, rel=1e-3)
    np.testing.assert_array_equal(first, second)


def test_no_noise_and_no_music_is_in_both_sets() -> None:
    assert not NOISES["train"].keys() & NOISES["test"].keys()
    assert MUSIC["train"].name != MUSIC["test"].name


def test_a_split_draws_all_of_its_noises() -> None:
    rng = np.random.default_rng(0)
    drawn = {noise(np.random.default_rng(int(rng.integers(1 << 30))), 400, split="train").tobytes() for _ in range(20)}
    assert len(drawn) == 20, "each generator gives another noise"


@pytest.mark.parametrize("num_samples", [1, 2, 160, 8001])
def test_short_noises_are_as_long_as_asked(num_samples: int) -> None:
    for kinds in NOISES.values():
        for generate in kinds.values():
            samples = generate(np.random.default_rng(0), num_samples)
            assert samples.shape == (num_samples,)
            assert np.isfinite(samples).all()


def test_music_begins_again_where_it_ends() -> None:
    music = np.arange(1, 101, dtype=np.float32)
    stretch = music_stretch(np.random.default_rng(0), 250, music=music)
    assert len(stretch) == 250
    np.testing.assert_allclose(stretch[:100], stretch[100:200])


def test_silence_stays_silence() -> None:
    np.testing.assert_array_equal(unit_power(np.zeros(10)), np.zeros(10))
