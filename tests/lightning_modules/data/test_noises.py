"""Noises: their colour, their sets, and that a seed says all."""

import itertools

import numpy as np
import pytest

from lightning_modules.data import noises
from lightning_modules.data.audio import Samples
from lightning_modules.data.noises import (
    MUSIC,
    NOISES,
    Generate,
    NoiseSplit,
    coloured,
    in_band,
    music_stretch,
    noise,
    unit_power,
)


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


def test_a_split_draws_all_of_its_noises_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []

    def tagged(split: NoiseSplit, kind: str) -> Generate:
        def generate(_rng: np.random.Generator, num_samples: int) -> Samples:
            drawn.append(f"{split} {kind}")
            return np.zeros(num_samples, np.float32)

        return generate

    kinds = {split: {kind: tagged(split, kind) for kind in of_split} for split, of_split in NOISES.items()}
    monkeypatch.setattr(noises, "NOISES", kinds)
    for seed in range(40):
        noise(np.random.default_rng(seed), 400, split="test")
    assert set(drawn) == {f"test {kind}" for kind in NOISES["test"]}


@pytest.mark.parametrize("kind", NOISES["test"])
def test_what_is_mixed_has_its_power_where_speech_is_heard(kind: str) -> None:
    heard = in_band(NOISES["test"][kind](np.random.default_rng(5), 24_001))
    power = np.square(np.abs(np.fft.rfft(heard)))
    frequency = np.fft.rfftfreq(len(heard), 1 / 8000)
    assert power[(frequency < 100) | (frequency > 3400)].sum() < 1e-6 * power.sum()
    assert np.square(heard, dtype=np.float64).mean() == pytest.approx(1.0, rel=1e-3)


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


def _third_octaves_db(generate: Generate) -> np.ndarray:
    """Power by third octave from 100 to 3,200 Hz, in dB, each noise at unit power; the mean over eight draws."""
    edges = np.geomspace(100, 3200, 16)
    drawn = []
    for seed in range(8):
        power = np.square(np.abs(np.fft.rfft(generate(np.random.default_rng(seed), 16_000))))
        frequency = np.fft.rfftfreq(16_000, 1 / 8000)
        drawn.append([power[(frequency >= low) & (frequency < high)].mean() for low, high in itertools.pairwise(edges)])
    levels = 10 * np.log10(np.mean(drawn, axis=0))
    return np.asarray(levels - levels.mean())


@pytest.mark.parametrize("kind", sorted(NOISES["test"]))
def test_no_noise_of_tests_has_the_spectrum_of_one_that_trains(kind: str) -> None:
    own = _third_octaves_db(NOISES["test"][kind])
    for known, generate in NOISES["train"].items():
        apart = float(np.sqrt(np.mean(np.square(own - _third_octaves_db(generate)))))
        assert apart > 3.0, f"{kind} is {apart:.1f} dB from {known}"
