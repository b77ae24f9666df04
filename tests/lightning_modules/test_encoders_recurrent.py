"""Recurrent cells against their equations written out step by step, their initialisation, and how frames are joined.

Shape legend: B utterances, T frames, S steps, F values a frame, H hidden units x directions.
"""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from lightning_modules.config import FullBPTTConfig, RecurrentEncoderConfig
from lightning_modules.encoders._base import length_mask, stack_frames
from lightning_modules.encoders.recurrences import NUM_GATES
from lightning_modules.encoders.recurrent import RecurrentEncoder

CELLS = ["rnn_tanh", "rnn_relu", "gru", "lstm"]
Parameters = Mapping[str, Tensor]
State = tuple[Tensor, Tensor]


def make(*, input_size: int = 5, **fields: Any) -> RecurrentEncoder:
    torch.manual_seed(0)
    return RecurrentEncoder(RecurrentEncoderConfig.model_validate(fields), input_size=input_size, bptt=FullBPTTConfig())


# --- the equations ----------------------------------------------------------------------------------------------------
# One step of each cell: x (F,), state (h, c) -> state; h and c are (H,), and only the LSTM uses c.


def _lstm(x: Tensor, state: State, p: Parameters) -> State:
    h, c = state
    i, f, g, o = (p["weight_ih"] @ x + p["bias_ih"] + p["weight_hh"] @ h + p["bias_hh"]).chunk(4)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def _gru(x: Tensor, state: State, p: Parameters) -> State:
    h, c = state
    r_x, z_x, n_x = (p["weight_ih"] @ x + p["bias_ih"]).chunk(3)
    r_h, z_h, n_h = (p["weight_hh"] @ h + p["bias_hh"]).chunk(3)
    r, z = (r_x + r_h).sigmoid(), (z_x + z_h).sigmoid()
    n = (n_x + r * n_h).tanh()
    return (1 - z) * n + z * h, c


def _rnn(activation: Callable[[Tensor], Tensor]) -> Callable[[Tensor, State, Parameters], State]:
    def step(x: Tensor, state: State, p: Parameters) -> State:
        h, c = state
        return activation(p["weight_ih"] @ x + p["bias_ih"] + p["weight_hh"] @ h + p["bias_hh"]), c

    return step


STEPS = {"rnn_tanh": _rnn(torch.tanh), "rnn_relu": _rnn(torch.relu), "gru": _gru, "lstm": _lstm}


def expected_states(encoder: RecurrentEncoder, x_TF: Tensor, *, cell: str, num_layers: int) -> Tensor:
    """(T, H) states of one utterance, by the equations."""
    named = dict(encoder.recurrence.named_parameters())
    for layer in range(num_layers):
        directions = []
        for suffix in ["", "_reverse"] if encoder.bidirectional else [""]:
            names = ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]
            p = {name: named[f"{name}_l{layer}{suffix}"] for name in names}
            zeros = x_TF.new_zeros(p["weight_hh"].shape[1])
            state, states = (zeros, zeros), []
            for x in x_TF.flip(0) if suffix else x_TF:
                state = STEPS[cell](x, state, p)
                states.append(state[0])
            h_TH = torch.stack(states)
            directions.append(h_TH.flip(0) if suffix else h_TH)
        x_TF = torch.cat(directions, dim=-1)
    return x_TF


