"""What another room, telephone, speaker or surrounding would have made of a recording.

All functions take mono speech at 8 kHz, (num_samples,) float32 in [-1, 1], and give back the same shape of thing; all
chance comes from a generator that is passed in.
"""

import io
from typing import Final, Literal, NamedTuple

import numpy as np

from lightning_modules.data.audio import FRAME, SAMPLE_RATE_HZ, Samples, active_frames, frame_rms, to_telephone_band
from lightning_modules.data.noises import unit_power

Part = Literal["all", "first_half"]

SPEED_OF_SOUND_M_S: Final = 343.0


class Codec(NamedTuple):
    """A codec as libsndfile names it: container, subtype, and a level from 0 (best) to 1 where it has one."""

    container: str
    subtype: str
    level: float | None = None


CODECS: Final[tuple[Codec, ...]] = (
    Codec("WAV", "GSM610"),
    Codec("WAV", "ULAW"),
    Codec("WAV", "ALAW"),
    Codec("WAV", "IMA_ADPCM"),
    Codec("AU", "G721_32"),
    Codec("OGG", "OPUS", 0.97),
    Codec("OGG", "VORBIS", 0.9),
    Codec("MP3", "MPEG_LAYER_III", 0.95),
)
"""GSM full rate, G.711 and G.721 of telephones; Opus, Vorbis and MP3 of the internet, at low rates."""
_CODEC_BLOCK: Final = 10 * SAMPLE_RATE_HZ


def mix(speech: Samples, noise: np.ndarray, *, snr_db: float, part: Part = "all") -> Samples:
    """Speech with noise, at a ratio of powers.

    Args:
        speech: (num_samples,).
        noise: (num_samples,) of any level.
        snr_db: ten times the logarithm of the power of active speech (`speech_power`) over that of the noise where
            it is.
        part: where the noise is.
    """
    scale = np.sqrt(speech_power(speech) * 10.0 ** (-snr_db / 10.0))
    end = len(noise) if part == "all" else len(noise) // 2
    mixed = speech.astype(np.float32)
    mixed[:end] += unit_power(noise[:end]) * np.float32(scale)
    return mixed


def speech_power(speech: Samples) -> float:
    """Mean square over active frames of 20 ms, so that pauses do not make a noise louder; over all where none is."""
    rms = frame_rms(speech)
    active = active_frames(rms)
    return float(np.square(rms[active]).mean()) if active.any() else float(np.mean(np.square(speech)))


def reverberate(speech: Samples, *, rt60_s: float, distance_m: float, rng: np.random.Generator) -> Samples:
    """Speech in a room: direct sound and a tail of noise that decays by 60 dB in `rt60_s` (Polack, 1988).

    Args:
        speech: (num_samples,).
        rt60_s: reverberation time.
        distance_m: to the microphone; at one metre direct sound and tail have the same energy, and the ratio falls
            with the square of the distance.
        rng: draws the tail.

    Returns:
        (num_samples,), the direct sound where it was, at the power it had.
    """
    response = room_response(rt60_s=rt60_s, distance_m=distance_m, rng=rng)
    length = 1 << (len(speech) + len(response) - 2).bit_length()
    wet = np.fft.irfft(np.fft.rfft(speech, length) * np.fft.rfft(response, length), length)[: len(speech)]
    return np.asarray(unit_power(wet) * np.sqrt(np.mean(np.square(speech, dtype=np.float64))), dtype=np.float32)


def room_response(*, rt60_s: float, distance_m: float, rng: np.random.Generator) -> Samples:
    """(round(rt60_s · 8000),): a 1 for the direct sound, then the tail, which begins 5 ms later."""
    num_samples = max(2, round(rt60_s * SAMPLE_RATE_HZ))
    time_s = np.arange(num_samples) / SAMPLE_RATE_HZ
    tail = rng.standard_normal(num_samples) * 10.0 ** (-3.0 * time_s / rt60_s)
    tail[: round(0.005 * SAMPLE_RATE_HZ)] = 0.0
    tail *= distance_m / np.sqrt(np.square(tail).sum())
    tail[0] = 1.0
    return tail.astype(np.float32)


