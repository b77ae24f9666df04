"""What every encoder is: a module from padded frames to padded states, with a tap on its states.

Shape legend: B utterances, T frames, S steps, F values a frame, H values a state, L languages.
"""

from abc import ABC, abstractmethod
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn


class Encoded(NamedTuple):
    """What an encoder makes of utterances.

    Attributes:
        states: (B, S, H), zero past their end.
        steps: (B,) how many steps each utterance has, at least 1.
        log_posteriors: (B, S, L) of an encoder with outputs of its own, which the loss then has to train.
    """

    states: Tensor
    steps: Tensor
    log_posteriors: Tensor | None = None


class Tap(Protocol):
    """Sees states as they are made, and gives what the network goes on with: to watch or to clip their gradients.

    An encoder that has a tap runs step by step, since fused kernels keep the states between steps to themselves.
    """

    def step(self, name: str, t: int, h_BH: Tensor) -> Tensor:
        """One state of a recurrence, which is called `name`, after input `t`.

        Rows are utterances, or windows of them; those that have no input `t` mean nothing, and get no gradient.
        """

    def sequence(self, name: str, h_BSH: Tensor) -> Tensor:
        """All states of a layer that has no recurrence."""


class Encoder(nn.Module, ABC):
    """(B, T, F) frames -> (B, S, H) states.

    Attributes:
        output_size: H.
        bidirectional: whether the second half of each state has read the utterance backwards.
        frames_per_step: frames from one step's start to the next one's.
    """

    output_size: int
    bidirectional: bool = False
    frames_per_step: int = 1

    @abstractmethod
    def forward(
        self, x_BTF: Tensor, lengths_B: Tensor, *, languages_BT: Tensor | None = None, tap: Tap | None = None
    ) -> Encoded:
        """States of padded utterances.

        Args:
            x_BTF: frames; what lies past a length is ignored.
            lengths_B: frames of each utterance, at least 1.
            languages_BT: in training, the true language of each frame, for encoders that are told it.
            tap: sees every state; None lets fused kernels do the work.
        """

    def start_epoch(self, progress: float) -> None:
        """Tells how far training has come: 0 in the first epoch, 1 in the last."""


def length_mask(lengths_B: Tensor, num_frames: int) -> Tensor:
    """(B, T) booleans: True where a frame belongs to its utterance."""
    return torch.arange(num_frames, device=lengths_B.device).unsqueeze(0) < lengths_B.unsqueeze(1)


def stack_frames(x_BTF: Tensor, lengths_B: Tensor, *, frames_per_step: int) -> tuple[Tensor, Tensor]:
    """Joins n neighbouring frames into a step: (B, T, F) -> (B, ceil(T / n), n F); a last one is filled with zeros."""
    num_utterances, num_frames, num_values = x_BTF.shape
    x_BTF = x_BTF.masked_fill(~length_mask(lengths_B, num_frames).unsqueeze(-1), 0.0)
    num_steps = -(-num_frames // frames_per_step)
    x_BTF = nn.functional.pad(x_BTF, (0, 0, 0, num_steps * frames_per_step - num_frames))
    steps_B = torch.div(lengths_B + frames_per_step - 1, frames_per_step, rounding_mode="floor")
    return x_BTF.reshape(num_utterances, num_steps, frames_per_step * num_values), steps_B


def middle_frames(lengths_B: Tensor, *, num_steps: int, frames_per_step: int) -> Tensor:
    """(B, S) each step's middle frame, or the recording's last frame where the step ends later.

    Args:
        lengths_B: frames of each recording.
        num_steps: S.
        frames_per_step: frames from one step's start to the next one's.
    """
    middles_S = torch.arange(num_steps, device=lengths_B.device) * frames_per_step + frames_per_step // 2
    return torch.minimum(middles_S.unsqueeze(0), lengths_B.unsqueeze(1) - 1)
