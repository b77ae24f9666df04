"""How strongly the loss depends on each state: |dL/dh_t| against t, on sequences of one length.

For a loss L that is the mean over B sequences, B dL/dh_t holds in row b the gradient of sequence b's own loss with
respect to its own state. What is kept is the L2 norm of each row, and of those the root mean square over the sequences.
The gradient is the whole one: over all paths from h_t to the loss, through later states and, where there is one,
through an output at t. Weights are those of the network, arithmetic is in double precision: what a training computes in
single precision is zero below 1e-45.
"""

import copy
from collections import defaultdict

import torch
from torch import Tensor

from benchmarks.long_memory import MemoryNetwork, Sequences


class StateGradients:
    """A tap (lightning_modules.encoders.Tap) that keeps the norms, once the loss has been propagated back."""

    def __init__(self) -> None:
        self.norms: defaultdict[str, dict[int, float]] = defaultdict(dict)

    def step(self, name: str, t: int, h_BH: Tensor) -> Tensor:
        """Waits for the gradient of one state."""

        def keep(gradient_BH: Tensor) -> None:
            norms_B = len(gradient_BH) * torch.linalg.vector_norm(gradient_BH, dim=1)
            self.norms[name][t] = float(norms_B.square().mean().sqrt())

        h_BH.register_hook(keep)  # type: ignore[no-untyped-call]
        return h_BH

    def sequence(self, name: str, h_BSH: Tensor) -> Tensor:  # noqa: ARG002 - the interface
        """A layer without a recurrence has no such curve."""
        return h_BSH


def gradient_over_time(network: MemoryNetwork, sequences: Sequences) -> dict[str, list[float]]:
    """State's name in the encoder -> its root mean square norm at every step, the first step's first."""
    network = copy.deepcopy(network).double()
    tap = StateGradients()
    targets = sequences.targets.double() if sequences.targets.is_floating_point() else sequences.targets
    network.loss(Sequences(sequences.inputs.double(), targets), tap=tap).backward()  # type: ignore[no-untyped-call]
    return {name: [norms[t] for t in sorted(norms)] for name, norms in tap.norms.items()}
