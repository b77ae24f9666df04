"""Poolings against loops over each utterance's own steps.

Shape legend: B utterances, S steps, H values a state.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter
from torch import Tensor

from lightning_modules.config import PoolingConfig
from lightning_modules.pooling import ADDED_VARIANCE, Pooling, last_state

Floats = npt.NDArray[np.float64]

CONFIG: TypeAdapter[Any] = TypeAdapter(PoolingConfig)
ATTENTION: dict[str, dict[str, Any]] = {
    "additive": {"kind": "attention", "score": "additive"},
    "dot": {"kind": "attention", "score": "dot"},
    "general": {"kind": "attention", "score": "general"},
    "multi_head": {"kind": "multi_head", "num_heads": 3},
    "attentive_statistics": {"kind": "attentive_statistics", "attention_size": 5},
}
KINDS = ["last", "mean", "max", "statistics", *ATTENTION]
LAW = settings(max_examples=40)
LENGTHS = st.lists(st.integers(1, 12), min_size=1, max_size=4)
SIZES = st.integers(1, 3).map(lambda half: 2 * half)


def make(kind: str, *, input_size: int, bidirectional: bool = False, dropout: float = 0.0) -> Pooling:
    torch.manual_seed(0)
    config = CONFIG.validate_python(ATTENTION.get(kind, {"kind": kind}) | {"dropout": dropout})
    pooling = Pooling(config, input_size=input_size, bidirectional=bidirectional).double()
    for parameter in pooling.parameters():  # biases that begin at 0 would not show
        torch.nn.init.normal_(parameter)
    return pooling


def states(lengths: list[int], *, size: int, num_steps: int | None = None) -> Tensor:
    """(B, S, H) with large values past each utterance's end."""
    torch.manual_seed(1)
    h_BSH = torch.randn(len(lengths), num_steps or max(lengths), size, dtype=torch.float64)
    for i, length in enumerate(lengths):
        h_BSH[i, length:] = 1e6
    return h_BSH


