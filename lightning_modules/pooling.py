"""Pooling: from a sequence of states to one embedding an utterance. Padding never enters.

Shape legend: B utterances, S steps, H values a state, A attention heads, E embedding size.
"""

from typing import Any, Final, NamedTuple, assert_never

import torch
from torch import Tensor, nn

from lightning_modules.attention import Attention
from lightning_modules.config import (
    AttentionPoolingConfig,
    AttentiveStatisticsPoolingConfig,
    LastPoolingConfig,
    MaxPoolingConfig,
    MeanPoolingConfig,
    MultiHeadPoolingConfig,
    PoolingConfig,
    StatisticsPoolingConfig,
)
from lightning_modules.encoders._base import length_mask

ADDED_VARIANCE: Final = 1e-5
"""So that the deviation of a constant has a gradient."""


class Pooled(NamedTuple):
    """An embedding and, where attention made it, its weights.

    Attributes:
        embedding: (B, E).
        weights: (B, A, S), which sum to 1 over the steps.
    """

    embedding: Tensor
    weights: Tensor | None = None


class Pooling(nn.Module):
    """(B, S, H) states and (B,) steps -> (B, E)."""

    def __init__(self, config: PoolingConfig, *, input_size: int, bidirectional: bool) -> None:
        super().__init__()
        self.bidirectional = bidirectional
        has_deviation = isinstance(config, StatisticsPoolingConfig | AttentiveStatisticsPoolingConfig)
        self.output_size = 2 * input_size if has_deviation else input_size
        self.config = config
        self.attention = _attention(config, input_size=input_size)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, h_BSH: Tensor, steps_B: Tensor) -> Pooled:
        """Pools the steps of each utterance.

        Args:
            h_BSH: states.
            steps_B: number of steps of each utterance, at least 1.
        """
        embedding, weights = self._pool(h_BSH, steps_B)
        return Pooled(self.dropout(embedding), weights)

    def _pool(self, h_BSH: Tensor, steps_B: Tensor) -> Pooled:
        match self.config:
            case LastPoolingConfig():
                return Pooled(last_state(h_BSH, steps_B, bidirectional=self.bidirectional))
            case MeanPoolingConfig():
                return Pooled(masked_mean(h_BSH, length_mask(steps_B, h_BSH.shape[1])))
            case MaxPoolingConfig():
                past_end_BS1 = ~length_mask(steps_B, h_BSH.shape[1]).unsqueeze(-1)
                return Pooled(h_BSH.masked_fill(past_end_BS1, -torch.inf).amax(dim=1))
            case StatisticsPoolingConfig():
                return Pooled(_statistics(h_BSH, steps_B))
            case AttentionPoolingConfig():
                return self._attended(h_BSH, steps_B)
            case MultiHeadPoolingConfig() | AttentiveStatisticsPoolingConfig():
                pooled: Pooled = self.attention(h_BSH, steps_B)
                return pooled
            case _:
                assert_never(self.config)

    def _attended(self, h_BSH: Tensor, steps_B: Tensor) -> Pooled:
        """Additive attention asks nothing of the utterance; the others ask with its last state."""
        query_BH = None
        if self.attention.score != "additive":
            query_BH = last_state(h_BSH, steps_B, bidirectional=self.bidirectional)
        weights_BS = self.attention(h_BSH, length_mask(steps_B, h_BSH.shape[1]), query_BH)
        return Pooled(torch.einsum("bs,bsh->bh", weights_BS, h_BSH), weights_BS.unsqueeze(1))


def _attention(config: PoolingConfig, *, input_size: int) -> Any:
    """What weighs the steps, if anything does."""
    match config:
        case AttentionPoolingConfig(score=score):
            return Attention(score, input_size=input_size, query_size=0 if score == "additive" else input_size)
        case MultiHeadPoolingConfig(num_heads=num_heads):
            return _MultiHead(input_size, num_heads=num_heads)
        case AttentiveStatisticsPoolingConfig(attention_size=attention_size):
            return _AttentiveStatistics(input_size, attention_size=attention_size)
        case _:
            return None


