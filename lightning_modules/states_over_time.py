"""How much of the loss's gradient reaches each state of an encoder: |dL/dh_t| against t.

Of utterance b's state h_bt after input t, the gradient is that of B · L, B the utterances of the batch: for a loss that
is a mean over utterances, of the utterance's own. What is kept is the mean over rows of its L2 norm,

    g_t = 1/R Σ_r |d(B · L)/dh_rt|,

where a row is an utterance or, in a hierarchy's lower levels, a window of one. All are cut to the shortest that there
can be: t would lie at the end of one and in the midst of another, and past the end of a third there is no gradient; and
curves of batches that were drawn under other seeds would differ in length. The curve says what
pooling hides as well: a pooling that reads every state gives each a gradient of its own, and only what reads the last
state alone shows how much the recurrence carries back.

Dropout is off, batch normalisation as in evaluation, and the forward pass in single precision; an encoder that training
tells the truth is told it here too. Nothing of it remains: gradients go to the states, not to the parameters.
"""

from typing import Any

import torch
from torch import Tensor

from lightning_modules.config import ClassificationConfig
from lightning_modules.data.switched import cut_to_shortest, least_frames
from lightning_modules.lid_module import LidModule


class StateTap:
    """Keeps each state that it sees, by the recurrence's name and input; of a layer without recurrence, all at once."""

    def __init__(self) -> None:
        self.steps: dict[str, dict[int, Tensor]] = {}
        self.sequences: dict[str, Tensor] = {}

    def step(self, name: str, t: int, h_BH: Tensor) -> Tensor:
        """The state itself."""
        self.steps.setdefault(name, {})[t] = h_BH
        return h_BH

    def sequence(self, name: str, h_BSH: Tensor) -> Tensor:
        """The states themselves."""
        self.sequences[name] = h_BSH
        return h_BSH


def gradients_over_time(module: LidModule, batch: Any) -> dict[str, list[float]]:
    """Name of a recurrence or layer -> g_t at t = 0, 1, …, of one batch; the module stays as it is.

    Args:
        module: with any encoder.
        batch: of training, on the module's device.
    """
    task, data = module.config.task, module.config.data
    at_most = None if isinstance(task, ClassificationConfig) else least_frames(task.switching, data)
    batch, tap, is_training = cut_to_shortest(batch, at_most=at_most), StateTap(), module.training
    gpus = [module.device] if module.device.type == "cuda" else []
    module.eval()
    module.encoder.training = True  # itself, and not what it is made of: feedback as in training, without dropout
    try:
        # cuDNN has no backward pass in evaluation mode, which decoders may need.
        with torch.enable_grad(), torch.random.fork_rng(gpus), torch.backends.cudnn.flags(enabled=False):
            return _gradients(tap, module.loss(batch, tap=tap).value * len(batch.lengths))
    finally:
        module.train(is_training)


def _gradients(tap: StateTap, loss: Tensor) -> dict[str, list[float]]:
    states = [h_BH for steps in tap.steps.values() for h_BH in steps.values()]
    found = torch.autograd.grad(loss, states + list(tap.sequences.values()), allow_unused=True)
    norms = iter(_mean_norm(gradient).cpu() for gradient in found)
    over_time: dict[str, list[float]] = {}
    for name, steps in tap.steps.items():
        by_input = {t: next(norms) for t in steps}
        over_time[name] = torch.stack([by_input[t] for t in sorted(by_input)]).tolist()
    for name in tap.sequences:
        over_time[name] = next(norms).tolist()
    return over_time


def _mean_norm(gradient: Tensor | None) -> Tensor:
    """Mean over rows of the norm of each state: () of (R, H), (S,) of (R, S, H); 0 of a state that nothing read."""
    if gradient is None:
        return torch.zeros((), dtype=torch.float64)
    norms: Tensor = torch.linalg.vector_norm(gradient, dim=-1, dtype=torch.float64)
    return norms.mean(dim=0)
