"""Recurrence one step after another: what torch's fused kernels compute, from the same parameters, under a tap.

A fused kernel takes a whole sequence and gives all its states at once. The states that it goes on with are its own:
replacing one, or hooking its gradient dL/dh_t, would change nothing, since within the kernel the gradient does not pass
through the tensors that come out. Whoever wants to watch or to clip the gradient that flows from step to step therefore
needs every state as a tensor of its own in autograd's graph, which costs a kernel call a step.

Shape legend: B sequences, S steps, F values an input, H hidden units of one direction, G gates x H.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lightning_modules.encoders._base import Tap, length_mask


class _State(NamedTuple):
    """h (B, H), and the LSTM's c (B, H)."""

    h: Tensor
    c: Tensor


Seen = Callable[[str, Tensor], Tensor]
"""(what is added to the name, a new state) -> what to go on with."""
Step = Callable[[Tensor, Tensor, _State, Seen], _State]
"""(W x_t + b_ih, U h_(t-1) + b_hh, the state before, Seen) -> the new state."""


def run_stepwise(
    recurrence: nn.RNN | nn.GRU | nn.LSTM,
    x_BSF: Tensor,
    steps_B: Tensor,
    *,
    tap: Tap,
    prefix: str = "",
    window: int | None = None,
) -> Tensor:
    """All states of padded sequences: (B, S, F) -> (B, S, H x directions), zero past each sequence's end.

    The tap hears of `layer0/forward`, `layer0/backward`, `layer1/forward`, … and, where there is a c, of
    `layer0/forward/cell`, after input t. Rows of sequences that have no input t mean nothing and get no gradient.

    Args:
        recurrence: torch's module, of one layer or several.
        x_BSF: inputs; finite also past a sequence's end.
        steps_B: inputs of each sequence, at least 1.
        tap: sees each new state, and says what to go on with.
        prefix: of the names that the tap hears.
        window: steps from one border that no gradient crosses to the next; of what reads forwards alone.
    """
    assert window is None or not recurrence.bidirectional
    past_end_BS1 = ~length_mask(steps_B, x_BSF.shape[1]).unsqueeze(-1)
    for layer in range(recurrence.num_layers):
        if layer:
            x_BSF = nn.functional.dropout(x_BSF, recurrence.dropout, training=recurrence.training)
        directions = []
        for direction in ("forward", "backward") if recurrence.bidirectional else ("forward",):
            seen = _Watched(tap, f"{prefix}layer{layer}/{direction}", past_end_BS1)
            suffix = f"l{layer}_reverse" if direction == "backward" else f"l{layer}"
            directions.append(_one_direction(recurrence, x_BSF, suffix=suffix, seen=seen, window=window))
        x_BSF = torch.cat(directions, dim=-1)
    return x_BSF


class _Watched:
    """Shows a tap the states of one layer and direction, and puts zeros where sequences have ended.

    After the tap, so that no gradient comes to it from there: reading backwards, steps within a sequence follow.
    """

    def __init__(self, tap: Tap, name: str, past_end_BS1: Tensor) -> None:
        self.tap, self.name, self.past_end_BS1 = tap, name, past_end_BS1

    def at(self, t: int) -> Seen:
        """Shows states after input t."""
        return lambda added, state_BH: self.tap.step(self.name + added, t, state_BH).masked_fill(
            self.past_end_BS1[:, t], 0.0
        )


def _one_direction(
    recurrence: nn.RNN | nn.GRU | nn.LSTM, x_BSF: Tensor, *, suffix: str, seen: _Watched, window: int | None
) -> Tensor:
    """(B, S, H). Zeros are also where both directions begin, so that reading backwards starts at a sequence's end."""
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    weight_ih, weight_hh, bias_ih, bias_hh = (getattr(recurrence, f"{name}_{suffix}") for name in names)
    step = _STEPS[recurrence.mode]
    x_BSG = nn.functional.linear(x_BSF, weight_ih, bias_ih)
    zeros_BH = x_BSF.new_zeros(len(x_BSF), recurrence.hidden_size)
    state, states = _State(zeros_BH, zeros_BH), []
    places = range(x_BSF.shape[1])
    for t in reversed(places) if suffix.endswith("reverse") else places:
        if window is not None and t % window == 0:
            state = _State(state.h.detach(), state.c.detach())
        state = step(x_BSG[:, t], nn.functional.linear(state.h, weight_hh, bias_hh), state, seen.at(t))
        states.append(state.h)
    return torch.stack(states[::-1] if suffix.endswith("reverse") else states, dim=1)


# --- one step of each cell, in torch's order of gates -----------------------------------------------------------------


def _lstm(x_BG: Tensor, h_BG: Tensor, before: _State, seen: Seen) -> _State:
    """i, f, o = σ(W x + U h + b), g = tanh(…), c = f∘c + i∘g, h = o∘tanh(c)."""
    i, f, g, o = (x_BG + h_BG).chunk(4, dim=-1)
    c = seen("/cell", f.sigmoid() * before.c + i.sigmoid() * g.tanh())
    return _State(seen("", o.sigmoid() * c.tanh()), c)


def _gru(x_BG: Tensor, h_BG: Tensor, before: _State, seen: Seen) -> _State:
    """r, z = σ(W x + U h + b), n = tanh(W x + r∘(U h + b)), h = (1-z)∘n + z∘h."""
    r_x, z_x, n_x = x_BG.chunk(3, dim=-1)
    r_h, z_h, n_h = h_BG.chunk(3, dim=-1)
    z = (z_x + z_h).sigmoid()
    n = (n_x + (r_x + r_h).sigmoid() * n_h).tanh()
    return _State(seen("", n + z * (before.h - n)), before.c)


def _rnn(activation: Callable[[Tensor], Tensor]) -> Step:
    """The standard cell: h = activation(W x + U h + b)."""

    def step(x_BG: Tensor, h_BG: Tensor, before: _State, seen: Seen) -> _State:
        return _State(seen("", activation(x_BG + h_BG)), before.c)

    return step


_STEPS: dict[str, Step] = {"RNN_TANH": _rnn(torch.tanh), "RNN_RELU": _rnn(torch.relu), "GRU": _gru, "LSTM": _lstm}
