"""Networks that several tests ask something of."""

import torch

from lightning_modules.config import TrialConfig
from lightning_modules.language_id import LanguageId


def attending(pooling: str = "attention", **encoder: object) -> LanguageId:
    """A small network of two languages in evaluation mode, which pools by attention unless told otherwise."""
    torch.manual_seed(0)
    config = TrialConfig.model_validate(
        {
            "data": {"corpus": "espeak", "languages": ("en", "fr")},
            "encoder": {"kind": "recurrent", "hidden_size": 8, "frames_per_step": 3} | encoder,
            "pooling": {"kind": pooling},
        }
    )
    return LanguageId(config).eval()
