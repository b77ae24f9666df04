"""What holds for every encoder under every pooling: nothing but an utterance's own frames decides its scores.

Shape legend: B utterances, T frames, D bands, L languages.
"""

import copy
from functools import cache
from random import Random
from typing import Any, get_args

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from lightning_modules.config import EncoderConfig, PoolingConfig, TrialConfig
from lightning_modules.data.batches import Batch
from lightning_modules.encoders import length_mask
from lightning_modules.language_id import LanguageId
from lightning_modules.optimizers import build_optimizer
from tests.lightning_modules.networks import ENCODERS, POOLINGS, make, padded, scores_of


@cache
def scorer(encoder: str, pooling: str) -> LanguageId:
    """After a pass in training mode, so that running statistics are none that change nothing."""
    module = make(encoder, pooling)
    module(*padded([50, 20], names=[7, 8], garbage=0.0))
    return module.eval()


def kinds(union: Any) -> set[str]:
    """Values of `kind` of a discriminated union."""
    return {member.model_fields["kind"].default for member in get_args(get_args(union)[0])}


def test_every_encoder_and_every_pooling_is_here() -> None:
    assert {encoder["kind"] for encoder in ENCODERS.values()} == kinds(EncoderConfig)
    assert {pooling["kind"] for pooling in POOLINGS.values()} == kinds(PoolingConfig)


# --- padding, order, company ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("encoder", ENCODERS)
@given(
    lengths=st.lists(st.one_of(st.integers(1, 40), st.integers(1, 3000)), min_size=1, max_size=3),
    random=st.randoms(use_true_random=False),
    padding=st.tuples(st.integers(0, 20), st.sampled_from([1e6, 1e30, float("inf"), float("nan")])),
)
@example(lengths=[3000, 1, 37], random=Random(1), padding=(3, float("nan")))
@settings(max_examples=4)
def test_neither_padding_nor_order_nor_company_changes_a_score(
    encoder: str, pooling: str, lengths: list[int], random: Any, padding: tuple[int, float]
) -> None:
    longer, garbage = padding
    module = scorer(encoder, pooling)
    names = list(range(len(lengths)))
    alone = [scores_of(module, *padded([n], names=[name], garbage=0.0)) for name, n in zip(names, lengths, strict=True)]
    random.shuffle(names)
    shuffled = [lengths[name] for name in names]
    together = scores_of(module, *padded(shuffled, names=names, garbage=garbage, longer=longer))
    torch.testing.assert_close(together, torch.cat([alone[name] for name in names]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_nothing_in_the_padding_reaches_a_gradient(encoder: str) -> None:
    gradients = []
    for garbage in (0.0, float("nan")):
        module = make(encoder)
        batch = Batch(*padded([9, 120, 1], names=[0, 1, 2], garbage=garbage), torch.tensor([0, 1, 2]), torch.arange(3))
        module.loss(batch).value.backward()  # type: ignore[no-untyped-call]  # torch's own
        gradients.append({name: parameter.grad for name, parameter in module.named_parameters()})
    for name, gradient in gradients[0].items():
        assert gradient is not None, name
        assert torch.equal(gradient, gradients[1][name]), name  # type: ignore[arg-type]


@pytest.mark.parametrize("encoder", ENCODERS)
def test_states_are_zero_past_their_end_and_as_many_as_are_said(encoder: str) -> None:
    encoded = make(encoder).encoder(*padded([9, 120, 1], names=[0, 1, 2], garbage=1.0))
    assert encoded.states.shape[::2] == (3, make(encoder).encoder.output_size)
    assert encoded.states.shape[1] == int(encoded.steps.max())
    assert int(encoded.steps.min()) >= 1
    assert not encoded.states[~length_mask(encoded.steps, encoded.states.shape[1])].any()


@pytest.mark.parametrize("lengths", [[64, 64], [64, 9]], ids=["equal", "padded"])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_half_the_precision_changes_scores_little(encoder: str, lengths: list[int]) -> None:
    """With an LSTM in place of each GRU, which oneDNN is particular about."""
    levels: dict[str, Any] = {
        name: level | {"cell": "lstm"} for name, level in ENCODERS[encoder].items() if isinstance(level, dict)
    }
    module, features = make(encoder, **levels).eval(), padded(lengths, names=[0, 1], garbage=0.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = module(*features).log_likelihoods
    scores.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in module.encoder.parameters() if p.grad is not None)
    torch.testing.assert_close(scores.detach().float(), scores_of(module, *features), rtol=0, atol=0.02)


# --- learning ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoder", ENCODERS)
def test_eight_utterances_are_learnt_without_an_error(encoder: str) -> None:
    module = make(encoder)
    features = padded([20, 64, 9, 45, 17, 3, 31, 20], names=range(8), garbage=0.0)
    batch = Batch(*features, torch.tensor([0, 1, 2, 0, 1, 2, 0, 1]), torch.arange(8))
    optimizer = build_optimizer(
        module.config.optimizer.model_copy(update={"learning_rate": 0.02}), list(module.parameters())
    )
    for epoch in range(10):
        module.train()
        module.encoder.start_epoch(epoch / 9)
        for _ in range(10):
            optimizer.zero_grad()
            module.loss(batch).value.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        if torch.equal(scores_of(module.eval(), *features).argmax(dim=1), batch.languages):
            return
    raise AssertionError(scores_of(module, *features))


@pytest.mark.parametrize("encoder", ENCODERS)
def test_dropout_is_for_training_alone(encoder: str) -> None:
    module, plain = make(encoder, dropout=0.5), make(encoder)
    features = padded([64, 64], names=[0, 1], garbage=0.0)
    assert not torch.equal(scores_of(module, *features), scores_of(module, *features))
    assert torch.equal(scores_of(plain, *features), scores_of(plain, *features))
    plain.load_state_dict(module.state_dict())
    assert torch.equal(scores_of(module.eval(), *features), scores_of(plain.eval(), *features))


# --- copies -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_copy_scores_the_same_and_lives_on_its_own(encoder: str) -> None:
    module = scorer(encoder, "statistics")
    features = padded([30, 9], names=[0, 1], garbage=0.0)
    expected, other = scores_of(module, *features), copy.deepcopy(module)
    assert torch.equal(scores_of(other, *features), expected)
    for parameter in other.parameters():
        torch.nn.init.zeros_(parameter)
    assert torch.equal(scores_of(module, *features), expected)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_weights_make_another_the_same(encoder: str) -> None:
    module = scorer(encoder, "statistics")
    other = LanguageId(module.config.model_copy(update={"seed": 1})).eval()
    features = padded([30, 9], names=[0, 1], garbage=0.0)
    assert not torch.equal(scores_of(other, *features), scores_of(module, *features))
    other.load_state_dict(module.state_dict())
    assert torch.equal(scores_of(other, *features), scores_of(module, *features))


@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_configuration_is_the_same_after_json(encoder: str) -> None:
    adapter: TypeAdapter[EncoderConfig] = TypeAdapter(EncoderConfig)
    config = adapter.validate_python(ENCODERS[encoder])
    assert adapter.validate_json(adapter.dump_json(config)) == config
    trial = make(encoder).config
    assert TrialConfig.model_validate_json(trial.model_dump_json()) == trial
