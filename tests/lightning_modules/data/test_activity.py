"""Speech is found where it is, and joined."""

import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from lightning_modules.config.corpus import Detector
from lightning_modules.data.activity import only_speech, speech_parts
from lightning_modules.data.audio import NotSpeechError, Samples

RATE_HZ = 8000


@pytest.fixture(scope="module")
def speech(shared_speech: Path) -> Samples:
    """Ten seconds of corpus espeak."""
    files = sorted((shared_speech / "corpora" / "espeak" / "audio").rglob("*.flac"))[:5]
    joined = np.concatenate([soundfile.read(file, dtype="float32")[0] for file in files])
    return np.asarray(joined[: 10 * RATE_HZ])


def pause(seconds: float, *, loudness: float = 1e-4) -> Samples:
    noise = np.random.default_rng(0).normal(size=round(seconds * RATE_HZ)) * loudness
    return np.asarray(noise, dtype=np.float32)


def covered(parts: list[tuple[int, int]], start_s: float, end_s: float) -> float:
    """Share of a stretch that the parts cover."""
    inside = sum(max(0.0, min(end / RATE_HZ, end_s) - max(start / RATE_HZ, start_s)) for start, end in parts)
    return inside / (end_s - start_s)


@pytest.mark.parametrize("detector", ["energy", "silero"])
def test_long_pauses_are_left_out_and_speech_is_kept(detector: Detector, speech: Samples) -> None:
    first, second = speech[: 4 * RATE_HZ], speech[4 * RATE_HZ : 8 * RATE_HZ]
    samples = np.concatenate([pause(2.0), first, pause(3.0), second, pause(1.0)])
    parts = speech_parts(samples, detector)
    assert covered(parts, 2.0, 6.0) > 0.8
    assert covered(parts, 9.0, 13.0) > 0.8
    assert covered(parts, 0.0, 1.8) == covered(parts, 6.6, 8.8) == 0.0
    assert all(start < end for start, end in parts)
    assert all(end <= start for (_, end), (start, _) in pairwise(parts))
    assert len(only_speech(samples, detector)) == sum(end - start for start, end in parts)


def test_silero_is_asked_as_its_own_documentation_does(speech: Samples) -> None:
    from silero_vad import get_speech_timestamps, load_silero_vad

    samples = np.concatenate([pause(1.0), speech, pause(2.0), speech[: 3 * RATE_HZ]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = load_silero_vad()
    expected = get_speech_timestamps(
        torch.from_numpy(samples),
        model,
        sampling_rate=RATE_HZ,
        min_speech_duration_ms=200,
        min_silence_duration_ms=500,
        speech_pad_ms=100,
    )
    assert speech_parts(samples, "silero") == [(part["start"], part["end"]) for part in expected]


@pytest.mark.parametrize("detector", ["energy", "silero"])
def test_what_holds_no_speech_is_refused(detector: Detector) -> None:
    click = np.zeros(RATE_HZ, np.float32)
    click[4000:4100] = 0.5
    samples = click if detector == "energy" else pause(2.0, loudness=0.01)
    with pytest.raises(NotSpeechError, match="no speech was detected"):
        only_speech(samples, detector)


def test_without_a_detector_nothing_is_cut(speech: Samples) -> None:
    assert only_speech(speech, "none") is speech
