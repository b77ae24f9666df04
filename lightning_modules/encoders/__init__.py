"""Encoders: from frames to a sequence of states. One file each; `build_encoder` is the only place that lists them."""

from typing import assert_never

from lightning_modules.config import (
    BPTTConfig,
    ECAPAEncoderConfig,
    EncoderConfig,
    HierarchicalEncoderConfig,
    OutputRecurrentEncoderConfig,
    RecurrentEncoderConfig,
    TDNNEncoderConfig,
)
from lightning_modules.encoders._base import Encoded, Encoder, Tap, length_mask, middle_frames
from lightning_modules.encoders.ecapa_tdnn import ECAPAEncoder
from lightning_modules.encoders.hierarchical import HierarchicalEncoder
from lightning_modules.encoders.output_recurrent import OutputRecurrentEncoder
from lightning_modules.encoders.recurrent import RecurrentEncoder
from lightning_modules.encoders.tdnn import TDNNEncoder

__all__ = ["Encoded", "Encoder", "Tap", "build_encoder", "length_mask", "middle_frames"]


def build_encoder(config: EncoderConfig, *, input_size: int, num_languages: int, bptt: BPTTConfig) -> Encoder:
    """The encoder that a configuration names.

    Args:
        config: which.
        input_size: values a frame.
        num_languages: target languages, for encoders with outputs of their own.
        bptt: how far gradients flow back, for encoders that can stop them.
    """
    match config:
        case RecurrentEncoderConfig():
            return RecurrentEncoder(config, input_size=input_size, bptt=bptt)
        case OutputRecurrentEncoderConfig():
            return OutputRecurrentEncoder(config, input_size=input_size, num_languages=num_languages)
        case HierarchicalEncoderConfig():
            return HierarchicalEncoder(config, input_size=input_size)
        case TDNNEncoderConfig():
            return TDNNEncoder(config, input_size=input_size)
        case ECAPAEncoderConfig():
            return ECAPAEncoder(config, input_size=input_size)
        case _:
            assert_never(config)
