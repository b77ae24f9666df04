"""Files that decode and are not whole are told from those that are."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from lightning_modules.data.audio import WHOLE, Stretch, decode
from lightning_modules.data.damage import clipped_share, damage_of

MakeSpeech = Callable[..., npt.NDArray[np.float32]]

FORMS = {
    "wav": {},
    "mulaw.wav": {"subtype": "ULAW"},
    "rf64.wav": {"format": "RF64"},
    "aiff": {},
    "au": {},
    "mp3": {},
    "ogg": {},
    "opus": {"format": "OGG", "subtype": "OPUS"},
    "sph": {"format": "NIST"},
}


def damage(path: Path, stretch: Stretch = WHOLE) -> str:
    samples, rate_hz = decode(path, stretch)
    return damage_of(path, samples, rate_hz=rate_hz, stretch=stretch)


@pytest.mark.parametrize("suffix", FORMS)
def test_a_file_that_ends_too_soon_is_cut_short(suffix: str, tmp_path: Path, make_speech: MakeSpeech) -> None:
    path = tmp_path / f"speech.{suffix}"
    soundfile.write(path, make_speech(seconds=4), 8000, **FORMS[suffix])
    assert damage(path) == ""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    assert damage(path) == "cut short"


def test_a_tag_does_not_make_an_mp3_without_a_header_look_cut_short(tmp_path: Path, make_speech: MakeSpeech) -> None:
    path = tmp_path / "speech.mp3"
    soundfile.write(path, make_speech(seconds=4, rate_hz=16000), 16000, bitrate_mode="CONSTANT")
    content = path.read_bytes()
    for mark in (b"Xing", b"Info"):
        content = content.replace(mark, b"\0\0\0\0")
    path.write_bytes(b"ID3\x04\0\0" + bytes([0, 0, 64, 0]) + b"\0" * 8192 + content)
    assert damage(path) == ""


def test_a_stretch_within_a_whole_file_is_whole(tmp_path: Path, make_speech: MakeSpeech) -> None:
    path, stretch = tmp_path / "speech.mp3", Stretch(start_s=1.0, end_s=2.0)
    soundfile.write(path, make_speech(seconds=4), 8000)
    assert damage(path, stretch) == ""


def test_a_stretch_that_ends_with_its_file_and_not_where_it_should_is_cut_short(
    tmp_path: Path, make_speech: MakeSpeech
) -> None:
    path = tmp_path / "speech.flac"
    soundfile.write(path, make_speech(seconds=4), 8000)
    assert damage(path, Stretch(start_s=2.0, end_s=4.01)) == ""
    assert damage(path, Stretch(start_s=2.0, end_s=5.0)) == "cut short"


def test_a_stretch_from_within_to_the_end_is_whole(tmp_path: Path, make_speech: MakeSpeech) -> None:
    path, stretch = tmp_path / "speech.mp3", Stretch(start_s=2.0)
    soundfile.write(path, make_speech(seconds=4), 8000)
    assert damage(path, stretch) == ""


def test_a_length_that_a_stream_leaves_open_announces_nothing(tmp_path: Path, make_speech: MakeSpeech) -> None:
    path = tmp_path / "piped.wav"
    soundfile.write(path, make_speech(seconds=1), 8000)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"data" + (16000).to_bytes(4, "little"), b"data\xff\xff\xff\xff"))
    assert damage(path) == ""


@pytest.mark.parametrize("suffix", ["gsm", "als"])
def test_what_has_no_header_announces_nothing(suffix: str, tmp_path: Path, make_speech: MakeSpeech) -> None:
    path = tmp_path / f"speech.{suffix}"
    if suffix == "gsm":
        soundfile.write(path, make_speech(seconds=1), 8000, format="RAW", subtype="GSM610")
    else:
        path.write_bytes((make_speech(seconds=1) * 127 + 128).astype(np.uint8).tobytes())
    assert damage(path) == ""


@pytest.mark.parametrize("limit", [0.3, 1e-5])
def test_clipped_speech_is_told_with_its_share(limit: float, tmp_path: Path, make_speech: MakeSpeech) -> None:
    speech = make_speech(seconds=2)
    limit *= np.abs(speech).max()
    soundfile.write(tmp_path / "loud.wav", np.clip(speech, -limit, limit) * 0.7 / limit, 8000)
    share = np.mean(np.abs(speech) >= 0.99 * limit)
    assert damage(tmp_path / "loud.wav") == f"clipped ({share:.0%} of its samples lie at the limit)"


def test_the_share_at_the_limit() -> None:
    assert clipped_share(np.array([1.0, -0.995, 0.495, -0.5], np.float32)) == 0.5
    assert clipped_share(np.zeros(4, np.float32)) == 0.0


def test_an_offset_and_few_steps_of_a_quiet_file_are_no_clipping(make_speech: MakeSpeech) -> None:
    speech = make_speech(seconds=2)
    assert clipped_share(0.5 + 0.3 * speech) < 0.01
    assert clipped_share(np.round(speech / np.abs(speech).max() * 1.4).astype(np.float32) / 128) == 0.0
