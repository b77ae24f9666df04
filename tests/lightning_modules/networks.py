"""A small network of each kind of encoder and pooling, and padded utterances for them.

Shape legend: B utterances, T frames, D bands, L languages.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_modules.build import build_module
from lightning_modules.config import TrialConfig
from lightning_modules.language_id import LanguageId

NUM_BANDS = 8
ENCODERS: dict[str, dict[str, Any]] = {
    "recurrent": {"kind": "recurrent", "cell": "lstm", "hidden_size": 6, "num_layers": 2},
    "rnn_tanh": {"kind": "recurrent", "cell": "rnn_tanh", "hidden_size": 6},
    "rnn_relu": {"kind": "recurrent", "cell": "rnn_relu", "hidden_size": 6},
    "one_way": {"kind": "recurrent", "hidden_size": 6, "bidirectional": False, "frames_per_step": 1},
    "hierarchical": {
        "kind": "hierarchical",
        "low": {"hidden_size": 6},
        "middle": {"hidden_size": 6, "window": 10, "hop": 5},
        "top": {"hidden_size": 6},
    },
    "output_recurrent": {"kind": "output_recurrent", "hidden_size": 6, "frames_per_step": 5},
    "tdnn": {"kind": "tdnn", "channels": 8, "output_channels": 12},
    "ecapa_tdnn": {"kind": "ecapa_tdnn", "channels": 16, "output_channels": 12, "bottleneck": 4},
}
POOLINGS: dict[str, dict[str, Any]] = {
    "last": {"kind": "last"},
    "mean": {"kind": "mean"},
    "max": {"kind": "max"},
    "statistics": {"kind": "statistics"},
    "additive": {"kind": "attention", "score": "additive"},
    "dot": {"kind": "attention", "score": "dot"},
    "general": {"kind": "attention", "score": "general"},
    "multi_head": {"kind": "multi_head", "num_heads": 3},
    "attentive_statistics": {"kind": "attentive_statistics", "attention_size": 5},
}
TRUNCATED = {"kind": "truncated", "frames": 40}


def make(encoder: str, pooling: str = "statistics", **changes: Any) -> LanguageId:
    config = {
        "data": {"languages": ["en", "fr", "it"], "features": {"num_bands": NUM_BANDS}},
        "encoder": ENCODERS[encoder] | changes,
        "pooling": POOLINGS[pooling],
        "training": {"bptt": TRUNCATED} if encoder == "one_way" else {},
    }
    module = build_module(TrialConfig.model_validate(config))
    assert isinstance(module, LanguageId)
    return module


def padded(lengths: Sequence[int], *, names: Sequence[int], garbage: float, longer: int = 0) -> tuple[Tensor, Tensor]:
    """Utterances, the same whenever their name and length are, with garbage past their ends."""
    features_BTD = torch.full((len(lengths), max(lengths) + longer, NUM_BANDS), garbage)
    for row_TD, name, length in zip(features_BTD, names, lengths, strict=True):
        row_TD[:length] = torch.randn(length, NUM_BANDS, generator=torch.Generator().manual_seed(name))
    return features_BTD, torch.tensor(lengths)


def scores_of(module: LanguageId, features_BTD: Tensor, lengths_B: Tensor) -> Tensor:
    with torch.no_grad():
        scores_BL: Tensor = module(features_BTD, lengths_B).log_likelihoods
    return scores_BL
