"""Speech activity: which parts of a recording hold speech, and the recording without the others."""

import warnings
from functools import cache
from typing import Any, Final, assert_never

import numpy as np

from lightning_modules.config.corpus import Detector
from lightning_modules.data.audio import FRAME, SAMPLE_RATE_HZ, NotSpeechError, Samples, active_frames, frame_rms
from lightning_modules.errors import CorpusError

LONGEST_PAUSE_S: Final = 0.5
"""A pause between words is speech too."""
MARGIN_S: Final = 0.1
SHORTEST_S: Final = 0.2
"""What is shorter is a click, or a cough."""

Part = tuple[int, int]
"""First sample, and the one after the last."""


def only_speech(samples: Samples, detector: Detector) -> Samples:
    """A recording's speech in one piece; (num_samples,) at 8 kHz.

    Raises:
        NotSpeechError: there is none.
        CorpusError: the detector is not installed.
    """
    if detector == "none":
        return samples
    parts = speech_parts(samples, detector)
    if not parts:
        raise NotSpeechError("no speech was detected")
    return np.concatenate([samples[start:end] for start, end in parts])


def speech_parts(samples: Samples, detector: Detector) -> list[Part]:
    """Where there is speech, in order and apart from one another."""
    match detector:
        case "none":
            return [(0, samples.size)]
        case "energy":
            return _by_energy(samples)
        case "silero":
            return _by_silero(samples)
        case _:
            assert_never(detector)


def _by_energy(samples: Samples) -> list[Part]:
    """Frames of 20 ms within 35 dB of the loud ones, pauses between them, and a margin on either side."""
    active = np.flatnonzero(active_frames(frame_rms(samples)))
    if active.size == 0:
        return []
    gaps = np.flatnonzero(np.diff(active) * FRAME > LONGEST_PAUSE_S * SAMPLE_RATE_HZ)
    firsts, lasts = active[np.concatenate([[0], gaps + 1])], active[np.concatenate([gaps, [active.size - 1]])]
    long = (lasts - firsts + 1) * FRAME >= SHORTEST_S * SAMPLE_RATE_HZ
    margin = round(MARGIN_S * SAMPLE_RATE_HZ)
    return [
        (max(0, int(first) * FRAME - margin), min(samples.size, (int(last) + 1) * FRAME + margin))
        for first, last in zip(firsts[long], lasts[long], strict=True)
    ]


def _by_silero(samples: Samples) -> list[Part]:
    import torch

    model, find = _silero()
    found = find(
        torch.from_numpy(samples),
        model,
        sampling_rate=SAMPLE_RATE_HZ,
        min_speech_duration_ms=round(SHORTEST_S * 1000),
        min_silence_duration_ms=round(LONGEST_PAUSE_S * 1000),
        speech_pad_ms=round(MARGIN_S * 1000),
    )
    return [(int(part["start"]), int(part["end"])) for part in found]


@cache
def _silero() -> tuple[Any, Any]:
    """Silero's network, out of its wheel, and its function that finds speech."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch.jit is deprecated; the wheel's networks are of its making
            from silero_vad import get_speech_timestamps, load_silero_vad

            return load_silero_vad(), get_speech_timestamps
    except ModuleNotFoundError:
        raise CorpusError("activity = \"silero\" needs its wheel: run `pip install 'lidstudy[corpora]'`.") from None
