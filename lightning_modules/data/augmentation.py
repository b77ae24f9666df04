"""Feature-domain augmentation of training segments.

Each recording of a small corpus carries its announcer, room and codec; a model that may learn those never learns the
language. The first four change the speech before it is normalised, the offsets stand for what normalisation leaves of
a channel, and the masks (SpecAugment, Park et al., 2019) make the model listen to more than one band or moment.

Bands come first; what stands behind them, the pitch, shares their time, and nothing else is done to it.

Shape legend: B segments, T frames, D bands and what stands behind them.
"""

import torch
from torch import Tensor, nn

from lightning_modules.config import AugmentationConfig

NOISE_FLOOR_NEPERS = -4.0
NUM_SHAPES = 4  # a channel is drawn as a sum of this many cosines over the bands: smooth, as real channels are


def augment(
    x_BTD: Tensor, config: AugmentationConfig, *, num_frames: int, generator: torch.Generator, num_behind: int = 0
) -> Tensor:
    """Log-mel segments, as recorded -> normalised and augmented segments of `num_frames` frames.

    Args:
        x_BTD: (B, T, D), with as many frames as `raw_frames_needed` says.
        config: how strongly.
        num_frames: of what comes out.
        generator: of all chance.
        num_behind: values behind the bands.
    """
    x_BTD = vary_speech(x_BTD, config, num_frames=num_frames, generator=generator, num_behind=num_behind)
    return vary_channel(normalise_segments(x_BTD), config, generator=generator, num_behind=num_behind)


def vary_speech(
    x_BTD: Tensor, config: AugmentationConfig, *, num_frames: int, generator: torch.Generator, num_behind: int = 0
) -> Tensor:
    """What is done before normalisation: speed, vocal tract and noise; (B, T, D) -> (B, num_frames, D)."""
    x_BTD = resample(x_BTD, config, num_frames=num_frames, generator=generator, num_behind=num_behind)
    if config.noise == 0:
        return x_BTD
    bands_BTD, behind_BTD = _apart(x_BTD, num_behind)
    return torch.cat([add_noise(bands_BTD, config, generator=generator), behind_BTD], dim=2)


