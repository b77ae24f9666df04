"""Decoding, band, level, trimming, and what is refused."""

import contextlib
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_modules.data.audio import (
    SAMPLE_RATE_HZ,
    NotSpeechError,
    Stretch,
    active_frames,
    clean,
    decode,
    frame_rms,
    is_effect,
    to_telephone_band,
)

MakeSpeech = Callable[..., npt.NDArray[np.float32]]


def wav_with_rate(rate_hz: int) -> bytes:
    """A second of a tone whose header was damaged."""
    file = io.BytesIO()
    soundfile.write(file, np.sin(np.arange(8000)), 8000, format="WAV")
    content = bytearray(file.getvalue())
    content[24:28] = rate_hz.to_bytes(4, "little")
    return bytes(content)


def tone(frequency_hz: float, *, seconds: float, rate_hz: int, amplitude: float = 0.3) -> npt.NDArray[np.float32]:
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    return (amplitude * np.sin(2 * np.pi * frequency_hz * time_s)).astype(np.float32)


@pytest.mark.parametrize("rate_hz", [8000, 11025, 16000, 22050, 44100, 48000])
def test_a_tone_in_the_band_survives_resampling_in_place(rate_hz: int) -> None:
    resampled = to_telephone_band(tone(1000, seconds=0.5, rate_hz=rate_hz), rate_hz=rate_hz)
    expected = tone(1000, seconds=0.5, rate_hz=SAMPLE_RATE_HZ)
    assert resampled.shape == expected.shape
    np.testing.assert_allclose(resampled[400:-400], expected[400:-400], atol=2e-3)


@pytest.mark.parametrize("rate_hz", [8000, 11025, 16000, 44100])
def test_nothing_above_the_telephone_band_is_left(rate_hz: int) -> None:
    resampled = to_telephone_band(tone(3700, seconds=0.5, rate_hz=rate_hz), rate_hz=rate_hz)
    assert np.abs(resampled[400:-400]).max() < 1e-3


def test_the_end_does_not_wrap_around_to_the_beginning() -> None:
    samples = np.zeros(8000, np.float32)
    samples[-400:] = tone(1000, seconds=0.05, rate_hz=8000)
    assert np.abs(to_telephone_band(samples, rate_hz=8000)[:4000]).max() < 1e-3


@settings(max_examples=25)
@given(gain_db=st.floats(-40, 0), seed=st.integers(0, 1000), rate_hz=st.sampled_from([8000, 11025, 22050]))
def test_clean_speech_has_one_level_and_never_clips(gain_db: float, seed: int, rate_hz: int) -> None:
    rng = np.random.default_rng(seed)
    samples = rng.normal(scale=0.1 * 10 ** (gain_db / 20), size=rate_hz).astype(np.float32)
    cleaned = clean(samples, rate_hz=rate_hz)
    rms = frame_rms(cleaned)
    level_db = 20 * np.log10(np.sqrt(np.square(rms[active_frames(rms)]).mean()))
    assert level_db == pytest.approx(-26, abs=0.01)
    assert np.abs(cleaned).max() <= 1


def test_a_click_lowers_the_level_instead_of_clipping(make_speech: MakeSpeech) -> None:
    samples = make_speech(seconds=1) * 0.01
    samples[4000:4008] = 0.9
    assert np.abs(clean(samples, rate_hz=8000)).max() == pytest.approx(0.98, abs=1e-3)


def test_silence_at_the_ends_is_cut_and_pauses_stay(make_speech: MakeSpeech) -> None:
    word, pause = make_speech(seconds=0.5), np.zeros(4000, np.float32)
    cleaned = clean(np.concatenate([pause, pause, word, pause, word, pause]), rate_hz=8000)
    assert cleaned.size / SAMPLE_RATE_HZ == pytest.approx(1.5 + 2 * 0.06, abs=0.05)


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (np.zeros(8000, np.float32), "silent"),
        (np.full(8000, 0.5, np.float32), "silent"),
        (tone(1000, seconds=0.06, rate_hz=8000), "too short"),
        (tone(1000, seconds=1, rate_hz=8000), "a tone"),
        (np.concatenate([tone(f, seconds=0.3, rate_hz=8000) for f in (500, 900, 1400)]), "a tone"),
    ],
)
def test_what_is_no_speech_is_refused_with_a_reason(samples: npt.NDArray[np.float32], reason: str) -> None:
    with pytest.raises(NotSpeechError, match=reason):
        clean(samples, rate_hz=8000)


