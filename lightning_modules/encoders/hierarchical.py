"""The hierarchical GRU (Padi, Mohan & Ganapathy, 2019): frames to 200 ms, to seconds, to the whole utterance.

    frames  -> windows of `low.window`,    each read by the low level    -> its last state
            -> windows of `middle.window`, each read by the middle level -> its last state
            -> all of them, read by the top level                        -> Encoded.states

Each level is one of torch's cells, as in design section 5. The windows of all utterances are one batch on a fused
kernel, and only windows that exist are computed. A gradient has to cross no more than a window, a window of windows,
and an utterance's seconds: 20 + 10 + 30 steps for half a minute in place of 3,000.

Shape legend: B utterances, T frames, F values a frame, N windows of all utterances, W inputs of a window, S steps (of
the top level), H hidden units of the top level x directions.
"""

import torch
from torch import Tensor, nn

from lightning_modules.config import HierarchicalEncoderConfig, LevelConfig
from lightning_modules.encoders._base import Encoded, Encoder, Tap, length_mask
from lightning_modules.encoders.recurrences import Recurrence, build_recurrence, read_all, run
from lightning_modules.encoders.windows import cut, joined
from lightning_modules.initial_draws import named_draws


class HierarchicalEncoder(Encoder):
    """(B, T, F) frames -> (B, S, H) states of the top level, a step every `low.hop` x `middle.hop` frames."""

    def __init__(self, config: HierarchicalEncoderConfig, *, input_size: int) -> None:
        super().__init__()
        low, middle, top = config.low, config.middle, config.top
        self.frames_per_step = low.hop * middle.hop
        self.bidirectional = top.bidirectional
        self.output_size = config.output_size
        with named_draws("low"):
            self.low = _Level(low, config, name="low", input_size=input_size)
        with named_draws("middle"):
            self.middle = _Level(middle, config, name="middle", input_size=low.hidden_size)
        with named_draws("top"):
            self.top = build_recurrence(
                top.cell,
                input_size=middle.hidden_size,
                hidden_size=top.hidden_size,
                initialisation=config.initialisation,
                forget_bias=config.forget_bias,
                num_layers=top.num_layers,
                bidirectional=top.bidirectional,
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
        """States of padded utterances; a tap hears of `low/…` and `middle/…`, a row a window, and of `top/…`."""
        x_BTF = x_BTF.masked_fill(~length_mask(lengths_B, x_BTF.shape[1]).unsqueeze(-1), 0.0)
        h_BKH, counts_B = self.low(x_BTF, lengths_B, tap=tap)
        h_BSH, steps_B = self.middle(self.dropout(h_BKH), counts_B, tap=tap)
        h_BSH = run(self.top, self.dropout(h_BSH), steps_B, tap=tap, prefix="top/")
        return Encoded(self.dropout(h_BSH), steps_B)


class _Level(nn.Module):
    """Reads windows and keeps each one's last state."""

    def __init__(self, level: LevelConfig, config: HierarchicalEncoderConfig, *, name: str, input_size: int) -> None:
        super().__init__()
        self.window, self.hop, self.prefix = level.window, level.hop, f"{name}/"
        self.recurrence: Recurrence = build_recurrence(
            level.cell,
            input_size=input_size,
            hidden_size=level.hidden_size,
            initialisation=config.initialisation,
            forget_bias=config.forget_bias,
        )

    def forward(self, x_BSF: Tensor, steps_B: Tensor, *, tap: Tap | None) -> tuple[Tensor, Tensor]:
        """(B, S, F) inputs and their number -> (B, K, H) last states of windows and the number of windows."""
        windows = cut(x_BSF, steps_B, window=self.window, hop=self.hop)
        if tap is None:
            # Reading on past a short window's end changes no state before it, and spares the packing.
            h_NWH, _ = read_all(self.recurrence, windows.inputs)
        else:
            h_NWH = run(self.recurrence, windows.inputs, windows.sizes, tap=tap, prefix=self.prefix)
        last_NH = h_NWH[torch.arange(len(h_NWH), device=h_NWH.device), windows.sizes - 1]
        return joined(last_NH, windows.counts), windows.counts
