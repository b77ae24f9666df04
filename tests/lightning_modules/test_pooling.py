"""Poolings against loops over each utterance's own steps.

Shape legend: B utterances, S steps, H values a state.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lightning_modules.attention import AdditiveAttention
from lightning_modules.config import PoolingConfig
from lightning_modules.pooling import VARIANCE_FLOOR, Pooling, last_state

Floats = npt.NDArray[np.float64]

KINDS = ["last", "mean", "max", "statistics", "attention"]
LAW = settings(max_examples=40, deadline=None)
LENGTHS = st.lists(st.integers(1, 12), min_size=1, max_size=4)
SIZES = st.integers(1, 3).map(lambda half: 2 * half)


def make(kind: str, *, input_size: int, bidirectional: bool = False, dropout: float = 0.0) -> Pooling:
    torch.manual_seed(0)
    config = PoolingConfig.model_validate({"kind": kind, "dropout": dropout})
    return Pooling(config, input_size=input_size, bidirectional=bidirectional).double()


def states(lengths: list[int], *, size: int, num_steps: int | None = None) -> Tensor:
    """(B, S, H) with large values past each utterance's end."""
    torch.manual_seed(1)
    h_BSH = torch.randn(len(lengths), num_steps or max(lengths), size, dtype=torch.float64)
    for i, length in enumerate(lengths):
        h_BSH[i, length:] = 1e6
    return h_BSH


def _attention_weights(h_SH: Floats, attention: AdditiveAttention) -> Floats:
    """exp(u_t . u_l) over its sum, u_t = tanh(W h_t + b), one step after another."""
    weight, bias = attention.projection.weight.detach().numpy(), attention.projection.bias.detach().numpy()
    context = attention.context.detach().numpy()
    powers = [np.exp(np.tanh(weight @ h_H + bias) @ context) for h_H in h_SH]
    return np.array([power / sum(powers) for power in powers])


NAIVE: dict[str, Callable[[Floats], Floats]] = {
    "last": lambda h_SH: h_SH[-1],
    "mean": lambda h_SH: sum(h_SH, np.zeros(h_SH.shape[1])) / len(h_SH),
    "max": lambda h_SH: np.array([max(column) for column in h_SH.T]),
    "statistics": lambda h_SH: np.concatenate(
        [h_SH.mean(axis=0), [np.sqrt(np.var(column) + VARIANCE_FLOOR) for column in h_SH.T]]
    ),
}


@pytest.mark.parametrize("kind", NAIVE)
@given(lengths=LENGTHS, longer=st.integers(0, 3), size=SIZES)
@LAW
def test_each_utterance_is_pooled_over_its_own_steps(kind: str, lengths: list[int], longer: int, size: int) -> None:
    h_BSH = states(lengths, size=size, num_steps=max(lengths) + longer)
    pooled = make(kind, input_size=size)(h_BSH, torch.tensor(lengths))
    expected = [NAIVE[kind](h_BSH[i, :length].numpy()) for i, length in enumerate(lengths)]
    np.testing.assert_allclose(pooled.embedding, expected, rtol=0, atol=1e-10)
    assert pooled.weights is None


@given(lengths=LENGTHS, size=SIZES)
@LAW
def test_attention_weighs_steps_by_their_relevance(lengths: list[int], size: int) -> None:
    pooling = make("attention", input_size=size)
    h_BSH = states(lengths, size=size)
    pooled = pooling(h_BSH, torch.tensor(lengths))
    assert pooling.attention is not None
    for i, length in enumerate(lengths):
        h_SH = h_BSH[i, :length].numpy()
        weights_S = _attention_weights(h_SH, pooling.attention)
        np.testing.assert_allclose(pooled.weights[i, :length].detach(), weights_S, atol=1e-10)
        expected = sum(weight * h_H for weight, h_H in zip(weights_S, h_SH, strict=True))
        np.testing.assert_allclose(pooled.embedding[i].detach(), expected, atol=1e-9)


@given(lengths=LENGTHS, longer=st.integers(0, 3), scale=st.floats(1e-3, 1e3))
@LAW
def test_attention_sums_to_one_over_steps_and_is_zero_on_padding(lengths: list[int], longer: int, scale: float) -> None:
    h_BSH = scale * states(lengths, size=4, num_steps=max(lengths) + longer)
    weights_BS = make("attention", input_size=4)(h_BSH, torch.tensor(lengths)).weights
    for weights_S, length in zip(weights_BS.detach(), lengths, strict=True):
        assert float(weights_S[:length].sum()) == pytest.approx(1.0, abs=1e-12)
        assert not weights_S[length:].any()


def test_the_last_state_of_both_directions_is_where_each_ends() -> None:
    h_BSH = torch.arange(2 * 3 * 4).reshape(2, 3, 4)
    pooled = last_state(h_BSH, torch.tensor([2, 3]), bidirectional=True)
    assert pooled.tolist() == [[4, 5, 2, 3], [20, 21, 14, 15]]


def test_pooling_hands_the_directions_on_to_the_last_state() -> None:
    h_BSH = states([2, 5], size=4)
    pooled = make("last", input_size=4, bidirectional=True)(h_BSH, torch.tensor([2, 5]))
    expected = [torch.cat([h_BSH[i, length - 1, :2], h_BSH[i, 0, 2:]]) for i, length in enumerate([2, 5])]
    assert torch.equal(pooled.embedding, torch.stack(expected))


@pytest.mark.parametrize("kind", KINDS)
def test_an_embedding_is_as_long_as_the_pooling_says(kind: str) -> None:
    pooling = make(kind, input_size=6)
    assert pooling(states([3, 1], size=6), torch.tensor([3, 1])).embedding.shape == (2, pooling.output_size)


@pytest.mark.parametrize("kind", KINDS)
def test_no_gradient_reaches_the_padding(kind: str) -> None:
    h_BSH = states([2, 5, 1], size=4).requires_grad_()
    pooled = make(kind, input_size=4, bidirectional=True)(h_BSH, torch.tensor([2, 5, 1]))
    (gradient_BSH,) = torch.autograd.grad((pooled.embedding * torch.rand_like(pooled.embedding)).sum(), h_BSH)
    assert gradient_BSH[1].any()
    assert not gradient_BSH[0, 2:].any()
    assert not gradient_BSH[2, 1:].any()


@pytest.mark.parametrize("kind", KINDS)
def test_one_step_has_a_finite_gradient(kind: str) -> None:
    h_BSH = states([1], size=4).requires_grad_()
    (gradient_BSH,) = torch.autograd.grad(make(kind, input_size=4)(h_BSH, torch.tensor([1])).embedding.sum(), h_BSH)
    assert gradient_BSH.isfinite().all()


def test_dropout_is_for_training_alone() -> None:
    h_BSH, steps_B = states([3, 5], size=64), torch.tensor([3, 5])
    pooling = make("mean", input_size=64, dropout=0.5)
    plain = make("mean", input_size=64)(h_BSH, steps_B).embedding
    dropped = pooling(h_BSH, steps_B).embedding
    assert (dropped == 0).any()
    torch.testing.assert_close(dropped[dropped != 0], 2 * plain[dropped != 0])
    assert torch.equal(pooling.eval()(h_BSH, steps_B).embedding, plain)
