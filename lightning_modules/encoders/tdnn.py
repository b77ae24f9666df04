"""The time-delay network of x-vectors, up to its statistics (Snyder et al., 2018, table 1).

Layers 1 to 5 see frames {t-2 … t+2}, {t-2, t, t+2}, {t-3, t, t+3}, {t}, {t} of the layer before: 15 frames in all.
Beyond both ends of an utterance there are zeros, so that every frame has a state and one frame is enough.

Shape legend: B utterances, T frames (and steps), F values a frame, C channels.
"""

from torch import Tensor, nn

from lightning_modules.config import TDNNEncoderConfig
from lightning_modules.encoders._base import Encoded, Encoder, Tap, length_mask
from lightning_modules.encoders.convolution import TimeDelay, mask_unless_equal, masked
from lightning_modules.initial_draws import named_draws

CONTEXTS = ((5, 1), (3, 2), (3, 3), (1, 1), (1, 1))
"""(inputs of the kernel, frames from one to the next) of each layer."""


class TDNNEncoder(Encoder):
    """(B, T, F) frames -> (B, T, C) states; a state has read 7 frames before and after its own."""

    def __init__(self, config: TDNNEncoderConfig, *, input_size: int) -> None:
        super().__init__()
        self.output_size = config.output_channels
        sizes = [input_size, *[config.channels] * 4, config.output_channels]
        self.layers = nn.ModuleList()
        for below, above, (kernel_size, dilation) in zip(sizes[:-1], sizes[1:], CONTEXTS, strict=True):
            with named_draws(f"layer{len(self.layers)}"):
                self.layers.append(TimeDelay(below, above, kernel_size=kernel_size, dilation=dilation))
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self,
        x_BTF: Tensor,
        lengths_B: Tensor,
        *,
        languages_BT: Tensor | None = None,  # noqa: ARG002 - it is told nothing
        tap: Tap | None = None,
    ) -> Encoded:
        """States of padded utterances; a tap sees the sequence of each layer, `layer0` to `layer4`."""
        mask_BT = mask_unless_equal(lengths_B, length_mask(lengths_B, x_BTF.shape[1]))
        h_BCT = masked(x_BTF.transpose(1, 2), mask_BT)
        for number, layer in enumerate(self.layers):
            h_BCT = layer(h_BCT, mask_BT)
            if tap is not None:
                h_BCT = tap.sequence(f"layer{number}", h_BCT.transpose(1, 2)).transpose(1, 2)
        return Encoded(self.dropout(h_BCT.transpose(1, 2)), lengths_B)
