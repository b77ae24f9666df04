"""Gradient clipping rules, and what each step's clipping did.

Pascanu et al., "On the difficulty of training recurrent neural networks", 2013. Norms are L2 over all parameters
together.
"""

from collections.abc import Iterable
from typing import NamedTuple, assert_never

import torch
from torch import Tensor, nn

from lightning_modules.config import (
    ClippingConfig,
    NoClippingConfig,
    NormClippingConfig,
    ValueClippingConfig,
)


class ClippingStep(NamedTuple):
    """What one optimiser step's clipping did."""

    norm_before: float
    norm_after: float
    clipped: bool


def clip_gradients(parameters: Iterable[nn.Parameter], config: ClippingConfig) -> ClippingStep:
    """Clips the gradients in place; a norm that is not finite is left alone, for the caller to see."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norm_before = global_norm(gradients)
    if not torch.isfinite(norm_before):
        return ClippingStep(float(norm_before), float(norm_before), clipped=False)
    match config:
        case NoClippingConfig():
            return ClippingStep(float(norm_before), float(norm_before), clipped=False)
        case NormClippingConfig(max_norm=max_norm):
            if norm_before <= max_norm:
                return ClippingStep(float(norm_before), float(norm_before), clipped=False)
            torch._foreach_mul_(gradients, max_norm / float(norm_before))
            return ClippingStep(float(norm_before), max_norm, clipped=True)
        case ValueClippingConfig(max_value=max_value):
            clipped = any(bool((gradient.abs() > max_value).any()) for gradient in gradients)
            for gradient in gradients:
                gradient.clamp_(-max_value, max_value)
            return ClippingStep(float(norm_before), float(global_norm(gradients)), clipped)
        case _:
            assert_never(config)


def global_norm(gradients: list[Tensor]) -> Tensor:
    """L2 norm of all gradients taken as one vector; a scalar tensor."""
    return nn.utils.get_total_norm(gradients)
