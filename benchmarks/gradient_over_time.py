"""How strongly the loss depends on each state: |dL/dh_t| against t, on sequences of one length.

For a loss L that is the mean over B sequences, B dL/dh_t holds in row b the gradient of sequence b's own loss with
respect to its own state. What is kept is the L2 norm of each row, and of those the root mean square over the sequences
(reports of studies have their mean). The gradient is the whole one: over all paths from h_t to the loss, through later
states and, where there is one, through an output at t. Weights are those of the network, arithmetic is in double
precision: what a training computes in single precision is zero below 1e-45.
"""

import copy

import torch
from torch import Tensor

from benchmarks.long_memory import MemoryNetwork, Sequences
from lightning_modules.states_over_time import StateTap


def gradient_over_time(network: MemoryNetwork, sequences: Sequences) -> dict[str, list[float]]:
    """State's name in the encoder -> its root mean square norm at every step, the first step's first."""
    network, tap = copy.deepcopy(network).double(), StateTap()
    targets = sequences.targets.double() if sequences.targets.is_floating_point() else sequences.targets
    loss = network.loss(Sequences(sequences.inputs.double(), targets), tap=tap)
    return norms_over_time(loss, tap, num_sequences=len(targets))


def norms_over_time(loss: Tensor, tap: StateTap, *, num_sequences: int) -> dict[str, list[float]]:
    """The same of any network whose states a tap has seen.

    Args:
        loss: a mean over the sequences.
        tap: what saw them.
        num_sequences: B.
    """
    return {
        name: _norms(num_sequences * loss, [states[t] for t in sorted(states)]) for name, states in tap.steps.items()
    }


def _norms(loss: Tensor, states: list[Tensor]) -> list[float]:
    gradients_TBH = torch.stack(torch.autograd.grad(loss, states, retain_graph=True))
    norms: list[float] = gradients_TBH.norm(dim=-1).square().mean(dim=-1).sqrt().tolist()
    return norms
