"""Clipping of the gradient that flows from step to step through a recurrence.

What explodes over time is cut where it does, before it reaches any weight: each utterance's dL/dh_t is scaled down to a
norm as soon as the backward pass has it whole, from what reads h_t and from step t + 1. (Graves, "Generating sequences
with recurrent neural networks", 2013, cuts the elements of the derivatives with respect to what goes into an LSTM's
gates; scaling a state's keeps its direction.) An LSTM hands on two states; dL/dc_t is scaled down by itself in the same
way. No fused kernel can do so, since it keeps the states between steps to itself: an encoder runs step by step. The
recurrences of decoders, a few symbols long, are left alone.

L is a mean over the batch's utterances, so that what is limited is 1/B of the gradient of an utterance's own loss: a
study that searches the batch size searches this limit too.

Shape legend: B utterances (or windows of them), S steps, H values a state.
"""

from typing import Any

import torch
from torch import Tensor


class RecurrentClipping:
    """A tap that scales down the gradients of the states that go through it, and counts them.

    Attributes:
        loss_scale: that the loss is multiplied by before its backward pass.
    """

    def __init__(self, max_norm: float) -> None:
        self.loss_scale = 1.0
        self._max_norm = max_norm
        self._counts: Tensor | None = None  # states whose gradient was scaled, and those that had one

    def step(self, name: str, t: int, h_BH: Tensor) -> Tensor:  # noqa: ARG002 - any recurrence, any step
        """The state, whose gradient will be scaled down."""
        scaled: Tensor = _ScaleDown.apply(h_BH, self, self._max_norm * self.loss_scale)
        return scaled

    def sequence(self, name: str, h_BSH: Tensor) -> Tensor:  # noqa: ARG002
        """What has no recurrence is left alone."""
        return h_BSH

    def count(self, norm_B1: Tensor, is_over_B1: Tensor) -> None:
        """Adds up on the device: asking for the numbers would wait for it."""
        counts = torch.stack([is_over_B1.sum(), (norm_B1 != 0.0).sum()])
        self._counts = counts if self._counts is None else self._counts + counts

    def take_share(self) -> float:
        """Share of states with a gradient whose gradient was scaled down since this was last asked; 0 of none.

        A state is one utterance's at one step (or window's; an LSTM has two): what lies past an end has no gradient,
        and neither has what underflows.
        """
        num_scaled, num_seen = (0, 0) if self._counts is None else self._counts.tolist()
        self._counts = None
        return num_scaled / max(1, num_seen)


class _ScaleDown(torch.autograd.Function):
    """The identity, whose gradient's rows have a norm of at most `max_norm`."""

    @staticmethod
    def forward(ctx: Any, h_BH: Tensor, tap: RecurrentClipping, max_norm: float) -> Tensor:
        ctx.tap, ctx.max_norm = tap, max_norm
        return h_BH.view_as(h_BH)

    @staticmethod
    def backward(ctx: Any, gradient_BH: Tensor) -> tuple[Tensor, None, None]:
        exact = torch.promote_types(gradient_BH.dtype, torch.float32)
        norm_B1 = torch.linalg.vector_norm(gradient_BH, dim=-1, keepdim=True, dtype=exact)
        # What is not finite goes on as it is, for the global norm to show: a scale of 0 would hide it.
        is_over_B1 = (norm_B1 > ctx.max_norm) & norm_B1.isfinite()
        ctx.tap.count(norm_B1, is_over_B1)
        scale_B1 = torch.where(is_over_B1, ctx.max_norm / norm_B1, 1.0)
        return gradient_BH * scale_B1.to(gradient_BH.dtype), None, None
