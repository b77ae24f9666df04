"""Gradient clipping rules, and what each step's clipping did.

Norms are L2. A norm is *global* over all parameters together; a *layer* is what gradient flow calls one: a module with
parameters of its own, and each layer and direction of a recurrent stack by itself; a *unit* is a row of a weight
matrix, so that each gate of a recurrent matrix has rows of its own. Rules see the gradient that the optimiser would:
the sum over all parts of a batch, unscaled under automatic mixed precision.

Pascanu et al., "On the difficulty of training recurrent neural networks", 2013 (norm). Seetharaman et al., "AutoClip:
adaptive gradient clipping for source separation networks", 2020. Brock et al., "High-performance large-scale image
recognition without normalization", 2021 (agc; the authors' code takes each bias or gain as one unit more, which is left
alone here). The rule `recurrent` acts within the backward pass instead:
lightning_modules/recurrent_clipping.py.
"""

import math
from bisect import insort
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, assert_never

import numpy as np
import torch
from torch import Tensor, nn

from lightning_modules.config import (
    AGCConfig,
    AutoClipConfig,
    ClippingConfig,
    LayerNormClippingConfig,
    NoClippingConfig,
    NormClippingConfig,
    RecurrentClippingConfig,
    SkipClippingConfig,
    ValueClippingConfig,
)
from lightning_modules.gates import layer_of
from lightning_modules.heads import Head
from lightning_modules.recurrent_clipping import RecurrentClipping

QUANTILES: Final = (0.1, 0.5, 0.9)


class ClippingStep(NamedTuple):
    """What one optimiser step's clipping did.

    Attributes:
        norm_before: global norm of what the backward pass left.
        norm_after: of what the optimiser gets; 0 where the step is dropped.
        clipped: 1 where the rule changed anything and 0 where not; under `recurrent`, the share of those states that
            had a gradient whose gradient it scaled down.
    """

    norm_before: float
    norm_after: float
    clipped: float

    @property
    def is_finite(self) -> bool:
        """Whether the backward pass left a gradient to speak of."""
        return math.isfinite(self.norm_before)


