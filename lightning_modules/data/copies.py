"""Copies of a corpus's speech as other surroundings would have left it: made once, beside the features of the speech.

Mixing, convolving and coding take a hundred times longer than what is done to features batch by batch, so each
recording is changed once, as its id and the kind of copy say, and trainings draw from speech and copies alike.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import assert_never

import numpy as np

from lightning_modules.config import CopyKind
from lightning_modules.data.audio import Samples
from lightning_modules.data.cards import Progress
from lightning_modules.data.noises import fetch_music, music_stretch, noise
from lightning_modules.data.waveforms import CODECS, change_pitch, limit_band, mix, reverberate, through_codec

SNR_DB = (5.0, 20.0)
RT60_S = (0.2, 0.8)
DISTANCE_M = (0.5, 2.5)
LOW_HZ = (100.0, 450.0)
HIGH_HZ = (2400.0, 3400.0)
PITCH = (0.84, 1.19)

Change = Callable[[Samples, str], Samples]
"""From a recording's samples and its id to those of its copy, which has as many."""


def change_of(kind: CopyKind, workspace: Path, *, progress: Progress) -> Change:
    """What a kind of copy does to each recording.

    Raises:
        CorpusError: the music cannot be fetched.
    """
    music = fetch_music("train", workspace, progress=progress) if kind == "music" else np.zeros(1, np.float32)

    def change(samples: Samples, recording_id: str) -> Samples:
        digest = hashlib.sha256(f"{kind} {recording_id}".encode()).digest()
        return changed(samples, kind, rng=np.random.default_rng(int.from_bytes(digest[:8], "big")), music=music)

    return change


def changed(samples: Samples, kind: CopyKind, *, rng: np.random.Generator, music: Samples) -> Samples:
    """One copy: (num_samples,) to (num_samples,).

    Args:
        samples: speech at 8 kHz.
        kind: noise or music at 5 to 20 dB; reverberation of 0.2 to 0.8 s, half a metre to 2.5 m away; telephone: a band
            from 100-450 to 2,400-3,400 Hz, then a codec; pitch: higher or lower by up to three semitones.
        rng: draws all that.
        music: of the training set, for music.
    """
    match kind:
        case "noise":
            return mix(samples, noise(rng, len(samples), split="train"), snr_db=rng.uniform(*SNR_DB))
        case "music":
            return mix(samples, music_stretch(rng, len(samples), music=music), snr_db=rng.uniform(*SNR_DB))
        case "reverberation":
            return reverberate(samples, rt60_s=rng.uniform(*RT60_S), distance_m=rng.uniform(*DISTANCE_M), rng=rng)
        case "telephone":
            narrow = limit_band(samples, low_hz=rng.uniform(*LOW_HZ), high_hz=rng.uniform(*HIGH_HZ))
            return through_codec(narrow, CODECS[rng.integers(len(CODECS))])
        case "pitch":
            return change_pitch(samples, factor=rng.uniform(*PITCH))
        case _:
            assert_never(kind)
