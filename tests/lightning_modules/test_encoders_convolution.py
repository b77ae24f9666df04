"""Time-delay networks: batch normalisation over frames alone, and how many parameters there are, by hand.

Shape legend: B utterances, T frames, C channels, N frames of all utterances.
"""

import pytest
import torch
from torch import nn

from lightning_modules.config import ECAPAEncoderConfig, TDNNEncoderConfig
from lightning_modules.encoders._base import Encoder, length_mask
from lightning_modules.encoders.convolution import MaskedBatchNorm
from lightning_modules.encoders.ecapa_tdnn import ECAPAEncoder
from lightning_modules.encoders.tdnn import TDNNEncoder

# --- batch normalisation ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("garbage", [0.0, 1e30, float("nan")])
def test_batch_normalisation_learns_from_frames_alone(garbage: float) -> None:
    own, torch_s = MaskedBatchNorm(3), nn.BatchNorm1d(3)
    lengths_B = torch.tensor([2, 5, 1])
    mask_BT = length_mask(lengths_B, 5)
    for _ in range(3):
        x_BCT = torch.randn(3, 3, 5)
        frames_NC = torch.cat([x_BCT[i, :, :length].T for i, length in enumerate(lengths_B)])
        padded_BCT = x_BCT.masked_fill(~mask_BT.unsqueeze(1), garbage)
        y_BCT, expected_NC = own(padded_BCT, mask_BT), torch_s(frames_NC)
        torch.testing.assert_close(y_BCT.transpose(1, 2)[mask_BT], expected_NC)
        assert not y_BCT.transpose(1, 2)[~mask_BT].any()
    for name, value in torch_s.state_dict().items():
        torch.testing.assert_close(own.state_dict()[name], value)


# --- sizes ------------------------------------------------------------------------------------------------------------


def count(encoder: Encoder) -> int:
    return sum(parameter.numel() for parameter in encoder.parameters())


def layer_size(below: int, above: int, kernel_size: int) -> int:
    """Weights, biases, and γ and β of batch normalisation."""
    return below * above * kernel_size + above + 2 * above


def test_the_x_vector_network_has_as_many_parameters_as_its_table() -> None:
    # layer 1 reads 5 frames of 40; 2 and 3 three frames of 512; 4 and 5 one
    sizes = [(40, 512, 5), (512, 512, 3), (512, 512, 3), (512, 512, 1), (512, 1500, 1)]
    assert sum(layer_size(*size) for size in sizes) == 2_716_052
    encoder = TDNNEncoder(TDNNEncoderConfig(), input_size=40)
    assert count(encoder) == 2_716_052
    assert encoder.output_size == 1500


def test_ecapa_has_as_many_parameters_as_its_figure() -> None:
    first = layer_size(40, 512, 5)
    res2 = 7 * layer_size(64, 64, 3)
    excitation = 512 * 128 + 128 + 128 * 512 + 512
    block = 2 * layer_size(512, 512, 1) + res2 + excitation
    aggregation = 3 * 512 * 1536 + 1536
    assert first + 3 * block + aggregation == 4_704_064
    encoder = ECAPAEncoder(ECAPAEncoderConfig(), input_size=40)
    assert count(encoder) == 4_704_064
    assert encoder.output_size == 1536
