"""Stacked recurrent encoder: standard RNN, GRU or LSTM, with full or truncated back-propagation through time.

Shape legend: B utterances, T frames, S steps (of `frames_per_step` frames), F values a frame, H hidden units x
directions.
"""

from torch import Tensor, nn

from lightning_modules.config import BPTTConfig, RecurrentEncoderConfig, TruncatedBPTTConfig
from lightning_modules.encoders._base import Encoded, Encoder, Tap, stack_frames
from lightning_modules.encoders.recurrences import build_recurrence, run


class RecurrentEncoder(Encoder):
    """(B, T, F) frames -> (B, S, H) states; S = ceil(T / frames_per_step)."""

    def __init__(self, config: RecurrentEncoderConfig, *, input_size: int, bptt: BPTTConfig) -> None:
        super().__init__()
        self.frames_per_step = config.frames_per_step
        self.bidirectional = config.bidirectional
        self.output_size = config.output_size
        self.window = _window(bptt, frames_per_step=config.frames_per_step)
        self.recurrence = build_recurrence(
            config.cell,
            input_size=input_size * config.frames_per_step,
            hidden_size=config.hidden_size,
            initialisation=config.initialisation,
            forget_bias=config.forget_bias,
            num_layers=config.num_layers,
            bidirectional=config.bidirectional,
            dropout=config.dropout,
        )
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self,
        x_BTF: Tensor,
        lengths_B: Tensor,
        *,
        languages_BT: Tensor | None = None,  # noqa: ARG002 - it is told nothing
        tap: Tap | None = None,
    ) -> Encoded:
        """States of padded utterances."""
        x_BSF, steps_B = stack_frames(x_BTF, lengths_B, frames_per_step=self.frames_per_step)
        h_BSH = run(self.recurrence, x_BSF, steps_B, tap=tap, window=self.window)
        return Encoded(self.dropout(h_BSH), steps_B)


def _window(bptt: BPTTConfig, *, frames_per_step: int) -> int | None:
    """Steps of a window, rounded up: one that covers all frames covers all steps."""
    return -(-bptt.frames // frames_per_step) if isinstance(bptt, TruncatedBPTTConfig) else None