class _MultiHead(nn.Module):
    """Head a weighs its slice of each state: softmax over t of h_ta · u_a / sqrt(d_a) (India et al., 2019)."""

    def __init__(self, input_size: int, *, num_heads: int) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(input_size) / input_size**0.5)
        slices = torch.arange(input_size).tensor_split(num_heads)
        self.member_HA: Tensor
        self.register_buffer("member_HA", torch.zeros(input_size, len(slices)), persistent=False)
        for head, members in enumerate(slices):
            self.member_HA[members, head] = 1.0

    def forward(self, h_BSH: Tensor, steps_B: Tensor) -> Pooled:
        scaled_HA = self.queries.unsqueeze(1) * self.member_HA / self.member_HA.sum(dim=0).sqrt()
        weights_BSA = _softmax(h_BSH @ scaled_HA, steps_B)
        embedding_BH = (h_BSH * (weights_BSA @ self.member_HA.T)).sum(dim=1)
        return Pooled(embedding_BH, weights_BSA.transpose(1, 2))


class _AttentiveStatistics(nn.Module):
    """Channel c's weights: softmax over t of v_c · tanh(W [h_t; mean; deviation] + b) + k_c (Desplanques et al., 2020).

    The weights that come out are the mean over channels.
    """

    def __init__(self, input_size: int, *, attention_size: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(3 * input_size, attention_size)
        self.relevance = nn.Linear(attention_size, input_size)

    def forward(self, h_BSH: Tensor, steps_B: Tensor) -> Pooled:
        context_BE = _statistics(h_BSH, steps_B)
        context_BSE = context_BE.unsqueeze(1).expand(-1, h_BSH.shape[1], -1)
        relevance_BSH = self.relevance(torch.tanh(self.hidden(torch.cat([h_BSH, context_BSE], dim=-1))))
        weights_BSH = _softmax(relevance_BSH, steps_B)
        return Pooled(_moments(h_BSH, weights_BSH), weights_BSH.mean(dim=-1).unsqueeze(1))


def masked_mean(h_BSH: Tensor, mask_BS: Tensor) -> Tensor:
    """Mean over each utterance's own steps: (B, S, H) -> (B, H)."""
    weights_BS1 = mask_BS.unsqueeze(-1).to(_exact(h_BSH))
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


def _statistics(h_BSH: Tensor, steps_B: Tensor) -> Tensor:
    """Mean and standard deviation over each utterance's own steps: (B, 2 H)."""
    mask_BS1 = length_mask(steps_B, h_BSH.shape[1]).unsqueeze(-1).to(_exact(h_BSH))
    return _moments(h_BSH, mask_BS1 / mask_BS1.sum(dim=1, keepdim=True))


def _moments(h_BSH: Tensor, weights_BSH: Tensor) -> Tensor:
    """Mean and standard deviation under weights that sum to 1 over the steps: (B, 2 H)."""
    mean_BH = (h_BSH * weights_BSH).sum(dim=1)
    variance_BH = ((h_BSH - mean_BH.unsqueeze(1)).square() * weights_BSH).sum(dim=1)
    return torch.cat([mean_BH, (variance_BH + ADDED_VARIANCE).sqrt()], dim=-1)


def _exact(h_BSH: Tensor) -> torch.dtype:
    """What sums over steps are made in: hundreds of bfloat16 numbers would lose most of their 8 bits."""
    return torch.promote_types(h_BSH.dtype, torch.float32)


def _softmax(relevance_BSH: Tensor, steps_B: Tensor) -> Tensor:
    """Weights over each utterance's own steps, 0 elsewhere."""
    past_end_BS = ~length_mask(steps_B, relevance_BSH.shape[1])
    return relevance_BSH.masked_fill(past_end_BS.unsqueeze(-1), -torch.inf).softmax(dim=1)
