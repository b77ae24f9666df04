"""Encoders: from frames to a sequence of states. One file each; `build_encoder` is the only place that lists them."""

from lightning_modules.config import BPTTConfig, EncoderConfig, RecurrentEncoderConfig
from lightning_modules.encoders._base import Encoded, Encoder, Tap, length_mask
from lightning_modules.encoders.recurrent import RecurrentEncoder

__all__ = ["Encoded", "Encoder", "Tap", "build_encoder", "length_mask"]


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
        case _:
            raise NotImplementedError(config.kind)