@pytest.mark.parametrize(
    ("suffix", "form", "rate_hz", "tolerance"),
    [
        ("wav", {"subtype": "PCM_16"}, 16000, 1e-3),
        ("flac", {}, 8000, 1e-3),
        ("ogg", {"format": "OGG", "subtype": "VORBIS"}, 22050, 0.3),
        ("gsm", {"format": "RAW", "subtype": "GSM610"}, 8000, 0.3),
    ],
)
def test_formats_of_libsndfile_are_decoded(
    tmp_path: Path, make_speech: MakeSpeech, *, suffix: str, form: dict[str, str], rate_hz: int, tolerance: float
) -> None:
    written = make_speech(seconds=1, rate_hz=rate_hz)
    path = tmp_path / f"line.{suffix}"
    soundfile.write(path, written, rate_hz, **form)
    samples, found_hz = decode(path)
    assert found_hz == rate_hz
    assert samples[: written.size].std() == pytest.approx(written.std(), rel=max(tolerance, 0.01))


def test_headerless_8_bit_samples_are_decoded(tmp_path: Path) -> None:
    path = tmp_path / "VB1.ALS"
    path.write_bytes(bytes([128, 255, 0, 192]))
    samples, rate_hz = decode(path)
    assert rate_hz == 11025
    np.testing.assert_allclose(samples, [0, 127 / 128, -1, 0.5])


def test_stereo_becomes_the_mean_of_its_channels(tmp_path: Path) -> None:
    path = tmp_path / "stereo.wav"
    soundfile.write(path, np.array([[0.5, 0.0], [0.25, 0.25]]), 8000, subtype="FLOAT")
    np.testing.assert_allclose(decode(path)[0], [0.25, 0.25])


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("torn.wav", b"RIFF\x00\x00\x00\x00WAVE", "cannot be decoded"),
        ("text.ogg", b"this is no sound", "cannot be decoded"),
        ("nothing.wav", b"", "empty"),
        ("nothing.als", b"", "empty"),
        ("slow.wav", wav_with_rate(1), "a sample rate of 1 Hz"),
        ("fast.wav", wav_with_rate(2_000_000), "a sample rate of 2000000 Hz"),
        ("nothing.gsm", b"", "empty"),
    ],
)
def test_broken_files_are_refused_with_a_reason(tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(NotSpeechError, match=reason):
        decode(tmp_path / name)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotSpeechError, match="no such file"):
        decode(tmp_path / "gone.als")


@given(start_s=st.floats(0.0, allow_infinity=False), length_s=st.floats(1e-9, 1e308), channel=st.integers(0, 2**70))
@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3", "ogg", "als"])
def test_any_stretch_of_a_file_is_speech_or_none(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, start_s: float, length_s: float, channel: int
) -> None:
    path = tmp_path_factory.getbasetemp() / f"stretched.{suffix}"
    if not path.exists() and suffix != "als":
        soundfile.write(path, np.full(8000, 0.1), 8000)
    elif not path.exists():
        path.write_bytes(bytes(range(256)) * 40)
    with contextlib.suppress(NotSpeechError):
        samples, _ = decode(path, Stretch(start_s=start_s, end_s=start_s + length_s, channel=channel))
        assert samples.size > 0


def test_samples_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "nan.wav", np.array([0.1, np.nan]), 8000, subtype="FLOAT")
    with pytest.raises(NotSpeechError, match="not finite"):
        decode(tmp_path / "nan.wav")


@pytest.mark.parametrize("stem", ["x/beep", "beeperr", "x/silence/3", "x/ascending-2tone", "x/tt-monkeys"])
def test_effects_are_known_by_name(stem: str) -> None:
    assert is_effect(stem)


@pytest.mark.parametrize("stem", ["x/at-tone-time-exactly", "x/tt-monkeysintro", "x/silence-please", "x/beepers"])
def test_speech_about_effects_is_no_effect(stem: str) -> None:
    assert not is_effect(stem)
