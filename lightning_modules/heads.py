"""Heads: from an embedding to the log-posteriors of the target languages.

Shape legend: B utterances, E embedding size, L languages.
"""

import torch
from torch import Tensor, nn

from lightning_modules.config import HeadConfig, SingleHeadConfig


class Head(nn.Module):
    """(B, E) -> (B, L); where there are two output layers, an utterance's length says which is its own."""

    def __init__(self, config: HeadConfig, *, input_size: int, num_languages: int, frames_per_s: float) -> None:
        super().__init__()
        self.output = nn.Linear(input_size, num_languages)
        self.short: nn.Linear | None = None
        self.border_frames = 0.0
        if not isinstance(config, SingleHeadConfig):
            self.short = nn.Linear(input_size, num_languages)
            self.border_frames = config.border_s * frames_per_s

    def forward(self, embedding_BE: Tensor, lengths_B: Tensor) -> Tensor:
        """Log-posteriors (B, L) of utterances of so many frames."""
        scores_BL: Tensor = self.output(embedding_BE)
        if self.short is not None:
            is_short_B1 = (lengths_B < self.border_frames).unsqueeze(1)
            scores_BL = torch.where(is_short_B1, self.short(embedding_BE), scores_BL)
        return scores_BL.log_softmax(dim=-1)
