"""Optimisers, and the learning rate over a training."""

import math
from collections.abc import Callable, Sequence
from typing import assert_never

import torch
from torch import nn

from lightning_modules.config import (
    AdamConfig,
    AdamWConfig,
    ConstantScheduleConfig,
    CosineScheduleConfig,
    OptimizerConfig,
    PlateauScheduleConfig,
    ScheduleConfig,
    SGDConfig,
)


def build_optimizer(config: OptimizerConfig, parameters: Sequence[nn.Parameter]) -> torch.optim.Optimizer:
    """The optimiser that a configuration names."""
    match config:
        case AdamConfig(learning_rate=rate):
            return torch.optim.Adam(parameters, lr=rate)
        case AdamWConfig(learning_rate=rate, weight_decay=decay):
            return torch.optim.AdamW(parameters, lr=rate, weight_decay=decay)
        case SGDConfig(learning_rate=rate, momentum=momentum):
            return torch.optim.SGD(parameters, lr=rate, momentum=momentum)
        case _:
            assert_never(config)


def rate_at(config: ScheduleConfig, *, num_steps: int) -> Callable[[int], float] | None:
    """Share of the learning rate at each step of a training of `num_steps`, or None where no step changes it."""
    match config:
        case ConstantScheduleConfig(warmup_steps=0) | PlateauScheduleConfig():
            return None
        case ConstantScheduleConfig(warmup_steps=warmup):
            return lambda step: min(1.0, (step + 1) / warmup)
        case CosineScheduleConfig(warmup_steps=warmup):
            return lambda step: _cosine(step, warmup=warmup, num_steps=num_steps)
        case _:
            assert_never(config)


def _cosine(step: int, *, warmup: int, num_steps: int) -> float:
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, num_steps - warmup)
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, progress)))
