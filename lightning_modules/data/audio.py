"""Audio files of any age, brought to one shape: mono, 8 kHz, below 3.4 kHz, one level, no silence at the ends.

Sources differ in sample rate, codec and level, and a model that can hear the source needs no language. So everything
passes the narrowest channel among them. Resampling and low-pass filtering are one step in the frequency domain, exact
for rational ratios of rates and fast on short files.
"""

import math
import os
import re
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]

SAMPLE_RATE_HZ: Final = 8000
PASS_HZ: Final = 3200.0  # a raised cosine leads from here …
STOP_HZ: Final = 3400.0  # … to here, where nothing is left
LEVEL_DB: Final = -26.0  # RMS over active frames, re full scale: the usual speech level, with room for peaks
PEAK: Final = 0.98
ALS_RATE_HZ: Final = 11025
LEAST_RATE_HZ: Final = 4000  # of speech; a damaged header may say anything
MOST_RATE_HZ: Final = 1_000_000

_BLOCK_VALUES: Final = 4_000_000  # that are decoded at a time, of all channels together
_AT_ONCE_S: Final = 120
_PIECE_S: Final = 60
_MARGIN_S: Final = 1
_LONGEST_S: Final = 1e9  # what lies later lies beyond every file, and its samples can still be counted
FRAME: Final = 160  # 20 ms
_ACTIVE_DB: Final = -35.0  # active frames lie within this of the loud ones
_MARGIN_FRAMES: Final = 3  # weak onsets before the first active frame
_SILENT_RMS: Final = 3e-4  # -70 dB re full scale: the noise of an empty 16-bit recording
_MINIMUM_ACTIVE_S: Final = 0.15
_TONAL_SHARE: Final = 0.98

_EFFECT_NAME: Final = re.compile(
    r"(^|/)(silence/.*|beep|beeperr|(ascending|descending)-2tone|confbridge-(join|leave)|tt-monkeys)$"
)


class NotSpeechError(Exception):
    """A file that holds no usable speech; the message says why, in a few words."""


def is_effect(stem: str) -> bool:
    """Whether a path without its suffix names a tone, an effect or silence in a set of telephone prompts."""
    return _EFFECT_NAME.search(stem) is not None


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """A part of an audio file.

    Attributes:
        start_s: where it begins, in seconds.
        end_s: where it ends; None: with the file.
        channel: counted from 0; None: the mean of all.
    """

    start_s: float = 0.0
    end_s: float | None = None
    channel: int | None = None


WHOLE: Final = Stretch()


def decode(path: Path, stretch: Stretch = WHOLE) -> tuple[Samples, int]:
    """Decodes one file, or a stretch of it, to mono, in blocks: only one of them is in memory with all its channels.

    Args:
        path: WAV, FLAC, Ogg, MP3, SPHERE (whatever libsndfile knows), `.gsm` (headerless GSM 06.10) or `.als`
            (headerless unsigned 8-bit at 11,025 Hz).
        stretch: which part.

    Returns:
        samples (num_samples,) in [-1, 1], and their rate in Hz.

    Raises:
        NotSpeechError: it is not there, cannot be decoded, or holds nothing.
    """
    if not os.path.isfile(path):  # noqa: PTH113 - of a name that is too long, where Path raises
        raise NotSpeechError("not a file" if os.path.exists(path) else "no such file")  # noqa: PTH110
    if path.stat().st_size == 0:
        raise NotSpeechError("empty")
    try:
        samples, rate_hz = _read_als(path, stretch) if path.suffix.lower() == ".als" else _read(path, stretch)
    except (OSError, RuntimeError) as error:  # LibsndfileError is a RuntimeError
        raise NotSpeechError("cannot be decoded") from error
    if samples.size == 0:
        raise NotSpeechError("empty" if stretch == WHOLE else "nothing in that stretch")
    if not LEAST_RATE_HZ <= rate_hz <= MOST_RATE_HZ:
        raise NotSpeechError(f"a sample rate of {rate_hz} Hz")
    if not (np.isfinite(samples.max()) and np.isfinite(samples.min())):  # either is NaN where any sample is
        raise NotSpeechError("samples that are not finite")
    return samples, rate_hz


