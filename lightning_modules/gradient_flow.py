"""What is measured of gradients at some steps, beside their norm and clipping at every one: metrics of an epoch.

A *layer* is a module with parameters of its own; each layer and direction of a recurrent stack counts by itself, by
torch's names (`encoder.recurrence.l0_reverse`). A *gate* is a block of a recurrent matrix weight_hh, which standard
recurrent networks have one of, `state`. Norms are L2.

    grad/flow/norm/LAYER                    of the layer's gradient before clipping
    grad/flow/gate_norm/LAYER/GATE          of the gate's block of weight_hh's gradient before clipping
    grad/flow/update_ratio/LAYER            |change of the layer's parameters in the step| / |parameters before it|
    grad/flow/spectral_radius/LAYER/GATE    largest absolute eigenvalue of the gate's block of weight_hh (gates.py)
    grad/flow/saturation/LAYER/GATE         share of the gate's activations below 0.1 or above 0.9 (gates.py)

All are means over the epoch's measured steps, but the spectral radius, which is that of the weights at the epoch's end.
A step without a finite gradient is not measured; one that clipping drops has a ratio of 0. None of it has a unit.
"""

from typing import Final

import torch
from torch import Tensor, nn

from lightning_modules.config import GradientFlowConfig
from lightning_modules.encoders import Encoder
from lightning_modules.gates import gate_saturation, layer_of, recurrent_blocks, spectral_radii

PREFIX: Final = "grad/flow/"


class GradientFlow:
    """The measures of one epoch; between two measured steps it costs nothing."""

    def __init__(self, config: GradientFlowConfig) -> None:
        self._every = config.every
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self._weights_before: dict[str, Tensor] | None = None
        self._gates_of: int | None = None

    def start_epoch(self) -> None:
        """Forgets the epoch before."""
        self._sums, self._counts, self._weights_before, self._gates_of = {}, {}, None, None

    def is_due(self, step: int) -> bool:
        """Whether a step of the training is measured: the first, and every so many."""
        return self._every > 0 and step % self._every == 0

    def see_gates(self, encoder: Encoder, x_BTF: Tensor, lengths_B: Tensor, *, step: int) -> None:
        """Measures gates on the first part of a step's batch."""
        if self.is_due(step) and step != self._gates_of:
            self._gates_of = step
            for name, share in gate_saturation(encoder, x_BTF, lengths_B).items():
                self._add(f"saturation/encoder.{name}", share)

    @torch.no_grad()
    def before_step(self, network: nn.Module, *, step: int) -> None:
        """Measures the gradients that the backward pass left, and keeps the weights."""
        self._weights_before = None
        if not self.is_due(step):
            return
        gradients = {path: each.grad for path, each in network.named_parameters() if each.grad is not None}
        squares = _squares(gradients)
        if not squares or not torch.stack(list(squares.values())).isfinite().all():
            return
        for layer, square in squares.items():
            self._add(f"norm/{layer}", square.sqrt())
        for path, gradient in gradients.items():
            for gate, block_HH in recurrent_blocks(path, gradient).items():
                self._add(f"gate_norm/{layer_of(path)}/{gate}", torch.linalg.vector_norm(block_HH))
        self._weights_before = {path: each.detach().clone() for path, each in network.named_parameters()}

    @torch.no_grad()
    def after_step(self, network: nn.Module) -> None:
        """Measures how far a measured step has moved each layer."""
        if self._weights_before is None:
            return
        after = dict(network.named_parameters())
        moved = _squares({path: after[path] - before for path, before in self._weights_before.items()})
        for layer, size in _squares(self._weights_before).items():
            self._add(f"update_ratio/{layer}", (moved[layer] / size.clamp(min=torch.finfo().tiny)).sqrt())
        self._weights_before = None

    def metrics(self, network: nn.Module) -> dict[str, float]:
        """Means over the measured steps since the epoch's start, and spectral radii; nothing where no step was due."""
        if not self._sums:
            return {}
        means = {PREFIX + name: float(total) / self._counts[name] for name, total in self._sums.items()}
        return means | {PREFIX + f"spectral_radius/{name}": value for name, value in _radii(network).items()}

    def _add(self, name: str, value: Tensor) -> None:
        """Adds up on the device: asking for the number would wait for it."""
        self._sums[name] = self._sums[name] + value if name in self._sums else value
        self._counts[name] = self._counts.get(name, 0) + 1


def _squares(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Layer -> sum of the squares of its parameters' tensors."""
    squares: dict[str, Tensor] = {}
    for path, tensor in tensors.items():
        layer, square = layer_of(path), tensor.square().sum()
        squares[layer] = squares[layer] + square if layer in squares else square
    return squares


@torch.no_grad()
def _radii(network: nn.Module) -> dict[str, float]:
    radii: dict[str, float] = {}
    for path, parameter in network.named_parameters():
        blocks = recurrent_blocks(path, parameter)
        if blocks:
            values = spectral_radii(torch.stack(list(blocks.values()))).tolist()
            radii |= {f"{layer_of(path)}/{gate}": value for gate, value in zip(blocks, values, strict=True)}
    return radii
