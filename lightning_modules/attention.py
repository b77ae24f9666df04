"""Attention over the steps of an utterance.

Shape legend: B utterances, S steps, H values a state, Q values of a query.
"""

from typing import assert_never

import torch
from torch import Tensor, nn

from lightning_modules.config import AttentionScore


class Attention(nn.Module):
    """How much each step matters, to a query or, where there is none, in itself.

    additive: u · tanh(W h_t + V q + b), with u and W learned (Bahdanau et al., 2015); without a query it is
    u · tanh(W h_t + b), as in Padi et al. (2019) and Yang et al. (2016). dot: h_t · q. general: h_t · W q (both Luong
    et al., 2015).
    """

    def __init__(self, score: AttentionScore, *, input_size: int, query_size: int = 0) -> None:
        """Makes the weights that the score needs.

        Args:
            score: which.
            input_size: H.
            query_size: Q, which for dot is H; 0 where additive attention has no query.
        """
        super().__init__()
        self.score = score
        self.query: nn.Linear | None = None
        match score:
            case "additive":
                self.projection = nn.Linear(input_size, input_size)
                self.context = nn.Parameter(torch.randn(input_size) / input_size**0.5)
                if query_size:
                    self.query = nn.Linear(query_size, input_size, bias=False)
            case "dot":
                assert query_size == input_size
            case "general":
                self.query = nn.Linear(query_size, input_size, bias=False)
            case _:
                assert_never(score)

    def forward(self, h_BSH: Tensor, mask_BS: Tensor, query_BQ: Tensor | None = None) -> Tensor:
        """Weights (B, S) that sum to 1 over the steps where the mask is True and are 0 elsewhere."""
        asked_BH = query_BQ if self.query is None or query_BQ is None else self.query(query_BQ)
        if self.score == "additive":
            projected_BSH = self.projection(h_BSH)
            if asked_BH is not None:
                projected_BSH = projected_BSH + asked_BH.unsqueeze(1)
            relevance_BS = torch.tanh(projected_BSH) @ self.context
        else:
            assert asked_BH is not None
            relevance_BS = torch.einsum("bsh,bh->bs", h_BSH, asked_BH)
        return relevance_BS.masked_fill(~mask_BS, -torch.inf).softmax(dim=1)
