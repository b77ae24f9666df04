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

from collections.abc import Iterable, Sequence
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
        self._sums: dict[tuple[str, ...], Tensor] = {}  # by the names of their values, which are measured together
        self._counts: dict[tuple[str, ...], int] = {}
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
            shares = gate_saturation(encoder, x_BTF, lengths_B)
            if shares:
                self._add([f"saturation/encoder.{name}" for name in shares], torch.stack(list(shares.values())))

    @torch.no_grad()
    def before_step(self, network: nn.Module, *, step: int) -> None:
        """Measures the gradients that the backward pass left, and keeps the weights."""
        self._weights_before = None
        if not self.is_due(step):
            return
        gradients = {path: each.grad for path, each in network.named_parameters() if each.grad is not None}
        if not gradients:
            return
        layers, norm_N = _layer_norms(gradients)
        if not norm_N.isfinite().all():
            return
        self._add([f"norm/{layer}" for layer in layers], norm_N)
        blocks = {
            f"gate_norm/{layer_of(path)}/{gate}": block_HH
            for path, gradient in gradients.items()
            for gate, block_HH in recurrent_blocks(path, gradient).items()
        }
        if blocks:
            self._add(list(blocks), _norms(blocks.values()))
        self._weights_before = {path: each.detach().clone() for path, each in network.named_parameters()}

    @torch.no_grad()
    def after_step(self, network: nn.Module) -> None:
        """Measures how far a measured step has moved each layer."""
        if self._weights_before is None:
            return
        after = dict(network.named_parameters())
        layers, size_N = _layer_norms(self._weights_before)
        _, moved_N = _layer_norms({path: after[path] - before for path, before in self._weights_before.items()})
        ratio_N = moved_N / size_N.clamp(min=torch.finfo().tiny)
        self._add([f"update_ratio/{layer}" for layer in layers], ratio_N)
        self._weights_before = None

    def metrics(self, network: nn.Module) -> dict[str, float]:
        """Means over the measured steps since the epoch's start, and spectral radii; nothing where no step was due."""
        if not self._sums:
            return {}
        names = [name for group in self._sums for name in group]
        means = torch.cat([total_N / self._counts[group] for group, total_N in self._sums.items()])
        radii = _radii(network)
        names += [f"spectral_radius/{name}" for name in radii]
        values = torch.cat([means, *(radius.view(1) for radius in radii.values())]).tolist()
        return {PREFIX + name: value for name, value in zip(names, values, strict=True)}

    def _add(self, names: Sequence[str], values_N: Tensor) -> None:
        """Adds up on the device: asking for the numbers would wait for it."""
        group = tuple(names)
        self._sums[group] = self._sums[group] + values_N if group in self._sums else values_N
        self._counts[group] = self._counts.get(group, 0) + 1


def _layer_norms(tensors: dict[str, Tensor]) -> tuple[list[str], Tensor]:
    """Layers, and (N,) the norm of each one's tensors taken as one vector, from tensors by their parameter's path."""
    layer_of_P = [layer_of(path) for path in tensors]
    layers = list(dict.fromkeys(layer_of_P))
    norm_P = _norms(tensors.values())
    place_P = torch.tensor([layers.index(layer) for layer in layer_of_P], device=norm_P.device)
    return layers, norm_P.new_zeros(len(layers)).index_add_(0, place_P, norm_P.square()).sqrt()


def _norms(tensors: Iterable[Tensor]) -> Tensor:
    """(N,) the norm of each of N tensors: as few kernels as can be, since on a GPU starting them is what costs."""
    return torch.stack(torch._foreach_norm(list(tensors)))  # noqa: SLF001 - what nn.utils.get_total_norm does


@torch.no_grad()
def _radii(network: nn.Module) -> dict[str, Tensor]:
    radii: dict[str, Tensor] = {}
    for path, parameter in network.named_parameters():
        blocks = recurrent_blocks(path, parameter)
        if blocks:
            radius_G = spectral_radii(torch.stack(list(blocks.values())))
            radii |= {f"{layer_of(path)}/{gate}": radius for gate, radius in zip(blocks, radius_G, strict=True)}
    return radii
