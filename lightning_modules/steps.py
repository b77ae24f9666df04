"""Steps of an encoder against frames, and means over steps.

Shape legend: B recordings, T frames, S steps.
"""

import torch
from torch import Tensor

from lightning_modules.encoders import length_mask


def middle_frames(lengths_B: Tensor, *, num_steps: int, frames_per_step: int) -> Tensor:
    """(B, S) each step's middle frame, or the recording's last frame where the step ends later.

    Args:
        lengths_B: frames of each recording.
        num_steps: S.
        frames_per_step: frames from one step's start to the next one's.
    """
    middles_S = torch.arange(num_steps, device=lengths_B.device) * frames_per_step + frames_per_step // 2
    return torch.minimum(middles_S.unsqueeze(0), lengths_B.unsqueeze(1) - 1)


def mean_over_steps(values_BS: Tensor, steps_B: Tensor) -> Tensor:
    """The mean over recordings of each one's mean over its own steps.

    So a long recording counts as much as a short one, and the losses of a batch's parts add up to that of the whole.
    """
    mask_BS = length_mask(steps_B, values_BS.shape[1])
    return (values_BS.masked_fill(~mask_BS, 0.0).sum(dim=1) / steps_B).mean()
