"""What is done to waveforms, each against what its name promises."""

import numpy as np
import pytest
import scipy.signal
from hypothesis import given
from hypothesis import strategies as st

from lightning_modules.data.waveforms import (
    CODECS,
    Codec,
    change_pitch,
    change_speed,
    limit_band,
    mix,
    reverberate,
    room_response,
    speech_power,
    through_codec,
)

RATE = 8000


def _tone(hz: float, seconds: float = 1.0, *, amplitude: float = 0.3) -> np.ndarray:
    time_s = np.arange(round(seconds * RATE)) / RATE
    return (amplitude * np.sin(2 * np.pi * hz * time_s)).astype(np.float32)


def _peak_hz(samples: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), 1 << 18))
    return float(spectrum.argmax() * RATE / (1 << 18))


def _power(samples: np.ndarray) -> float:
    return float(np.square(samples, dtype=np.float64).mean())


@given(snr_db=st.floats(-10, 40), seed=st.integers(0, 100))
def test_a_mixture_has_the_ratio_that_was_asked(snr_db: float, seed: int) -> None:
    speech, noise = _tone(300), np.random.default_rng(seed).standard_normal(RATE)
    mixed = mix(speech, noise, snr_db=snr_db)
    assert 10 * np.log10(_power(speech) / _power(mixed - speech)) == pytest.approx(snr_db, abs=0.1)


def test_pauses_do_not_make_the_noise_louder() -> None:
    speech = np.concatenate([_tone(300), np.zeros(3 * RATE, np.float32)])
    assert speech_power(speech) == pytest.approx(_power(_tone(300)), rel=0.02)


def test_half_a_noise_leaves_the_other_half_alone() -> None:
    speech = _tone(300)
    mixed = mix(speech, np.random.default_rng(0).standard_normal(RATE), snr_db=5.0, part="first_half")
    np.testing.assert_array_equal(mixed[RATE // 2 :], speech[RATE // 2 :])
    assert _power(mixed[: RATE // 2] - speech[: RATE // 2]) > 0.1 * _power(speech)


def test_half_a_noise_has_the_ratio_of_a_whole_one_where_it_is() -> None:
    speech, noise = _tone(300), np.random.default_rng(0).standard_normal(RATE)
    noise[: RATE // 2] *= 0.1  # quiet, and then loud
    half = mix(speech, noise, snr_db=5.0, part="first_half")[: RATE // 2] - speech[: RATE // 2]
    assert 10 * np.log10(_power(speech) / _power(half)) == pytest.approx(5.0, abs=0.1)


def test_a_room_s_tail_falls_by_sixty_decibels_in_its_time() -> None:
    response = room_response(rt60_s=0.5, distance_m=1.0, rng=np.random.default_rng(0))
    assert len(response) == 4000
    early, late = _power(response[100:300]), _power(response[3100:3300])
    assert 10 * np.log10(early / late) == pytest.approx(60 * 3000 / 4000, abs=2.0)
    assert _power(response[1:]) * (len(response) - 1) == pytest.approx(1.0, rel=1e-5), "as much as the direct sound"


def test_reverberation_is_a_convolution_at_the_power_of_the_speech() -> None:
    speech = np.random.default_rng(1).standard_normal(2000).astype(np.float32)
    wet = reverberate(speech, rt60_s=0.3, distance_m=2.0, rng=np.random.default_rng(5))
    response = room_response(rt60_s=0.3, distance_m=2.0, rng=np.random.default_rng(5))
    expected = np.convolve(speech, response)[:2000]
    np.testing.assert_allclose(wet, expected * np.sqrt(_power(speech) / _power(expected)), atol=1e-4)


def test_vorbis_takes_minutes_at_once() -> None:
    (codec,) = (each for each in CODECS if each.subtype == "VORBIS")
    speech = np.tile(_tone(440, 10.0), 40)
    assert np.abs(through_codec(speech, codec)[-4000:]).max() > 0.5 * np.abs(speech).max()


@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.subtype)
def test_codecs_give_the_speech_back_worse_but_in_its_place(codec: Codec) -> None:
    speech = _tone(440, 1.5) * (1 + np.sin(np.arange(12_000) / 400)).astype(np.float32)
    decoded = through_codec(speech, codec)
    assert decoded.shape == speech.shape
    residual = _power(decoded - speech) / _power(speech)
    assert 0 < residual < 0.05
    lag = np.correlate(decoded[2000:6000], speech[2000:6000], "full").argmax() - 3999
    assert abs(lag) <= 1


def test_a_band_limit_keeps_what_is_inside_and_takes_the_rest() -> None:
    inside, below, above = (_power(limit_band(_tone(hz), low_hz=300, high_hz=3000)) for hz in (1000, 150, 3500))
    assert inside == pytest.approx(_power(_tone(1000)), rel=0.02)
    assert below < 1e-3 * inside
    assert above < 1e-3 * inside


@pytest.mark.parametrize("factor", [0.85, 1.0, 1.1, 1.25])
def test_speed_moves_pitch_and_length(factor: float) -> None:
    changed = change_speed(_tone(400, 2.0), factor=factor)
    assert len(changed) == pytest.approx(2 * RATE / factor, abs=1)
    assert _peak_hz(changed) == pytest.approx(400 * factor, rel=0.002)


def test_speed_is_scipy_s_resampling() -> None:
    noise = limit_band(np.random.default_rng(0).standard_normal(RATE).astype(np.float32), low_hz=0, high_hz=2500)
    expected = scipy.signal.resample_poly(noise, 10, 11)
    np.testing.assert_allclose(change_speed(noise, factor=1.1)[200:-200], expected[200:-200], atol=0.05)


@pytest.mark.parametrize("factor", [0.85, 1.18])
def test_pitch_moves_and_length_stays(factor: float) -> None:
    tone = _tone(300, 2.0)
    changed = change_pitch(tone, factor=factor)
    assert len(changed) == len(tone)
    assert _peak_hz(changed[400:-400]) == pytest.approx(300 * factor, rel=0.02)
    assert _power(changed[400:-400]) == pytest.approx(_power(tone), rel=0.1)


@given(num_samples=st.integers(1, 3000), factor=st.floats(0.8, 1.25))
def test_recordings_of_any_length_keep_it(num_samples: int, factor: float) -> None:
    speech = np.random.default_rng(num_samples).standard_normal(num_samples).astype(np.float32) * 0.1
    rng = np.random.default_rng(0)
    for changed in (
        change_pitch(speech, factor=factor),
        reverberate(speech, rt60_s=0.3, distance_m=1.0, rng=rng),
        limit_band(speech, low_hz=200, high_hz=3000),
        mix(speech, rng.standard_normal(num_samples), snr_db=10),
        through_codec(speech, CODECS[0]),
    ):
        assert changed.shape == speech.shape
        assert changed.dtype == np.float32
        assert np.isfinite(changed).all()
