"""Pooling: from a sequence of states to one embedding an utterance. Padding never enters.

Shape legend: B utterances, S steps, H values a state, E embedding size.
"""

from typing import NamedTuple, assert_never

import torch
from torch import Tensor, nn

from lightning_modules.attention import AdditiveAttention
from lightning_modules.config import PoolingConfig
from lightning_modules.encoders.recurrent import length_mask

VARIANCE_FLOOR = 1e-5


class Pooled(NamedTuple):
    """An embedding (B, E) and, where attention made it, its weights (B, S), which sum to 1 over the steps."""

    embedding: Tensor
    weights: Tensor | None


class Pooling(nn.Module):
    """(B, S, H) states and (B,) steps -> (B, E)."""

    def __init__(self, config: PoolingConfig, *, input_size: int, bidirectional: bool) -> None:
        super().__init__()
        self.kind = config.kind
        self.bidirectional = bidirectional
        self.output_size = 2 * input_size if config.kind == "statistics" else input_size
        self.attention = AdditiveAttention(input_size) if config.kind == "attention" else None
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, h_BSH: Tensor, steps_B: Tensor) -> Pooled:
        """Pools the steps of each utterance.

        Args:
            h_BSH: states.
            steps_B: number of steps of each utterance, at least 1.
        """
        mask_BS = length_mask(steps_B, h_BSH.shape[1])
        weights_BS: Tensor | None = None
        match self.kind:
            case "last":
                embedding = last_state(h_BSH, steps_B, bidirectional=self.bidirectional)
            case "mean":
                embedding = masked_mean(h_BSH, mask_BS)
            case "max":
                embedding = h_BSH.masked_fill(~mask_BS.unsqueeze(-1), -torch.inf).amax(dim=1)
            case "statistics":
                mean_BH = masked_mean(h_BSH, mask_BS)
                variance_BH = masked_mean((h_BSH - mean_BH.unsqueeze(1)).square(), mask_BS)
                embedding = torch.cat([mean_BH, (variance_BH + VARIANCE_FLOOR).sqrt()], dim=-1)
            case "attention":
                assert self.attention is not None
                weights_BS = self.attention(h_BSH, mask_BS)
                embedding = torch.einsum("bs,bsh->bh", weights_BS, h_BSH)
            case _:
                assert_never(self.kind)
        return Pooled(self.dropout(embedding), weights_BS)


def masked_mean(h_BSH: Tensor, mask_BS: Tensor) -> Tensor:
    """Mean over each utterance's own steps: (B, S, H) -> (B, H)."""
    weights_BS1 = mask_BS.unsqueeze(-1).to(h_BSH.dtype)
    return (h_BSH * weights_BS1).sum(dim=1) / weights_BS1.sum(dim=1)


def last_state(h_BSH: Tensor, steps_B: Tensor, *, bidirectional: bool) -> Tensor:
    """What each direction knew when it had read the whole utterance: (B, S, H) -> (B, H).

    That is the last step of the forward half and the first step of the backward half.
    """
    last_BH = h_BSH[torch.arange(len(h_BSH), device=h_BSH.device), steps_B - 1]
    if not bidirectional:
        return last_BH
    half = h_BSH.shape[-1] // 2
    return torch.cat([last_BH[:, :half], h_BSH[:, 0, half:]], dim=-1)
