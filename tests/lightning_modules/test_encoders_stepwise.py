"""Recurrence step by step and truncated in time: the same values as fused kernels, and gradients that stop where told.

Shape legend: B utterances, T frames, F values a frame, H hidden units x directions.
"""

from typing import Any, get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from lightning_modules.build import build_module
from lightning_modules.config import (
    BPTTConfig,
    Cell,
    FullBPTTConfig,
    RecurrentEncoderConfig,
    TrialConfig,
    TruncatedBPTTConfig,
)
from lightning_modules.encoders.recurrent import RecurrentEncoder
from lightning_modules.language_id import LanguageId
from lightning_modules.recurrent_clipping import RecurrentClipping

CELLS = get_args(Cell)
LENGTHS = {"equal": [6, 6], "padded": [4, 7, 1]}


class Onlooker:
    """A tap that changes nothing, and remembers what it saw."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, int, Tensor]] = []

    def step(self, name: str, t: int, h_BH: Tensor) -> Tensor:
        self.seen.append((name, t, h_BH))
        return h_BH

    def sequence(self, name: str, h_BSH: Tensor) -> Tensor:  # noqa: ARG002 - the protocol's signature
        raise AssertionError(name)


def make(*, bptt: BPTTConfig | None = None, **fields: Any) -> RecurrentEncoder:
    """With biases that differ from 0, since a wrong bias of 0 would not show."""
    torch.manual_seed(0)
    config = RecurrentEncoderConfig.model_validate({"hidden_size": 3, "frames_per_step": 1} | fields)
    encoder = RecurrentEncoder(config, input_size=5, bptt=bptt or FullBPTTConfig()).double()
    for parameter in encoder.parameters():
        nn.init.normal_(parameter, std=0.5)
    return encoder


def noise(lengths: list[int]) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    return torch.randn(len(lengths), max(lengths), 5, dtype=torch.float64, requires_grad=True), torch.tensor(lengths)


def assert_same(one: Tensor, other: Tensor, sources: list[Tensor]) -> None:
    """Forward, and backward into all sources."""
    torch.testing.assert_close(one, other, rtol=0, atol=1e-6)
    weights = torch.randn_like(one)
    for a, b in zip(
        torch.autograd.grad((one * weights).sum(), sources),
        torch.autograd.grad((other * weights).sum(), sources),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


# --- step by step -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "both_ways"])
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize("cell", CELLS)
def test_step_by_step_equals_the_fused_kernel(
    cell: str, lengths: list[int], num_layers: int, *, bidirectional: bool
) -> None:
    encoder = make(cell=cell, num_layers=num_layers, bidirectional=bidirectional)
    x_BTF, lengths_B = noise(lengths)
    tapped = encoder(x_BTF, lengths_B, tap=Onlooker()).states
    assert_same(tapped, encoder(x_BTF, lengths_B).states, [x_BTF, *encoder.parameters()])


@pytest.mark.parametrize("cell", CELLS)
def test_a_tap_hears_of_every_new_state_once(cell: str) -> None:
    onlooker = Onlooker()
    make(cell=cell, num_layers=2)(*noise([4, 2]), tap=onlooker)
    places = [f"layer{layer}/{direction}" for layer in (0, 1) for direction in ("forward", "backward")]
    if cell == "lstm":
        places += [f"{place}/cell" for place in places]
    expected = {(place, t) for place in places for t in range(4)}
    assert {(name, t) for name, t, _ in onlooker.seen} == expected
    assert len(onlooker.seen) == len(expected)


def test_a_tap_sees_the_states_that_come_out() -> None:
    onlooker, encoder = Onlooker(), make(cell="lstm")
    states = encoder(*noise([4, 2]), tap=onlooker).states
    for name, t, h_BH in onlooker.seen:
        if not name.endswith("cell"):
            half = slice(0, 3) if name == "layer0/forward" else slice(3, 6)
            rows = slice(0, 1 if t >= 2 else 2)
            assert torch.equal(states[rows, t, half], h_BH[rows])


@pytest.mark.parametrize("cell", CELLS)
def test_no_gradient_comes_to_what_a_tap_sees_past_an_end(cell: str) -> None:
    onlooker, (x_BTF, lengths_B) = Onlooker(), noise([4, 2])
    states = make(cell=cell, num_layers=2)(x_BTF, lengths_B, tap=onlooker).states
    seen = [state_BH for _, _, state_BH in onlooker.seen]
    gradients = torch.autograd.grad((states * torch.randn_like(states)).sum(), seen, allow_unused=True)
    for (name, t, _), gradient_BH in zip(onlooker.seen, gradients, strict=True):
        if gradient_BH is not None:
            assert not gradient_BH[1].any() or t < 2, (name, t)
    assert sum(gradient is not None and bool(gradient[1].any()) for gradient in gradients) >= len(seen) / 4


@pytest.mark.parametrize("place", ["layer0/forward", "layer1/backward", "layer0/backward/cell"])
def test_the_network_goes_on_with_what_the_tap_gives(place: str) -> None:
    class Cutter(Onlooker):
        def step(self, name: str, t: int, h_BH: Tensor) -> Tensor:
            return torch.zeros_like(h_BH) if (name, t) == (place, 3) else h_BH

    encoder = make(cell="lstm", num_layers=2)
    x_BTF, lengths_B = noise([7])
    cut, whole = encoder(x_BTF, lengths_B, tap=Cutter()).states, encoder(x_BTF, lengths_B).states
    changed = (cut - whole).abs().amax(dim=(0, 2)) > 1e-9
    assert (
        changed.tolist()
        == {
            "layer0/forward": [True] * 7,  # the upper layer reads it both ways
            "layer1/backward": [True] * 4 + [False] * 3,
            "layer0/backward/cell": [True] * 7,
        }[place]
    )


@pytest.mark.parametrize("cell", ["rnn_tanh", "rnn_relu", "gru"])  # the LSTM has a second way past h
def test_a_gradient_that_the_tap_stops_goes_no_further_back(cell: str) -> None:
    class Cutter(Onlooker):
        def step(self, name: str, t: int, h_BH: Tensor) -> Tensor:
            return h_BH.detach() if (name, t) == ("layer0/forward", 2) else h_BH

    x_BTF, lengths_B = noise([6])
    states = make(cell=cell, bidirectional=False)(x_BTF, lengths_B, tap=Cutter()).states
    (gradient_BTF,) = torch.autograd.grad(states[:, -1].sum(), x_BTF)
    assert not gradient_BTF[:, :3].any()
    assert gradient_BTF[:, 3:].any()


# --- truncated in time ------------------------------------------------------------------------------------------------


def _by_torch_cells(
    encoder: RecurrentEncoder, x_TF: Tensor, *, cell: str, window: int, max_norm: float | None = None
) -> Tensor:
    """(T, H) states of one utterance through torch's single-step cells, detached before each window's first step.

    With max_norm, each state's gradient is scaled down to that norm.
    """

    def scaled(gradient: Tensor) -> Tensor:
        return gradient * min(1.0, (max_norm or 0.0) / float(gradient.norm()))

    for layer in range(encoder.recurrence.num_layers):
        kind: Any = {"gru": nn.GRUCell, "lstm": nn.LSTMCell}.get(cell, nn.RNNCell)
        options = {} if cell in ("gru", "lstm") else {"nonlinearity": cell.removeprefix("rnn_")}
        one = kind(x_TF.shape[1], 3, **options).double()
        weights = {name: getattr(encoder.recurrence, f"{name}_l{layer}") for name, _ in one.named_parameters()}
        h = c = torch.zeros(1, 3, dtype=torch.float64)
        states = []
        for t, x_F in enumerate(x_TF):
            if t % window == 0:
                h, c = h.detach(), c.detach()
            before = (h, c) if cell == "lstm" else h
            after = torch.func.functional_call(one, weights, (x_F.unsqueeze(0), before))
            h, c = after if cell == "lstm" else (after, c)
            for state in (h, c) if cell == "lstm" else (h,):
                if max_norm is not None:
                    state.register_hook(scaled)
            states.append(h)
        x_TF = torch.cat(states)
    return x_TF


@pytest.mark.parametrize("tapped", [False, True], ids=["fused", "tapped"])
@pytest.mark.parametrize("window", [1, 3, 7])
@pytest.mark.parametrize("cell", CELLS)
def test_gradients_stop_at_each_border_as_in_a_loop_that_detaches(cell: str, window: int, *, tapped: bool) -> None:
    lengths = [4, 7, 1]
    encoder = make(cell=cell, num_layers=2, bidirectional=False, bptt=TruncatedBPTTConfig(frames=window))
    x_BTF, lengths_B = noise(lengths)
    states = encoder(x_BTF, lengths_B, tap=Onlooker() if tapped else None).states
    loops = [_by_torch_cells(encoder, x_BTF[i, :n], cell=cell, window=window) for i, n in enumerate(lengths)]
    expected = nn.utils.rnn.pad_sequence(loops, batch_first=True)
    assert_same(states, expected, [x_BTF, *encoder.parameters()])


@pytest.mark.parametrize("cell", CELLS)
def test_recurrent_clipping_scales_each_states_gradient_as_in_a_loop(cell: str) -> None:
    lengths, max_norm = [4, 7, 1], 0.8
    encoder, tap = make(cell=cell, num_layers=2, bidirectional=False), RecurrentClipping(max_norm)
    x_BTF, lengths_B = noise(lengths)
    states = encoder(x_BTF, lengths_B, tap=tap).states
    loops = [
        _by_torch_cells(encoder, x_BTF[i, :n], cell=cell, window=len(x_BTF[i]) + 1, max_norm=max_norm)
        for i, n in enumerate(lengths)
    ]
    assert_same(states, nn.utils.rnn.pad_sequence(loops, batch_first=True), [x_BTF, *encoder.parameters()])
    assert 0.1 < tap.take_share() < 0.9


@pytest.mark.parametrize("tapped", [False, True], ids=["fused", "tapped"])
@pytest.mark.parametrize("frames_per_step", [1, 3])
@pytest.mark.parametrize("cell", CELLS)
def test_a_window_over_the_whole_sequence_truncates_nothing(cell: str, frames_per_step: int, *, tapped: bool) -> None:
    fields: dict[str, Any] = {"cell": cell, "num_layers": 2, "bidirectional": False, "frames_per_step": frames_per_step}
    full, truncated = make(**fields), make(**fields, bptt=TruncatedBPTTConfig(frames=7))
    truncated.recurrence = full.recurrence
    x_BTF, lengths_B = noise([4, 7, 1])
    states = truncated(x_BTF, lengths_B, tap=Onlooker() if tapped else None).states
    assert_same(states, full(x_BTF, lengths_B).states, [x_BTF, *full.parameters()])


@given(
    cell=st.sampled_from(CELLS),
    window=st.integers(1, 40),
    frames_per_step=st.integers(1, 4),
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=4),
)
@settings(max_examples=20)
def test_states_are_the_same_for_every_window(cell: str, window: int, frames_per_step: int, lengths: list[int]) -> None:
    fields: dict[str, Any] = {"cell": cell, "num_layers": 2, "bidirectional": False, "frames_per_step": frames_per_step}
    full, truncated = make(**fields), make(**fields, bptt=TruncatedBPTTConfig(frames=window))
    x_BTF, lengths_B = noise(lengths)
    torch.testing.assert_close(truncated(x_BTF, lengths_B)[0], full(x_BTF, lengths_B)[0], rtol=1e-9, atol=1e-9)


def test_a_trial_that_truncates_hears_nothing_before_its_last_window() -> None:
    trial = {
        "data": {"features": {"num_bands": 8}},
        "encoder": {"cell": "gru", "hidden_size": 4, "bidirectional": False, "frames_per_step": 1},
        "pooling": {"kind": "last"},
        "training": {"bptt": {"kind": "truncated", "frames": 10}},
    }
    module = build_module(TrialConfig.model_validate(trial))
    assert isinstance(module, LanguageId)
    features_BTD = torch.randn(1, 25, 8, requires_grad=True)
    scores = module(features_BTD, torch.tensor([25]))
    (gradient_BTD,) = torch.autograd.grad(scores.log_likelihoods[0, 0], features_BTD)
    assert gradient_BTD.any(dim=-1)[0].tolist() == [False] * 20 + [True] * 5