def vary_channel(
    x_BTD: Tensor, config: AugmentationConfig, *, generator: torch.Generator, num_behind: int = 0
) -> Tensor:
    """What is done to normalised segments: channel, level and masks."""
    bands_BTD, behind_BTD = _apart(x_BTD, num_behind)
    bands_BTD = bands_BTD + config.band_offset * _smooth_curves(bands_BTD, generator)
    bands_BTD = bands_BTD + config.gain * torch.randn(len(x_BTD), 1, 1, generator=generator)
    x_BTD, longest = torch.cat([bands_BTD, behind_BTD], dim=2), max(1, x_BTD.shape[1] // 10)
    x_BTD = _mask(x_BTD, dim=1, count=config.time_masks, longest=longest, generator=generator)
    bands_BTD, behind_BTD = _apart(x_BTD, num_behind)
    longest = max(1, bands_BTD.shape[2] // 6)
    bands_BTD = _mask(bands_BTD, dim=2, count=config.band_masks, longest=longest, generator=generator)
    return torch.cat([bands_BTD, behind_BTD], dim=2)


def _apart(x_BTD: Tensor, num_behind: int) -> tuple[Tensor, Tensor]:
    """Bands, and what stands behind them."""
    num_bands = x_BTD.shape[2] - num_behind
    return x_BTD[:, :, :num_bands], x_BTD[:, :, num_bands:]


def normalise_segments(x_BTD: Tensor) -> Tensor:
    """Zero mean and unit variance a band over each segment's frames."""
    x_BTD = x_BTD - x_BTD.mean(dim=1, keepdim=True)
    return x_BTD / (x_BTD.square().mean(dim=1, keepdim=True) + 1e-4).sqrt()


def resample(
    x_BTD: Tensor, config: AugmentationConfig, *, num_frames: int, generator: torch.Generator, num_behind: int = 0
) -> Tensor:
    """Speed and frequency warp in one bilinear interpolation: (B, T, D) -> (B, num_frames, D)."""
    bands_BTD, behind_BTD = _apart(x_BTD, num_behind)
    speed_B = 1.0 + config.speed * _uniform(len(x_BTD), generator)
    warp_B = 1.0 + config.warp * _uniform(len(x_BTD), generator)
    frames_BT = torch.arange(num_frames) * speed_B.unsqueeze(1)
    bands_BTD = _sampled(bands_BTD, frames_BT, torch.arange(bands_BTD.shape[2]) * warp_B.unsqueeze(1))
    if not num_behind:
        return bands_BTD
    places_BD = torch.arange(num_behind).expand(len(x_BTD), -1)
    return torch.cat([bands_BTD, _sampled(behind_BTD, frames_BT, places_BD)], dim=2)


def _sampled(x_BTD: Tensor, frames_BT: Tensor, bands_BD: Tensor) -> Tensor:
    """Values at places between frames and bands; past the edges, those of the edges."""
    num_segments, num_raw_frames, num_bands = x_BTD.shape
    shape = (num_segments, frames_BT.shape[1], num_bands)
    bands_BTD = (2 * bands_BD / max(1, num_bands - 1) - 1).unsqueeze(1).expand(shape)
    frames_BTD = (2 * frames_BT / max(1, num_raw_frames - 1) - 1).unsqueeze(2).expand(shape)
    grid_BTD2 = torch.stack([bands_BTD, frames_BTD], dim=-1)
    sampled = nn.functional.grid_sample(x_BTD.unsqueeze(1), grid_BTD2, padding_mode="border", align_corners=True)
    return sampled.squeeze(1)


def raw_frames_needed(num_frames: int, config: AugmentationConfig) -> int:
    """Frames to draw so that the fastest speed still fills a segment."""
    return int(num_frames * (1.0 + config.speed)) + 1


def add_noise(x_BTD: Tensor, config: AugmentationConfig, *, generator: torch.Generator) -> Tensor:
    """Adds stationary noise of a random smooth colour, in the energy domain."""
    num_segments = len(x_BTD)
    level_B = NOISE_FLOOR_NEPERS + config.noise * torch.rand(num_segments, generator=generator)
    level_B11 = x_BTD.mean(dim=(1, 2)).add(level_B).view(-1, 1, 1)
    flutter_BTD = 0.3 * torch.randn(x_BTD.shape, generator=generator)
    return torch.logaddexp(x_BTD, level_B11 + _smooth_curves(x_BTD, generator) + flutter_BTD)


def _uniform(count: int, generator: torch.Generator) -> Tensor:
    return 2 * torch.rand(count, generator=generator) - 1


def _smooth_curves(x_BTD: Tensor, generator: torch.Generator) -> Tensor:
    """(B, 1, D) random smooth curves over the bands, of about unit variance."""
    num_segments, _, num_bands = x_BTD.shape
    phases_KD = torch.arange(1, NUM_SHAPES + 1).unsqueeze(1) * torch.linspace(0, torch.pi, num_bands)
    weights_BK = torch.randn(num_segments, NUM_SHAPES, generator=generator) * (2 / NUM_SHAPES) ** 0.5
    curves_BD: Tensor = weights_BK @ phases_KD.cos()
    return curves_BD.unsqueeze(1)


def _mask(x_BTD: Tensor, *, dim: int, count: int, longest: int, generator: torch.Generator) -> Tensor:
    """Sets `count` random stretches along a dimension to 0, the mean of normalised features."""
    size = x_BTD.shape[dim]
    positions = torch.arange(size)
    keep = torch.ones(len(x_BTD), size, dtype=torch.bool)
    for _ in range(count):
        widths_B1 = torch.randint(0, longest + 1, (len(x_BTD), 1), generator=generator)
        starts_B1 = (torch.rand(len(x_BTD), 1, generator=generator) * (size - widths_B1 + 1)).long()
        keep &= (positions < starts_B1) | (positions >= starts_B1 + widths_B1)
    return x_BTD * (keep.unsqueeze(2) if dim == 1 else keep.unsqueeze(1))
