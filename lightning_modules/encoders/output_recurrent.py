"""A network whose recurrence is through its output alone (Jordan, 1986), taught by the truth or by itself.

    h_t = tanh(W x_t + V y_(t-1) + b),    y_t = softmax(U h_t + c),    y_(-1) = 1 / L: nothing has been heard yet

Training may put the truth, as a one-hot vector, in the place of y_(t-1): teacher forcing (Williams & Zipser, 1989), or
at some steps only, scheduled sampling (Bengio et al., 2015). Elsewhere its own output is fed back, and gradients flow
through it.

No fused kernel computes this: torch's feed back h, through a matrix of (H, H), while here the next step waits for a
softmax. So it runs step by step; only where the truth is fed back at every step does nothing wait for anything.

Shape legend: B utterances, T frames, S steps (of `frames_per_step` frames), F values a step, H hidden units, L
languages.
"""

from typing import NamedTuple, assert_never

import torch
from torch import Tensor, nn

from lightning_modules.config import (
    FreeRunningConfig,
    OutputRecurrentEncoderConfig,
    ScheduledSamplingConfig,
    TeacherForcingConfig,
)
from lightning_modules.encoders._base import Encoded, Encoder, Tap, length_mask, middle_frames, stack_frames
from lightning_modules.initial_draws import named_draws


class OutputRecurrentEncoder(Encoder):
    """(B, T, F) frames -> (B, S, H) states and (B, S, L) log-posteriors.

    Attributes:
        told_share: of steps that training tells the truth of the step before.
    """

    def __init__(self, config: OutputRecurrentEncoderConfig, *, input_size: int, num_languages: int) -> None:
        super().__init__()
        self.frames_per_step = config.frames_per_step
        self.output_size = config.output_size
        self.num_languages = num_languages
        self.feedback_kind = config.feedback
        with named_draws("input"):
            self.input = nn.Linear(input_size * config.frames_per_step, config.hidden_size)
        with named_draws("feedback"):
            self.feedback = nn.Linear(num_languages, config.hidden_size, bias=False)
        with named_draws("output"):
            self.output = nn.Linear(config.hidden_size, num_languages)
        self.dropout = nn.Dropout(config.dropout)
        self.told_share = 0.0
        self.start_epoch(0.0)

    def start_epoch(self, progress: float) -> None:
        """Scheduled sampling: the share of steps that are told the truth falls linearly from 1 to `final_share`."""
        match self.feedback_kind:
            case TeacherForcingConfig():
                self.told_share = 1.0
            case FreeRunningConfig():
                self.told_share = 0.0
            case ScheduledSamplingConfig(final_share=final_share):
                self.told_share = 1.0 + (final_share - 1.0) * progress
            case _:
                assert_never(self.feedback_kind)

    def forward(
        self, x_BTF: Tensor, lengths_B: Tensor, *, languages_BT: Tensor | None = None, tap: Tap | None = None
    ) -> Encoded:
        """States and outputs of padded utterances, both zero past their end.

        Args:
            x_BTF: frames.
            lengths_B: frames of each utterance, at least 1.
            languages_BT: the truth, which training is told; evaluation never listens to it.
            tap: hears of `layer0/forward`.
        """
        x_BSF, steps_B = stack_frames(x_BTF, lengths_B, frames_per_step=self.frames_per_step)
        past_end_BS1 = ~length_mask(steps_B, x_BSF.shape[1]).unsqueeze(-1)
        x_BSH = self.input(x_BSF)
        first_BL = x_BSH.new_full((len(x_BSH), self.num_languages), 1.0 / self.num_languages)
        truth: _Truth | None = None
        if self.training and languages_BT is not None and self.told_share > 0.0:
            truth = self._truth(languages_BT, lengths_B, first_BL, num_steps=x_BSH.shape[1])
        if truth is not None and self.told_share == 1.0 and tap is None:
            h_BSH = torch.tanh(x_BSH + self.feedback(truth.before))
        else:
            h_BSH = self._in_turn(x_BSH, first_BL, truth=truth, tap=tap, past_end_BS1=past_end_BS1)
        h_BSH = h_BSH.masked_fill(past_end_BS1, 0.0)
        log_posteriors_BSL = self.output(h_BSH).log_softmax(dim=-1).masked_fill(past_end_BS1, 0.0)
        return Encoded(self.dropout(h_BSH), steps_B, log_posteriors_BSL)

    def _in_turn(
        self, x_BSH: Tensor, first_BL: Tensor, *, truth: "_Truth | None", tap: Tap | None, past_end_BS1: Tensor
    ) -> Tensor:
        """(B, S, H) states from W x + b and y_(-1), one step after another."""
        y_BL, states = first_BL, []
        for t in range(x_BSH.shape[1]):
            if truth is not None:
                y_BL = torch.where(truth.told[:, t], truth.before[:, t], y_BL)
            h_BH = torch.tanh(x_BSH[:, t] + self.feedback(y_BL))
            if tap is not None:
                h_BH = tap.step("layer0/forward", t, h_BH).masked_fill(past_end_BS1[:, t], 0.0)
            y_BL = self.output(h_BH).softmax(dim=-1)
            states.append(h_BH)
        return torch.stack(states, dim=1)

    def _truth(self, languages_BT: Tensor, lengths_B: Tensor, first_BL: Tensor, *, num_steps: int) -> "_Truth":
        """What each step may be told, and a coin a step and utterance."""
        middle_BS = middle_frames(lengths_B, num_steps=num_steps - 1, frames_per_step=self.frames_per_step)
        truth_BSL = nn.functional.one_hot(languages_BT.gather(1, middle_BS), self.num_languages).to(first_BL.dtype)
        told_BS1 = torch.rand(len(first_BL), num_steps, 1, device=first_BL.device) < self.told_share
        return _Truth(torch.cat([first_BL.unsqueeze(1), truth_BSL], dim=1), told_BS1)


class _Truth(NamedTuple):
    """What training may feed back.

    Attributes:
        before: (B, S, L) at each step, the language at the middle frame of the step before, as a one-hot vector; at the
            first step y_(-1).
        told: (B, S, 1) whether it is fed back.
    """

    before: Tensor
    told: Tensor
