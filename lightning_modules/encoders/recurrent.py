"""Stacked recurrent encoder: standard RNN, GRU (Cho et al., 2014), LSTM (Hochreiter & Schmidhuber, 1997).

Shape legend: B utterances, T frames, S steps (of `frames_per_step` frames), F values a frame, H hidden units x
directions.

Recurrence runs on torch's fused kernels. Padding is kept out of the backward direction by packing; where all lengths
are equal there is none, and the plain call is faster.
"""

from typing import Any, assert_never

from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from lightning_modules.config import RecurrentEncoderConfig
from lightning_modules.encoders._base import Encoded, Encoder, Tap, stack_frames

IRNN_INPUT_SD = 1e-3
"""Le et al., 2015: the identity adds up all inputs, so that larger weights would start with scores in the thousands."""
NUM_GATES = {"rnn_tanh": 1, "rnn_relu": 1, "gru": 3, "lstm": 4}


class RecurrentEncoder(Encoder):
    """(B, T, F) frames -> (B, S, H) states; S = ceil(T / frames_per_step)."""

    def __init__(self, config: RecurrentEncoderConfig, *, input_size: int) -> None:
        super().__init__()
        self.frames_per_step = config.frames_per_step
        self.bidirectional = config.bidirectional
        self.output_size = config.hidden_size * (2 if config.bidirectional else 1)
        self.recurrence = _recurrence(config, input_size=input_size * config.frames_per_step)
        self.dropout = nn.Dropout(config.dropout)
        _initialise(self.recurrence, cell=config.cell)

    def forward(
        self,
        x_BTF: Tensor,
        lengths_B: Tensor,
        *,
        languages_BT: Tensor | None = None,  # noqa: ARG002 - it is told nothing
        tap: Tap | None = None,  # noqa: ARG002
    ) -> Encoded:
        """States of padded utterances."""
        x_BSF, steps_B = stack_frames(x_BTF, lengths_B, frames_per_step=self.frames_per_step)
        if int(steps_B.min()) == x_BSF.shape[1]:
            h_BSH, _ = self.recurrence(x_BSF)
        else:
            packed = pack_padded_sequence(x_BSF, steps_B.cpu(), batch_first=True, enforce_sorted=False)
            h_packed, _ = self.recurrence(packed)
            h_BSH, _ = pad_packed_sequence(h_packed, batch_first=True, total_length=x_BSF.shape[1])
        return Encoded(self.dropout(h_BSH), steps_B)


def _recurrence(config: RecurrentEncoderConfig, *, input_size: int) -> nn.RNN | nn.GRU | nn.LSTM:
    options: dict[str, Any] = {
        "num_layers": config.num_layers,
        "dropout": config.dropout
        if config.num_layers > 1
        else 0.0,  # torch warns where there is nothing between layers
        "bidirectional": config.bidirectional,
        "batch_first": True,
    }
    match config.cell:
        case "gru":
            return nn.GRU(input_size, config.hidden_size, **options)
        case "lstm":
            return nn.LSTM(input_size, config.hidden_size, **options)
        case "rnn_tanh" | "rnn_relu":
            nonlinearity = config.cell.removeprefix("rnn_")
            return nn.RNN(input_size, config.hidden_size, nonlinearity=nonlinearity, **options)
        case _:
            assert_never(config.cell)


def _initialise(recurrence: nn.Module, *, cell: str) -> None:
    """Orthogonal recurrent weights a gate, forget bias 1; for relu the identity and small input weights (IRNN)."""
    for name, weight in recurrence.named_parameters():
        if name.startswith("weight_hh"):
            for gate in weight.data.chunk(NUM_GATES[cell]):
                (nn.init.eye_ if cell == "rnn_relu" else nn.init.orthogonal_)(gate)
        elif name.startswith("weight_ih") and cell == "rnn_relu":
            nn.init.normal_(weight, std=IRNN_INPUT_SD)
        elif name.startswith("weight_ih"):
            nn.init.xavier_uniform_(weight)
        else:
            nn.init.zeros_(weight)
            if cell == "lstm" and name.startswith("bias_ih"):
                hidden_size = weight.shape[0] // NUM_GATES[cell]
                weight.data[hidden_size : 2 * hidden_size] = 1.0