def through_codec(speech: Samples, codec: Codec) -> Samples:
    """What a codec gives back: (num_samples,), aligned where the codec adds a delay.

    Raises:
        RuntimeError: this build of libsndfile lacks the codec.
    """
    import soundfile

    buffer = io.BytesIO()
    buffer.name = f"speech.{codec.container.lower()}"
    with soundfile.SoundFile(
        buffer,
        "w",
        samplerate=SAMPLE_RATE_HZ,
        channels=1,
        format=codec.container,
        subtype=codec.subtype,
        compression_level=codec.level,
    ) as file:
        for start in range(0, len(speech), _CODEC_BLOCK):  # libsndfile's Vorbis overflows its stack on minutes at once
            file.write(np.clip(speech[start : start + _CODEC_BLOCK], -1.0, 1.0))
    buffer.seek(0)
    decoded, _ = soundfile.read(buffer, dtype="float32")
    fitted = np.zeros_like(speech)
    fitted[: min(len(speech), len(decoded))] = decoded[: len(speech)]
    return fitted


def limit_band(speech: Samples, *, low_hz: float, high_hz: float) -> Samples:
    """Takes everything out below `low_hz` and above `high_hz`, over an octave's tenth on either side."""
    length = 1 << max(1, len(speech) - 1).bit_length()
    frequency = np.fft.rfftfreq(length, 1.0 / SAMPLE_RATE_HZ)
    gain = _ramp(frequency, low_hz) * (1.0 - _ramp(frequency, high_hz))
    return np.fft.irfft(np.fft.rfft(speech, length) * gain, length)[: len(speech)].astype(np.float32)


def change_speed(speech: Samples, *, factor: float) -> Samples:
    """Faster and higher by a factor, in hundredths, as a tape would be: (round(num_samples / factor),)."""
    return to_telephone_band(speech, rate_hz=round(100 * factor) * SAMPLE_RATE_HZ // 100)


def change_pitch(speech: Samples, *, factor: float) -> Samples:
    """Higher by a factor at the same speed, formants and all: overlap-add of what `change_speed` gives.

    The stretch is WSOLA (Verhelst & Roelands, ICASSP 1993): windows of 40 ms, each moved by up to 10 ms to where it
    best goes on from the last.
    """
    return _stretch(change_speed(speech, factor=factor), num_out=len(speech))


def _stretch(speech: Samples, *, num_out: int) -> Samples:
    window = 2 * FRAME  # 40 ms
    half, search = window // 2, FRAME // 2
    if len(speech) < 2 * window:
        places = np.linspace(0.0, len(speech) - 1.0, num_out)
        return np.interp(places, np.arange(len(speech)), speech).astype(np.float32)
    fade = np.hanning(window + 1)[:window].astype(np.float32)
    padded = np.pad(speech, (search, window + search))
    out = np.zeros(num_out + 2 * window, dtype=np.float32)
    ratio = (len(speech) - window) / max(1, num_out - window)
    previous = 0
    for start in range(0, num_out, half):
        wanted = min(round(start * ratio), len(speech) - window)
        place = _best_place(padded, wanted=wanted, after=previous + half, search=search, length=half) if start else 0
        out[start : start + window] += fade * padded[search + place : search + place + window]
        previous = place
    return out[half : half + num_out] if num_out <= half else np.concatenate([speech[:half], out[half:num_out]])


def _best_place(padded: Samples, *, wanted: int, after: int, search: int, length: int) -> int:
    """Where, within `search` of `wanted`, the speech is most like what followed the last window."""
    natural = padded[search + after : search + after + length]
    if len(natural) < length:
        return wanted
    candidates = np.lib.stride_tricks.sliding_window_view(padded[wanted : wanted + 2 * search + length], length)
    likeness = candidates @ natural / np.sqrt(np.einsum("kn,kn->k", candidates, candidates) + 1e-9)
    return max(0, wanted - search + int(likeness.argmax()))


def _ramp(frequency_hz: np.ndarray, edge_hz: float) -> np.ndarray:
    """0 below an edge, 1 above, a raised cosine of a tenth of it between."""
    if edge_hz <= 0.0:
        return np.ones_like(frequency_hz)
    phase = np.clip((frequency_hz - 0.95 * edge_hz) / (0.1 * edge_hz), 0.0, 1.0)
    return np.asarray(0.5 - 0.5 * np.cos(np.pi * phase))
