"""What time-delay networks are built of: convolution, ReLU and batch normalisation that padding never enters.

Shape legend: B utterances, T frames, C channels, I channels of the layer before, K inputs of a kernel, N frames of all
utterances.
"""

import torch
from torch import Tensor, nn


class MaskedBatchNorm(nn.BatchNorm1d):
    """Batch normalisation (Ioffe & Szegedy, 2015) over the frames of utterances alone, in training too.

    y = γ (x - mean) / sqrt(variance + ε) + β a channel, over all frames of the batch. A batch of a single frame has no
    variance, and is normalised as in evaluation.
    """

    def forward(self, x_BCT: Tensor, mask_BT: Tensor | None = None) -> Tensor:
        """(B, C, T) -> (B, C, T).

        Args:
            x_BCT: values; what comes of padding means nothing.
            mask_BT: where frames are; None: everywhere.
        """
        if not self.training or x_BCT.shape[0] * x_BCT.shape[2] == 1:
            return self._by_running_statistics(x_BCT)
        if mask_BT is None:
            return super().forward(x_BCT)
        x_NC = x_BCT.transpose(1, 2)[mask_BT]
        if len(x_NC) == 1:
            return self._by_running_statistics(x_BCT)
        y_BTC = torch.zeros_like(x_BCT).transpose(1, 2).masked_scatter(mask_BT.unsqueeze(-1), super().forward(x_NC))
        return y_BTC.transpose(1, 2)

    def _by_running_statistics(self, x_BCT: Tensor) -> Tensor:
        return nn.functional.batch_norm(
            x_BCT, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
        )


class TimeDelay(nn.Module):
    """One layer of a time-delay network (Waibel et al., 1989): (B, I, T) -> (B, C, T), zero past an utterance's end.

    y_t = BatchNorm(ReLU(Σ_k W_k x_(t + dilation (k - (K - 1) / 2)) + b)); beyond both ends x is zero.
    """

    def __init__(self, input_size: int, channels: int, *, kernel_size: int = 1, dilation: int = 1) -> None:
        super().__init__()
        padding = dilation * (kernel_size - 1) // 2
        self.convolution = nn.Conv1d(input_size, channels, kernel_size, dilation=dilation, padding=padding)
        self.normalisation = MaskedBatchNorm(channels)

    def forward(self, x_BIT: Tensor, mask_BT: Tensor | None) -> Tensor:
        """(B, I, T) -> (B, C, T).

        Args:
            x_BIT: inputs, zero past an utterance's end.
            mask_BT: where frames are; None: everywhere.
        """
        return masked(self.normalisation(self.convolution(x_BIT).relu(), mask_BT), mask_BT)


def masked(x_BCT: Tensor, mask_BT: Tensor | None) -> Tensor:
    """The same with zeros past an utterance's end."""
    return x_BCT if mask_BT is None else x_BCT.masked_fill(~mask_BT.unsqueeze(1), 0.0)


def mask_unless_equal(lengths_B: Tensor, mask_BT: Tensor) -> Tensor | None:
    """No mask where there is no padding: all frames at once are normalised faster than those picked from a batch."""
    return None if int(lengths_B.min()) == mask_BT.shape[1] else mask_BT