NAIVE: dict[str, Callable[[Floats], Floats]] = {
    "last": lambda h_SH: h_SH[-1],
    "mean": lambda h_SH: sum(h_SH, np.zeros(h_SH.shape[1])) / len(h_SH),
    "max": lambda h_SH: np.array([max(column) for column in h_SH.T]),
    "statistics": lambda h_SH: np.concatenate(
        [h_SH.mean(axis=0), [np.sqrt(np.var(column) + ADDED_VARIANCE) for column in h_SH.T]]
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


# --- attention --------------------------------------------------------------------------------------------------------
# Each kind, one step after another, from its equation: (S, H) states and the pooling's weights -> (A, S) weights and
# the embedding.


def _weights(relevance: list[float]) -> Floats:
    powers = [np.exp(e - max(relevance)) for e in relevance]
    return np.array([power / sum(powers) for power in powers])


def _additive(h_SH: Floats, p: dict[str, Floats]) -> tuple[Floats, Floats]:
    a_S = _weights([np.tanh(p["projection.weight"] @ h + p["projection.bias"]) @ p["context"] for h in h_SH])
    return a_S[None], a_S @ h_SH


def _dot(h_SH: Floats, p: dict[str, Floats]) -> tuple[Floats, Floats]:
    a_S = _weights([h @ h_SH[-1] for h in h_SH])
    return a_S[None], a_S @ h_SH


def _general(h_SH: Floats, p: dict[str, Floats]) -> tuple[Floats, Floats]:
    a_S = _weights([h @ p["query.weight"] @ h_SH[-1] for h in h_SH])
    return a_S[None], a_S @ h_SH


def _multi_head(h_SH: Floats, p: dict[str, Floats]) -> tuple[Floats, Floats]:
    heads = np.array_split(np.arange(h_SH.shape[1]), min(3, h_SH.shape[1]))
    a_AS = [_weights([h[head] @ p["queries"][head] / len(head) ** 0.5 for h in h_SH]) for head in heads]
    return np.array(a_AS), np.concatenate([a_S @ h_SH[:, head] for a_S, head in zip(a_AS, heads, strict=True)])


def _attentive_statistics(h_SH: Floats, p: dict[str, Floats]) -> tuple[Floats, Floats]:
    context = np.concatenate([h_SH.mean(axis=0), np.sqrt(h_SH.var(axis=0) + ADDED_VARIANCE)])
    e_SH = [
        p["relevance.weight"] @ np.tanh(p["hidden.weight"] @ np.concatenate([h, context]) + p["hidden.bias"])
        + p["relevance.bias"]
        for h in h_SH
    ]
    a_HS = np.array([_weights(list(e_S)) for e_S in np.array(e_SH).T])
    mean_H = (a_HS * h_SH.T).sum(axis=1)
    variance_H = (a_HS * (h_SH.T - mean_H[:, None]) ** 2).sum(axis=1)
    return a_HS.mean(axis=0)[None], np.concatenate([mean_H, np.sqrt(variance_H + ADDED_VARIANCE)])


NAIVE_ATTENTION: dict[str, Callable[[Floats, dict[str, Floats]], tuple[Floats, Floats]]] = {
    "additive": _additive,
    "dot": _dot,
    "general": _general,
    "multi_head": _multi_head,
    "attentive_statistics": _attentive_statistics,
}


@pytest.mark.parametrize("kind", ATTENTION)
@given(lengths=LENGTHS, longer=st.integers(0, 3), size=SIZES)
@LAW
def test_attention_follows_its_equation(kind: str, lengths: list[int], longer: int, size: int) -> None:
    assume(kind != "multi_head" or size >= 3)
    pooling = make(kind, input_size=size)
    h_BSH = states(lengths, size=size, num_steps=max(lengths) + longer)
    pooled = pooling(h_BSH, torch.tensor(lengths))
    weights = {name: value.detach().numpy() for name, value in pooling.attention.named_parameters()}
    for i, length in enumerate(lengths):
        a_AS, embedding = NAIVE_ATTENTION[kind](h_BSH[i, :length].numpy(), weights)
        np.testing.assert_allclose(pooled.weights[i, :, :length].detach(), a_AS, rtol=0, atol=1e-9)
        np.testing.assert_allclose(pooled.embedding[i].detach(), embedding, rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", ATTENTION)
@given(lengths=LENGTHS, longer=st.integers(0, 3), scale=st.floats(1e-3, 1e3))
@LAW
def test_attention_sums_to_one_over_steps_and_is_zero_on_padding(
    kind: str, lengths: list[int], longer: int, scale: float
) -> None:
    h_BSH = scale * states(lengths, size=4, num_steps=max(lengths) + longer)
    weights_BAS = make(kind, input_size=4)(h_BSH, torch.tensor(lengths)).weights
    for weights_AS, length in zip(weights_BAS.detach(), lengths, strict=True):
        np.testing.assert_allclose(weights_AS[:, :length].sum(dim=1), 1.0, rtol=0, atol=1e-12)
        assert not weights_AS[:, length:].any()


@pytest.mark.parametrize("kind", ["dot", "general"])
def test_attention_asks_with_what_both_directions_knew_last(kind: str) -> None:
    pooling, h_BSH = make(kind, input_size=4, bidirectional=True), states([2, 5], size=4)
    before = pooling(h_BSH, torch.tensor([2, 5])).weights.detach()
    h_BSH[0, 0, 2:] += 1.0  # the end of the backward direction of the first utterance
    after = pooling(h_BSH, torch.tensor([2, 5])).weights.detach()
    assert not torch.equal(after[0, 0, 1], before[0, 0, 1])
    assert torch.equal(after[1], before[1])


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


@pytest.mark.parametrize("kind", ["mean", "statistics"])
def test_states_in_bfloat16_are_summed_exactly(kind: str) -> None:
    steps_B = torch.tensor([3000, 1500])
    h_BSH = (torch.randn(2, 3000, 4, generator=torch.Generator().manual_seed(0)) + 3.0).bfloat16()
    pooling = make(kind, input_size=4)
    exact, found = pooling(h_BSH.double(), steps_B).embedding, pooling(h_BSH, steps_B).embedding
    torch.testing.assert_close(found.double(), exact, rtol=1e-4, atol=1e-4)
