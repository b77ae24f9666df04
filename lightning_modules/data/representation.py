"""What networks see: filterbank energies or cepstra, their slopes over time, and sliding normalisation.

All of it is made of normalised log-mel energies, batch by batch: the store is the same for all, training is augmented
where speech is varied best, over bands, and a study can search them.

Shape legend: T frames, D bands, C coefficients, V values. Functions take any number of dimensions before these.
"""

import math
from typing import assert_never

import torch
from torch import Tensor

from lightning_modules.config import DeltasConfig, FeaturesConfig, NoDeltasConfig, ShiftedDeltasConfig

VARIANCE_FLOOR = 1e-4
"""Added to variances, so that what does not change becomes zero."""


def represent(x_TD: Tensor, config: FeaturesConfig) -> Tensor:
    """Normalised log-mel energies, with pitch behind them if configured, without padding (…, T, D) -> (…, T, V)."""
    if config.cepstra:
        num_bands = x_TD.shape[-1] - config.pitch_size
        bands_TD, pitch_TD = x_TD[..., :num_bands], x_TD[..., num_bands:]
        x_TD = torch.cat([standardise(cepstra(bands_TD, config.cepstra)), pitch_TD], dim=-1)
    if config.normalisation == "sliding":
        x_TD = sliding(x_TD, window=max(2, round(config.sliding_s * config.frames_per_s)))
    match config.dynamics:
        case NoDeltasConfig():
            return x_TD
        case DeltasConfig(order=order, window=window):
            return with_deltas(x_TD, order=order, window=window)
        case ShiftedDeltasConfig(spread=spread, shift=shift, blocks=blocks):
            return torch.cat([x_TD, shifted_deltas(x_TD, spread=spread, shift=shift, blocks=blocks)], dim=-1)
        case _:
            assert_never(config.dynamics)


def cepstra(x_TD: Tensor, num_coefficients: int) -> Tensor:
    """The first coefficients, from c0 on, of an orthonormal cosine transform (type II) over bands: (…, T, C).

    Kaldi's MFCC before liftering (`--use-energy=false --cepstral-lifter=0`); Davis & Mermelstein, 1980.
    """
    num_bands = x_TD.shape[-1]
    bands_D = (torch.arange(num_bands, device=x_TD.device) + 0.5) * (math.pi / num_bands)
    basis_DC = torch.cos(bands_D.unsqueeze(1) * torch.arange(num_coefficients, device=x_TD.device))
    basis_DC *= math.sqrt(2.0 / num_bands)
    basis_DC[:, 0] *= math.sqrt(0.5)
    return x_TD @ basis_DC.to(x_TD.dtype)


def standardise(x_TV: Tensor) -> Tensor:
    """Zero mean and unit variance of each value over time."""
    x_TV = x_TV - x_TV.mean(dim=-2, keepdim=True)
    return x_TV * (x_TV.square().mean(dim=-2, keepdim=True) + VARIANCE_FLOOR).rsqrt()


def sliding(x_TV: Tensor, *, window: int) -> Tensor:
    """Zero mean and unit variance of each value over the `window` frames around each; at the ends, the first or last.

    Kaldi's apply-cmvn-sliding with `--center=true --norm-vars=true`.
    """
    num_frames = x_TV.shape[-2]
    width = min(window, num_frames)
    starts_T = (torch.arange(num_frames, device=x_TV.device) - window // 2).clamp(min=0, max=num_frames - width)
    sums = _sums_over(x_TV.double(), starts_T, width=width), _sums_over(x_TV.double().square(), starts_T, width=width)
    mean_TV, square_TV = (each / width for each in sums)
    variance_TV = (square_TV - mean_TV.square()).clamp(min=0.0)
    return ((x_TV - mean_TV) * (variance_TV + VARIANCE_FLOOR).rsqrt()).to(x_TV.dtype)


def with_deltas(x_TV: Tensor, *, order: int, window: int) -> Tensor:
    """Values, their slopes by regression over 2 `window` + 1 frames, and slopes of slopes: (…, T, (1 + order) V)."""
    from torchaudio.functional import compute_deltas

    parts = [x_TV]
    for _ in range(order):
        parts.append(compute_deltas(parts[-1].transpose(-1, -2), win_length=2 * window + 1).transpose(-1, -2))
    return torch.cat(parts, dim=-1)


def shifted_deltas(x_TV: Tensor, *, spread: int, shift: int, blocks: int) -> Tensor:
    """Block i of frame t is c(t + i shift + spread) - c(t + i shift - spread), ends repeated: (…, T, blocks V)."""
    num_frames = x_TV.shape[-2]
    frames_T = torch.arange(num_frames, device=x_TV.device)
    return torch.cat(
        [
            x_TV.index_select(-2, (frames_T + block * shift + spread).clamp(max=num_frames - 1))
            - x_TV.index_select(-2, (frames_T + block * shift - spread).clamp(min=0, max=num_frames - 1))
            for block in range(blocks)
        ],
        dim=-1,
    )


def _sums_over(x_TV: Tensor, starts_T: Tensor, *, width: int) -> Tensor:
    """Sums over the `width` frames from each start on."""
    total = torch.nn.functional.pad(x_TV.cumsum(dim=-2), (0, 0, 1, 0))
    return total.index_select(-2, starts_T + width) - total.index_select(-2, starts_T)