@pytest.fixture(params=[1, 2], ids=["1_layer", "2_layers"])
def num_layers(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(params=[False, True], ids=["forward", "both_ways"])
def bidirectional(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def both(*, cell: str, num_layers: int, bidirectional: bool, lengths: list[int]) -> tuple[Tensor, Tensor, list[Tensor]]:
    """States of an encoder and of the equations, both zero past the end, and all that they depend on."""
    encoder = make(
        cell=cell, hidden_size=3, num_layers=num_layers, bidirectional=bidirectional, frames_per_step=1
    ).double()
    for parameter in encoder.parameters():  # biases begin at 0, where a wrong bias would not show
        nn.init.normal_(parameter, std=0.5)
    x_BTF = torch.randn(len(lengths), max(lengths), 5, dtype=torch.float64, requires_grad=True)
    h_BSH, *_ = encoder(x_BTF, torch.tensor(lengths))
    utterances = [
        expected_states(encoder, x_BTF[i, :length], cell=cell, num_layers=num_layers)
        for i, length in enumerate(lengths)
    ]
    return h_BSH, nn.utils.rnn.pad_sequence(utterances, batch_first=True), [x_BTF, *encoder.parameters()]


@pytest.mark.parametrize("lengths", [[6, 6], [4, 7, 1]], ids=["equal", "padded"])
@pytest.mark.parametrize("cell", CELLS)
def test_states_follow_the_equations(cell: str, num_layers: int, lengths: list[int], *, bidirectional: bool) -> None:
    actual, expected, _ = both(cell=cell, num_layers=num_layers, bidirectional=bidirectional, lengths=lengths)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("lengths", [[6, 6], [4, 7, 1]], ids=["equal", "padded"])
@pytest.mark.parametrize("cell", CELLS)
def test_gradients_follow_the_equations(cell: str, num_layers: int, lengths: list[int], *, bidirectional: bool) -> None:
    actual, expected, sources = both(cell=cell, num_layers=num_layers, bidirectional=bidirectional, lengths=lengths)
    weights_BSH = torch.randn_like(actual)
    for one, other in zip(
        torch.autograd.grad((actual * weights_BSH).sum(), sources),
        torch.autograd.grad((expected * weights_BSH).sum(), sources),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


# --- initialisation ---------------------------------------------------------------------------------------------------


def named(encoder: RecurrentEncoder, prefix: str) -> list[Tensor]:
    found = [p.detach() for name, p in encoder.recurrence.named_parameters() if name.startswith(prefix)]
    assert found
    return found


@pytest.mark.parametrize("cell", ["rnn_tanh", "gru", "lstm"])
def test_each_gate_begins_with_an_orthogonal_recurrence(cell: str, num_layers: int) -> None:
    encoder = make(cell=cell, hidden_size=7, num_layers=num_layers)
    for weight in named(encoder, "weight_hh"):
        assert weight.shape == (7 * NUM_GATES[cell], 7)
        for gate in weight.chunk(NUM_GATES[cell]):
            torch.testing.assert_close(gate @ gate.T, torch.eye(7))


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_gates_begin_apart(cell: str) -> None:
    one, other, *_ = named(make(cell=cell, hidden_size=7), "weight_hh")[0].chunk(NUM_GATES[cell])
    assert (one - other).abs().max() > 0.1


def test_relu_begins_with_the_identity(num_layers: int) -> None:
    for weight in named(make(cell="rnn_relu", hidden_size=7, num_layers=num_layers), "weight_hh"):
        assert torch.equal(weight, torch.eye(7))


def test_the_lstm_begins_by_remembering(num_layers: int) -> None:
    encoder = make(cell="lstm", hidden_size=3, num_layers=num_layers)
    for bias in named(encoder, "bias_ih"):
        assert bias.tolist() == [0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0]  # gates i, f, g, o
    for bias in named(encoder, "bias_hh"):
        assert not bias.any()


def test_the_forget_gate_begins_with_the_bias_that_is_asked_for() -> None:
    [bias] = named(make(cell="lstm", hidden_size=2, forget_bias=2.5, bidirectional=False), "bias_ih")
    assert bias.tolist() == [0, 0, 2.5, 2.5, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("cell", "module"), [("rnn_tanh", nn.RNN), ("rnn_relu", nn.RNN), ("gru", nn.GRU), ("lstm", nn.LSTM)]
)
def test_uniform_initialisation_is_that_of_torch(cell: str, module: type[nn.RNN | nn.GRU | nn.LSTM]) -> None:
    """The same distribution: torch's own draws depend on how many others there are."""
    options = {"hidden_size": 64, "num_layers": 2, "bidirectional": True}
    encoder = make(cell=cell, initialisation="uniform", frames_per_step=1, **options)
    own, bound = module(5, **options).state_dict(), 64**-0.5
    for name, weight in encoder.recurrence.state_dict().items():
        assert weight.shape == own[name].shape
        assert weight.abs().max() <= bound
        if weight.numel() > 300:
            assert float(weight.std()) == pytest.approx(float(own[name].std()), rel=0.1)
            assert float(weight.std()) == pytest.approx(bound / 3**0.5, rel=0.1)


@pytest.mark.parametrize("cell", ["rnn_tanh", "rnn_relu", "gru"])
def test_other_cells_begin_without_bias(cell: str) -> None:
    assert not any(bias.any() for bias in named(make(cell=cell), "bias"))


def test_relu_networks_begin_with_small_scores_however_long_the_utterance() -> None:
    encoder = make(cell="rnn_relu")
    states, *_ = encoder(torch.randn(2, 3000, 5), torch.tensor([3000, 3000]))
    assert states.abs().max() < 2


@pytest.mark.parametrize("cell", ["rnn_tanh", "gru", "lstm"])
def test_input_weights_begin_within_the_bound_of_xavier(cell: str) -> None:
    for weight in named(make(cell=cell), "weight_ih"):
        bound = (6 / sum(weight.shape)) ** 0.5
        assert bound * 0.8 < weight.abs().max() <= bound


# --- frames to steps --------------------------------------------------------------------------------------------------


@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    longer=st.integers(0, 5),
    frames_per_step=st.integers(1, 5),
)
@settings(max_examples=60)
def test_neighbouring_frames_become_steps(lengths: list[int], longer: int, frames_per_step: int) -> None:
    x_BTF = torch.randn(len(lengths), max(lengths) + longer, 2)
    x_BSF, steps_B = stack_frames(x_BTF, torch.tensor(lengths), frames_per_step=frames_per_step)
    for i, length in enumerate(lengths):
        expected = [
            [x for t in range(start, start + frames_per_step) for x in (x_BTF[i, t].tolist() if t < length else [0, 0])]
            for start in range(0, length, frames_per_step)
        ]
        assert int(steps_B[i]) == len(expected)
        torch.testing.assert_close(x_BSF[i, : len(expected)], torch.tensor(expected), rtol=0, atol=0)
        assert not x_BSF[i, len(expected) :].any()


@pytest.mark.parametrize("frames_per_step", [1, 3])
def test_states_are_zero_past_their_end(frames_per_step: int) -> None:
    encoder = make(cell="lstm", hidden_size=4, frames_per_step=frames_per_step)
    for parameter in encoder.parameters():
        nn.init.normal_(parameter)
    h_BSH, steps_B, _ = encoder(torch.randn(3, 10, 5), torch.tensor([1, 10, 5]))
    assert h_BSH.shape == (3, -(-10 // frames_per_step), 8)
    past_end = ~length_mask(steps_B, h_BSH.shape[1])
    assert past_end.any()
    assert not h_BSH[past_end].any()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
def test_nothing_in_the_padding_reaches_a_state(value: float) -> None:
    encoder = make(cell="gru", hidden_size=4, frames_per_step=3)
    lengths_B = torch.tensor([4, 9])
    x_BTF = torch.randn(2, 9, 5)
    clean, *_ = encoder(x_BTF, lengths_B)
    x_BTF[0, 4:] = value
    assert torch.equal(encoder(x_BTF, lengths_B)[0], clean)


def test_length_mask_marks_the_frames_of_each_utterance() -> None:
    assert length_mask(torch.tensor([1, 3, 2]), 3).int().tolist() == [[1, 0, 0], [1, 1, 1], [1, 1, 0]]


def test_dropout_is_for_training_alone() -> None:
    encoder, plain = (make(num_layers=2, hidden_size=16, dropout=dropout) for dropout in (0.5, 0.0))
    plain.load_state_dict(encoder.state_dict())
    x_BTF, lengths_B = torch.randn(2, 9, 5), torch.tensor([9, 9])
    assert not torch.equal(encoder(x_BTF, lengths_B)[0], plain(x_BTF, lengths_B)[0])
    assert torch.equal(encoder.eval()(x_BTF, lengths_B)[0], plain(x_BTF, lengths_B)[0])
