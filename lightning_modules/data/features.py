"""Log-mel filterbank energies of 8 kHz speech, and their normalisation; `representation.py` makes the rest of them.

The store holds them as they are; `normalise` takes the mean and the variance out per utterance, after recordings were
joined, so that a channel's fixed colour goes and the contrast between recordings within an utterance stays.
"""

import math
from pathlib import Path
from typing import Final, Protocol, assert_never

import numpy as np
import numpy.typing as npt

from lightning_modules.config import FeaturesConfig
from lightning_modules.data.pitch import pitch

Frames = npt.NDArray[np.float32]

FLOOR: Final = 1e-5
"""Energy added before the logarithm: about 11 nepers (47 dB) below speech at -26 dB re full scale, and above the noise
of 16 bits, so that digital silence and the noise of an old codec come out much alike."""

FULL_SCALE: Final = np.float32(32768.0)
"""What a sample of 1 is in 16 bits, as Kaldi takes it."""
_SMALLEST_SD: Final = 1e-2  # nepers; a band that varies less is constant but for rounding


class Filterbank(Protocol):
    """What turns samples into frames."""

    def num_frames(self, num_samples: int) -> int:
        """Frames of a recording of so many samples."""

    def __call__(self, samples: npt.NDArray[np.float32]) -> Frames:
        """From (num_samples,) to (num_frames, values a frame)."""


def filterbank(config: FeaturesConfig, *, models: Path) -> Filterbank:
    """The configured one.

    Args:
        config: which.
        models: the folder that pretrained networks lie in.

    Raises:
        ConfigError: there is no such network, or it cannot be used.
    """
    match config.kind:
        case "log_mel":
            return WithPitch(LogMel(config), config) if config.pitch else LogMel(config)
        case "kaldi":
            return WithPitch(KaldiFilterbank(config), config) if config.pitch else KaldiFilterbank(config)
        case "self_supervised":
            from lightning_modules.data.self_supervised import SelfSupervised

            return SelfSupervised(config, models)
        case _:
            assert_never(config.kind)


class WithPitch:
    """Bands of another, and behind them what `pitch.py` says of the same frames."""

    def __init__(self, bands: "LogMel | KaldiFilterbank", config: FeaturesConfig) -> None:
        self._bands, self._rate_hz = bands, config.sample_rate_hz

    def num_frames(self, num_samples: int) -> int:
        """Frames of a recording of so many samples."""
        return self._bands.num_frames(num_samples)

    def __call__(self, samples: npt.NDArray[np.float32]) -> Frames:
        """From (num_samples,) to (num_frames, num_bands + 2)."""
        frames = self._bands(samples)
        centres_T = self._bands.first_centre + self._bands.hop * np.arange(len(frames))
        return np.concatenate([frames, pitch(samples, centres_T, sample_rate_hz=self._rate_hz)], axis=1)


class KaldiFilterbank:
    """Computes what Kaldi's compute-fbank-feats does at `--dither=0 --snip-edges=false`, of 16-bit samples."""

    def __init__(self, config: FeaturesConfig) -> None:
        self._config = config
        self.hop = round(config.hop_ms * config.sample_rate_hz / 1000)
        self.first_centre = self.hop // 2

    def num_frames(self, num_samples: int) -> int:
        """Frames of a recording of so many samples."""
        return max(1, (num_samples + self.hop // 2) // self.hop)

    def __call__(self, samples: npt.NDArray[np.float32]) -> Frames:
        """From (num_samples,) to (num_frames, num_bands)."""
        import torch
        from torchaudio.compliance import kaldi

        config = self._config
        shortest = round(config.window_ms * config.sample_rate_hz / 1000)
        padded = np.pad(samples, (0, max(0, shortest - samples.size)))
        with torch.inference_mode():
            frames = kaldi.fbank(
                torch.from_numpy(padded * FULL_SCALE).unsqueeze(0),
                sample_frequency=config.sample_rate_hz,
                frame_length=config.window_ms,
                frame_shift=config.hop_ms,
                num_mel_bins=config.num_bands,
                low_freq=config.low_hz,
                high_freq=config.high_hz,
                dither=0.0,
                snip_edges=False,
            )
            energies: Frames = frames[: self.num_frames(samples.size)].numpy()
        return energies


class LogMel:
    """Computes (T, num_bands) log-mel energies in nepers: one frame each `hop_ms`, the windows centred on them."""

    def __init__(self, config: FeaturesConfig) -> None:
        import torchaudio

        window = round(config.window_ms * config.sample_rate_hz / 1000)
        self.hop = round(config.hop_ms * config.sample_rate_hz / 1000)
        self.first_centre = 0
        self._mel = torchaudio.transforms.MelSpectrogram(
            sample_rate=config.sample_rate_hz,
            n_fft=max(256, 1 << math.ceil(math.log2(window))),
            win_length=window,
            hop_length=self.hop,
            f_min=config.low_hz,
            f_max=config.high_hz,
            n_mels=config.num_bands,
            power=2.0,
            center=True,
            pad_mode="constant",  # recordings may be shorter than a window, which "reflect" refuses
        )

    def num_frames(self, num_samples: int) -> int:
        """Frames of a recording of so many samples."""
        return 1 + num_samples // self.hop

    def __call__(self, samples: npt.NDArray[np.float32]) -> Frames:
        """From (num_samples,) to (1 + num_samples // hop, num_bands)."""
        import torch

        with torch.inference_mode():
            energies = self._mel(torch.from_numpy(samples))
            frames: Frames = torch.log(energies + FLOOR).T.contiguous().numpy()
        return frames


def normalise(frames: npt.NDArray[np.floating]) -> Frames:
    """Takes each band's mean over time out and divides by its standard deviation.

    Args:
        frames: (T, F) of any float type.

    Returns:
        (T, F) float32; a band that never changes is all zero.
    """
    values = frames.astype(np.float32)
    if len(values) == 0:
        return values
    values -= values.mean(axis=0, dtype=np.float64).astype(np.float32)
    deviation = np.sqrt(np.square(values).mean(axis=0, dtype=np.float64)).astype(np.float32)
    constant = deviation < _SMALLEST_SD
    values[:, constant] = 0.0
    values /= np.where(constant, np.float32(1.0), deviation)
    return values
