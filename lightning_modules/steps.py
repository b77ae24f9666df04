"""Means over the steps of recordings.

Shape legend: B recordings, S steps.
"""

from torch import Tensor

from lightning_modules.encoders import length_mask


def mean_over_steps(values_BS: Tensor, steps_B: Tensor) -> Tensor:
    """The mean over recordings of each one's mean over its own steps.

    So a long recording counts as much as a short one, and the losses of a batch's parts add up to that of the whole.
    """
    mask_BS = length_mask(steps_B, values_BS.shape[1])
    return (values_BS.masked_fill(~mask_BS, 0.0).sum(dim=1) / steps_B).mean()