def _read_als(path: Path, stretch: Stretch) -> tuple[Samples, int]:
    unsigned = np.frombuffer(path.read_bytes(), np.uint8)[_frames(stretch, rate_hz=ALS_RATE_HZ)]
    return (unsigned.astype(np.float32) - 128.0) / 128.0, ALS_RATE_HZ


def _read(path: Path, stretch: Stretch) -> tuple[Samples, int]:
    """(num_samples,) and the rate in Hz."""
    import soundfile

    headerless = {"format": "RAW", "subtype": "GSM610", "samplerate": SAMPLE_RATE_HZ, "channels": 1}
    with soundfile.SoundFile(path, **headerless if path.suffix.lower() == ".gsm" else {}) as file:
        if stretch.channel is not None and stretch.channel >= file.channels:
            raise NotSpeechError(f"has {file.channels} channels, not {stretch.channel + 1}")
        wanted = _frames(stretch, rate_hz=file.samplerate)
        if wanted.start:
            file.seek(min(wanted.start, file.frames))
        left = sys.maxsize if wanted.stop is None else wanted.stop - wanted.start
        mono = deque[Samples]()
        while left > 0:
            block = file.read(min(left, _BLOCK_VALUES // file.channels), dtype="float32", always_2d=True)
            if len(block) == 0:
                break
            left -= len(block)
            mono.append(_mono(block, channel=stretch.channel))
        return _joined(mono), int(file.samplerate)


def _joined(blocks: deque[Samples]) -> Samples:
    """One after another; each is let go as it is copied, so that no file is in memory twice."""
    samples = np.empty(sum(map(len, blocks)), np.float32)
    place = 0
    while blocks:
        block = blocks.popleft()
        samples[place : place + len(block)] = block
        place += len(block)
    return samples


def _mono(block: Samples, *, channel: int | None) -> Samples:
    if channel is not None:
        return block[:, channel]
    return block[:, 0] if block.shape[1] == 1 else block.mean(axis=1, dtype=np.float32)


def _frames(stretch: Stretch, *, rate_hz: int) -> slice:
    end = None if stretch.end_s is None else round(min(stretch.end_s, _LONGEST_S) * rate_hz)
    return slice(round(min(stretch.start_s, _LONGEST_S) * rate_hz), end)


def clean(samples: Samples, *, rate_hz: int, cut: Callable[[Samples], Samples] = lambda speech: speech) -> Samples:
    """Brings decoded speech to the common shape.

    Args:
        samples: (num_samples,), not empty, finite.
        rate_hz: their rate.
        cut: leaves out, at 8 kHz, what is no speech.

    Returns:
        (num_samples,) at 8 kHz, below 3.4 kHz, trimmed, at the common level, within [-1, 1].

    Raises:
        NotSpeechError: silent, less than 0.15 s active, or half of the active frames have 98 % of their energy in one
            tone.
    """
    speech = trim(cut(to_telephone_band(samples, rate_hz=rate_hz)))
    rms = frame_rms(speech)
    active = active_frames(rms)
    if active.sum() * FRAME < _MINIMUM_ACTIVE_S * SAMPLE_RATE_HZ:
        raise NotSpeechError("too short")
    if tonal_share(speech, active=active) > _TONAL_SHARE:
        raise NotSpeechError("a tone")
    return level(speech, active_rms=math.sqrt(np.square(rms[active]).mean()))


def to_telephone_band(samples: Samples, *, rate_hz: int) -> Samples:
    """Resamples to 8 kHz and removes everything above 3.4 kHz, and the mean.

    What is longer than two minutes is done in pieces of a minute, each with a second of what is around it, so that
    memory does not grow with length.

    Args:
        samples: (num_samples,) at rate_hz.
        rate_hz: any rate above 6.8 kHz; a lower one simply has less band.

    Returns:
        (round(num_samples · 8000 / rate_hz),)
    """
    if samples.size <= _AT_ONCE_S * rate_hz:
        return _to_telephone_band(samples, rate_hz=rate_hz)
    pieces: list[Samples] = []
    for start_s in range(0, math.ceil(samples.size / rate_hz), _PIECE_S):
        margin_s = min(_MARGIN_S, start_s)
        around = samples[(start_s - margin_s) * rate_hz : (start_s + _PIECE_S + _MARGIN_S) * rate_hz]
        piece = _to_telephone_band(around, rate_hz=rate_hz)
        pieces.append(piece[margin_s * SAMPLE_RATE_HZ :][: _PIECE_S * SAMPLE_RATE_HZ])
    return np.concatenate(pieces)


def _to_telephone_band(samples: Samples, *, rate_hz: int) -> Samples:
    divisor = math.gcd(rate_hz, SAMPLE_RATE_HZ)
    step_in, step_out = rate_hz // divisor, SAMPLE_RATE_HZ // divisor
    # Zeros of at least 20 ms at the end keep what wraps around away from the speech.
    num_steps = _fast_length(math.ceil((samples.size + rate_hz // 50) / step_in))
    num_in, num_out = num_steps * step_in, num_steps * step_out
    spectrum = np.fft.rfft(samples - samples.mean(), num_in)[: num_out // 2 + 1]
    spectrum *= _low_pass(np.arange(spectrum.size) * (rate_hz / num_in))
    kept = round(samples.size * SAMPLE_RATE_HZ / rate_hz)
    return (np.fft.irfft(spectrum, num_out)[:kept] * (num_out / num_in)).astype(np.float32)


def _low_pass(frequency_hz: npt.NDArray[np.floating]) -> Samples:
    phase = np.clip((frequency_hz - PASS_HZ) / (STOP_HZ - PASS_HZ), 0.0, 1.0)
    gain: Samples = (0.5 + 0.5 * np.cos(np.pi * phase)).astype(np.float32)
    return gain


def _fast_length(minimum: int) -> int:
    """The next number whose only prime factors are 2, 3 and 5, which the FFT likes."""
    best = 1 << (minimum - 1).bit_length()
    for fives in (1, 5, 25, 125):
        for threes in (1, 3, 9, 27):
            rest = -(-minimum // (fives * threes))
            best = min(best, fives * threes << (rest - 1).bit_length())
    return best


def frame_rms(samples: Samples) -> npt.NDArray[np.float64]:
    """RMS of each 20 ms frame, the last incomplete one left out: (num_samples // 160,)."""
    frames = samples[: samples.size // FRAME * FRAME].reshape(-1, FRAME)
    rms: npt.NDArray[np.float64] = np.sqrt(np.einsum("tn,tn->t", frames, frames).astype(np.float64) / FRAME)
    return rms


def active_frames(rms: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Which frames hold sound: within 35 dB of the loud ones (the 95th percentile) and above -70 dB re full scale."""
    loud = np.percentile(rms, 95) if rms.size else 0.0
    return rms > max(loud * 10 ** (_ACTIVE_DB / 20), _SILENT_RMS)


def trim(samples: Samples) -> Samples:
    """Cuts what precedes the first and follows the last active frame, but for 60 ms.

    Raises:
        NotSpeechError: no frame is active.
    """
    active = np.flatnonzero(active_frames(frame_rms(samples)))
    if active.size == 0:
        raise NotSpeechError("silent")
    start = max(0, int(active[0]) - _MARGIN_FRAMES) * FRAME
    return samples[start : (int(active[-1]) + 1 + _MARGIN_FRAMES) * FRAME]


def tonal_share(samples: Samples, *, active: npt.NDArray[np.bool_]) -> float:
    """Median over active frames of the share of energy within 100 Hz of the strongest component above 300 Hz.

    A beep has 0.999 and more, the most sonorous prompts 0.97. Components below 300 Hz count only in the total: a hum
    under speech, or the voice of a nasal, is no tone.
    """
    frames = samples[: active.size * FRAME].reshape(-1, FRAME)[active]
    power = np.square(np.abs(np.fft.rfft(frames * np.hanning(FRAME), axis=1)))  # (num_active, 81), 50 Hz a bin
    peak = 6 + power[:, 6:-2].argmax(axis=1)
    near = np.take_along_axis(power, peak[:, None] + np.arange(-2, 3), axis=1).sum(axis=1)
    return float(np.median(near / np.maximum(power.sum(axis=1), 1e-12)))


def level(samples: Samples, *, active_rms: float) -> Samples:
    """Scales to -26 dB re full scale, given the RMS over active frames; less where a peak would clip."""
    peak = max(float(samples.max()), -float(samples.min()))
    return samples * np.float32(min(10 ** (LEVEL_DB / 20) / active_rms, PEAK / peak))
