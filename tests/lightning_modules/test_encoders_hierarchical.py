"""The hierarchical encoder against a loop over windows, its sizes by hand, and which windows there are.

Shape legend: B utterances, T frames, F values a frame, H hidden units of the top level x directions.
"""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from lightning_modules.config import HierarchicalEncoderConfig
from lightning_modules.encoders.hierarchical import HierarchicalEncoder
from lightning_modules.encoders.windows import count_windows, cut, joined

SMALL: dict[str, Any] = {
    "low": {"hidden_size": 3, "window": 4, "hop": 2},
    "middle": {"hidden_size": 4, "window": 3, "hop": 3},
    "top": {"hidden_size": 5},
}


def make(*, input_size: int = 2, **fields: Any) -> HierarchicalEncoder:
    torch.manual_seed(0)
    encoder = HierarchicalEncoder(HierarchicalEncoderConfig.model_validate(fields), input_size=input_size).double()
    for parameter in encoder.parameters():
        nn.init.normal_(parameter, std=0.5)
    return encoder


def noise(lengths: list[int], *, size: int = 2) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    x_BTF = torch.randn(len(lengths), max(lengths), size, dtype=torch.float64, requires_grad=True)
    return x_BTF, torch.tensor(lengths)


# --- which windows ----------------------------------------------------------------------------------------------------


def naive_windows(num_inputs: int, *, window: int, hop: int) -> list[range]:
    """One after another, until the last input has been read."""
    windows = [range(min(window, num_inputs))]
    while windows[-1].stop < num_inputs:
        start = windows[-1].start + hop
        windows.append(range(start, min(start + window, num_inputs)))
    return windows


@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=4),
    window=st.integers(1, 12),
    hop=st.integers(1, 12),
    longer=st.integers(0, 3),
)
@settings(max_examples=50)
def test_windows_are_those_that_exist(lengths: list[int], window: int, hop: int, longer: int) -> None:
    hop = min(hop, window)
    x_BSF = torch.arange(1.0, 1 + len(lengths) * (max(lengths) + longer)).view(len(lengths), -1, 1)
    windows = cut(x_BSF, torch.tensor(lengths), window=window, hop=hop)
    expected = [naive_windows(length, window=window, hop=hop) for length in lengths]
    assert windows.counts.tolist() == [len(each) for each in expected]
    read = [x_WF[:size, 0].tolist() for x_WF, size in zip(windows.inputs, windows.sizes, strict=True)]
    assert read == [x_BSF[i, places, 0].tolist() for i, each in enumerate(expected) for places in each]


@given(num_inputs=st.integers(1, 300), window=st.integers(1, 40), hop=st.integers(1, 40))
def test_every_input_is_read_where_windows_leave_no_gap(num_inputs: int, window: int, hop: int) -> None:
    hop = min(hop, window)
    [count] = count_windows(torch.tensor([num_inputs]), window=window, hop=hop).tolist()
    assert (count - 1) * hop < num_inputs <= (count - 1) * hop + window
    assert count == 1 or (count - 2) * hop + window < num_inputs  # one fewer would not do


def test_windows_of_an_utterance_stand_in_its_row_again() -> None:
    h_BKH = joined(torch.arange(1.0, 7.0).view(6, 1), torch.tensor([1, 3, 2]))
    assert h_BKH.squeeze(-1).tolist() == [[1, 0, 0], [2, 3, 4], [5, 6, 0]]


# --- sizes ------------------------------------------------------------------------------------------------------------


def test_the_paper_s_network_has_as_many_parameters_as_its_equations() -> None:
    encoder = HierarchicalEncoder(HierarchicalEncoderConfig(), input_size=40)
    # a GRU: three gates of W (H, F), U (H, H) and two biases (H,)
    low = 3 * (256 * 40 + 256 * 256 + 2 * 256)  # 228,864
    middle = 3 * (512 * 256 + 512 * 512 + 2 * 512)  # 1,182,720
    top = 2 * 3 * (512 * 512 + 512 * 512 + 2 * 512)  # 3,151,872
    assert low + middle + top == 4_563_456
    assert sum(parameter.numel() for parameter in encoder.parameters()) == 4_563_456


def test_the_paper_s_network_takes_a_step_a_second() -> None:
    encoder = HierarchicalEncoder(HierarchicalEncoderConfig(), input_size=40)
    # 3 s: 20 frames at 0, 10, … 280 are 29 windows; 10 of those at 0, 10 and (9 of them) 20. 21 frames: 2, in 1.
    states, steps_B, log_posteriors = encoder(torch.randn(2, 300, 40), torch.tensor([300, 21]))
    assert states.shape == (2, 3, 1024)
    assert steps_B.tolist() == [3, 1]
    assert log_posteriors is None
    assert encoder.output_size == 1024
    assert encoder.bidirectional
    assert encoder.frames_per_step == 100


def test_top_level_may_read_one_way() -> None:
    encoder = make(**SMALL | {"top": {"hidden_size": 5, "bidirectional": False}})
    assert encoder(*noise([9, 4])).states.shape == (2, 2, 5)
    assert (encoder.output_size, encoder.bidirectional) == (5, False)


