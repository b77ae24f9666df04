"""ECAPA-TDNN up to its pooling (Desplanques, Thienpondt & Demuynck, 2020, figure 2).

    x_0 = TimeDelay(frames), K = 5;    x_i = Block_i(x_0 + … + x_(i-1)), dilation 2, 3, 4
    states = ReLU(W [x_1; x_2; x_3] + b)

As in section 3.3 of the paper, a block reads the sum of all that came before it. Beyond both ends of an utterance there
are zeros.

Shape legend: B utterances, T frames (and steps), F values a frame, C channels.
"""

import torch
from torch import Tensor, nn

from lightning_modules.config import ECAPAEncoderConfig
from lightning_modules.encoders._base import Encoded, Encoder, Tap, length_mask
from lightning_modules.encoders.convolution import TimeDelay, mask_unless_equal, masked
from lightning_modules.initial_draws import named_draws

SCALE = 8
DILATIONS = (2, 3, 4)


class ECAPAEncoder(Encoder):
    """(B, T, F) frames -> (B, T, output_channels) states."""

    def __init__(self, config: ECAPAEncoderConfig, *, input_size: int) -> None:
        super().__init__()
        self.output_size = config.output_channels
        with named_draws("first"):
            self.first = TimeDelay(input_size, config.channels, kernel_size=5)
        self.blocks = nn.ModuleList()
        for dilation in DILATIONS:
            with named_draws(f"block{len(self.blocks)}"):
                self.blocks.append(_Block(config.channels, dilation=dilation, bottleneck=config.bottleneck))
        with named_draws("aggregation"):
            self.aggregation = nn.Conv1d(len(DILATIONS) * config.channels, config.output_channels, 1)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self,
        x_BTF: Tensor,
        lengths_B: Tensor,
        *,
        languages_BT: Tensor | None = None,  # noqa: ARG002 - it is told nothing
        tap: Tap | None = None,
    ) -> Encoded:
        """States of padded utterances; a tap sees the sequences `first`, `block0` to `block2`, and `aggregation`."""
        mask_BT = mask_unless_equal(lengths_B, length_mask(lengths_B, x_BTF.shape[1]))
        sum_BCT = _tapped(self.first(masked(x_BTF.transpose(1, 2), mask_BT), mask_BT), "first", tap)
        outputs = []
        for number, block in enumerate(self.blocks):
            outputs.append(_tapped(block(sum_BCT, mask_BT), f"block{number}", tap))
            sum_BCT = sum_BCT + outputs[-1]
        h_BCT = masked(self.aggregation(torch.cat(outputs, dim=1)).relu(), mask_BT)
        return Encoded(self.dropout(_tapped(h_BCT, "aggregation", tap).transpose(1, 2)), lengths_B)


def _tapped(h_BCT: Tensor, name: str, tap: Tap | None) -> Tensor:
    return h_BCT if tap is None else tap.sequence(name, h_BCT.transpose(1, 2)).transpose(1, 2)


class _Block(nn.Module):
    """SE-Res2Block: 1x1, Res2Net's dilated convolutions, 1x1, squeeze and excitation, and its input added."""

    def __init__(self, channels: int, *, dilation: int, bottleneck: int) -> None:
        super().__init__()
        self.before = TimeDelay(channels, channels)
        self.res2 = _Res2(channels, dilation=dilation)
        self.after = TimeDelay(channels, channels)
        self.excitation = _SqueezeExcitation(channels, bottleneck=bottleneck)

    def forward(self, x_BCT: Tensor, mask_BT: Tensor | None) -> Tensor:
        h_BCT: Tensor = self.after(self.res2(self.before(x_BCT, mask_BT), mask_BT), mask_BT)
        scaled_BCT: Tensor = self.excitation(h_BCT, mask_BT)
        return x_BCT + scaled_BCT


class _Res2(nn.Module):
    """Res2Net (Gao et al., 2021): slice i of the channels, y_1 = x_1, y_2 = K_2(x_2), y_i = K_i(x_i + y_(i-1))."""

    def __init__(self, channels: int, *, dilation: int) -> None:
        super().__init__()
        width = channels // SCALE
        self.layers = nn.ModuleList(TimeDelay(width, width, kernel_size=3, dilation=dilation) for _ in range(SCALE - 1))

    def forward(self, x_BCT: Tensor, mask_BT: Tensor | None) -> Tensor:
        first, *slices = x_BCT.chunk(SCALE, dim=1)
        outputs = [first]
        for layer, part in zip(self.layers, slices, strict=True):
            outputs.append(layer(part if len(outputs) == 1 else part + outputs[-1], mask_BT))
        return torch.cat(outputs, dim=1)


class _SqueezeExcitation(nn.Module):
    """Each channel is scaled by σ(W_2 ReLU(W_1 z + b_1) + b_2); z, its mean over the utterance (Hu et al., 2018)."""

    def __init__(self, channels: int, *, bottleneck: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(channels, bottleneck)
        self.excite = nn.Linear(bottleneck, channels)

    def forward(self, h_BCT: Tensor, mask_BT: Tensor | None) -> Tensor:
        # past an utterance's end h is zero
        mean_BC = h_BCT.mean(dim=2) if mask_BT is None else h_BCT.sum(dim=2) / mask_BT.sum(dim=1, keepdim=True)
        gain_BC: Tensor = self.excite(self.squeeze(mean_BC).relu()).sigmoid()
        return h_BCT * gain_BC.unsqueeze(2)
