"""Windows of padded sequences: which there are, as one batch, and back to a padded sequence of what each one gave.

Shape legend: B sequences, S inputs, N windows of all sequences, W inputs a window, K windows a sequence, F values.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from lightning_modules.encoders._base import length_mask


class Windows(NamedTuple):
    """The windows of all sequences, each sequence's in a row; none are made for padding.

    Attributes:
        inputs: (N, W, F); what lies past a window's size is another's and means nothing.
        sizes: (N,) inputs of each window, at least 1.
        counts: (B,) windows of each sequence, at least 1.
    """

    inputs: Tensor
    sizes: Tensor
    counts: Tensor


def count_windows(steps_B: Tensor, *, window: int, hop: int) -> Tensor:
    """Windows of each sequence: as many as it takes to reach its last input, n = 1 + ceil(max(0, S - window) / hop).

    Args:
        steps_B: inputs of each sequence, at least 1.
        window: inputs a window.
        hop: from one window's start to the next one's, at most a window: so each input is in one, and none starts
            past the end.
    """
    return 1 + torch.div((steps_B - window).clamp(min=0) + hop - 1, hop, rounding_mode="floor")


def cut(x_BSF: Tensor, steps_B: Tensor, *, window: int, hop: int) -> Windows:
    """Windows that start at inputs 0, hop, 2 hop, …; the last one may be shorter than the others.

    Args:
        x_BSF: inputs.
        steps_B: inputs of each sequence, at least 1.
        window: W, but for sequences that are all shorter.
        hop: inputs from one window's start to the next one's.
    """
    num_inputs = x_BSF.shape[1]
    counts_B = count_windows(steps_B, window=window, hop=hop)
    sequence_N, place_N = length_mask(counts_B, int(counts_B.max())).nonzero(as_tuple=True)
    start_N = place_N * hop
    inputs_NW = start_N.unsqueeze(1) + torch.arange(min(window, num_inputs), device=x_BSF.device)
    flat_NW = sequence_N.unsqueeze(1) * num_inputs + inputs_NW.clamp(max=num_inputs - 1)
    # of a flat sequence, since the gradient of index_select is many times faster than that of x[i, j]
    x_NWF = x_BSF.flatten(0, 1).index_select(0, flat_NW.flatten()).view(*flat_NW.shape, -1)
    return Windows(x_NWF, (steps_B[sequence_N] - start_N).clamp(max=window), counts_B)


def joined(h_NH: Tensor, counts_B: Tensor) -> Tensor:
    """A state a window -> (B, K, H), zero past each sequence's last window."""
    mask_BK = length_mask(counts_B, int(counts_B.max()))
    h_BKH = h_NH.new_zeros(*mask_BK.shape, h_NH.shape[-1])
    h_BKH[mask_BK] = h_NH
    return h_BKH
