"""Encoders: from frames to a sequence of states. One file each; `build_encoder` is the only place that lists them."""

from lightning_modules.config import RecurrentEncoderConfig
from lightning_modules.encoders.recurrent import RecurrentEncoder


def build_encoder(config: RecurrentEncoderConfig, *, input_size: int) -> RecurrentEncoder:
    """The encoder that a configuration names, for frames of `input_size` values."""
    return RecurrentEncoder(config, input_size=input_size)
