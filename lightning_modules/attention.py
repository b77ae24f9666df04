"""Attention over the steps of an utterance.

Shape legend: B utterances, S steps, H values a state.
"""

import torch
from torch import Tensor, nn


class AdditiveAttention(nn.Module):
    """u_t = tanh(W h_t + b), a_t = softmax(u_t · u_l), as in Padi et al. (ICASSP 2019) and Yang et al. (2016)."""

    def __init__(self, input_size: int) -> None:
        super().__init__()
        self.projection = nn.Linear(input_size, input_size)
        self.context = nn.Parameter(torch.randn(input_size) / input_size**0.5)

    def forward(self, h_BSH: Tensor, mask_BS: Tensor) -> Tensor:
        """Weights (B, S) that sum to 1 over the steps where the mask is True and are 0 elsewhere."""
        relevance_BS = torch.tanh(self.projection(h_BSH)) @ self.context
        return relevance_BS.masked_fill(~mask_BS, -torch.inf).softmax(dim=1)