class GradientClipper:
    """One rule, and what it remembers of the steps before."""

    def __init__(self, config: ClippingConfig) -> None:
        self._config = config
        self._norms: list[float] = []  # AutoClip's, in ascending order
        self._recurrent: RecurrentClipping | None = None
        if isinstance(config, RecurrentClippingConfig):
            self._recurrent = RecurrentClipping(config.max_state_norm)

    def tap(self, *, loss_scale: float = 1.0) -> RecurrentClipping | None:
        """What the forward pass has to go through, if the rule acts within the backward pass.

        Args:
            loss_scale: that the loss is multiplied by before its backward pass, and the gradient divided by after it.
        """
        if self._recurrent is not None:
            self._recurrent.loss_scale = loss_scale
        return self._recurrent

    def clip(self, network: nn.Module) -> ClippingStep:  # noqa: C901 - an arm a rule
        """Clips the network's gradients in place; where they are not finite, only `skip` touches them."""
        gradients = gradients_of(network)
        norm = float(global_norm(gradients))
        if isinstance(self._config, SkipClippingConfig):
            return _skip(network, norm, skip_above=self._config.skip_above)
        share = 0.0 if self._recurrent is None else self._recurrent.take_share()
        if not math.isfinite(norm):
            return ClippingStep(norm, norm, share)
        match self._config:
            case NoClippingConfig() | RecurrentClippingConfig():
                return ClippingStep(norm, norm, share)
            case NormClippingConfig(max_norm=max_norm):
                return _scale_down(gradients, norm, max_norm=max_norm)
            case AutoClipConfig(percentile=percentile):
                insort(self._norms, norm)
                return _scale_down(gradients, norm, max_norm=percentile_of(self._norms, percentile))
            case LayerNormClippingConfig(max_norm=max_norm):
                is_clipped = _clip_layers(network, max_norm=max_norm)
            case ValueClippingConfig(max_value=max_value):
                is_clipped = bool(global_norm(gradients, order=math.inf) > max_value)
                for gradient in gradients:
                    gradient.clamp_(-max_value, max_value)
            case AGCConfig(max_ratio=max_ratio, epsilon=epsilon):
                is_clipped = _clip_units(network, max_ratio=max_ratio, epsilon=epsilon)
            case _:
                assert_never(self._config)
        return ClippingStep(norm, float(global_norm(gradients)) if is_clipped else norm, float(is_clipped))

    def state_dict(self) -> dict[str, Any]:
        """What the rule remembers, for a checkpoint."""
        return {"norms": list(self._norms)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on as the training before would have."""
        self._norms = list(state_dict["norms"])


def clipping_metrics(steps: Sequence[ClippingStep]) -> dict[str, float]:
    """The `grad/` metrics of an epoch's steps, whose norms are over those that are finite; left out where none is.

    Means, quantiles and the largest of the global norm; the share of steps clipped (under `recurrent`, of states whose
    gradient was scaled down); and how many steps had no finite gradient and were dropped.
    """
    metrics = {
        "grad/share_clipped": float(np.mean([step.clipped for step in steps])),
        "grad/steps_non_finite": float(sum(not step.is_finite for step in steps)),
    }
    finite = [step for step in steps if step.is_finite]
    if not finite:
        return metrics
    before = [step.norm_before for step in finite]
    low, median, high = np.quantile(before, QUANTILES)
    return metrics | {
        "grad/norm_before_clipping": float(np.mean(before)),
        "grad/norm_after_clipping": float(np.mean([step.norm_after for step in finite])),
        "grad/norm_q10": float(low),
        "grad/norm_q50": float(median),
        "grad/norm_q90": float(high),
        "grad/norm_max": float(np.max(before)),
    }


def gradients_of(network: nn.Module) -> list[Tensor]:
    """The gradients that there are."""
    return [parameter.grad for parameter in network.parameters() if parameter.grad is not None]


def global_norm(gradients: list[Tensor], *, order: float = 2.0) -> Tensor:
    """Norm of all gradients taken as one vector; a scalar tensor."""
    return nn.utils.get_total_norm(gradients, norm_type=order)


def layers_of(network: nn.Module) -> dict[str, list[nn.Parameter]]:
    """Layer's name -> its own parameters; a parameter that layers share is the first one's."""
    layers: dict[str, list[nn.Parameter]] = {}
    for path, parameter in network.named_parameters():
        layers.setdefault(layer_of(path), []).append(parameter)
    return layers


def percentile_of(ascending: list[float], percentile: float) -> float:
    """Percentile of numbers in ascending order, between two of them in proportion: what NumPy does by default."""
    place = percentile / 100.0 * (len(ascending) - 1)
    below = ascending[int(place)]
    above = ascending[min(int(place) + 1, len(ascending) - 1)]
    return below + (place - int(place)) * (above - below)


def _scale_down(gradients: list[Tensor], norm: float, *, max_norm: float) -> ClippingStep:
    if norm <= max_norm:
        return ClippingStep(norm, norm, 0.0)
    torch._foreach_mul_(gradients, max_norm / norm)
    return ClippingStep(norm, max_norm, 1.0)


def _skip(network: nn.Module, norm: float, *, skip_above: float) -> ClippingStep:
    """An optimiser passes over parameters without a gradient: neither weights nor momentum move."""
    if norm <= skip_above:  # which no NaN is
        return ClippingStep(norm, norm, 0.0)
    for parameter in network.parameters():
        parameter.grad = None
    return ClippingStep(norm, 0.0, 1.0)


def _clip_layers(network: nn.Module, *, max_norm: float) -> bool:
    norms = []
    for parameters in layers_of(network).values():
        gradients = [each.grad for each in parameters if each.grad is not None]
        if gradients:
            norms.append(global_norm(gradients))
            torch._foreach_mul_(gradients, (max_norm / norms[-1]).clamp(max=1.0))
    return bool(norms) and bool((torch.stack(norms) > max_norm).any())


def _clip_units(network: nn.Module, *, max_ratio: float, epsilon: float) -> bool:
    """G_i -> G_i · max_ratio · max(|W_i|, epsilon) / |G_i| wherever that is a reduction, i a row of a weight matrix.

    Output layers are left out, and so is what has one dimension: biases, gains, the queries of attention.
    """
    are_over = []
    for parameter in _matrices(network):
        if parameter.grad is not None:
            limit_N = max_ratio * _row_norms(parameter.detach()).clamp(min=epsilon)
            norm_N = _row_norms(parameter.grad)
            are_over.append((norm_N > limit_N).any())
            scale_N = torch.where(norm_N > limit_N, limit_N / norm_N, 1.0)
            parameter.grad.mul_(scale_N.view(-1, *[1] * (parameter.ndim - 1)))
    return bool(are_over) and bool(torch.stack(are_over).any())


def _matrices(network: nn.Module) -> list[nn.Parameter]:
    """All weight matrices but those of output layers: of heads, and what encoders and decoders call `output`."""
    outputs = (
        module
        for path, module in network.named_modules()
        if isinstance(module, Head) or path.rpartition(".")[2] == "output"
    )
    of_output = {id(each) for module in outputs for each in module.parameters()}
    return [each for each in network.parameters() if each.ndim > 1 and id(each) not in of_output]


def _row_norms(matrix: Tensor) -> Tensor:
    """(N, …) -> (N,)."""
    norm_N: Tensor = torch.linalg.vector_norm(matrix.flatten(start_dim=1), dim=1)
    return norm_N
