"""Torch's recurrent networks: how they are made, how they begin, and how they run over padded sequences.

Standard RNN, GRU (Cho et al., 2014) and LSTM (Hochreiter & Schmidhuber, 1997), in the forms of design section 5.

Shape legend: B sequences, S steps, F values an input, H hidden units x directions.

Recurrence runs on torch's fused kernels. Padding is kept out of the backward direction by packing; where all lengths
are equal there is none, and the plain call is faster. With a tap it runs step by step (`stepwise.py`).
"""

from typing import Any, Literal, assert_never

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from lightning_modules.config import Cell
from lightning_modules.encoders._base import Tap, length_mask
from lightning_modules.encoders.stepwise import run_stepwise
from lightning_modules.initial_draws import named_draws

Recurrence = nn.RNN | nn.GRU | nn.LSTM
State = Any
"""What torch hands on: (layers, B, H), and for the LSTM two of them."""

IRNN_INPUT_SD = 1e-3
"""Le et al., 2015: the identity adds up all inputs, so that larger weights would start with scores in the thousands."""
NUM_GATES = {"rnn_tanh": 1, "rnn_relu": 1, "gru": 3, "lstm": 4}


def build_recurrence(
    cell: Cell,
    *,
    input_size: int,
    hidden_size: int,
    initialisation: Literal["orthogonal", "uniform"],
    forget_bias: float,
    num_layers: int = 1,
    bidirectional: bool = False,
    dropout: float = 0.0,
) -> Recurrence:
    """A stack of torch's layers of a cell, (B, S, F) -> (B, S, H).

    Args:
        cell: which.
        input_size: F.
        hidden_size: units a layer and direction.
        initialisation: uniform in ±1 / sqrt(hidden_size), as torch does, or as `initialise` says.
        forget_bias: of the LSTM under orthogonal initialisation.
        num_layers: each reads the states of the one below, of both directions.
        bidirectional: whether each layer reads backwards too.
        dropout: between layers.
    """
    options: dict[str, Any] = {
        "num_layers": num_layers,
        "dropout": dropout if num_layers > 1 else 0.0,  # torch warns where there is nothing between layers
        "bidirectional": bidirectional,
        "batch_first": True,
    }
    recurrence = _untrained(cell, input_size=input_size, hidden_size=hidden_size, options=options)
    if initialisation == "orthogonal":
        initialise(recurrence, cell=cell, forget_bias=forget_bias)
    else:
        _uniform(recurrence, bound=hidden_size**-0.5)
    return recurrence


def _untrained(cell: Cell, *, input_size: int, hidden_size: int, options: dict[str, Any]) -> Recurrence:
    match cell:
        case "gru":
            return nn.GRU(input_size, hidden_size, **options)
        case "lstm":
            return nn.LSTM(input_size, hidden_size, **options)
        case "rnn_tanh" | "rnn_relu":
            return nn.RNN(input_size, hidden_size, nonlinearity=cell.removeprefix("rnn_"), **options)
        case _:
            assert_never(cell)


def initialise(recurrence: nn.Module, *, cell: Cell, forget_bias: float) -> None:
    """Of a stack or a single cell: orthogonal recurrent weights a gate; for relu the identity (Le et al., 2015).

    There the input weights are small. Biases are 0 but the LSTM's b_ih of the forget gate (Jozefowicz et al., 2015).
    """
    for name, weight in recurrence.named_parameters():
        with named_draws(name):
            _initialise(weight, name, cell=cell, forget_bias=forget_bias)


def _initialise(weight: Tensor, name: str, *, cell: Cell, forget_bias: float) -> None:
    if name.startswith("weight_hh"):
        for gate in weight.data.chunk(NUM_GATES[cell]):
            (nn.init.eye_ if cell == "rnn_relu" else nn.init.orthogonal_)(gate)
    elif name.startswith("weight_ih") and cell == "rnn_relu":
        nn.init.normal_(weight, std=IRNN_INPUT_SD)
    elif name.startswith("weight_ih"):
        nn.init.xavier_uniform_(weight)
    else:
        nn.init.zeros_(weight)
        if cell == "lstm" and name.startswith("bias_ih"):
            hidden_size = weight.shape[0] // NUM_GATES[cell]
            weight.data[hidden_size : 2 * hidden_size] = forget_bias


def _uniform(recurrence: nn.Module, *, bound: float) -> None:
    for name, weight in recurrence.named_parameters():
        with named_draws(name):
            nn.init.uniform_(weight, -bound, bound)


def run(
    recurrence: Recurrence,
    x_BSF: Tensor,
    steps_B: Tensor,
    *,
    tap: Tap | None = None,
    prefix: str = "",
    window: int | None = None,
) -> Tensor:
    """All states of padded sequences: (B, S, F) -> (B, S, H), zero past each sequence's end.

    Args:
        recurrence: what `build_recurrence` made.
        x_BSF: inputs; finite also past a sequence's end.
        steps_B: inputs of each sequence, at least 1.
        tap: sees every state as it is made.
        prefix: of the names that the tap hears, such as `low/`.
        window: steps from one border that no gradient crosses to the next; None: gradients flow to the first step.
    """
    if tap is not None:
        return run_stepwise(recurrence, x_BSF, steps_B, tap=tap, prefix=prefix, window=window)
    if window is not None:
        return _truncated(recurrence, x_BSF, steps_B, window=window)
    return _fused(recurrence, x_BSF, steps_B)[0]


def read_all(recurrence: Recurrence, x_BSF: Tensor, state: State = None) -> tuple[Tensor, State]:
    """States (B, S, H) of sequences that are all of one length, and the state after their last inputs.

    On a CPU an LSTM keeps to float32 under autocast: oneDNN refuses to make one in bfloat16 where the processor has no
    instructions for it.
    """
    if isinstance(recurrence, nn.LSTM) and x_BSF.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
        with torch.autocast("cpu", enabled=False):
            h_BSH, state = recurrence(x_BSF.to(next(recurrence.parameters()).dtype), state)
    else:
        h_BSH, state = recurrence(x_BSF, state)
    return h_BSH, state


def _fused(recurrence: Recurrence, x_BSF: Tensor, steps_B: Tensor, state: State = None) -> tuple[Tensor, State]:
    if int(steps_B.min()) == x_BSF.shape[1]:
        return read_all(recurrence, x_BSF, state)
    packed = pack_padded_sequence(x_BSF, steps_B.cpu(), batch_first=True, enforce_sorted=False)
    h_packed, state = recurrence(packed, state)
    h_BSH, _ = pad_packed_sequence(h_packed, batch_first=True, total_length=x_BSF.shape[1])
    return h_BSH, state


def _truncated(recurrence: Recurrence, x_BSF: Tensor, steps_B: Tensor, *, window: int) -> Tensor:
    """Truncated back-propagation through time (Williams & Peng, 1990): each window starts from a detached state.

    A sequence that has ended reads a step of padding in each later window, since torch packs no empty ones; what comes
    of it is masked.
    """
    state: State = None
    parts: list[Tensor] = []
    for x_BWF in torch.split(x_BSF, window, dim=1):
        left_B = (steps_B - window * len(parts)).clamp(min=1, max=x_BWF.shape[1])
        h_BWH, state = _fused(recurrence, x_BWF, left_B, state)
        state = tuple(part.detach() for part in state) if isinstance(state, tuple) else state.detach()
        parts.append(h_BWH)
    past_end_BS = ~length_mask(steps_B, x_BSF.shape[1])
    return torch.cat(parts, dim=1).masked_fill(past_end_BS.unsqueeze(-1), 0.0)