# --- against a loop ---------------------------------------------------------------------------------------------------


def cell_of(recurrence: nn.RNNBase, suffix: str = "_l0") -> tuple[Any, bool]:
    """Torch's single-step cell with the same weights, and whether it has a c."""
    kinds: dict[str, Any] = {"GRU": nn.GRUCell, "LSTM": nn.LSTMCell, "RNN_TANH": nn.RNNCell}
    weights: dict[str, Tensor] = {
        name.removesuffix(suffix): p for name, p in recurrence.named_parameters() if name.endswith(suffix)
    }
    cell = kinds[recurrence.mode](weights["weight_ih"].shape[1], recurrence.hidden_size).double()
    return lambda *args: torch.func.functional_call(cell, weights, args), recurrence.mode == "LSTM"


def states_of(cell: tuple[Any, bool], x_SF: Tensor) -> list[Tensor]:
    """h after each input."""
    call, has_c = cell
    states, state = [], None
    for x_F in x_SF:
        state = call(x_F.unsqueeze(0), state)
        states.append(state[0] if has_c else state)
    return states


def naive_level(recurrence: nn.RNNBase, x_SF: Tensor, *, window: int, hop: int) -> Tensor:
    windows = naive_windows(len(x_SF), window=window, hop=hop)
    return torch.cat([states_of(cell_of(recurrence), x_SF[places])[-1] for places in windows])


def naive_states(encoder: HierarchicalEncoder, x_TF: Tensor) -> Tensor:
    """(S, H) states of one utterance, a window at a time."""
    for level in (encoder.low, encoder.middle):
        x_TF = naive_level(level.recurrence, x_TF, window=level.window, hop=level.hop)
    onward = torch.cat(states_of(cell_of(encoder.top), x_TF))
    backward = torch.cat(states_of(cell_of(encoder.top, "_l0_reverse"), x_TF.flip(0))[::-1])
    return torch.cat([onward, backward], dim=-1)


class Onlooker:
    """A tap that changes nothing, and remembers what it saw."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, int, int]] = []

    def step(self, name: str, t: int, h_BH: Tensor) -> Tensor:
        self.seen.append((name, t, len(h_BH)))
        return h_BH

    def sequence(self, name: str, h_BSH: Tensor) -> Tensor:  # noqa: ARG002 - the protocol's signature
        raise AssertionError(name)


@pytest.mark.parametrize("tapped", [False, True], ids=["fused", "tapped"])
@pytest.mark.parametrize("lengths", [[13, 13], [1, 23, 4, 5]], ids=["equal", "padded"])
@pytest.mark.parametrize("cells", [("gru", "gru", "gru"), ("lstm", "rnn_tanh", "gru"), ("rnn_tanh", "gru", "lstm")])
def test_states_and_gradients_are_those_of_a_loop_over_windows(
    cells: tuple[str, str, str], lengths: list[int], *, tapped: bool
) -> None:
    levels: dict[str, Any] = {name: SMALL[name] | {"cell": cell} for name, cell in zip(SMALL, cells, strict=True)}
    encoder = make(**levels)
    x_BTF, lengths_B = noise(lengths)
    states = encoder(x_BTF, lengths_B, tap=Onlooker() if tapped else None).states
    loops = [naive_states(encoder, x_BTF[i, :length]) for i, length in enumerate(lengths)]
    expected = nn.utils.rnn.pad_sequence(loops, batch_first=True)
    torch.testing.assert_close(states, expected, rtol=0, atol=1e-6)
    sources, weights = [x_BTF, *encoder.parameters()], torch.randn_like(states)
    for one, other in zip(
        torch.autograd.grad((states * weights).sum(), sources),
        torch.autograd.grad((expected * weights).sum(), sources),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


def test_a_tap_sees_every_level() -> None:
    onlooker = Onlooker()
    make(**SMALL)(*noise([13, 5]), tap=onlooker)
    # 13 frames: 6 low windows, 2 middle ones, 2 steps; 5 frames: 2, 1, 1
    assert onlooker.seen == [
        *[("low/layer0/forward", t, 8) for t in range(4)],
        *[("middle/layer0/forward", t, 3) for t in range(3)],
        *[("top/layer0/forward", t, 2) for t in (0, 1)],
        *[("top/layer0/backward", t, 2) for t in (1, 0)],
    ]


@pytest.mark.parametrize("level", ["low", "middle", "top"])
def test_every_level_drops_states_in_training(level: str) -> None:
    """Dropout of a level shows as zeros in what the level above reads; of the top, in what comes out."""
    encoder = make(**SMALL, dropout=0.5)
    read: list[Tensor] = []
    above = {"low": encoder.middle, "middle": encoder.top}.get(level)
    if above is None:
        read.append(encoder(*noise([23, 23])).states)
    else:
        above.register_forward_pre_hook(lambda _, arguments: read.append(arguments[0]))
        encoder(*noise([23, 23]))
    share = float((read[0] == 0).double().mean())
    assert 0.2 < share < 0.8
