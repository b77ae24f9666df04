"""LanguageSequence: decoding against a naive loop, what must never change a score, learning, and parts of a batch.

Shape legend: B recordings, S steps, P parts, K symbols, L languages.
"""

import itertools
from copy import deepcopy
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lightning_modules.build import build_module
from lightning_modules.config import SequenceConfig
from lightning_modules.data.batches import SwitchedBatch
from lightning_modules.language_sequence import LONGEST, LanguageSequence, edit_distance
from tests.lightning_modules.networks import ENCODERS, TRUNCATED
from tests.lightning_modules.switching import eight_recordings, make_config, noise, rows_of

ATTENTIONS = ["none", "additive", "dot", "general"]
END = 3


def make(attention: str = "additive", *, task: dict[str, Any] | None = None, **parts: Any) -> LanguageSequence:
    config = make_config(kind="sequence", task={"attention": attention, "decoder_size": 12, **(task or {})}, **parts)
    module = build_module(config)
    assert isinstance(module, LanguageSequence)
    return module


@cache
def emitter(attention: str, *, bidirectional: bool = True, pooling: str = "statistics") -> LanguageSequence:
    """A module in evaluation mode, trained for so short a time that it says something, and much of it wrong."""
    module = make(
        attention,
        encoder={"cell": "gru", "hidden_size": 6, "bidirectional": bidirectional},
        pooling={"kind": pooling},
    )
    train(module, eight_recordings(), steps=12)
    return module.eval()


def train(module: LanguageSequence, batch: SwitchedBatch, *, steps: int) -> None:
    """What Lightning does with one batch, over and over."""
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        torch.autograd.backward(module.training_step(batch, 0))
        module.configure_gradient_clipping(optimizer)
        optimizer.step()


KINDS = [
    *(("none", bidirectional, pooling) for bidirectional in (False, True) for pooling in ("last", "statistics")),
    *((attention, bidirectional, "last") for bidirectional in (False, True) for attention in ATTENTIONS[1:]),
]


def emitter_of(kind: tuple[str, bool, str]) -> LanguageSequence:
    return emitter(kind[0], bidirectional=kind[1], pooling=kind[2])


def scores_of(module: LanguageSequence, batch: SwitchedBatch) -> Tensor:
    """(N, L) in the order of rows."""
    with torch.no_grad():
        scored = module.score(batch)
    return scored.log_likelihoods[scored.indices.argsort()]


def emitted_by(module: LanguageSequence, batch: SwitchedBatch) -> list[list[int]]:
    with torch.no_grad():
        return module.decoder.sequences(module(batch.features, batch.lengths).symbols)


# --- padding, order, company ------------------------------------------------------------------------------------------


@given(
    kind=st.sampled_from(KINDS),
    frames=st.lists(st.lists(st.integers(1, 120), min_size=1, max_size=4), min_size=1, max_size=4),
    longer=st.integers(0, 20),
    garbage=st.sampled_from([-1e6, 1e30, float("inf"), float("nan")]),
)
@settings(max_examples=60)
def test_padding_never_changes_a_score_or_a_sequence(
    kind: tuple[str, bool, str], frames: list[list[int]], longer: int, garbage: float
) -> None:
    module = emitter_of(kind)
    languages = [[place % 3 for place in range(len(each))] for each in frames]
    batch, clean = noise(languages, frames, garbage=garbage, longer=longer), noise(languages, frames)
    alone = [
        rows_of(clean, [i])._replace(features=clean.features[i : i + 1, :length])
        for i, length in enumerate(clean.lengths.tolist())
    ]
    expected = torch.cat([scores_of(module, each) for each in alone])
    torch.testing.assert_close(scores_of(module, batch), expected, rtol=0, atol=1e-5)
    assert emitted_by(module, batch) == [emitted_by(module, each)[0] for each in alone]


@given(kind=st.sampled_from(KINDS), order=st.permutations(range(8)), count=st.integers(1, 8))
@settings(max_examples=40)
def test_neither_order_nor_company_changes_a_score_or_a_sequence(
    kind: tuple[str, bool, str], order: list[int], count: int
) -> None:
    module, batch, chosen = emitter_of(kind), eight_recordings(), order[:count]
    some, whole = rows_of(batch, chosen), emitted_by(module, batch)
    assert emitted_by(module, some) == [whole[i] for i in chosen]
    rows = some.indices[some.indices >= 0].sort().values
    torch.testing.assert_close(scores_of(module, some), scores_of(module, batch)[rows], rtol=0, atol=1e-5)


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("attention", ["none", "additive"])
def test_with_every_encoder_it_is_trained_and_only_a_recordings_own_frames_decide_what_is_emitted(
    encoder: str, attention: str
) -> None:
    bptt = {"training": {"bptt": TRUNCATED}} if encoder == "one_way" else {}
    module = make(attention, encoder=ENCODERS[encoder], **bptt)
    train(module, eight_recordings(), steps=3)
    assert all(each.grad is not None and each.grad.isfinite().all() for each in module.parameters())
    module.eval()
    languages, frames = [[0, 1], [2], [1, 0, 2]], [[40, 31], [1], [90, 7, 60]]
    clean = noise(languages, frames)
    batch = noise(languages, frames, garbage=float("nan"), longer=9)
    alone = [
        rows_of(clean, [i])._replace(features=clean.features[i : i + 1, :length])
        for i, length in enumerate(clean.lengths.tolist())
    ]
    expected = torch.cat([scores_of(module, each) for each in alone])
    torch.testing.assert_close(scores_of(module, batch), expected, rtol=0, atol=1e-5)
    assert emitted_by(module, batch) == [emitted_by(module, each)[0] for each in alone]


# --- decoding ---------------------------------------------------------------------------------------------------------


def sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-x)))


class Naive:
    """One recording at a time, one symbol after the other, from the weights and the equations alone."""

    def __init__(self, module: LanguageSequence) -> None:
        self.score = module.task.attention
        self.w = {name: value.double().numpy() for name, value in module.decoder.state_dict().items()}

    def step(self, before: int, g: np.ndarray, h_SH: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """The next state, log-posteriors, and weights of attention."""
        x, weights_S, context = self.w["symbols.weight"][before], None, np.zeros(0)
        if self.score != "none":
            m_SG = self.affine("memory", h_SH)
            weights_S = np.exp(self.relevance(m_SG, g))
            weights_S /= weights_S.sum()
            context = weights_S @ m_SG
        x = np.concatenate([x, context])
        r, z, n = (self.gate("ih", x, k) for k in range(3))
        r, z = sigmoid(r + self.gate("hh", g, 0)), sigmoid(z + self.gate("hh", g, 1))
        g = (1 - z) * np.tanh(n + r * self.gate("hh", g, 2)) + z * g
        logits = self.affine("output", np.concatenate([g, context]))
        return g, logits - np.log(np.exp(logits).sum()), weights_S

    def relevance(self, m_SG: np.ndarray, g: np.ndarray) -> np.ndarray:
        match self.score:
            case "additive":
                asked = self.w["attention.query.weight"] @ g
                return np.asarray(
                    np.tanh(self.affine("attention.projection", m_SG) + asked) @ self.w["attention.context"]
                )
            case "dot":
                return np.asarray(m_SG @ g)
            case _:
                return np.asarray(m_SG @ (self.w["attention.query.weight"] @ g))

    def affine(self, name: str, x: np.ndarray) -> np.ndarray:
        return np.asarray(x @ self.w[f"{name}.weight"].T + self.w[f"{name}.bias"])

    def gate(self, name: str, x: np.ndarray, k: int) -> np.ndarray:
        weight, bias = np.split(self.w[f"cell.weight_{name}"], 3)[k], np.split(self.w[f"cell.bias_{name}"], 3)[k]
        return np.asarray(weight @ x + bias)


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_greedy_decoding_is_that_of_a_naive_loop(attention: str) -> None:
    module, batch = emitter(attention), eight_recordings()
    naive = Naive(module)
    with torch.no_grad():
        result = module(batch.features, batch.lengths)
        embedding_BE = module._embedding(result.encoded)
    lengths = set()
    for i, steps in enumerate(result.encoded.steps.tolist()):
        h_SH = result.encoded.states[i, :steps].double().numpy()
        g, before, place = np.tanh(naive.affine("start", embedding_BE[i].double().numpy())), END, 0
        while place < LONGEST * 4:
            g, log_posteriors, weights_S = naive.step(before, g, h_SH)
            np.testing.assert_allclose(result.log_posteriors[i, place].numpy(), log_posteriors, atol=1e-4)
            if weights_S is not None:
                np.testing.assert_allclose(result.attention[i, place, :steps].numpy(), weights_S, atol=1e-5)
            before = int(log_posteriors.argmax())
            assert int(result.symbols[i, place]) == before
            place += 1
            if before == END:
                break
        lengths.add(place)
    assert max(lengths) > 1, "else nothing was fed back"


def test_decoding_stops_when_all_have_ended_or_at_its_limit() -> None:
    module, batch = make(), eight_recordings()
    bias = module.decoder.output.bias
    bias.data[END] = 100.0
    assert module(batch.features, batch.lengths).symbols.tolist() == [[END]] * 8
    assert emitted_by(module, batch) == [[]] * 8
    bias.data[END] = -100.0
    assert module(batch.features, batch.lengths).symbols.shape == (8, LONGEST * 4)
    assert [len(each) for each in emitted_by(module, batch)] == [LONGEST * 4] * 8


@pytest.mark.parametrize("attention", ATTENTIONS[1:])
def test_attention_lies_on_a_recordings_own_steps(attention: str) -> None:
    batch = eight_recordings()
    result = emitter(attention)(batch.features, batch.lengths)
    assert result.attention.shape == (8, result.symbols.shape[1], result.encoded.states.shape[1])
    torch.testing.assert_close(result.attention.sum(dim=2), torch.ones(result.symbols.shape))
    for weights_KS, steps in zip(result.attention, result.encoded.steps.tolist(), strict=True):
        assert not weights_KS[:, steps:].any()


def test_without_attention_there_are_no_weights_and_pooling_says_what_is_heard() -> None:
    batch = eight_recordings()
    assert emitter("none")(batch.features, batch.lengths).attention is None
    assert make("none", pooling={"kind": "last"}).pooling is not None
    assert make("additive").pooling is None, "it would be trained for nothing"


# --- scores and losses ------------------------------------------------------------------------------------------------


def naive_scores(module: LanguageSequence, batch: SwitchedBatch, i: int, *, history: list[int] | None) -> Tensor:
    """(P + 1, L + 1) log-posteriors of one recording by the naive loop, given a history, or its own symbols."""
    naive = Naive(module)
    with torch.no_grad():
        encoded = module.encoder(batch.features, batch.lengths)
        embedding_BE = module._embedding(encoded)
    h_SH = encoded.states[i, : int(encoded.steps[i])].double().numpy()
    g, rows, before = np.tanh(naive.affine("start", embedding_BE[i].double().numpy())), [], END
    for place in range(int(batch.num_parts[i]) + 1):
        g, log_posteriors, _ = naive.step(before, g, h_SH)
        rows.append(torch.from_numpy(log_posteriors))
        before = int(log_posteriors.argmax()) if history is None else [*history, END][place]
    return torch.stack(rows).float()


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_a_part_is_scored_given_what_the_decoder_said_before_it(attention: str) -> None:
    module, batch = emitter(attention), eight_recordings()
    expected = [naive_scores(module, batch, i, history=None)[:-1, :END].log_softmax(dim=1) for i in range(8)]
    torch.testing.assert_close(scores_of(module, batch), torch.cat(expected), atol=1e-4, rtol=0)
    scored = module.score(batch)
    assert scored.languages.tolist() == batch.part_languages[batch.part_languages >= 0].tolist()


def test_a_decoder_that_ends_too_early_is_scored_at_every_place() -> None:
    module, batch = deepcopy(emitter("additive")), eight_recordings()
    before = scores_of(module, batch)
    module.decoder.output.bias.data[END] = 100.0
    after = scores_of(module, batch)
    assert emitted_by(module, batch) == [[]] * 8
    assert after.shape == before.shape
    assert torch.isfinite(after).all()


def test_a_deaf_decoder_is_as_often_right_as_chance() -> None:
    """Though it has learnt that neighbours differ in language, which it could use if it were told the truth."""
    module = make("none")
    orders = [list(order) for order in itertools.product(range(3), repeat=3) if order[0] != order[1] != order[2]]
    batch = noise(orders, [[4] * 3] * len(orders))
    module.decoder.start.requires_grad_(requires_grad=False)
    module.decoder.start.weight.zero_()
    train(module, batch, steps=60)
    scored = module.eval().score(batch)
    is_right = scored.log_likelihoods.argmax(dim=1) == scored.languages
    assert float(is_right.float().mean()) == pytest.approx(1 / 3)
    assert float(module.loss(batch).value.detach()) < 0.8, "it has learnt so: log 3, log 2, log 2 and 0 make 0.62"


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_the_loss_is_the_mean_over_recordings_of_the_mean_over_languages_and_end(attention: str) -> None:
    module, batch = emitter(attention), eight_recordings()
    losses, rights, symbols = [], 0, 0
    for i in range(8):
        languages = batch.part_languages[i, : int(batch.num_parts[i])].tolist()
        rows, truth = naive_scores(module, batch, i, history=languages), [*languages, END]
        losses.append(-np.mean([float(rows[k, symbol]) for k, symbol in enumerate(truth)]))
        rights += sum(int(rows[k].argmax()) == symbol for k, symbol in enumerate(truth))
        symbols += len(truth)
    loss = module.loss(batch)
    assert float(loss.value.detach()) == pytest.approx(np.mean(losses), rel=1e-4)
    assert (loss.num_correct, loss.num_rows) == (rights, symbols)


def naive_distance(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    @cache
    def of(i: int, j: int) -> int:
        if i == 0 or j == 0:
            return i + j
        return min(of(i - 1, j) + 1, of(i, j - 1) + 1, of(i - 1, j - 1) + (one[i - 1] != other[j - 1]))

    return of(len(one), len(other))


sequences = st.lists(st.integers(0, 2), max_size=7).map(tuple)


@given(one=sequences, other=sequences)
def test_the_edit_distance_is_that_of_its_definition(one: tuple[int, ...], other: tuple[int, ...]) -> None:
    assert edit_distance(one, other) == naive_distance(one, other) == edit_distance(other, one)


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_the_tallies_count_edits_and_wrong_recordings_of_greedy_decoding(attention: str) -> None:
    module, batch = emitter(attention), eight_recordings()
    truth = [[int(language) for language in row if language >= 0] for row in batch.part_languages]
    errors = [naive_distance(tuple(a), tuple(b)) for a, b in zip(emitted_by(module, batch), truth, strict=True)]
    assert module.score(batch).tallies == {
        "sequence_error_rate": (sum(errors), sum(map(len, truth))),
        "sequence_wrong": (sum(error > 0 for error in errors), 8),
    }


# --- teacher forcing --------------------------------------------------------------------------------------------------


def loss_of(module: LanguageSequence, batch: SwitchedBatch, *, seed: int = 0) -> float:
    torch.manual_seed(seed)
    return float(module.loss(batch).value.detach())


def test_training_is_told_the_share_of_the_truth_that_is_configured() -> None:
    batch = eight_recordings()
    told_all, told_half, told_none = (make(task={"teacher_share": share}) for share in (1.0, 0.5, 0.0))
    for module in (told_half, told_none):
        module.load_state_dict(told_all.state_dict())
    always, never = loss_of(told_all, batch), loss_of(told_none, batch)
    assert always == loss_of(told_all, batch, seed=1)
    assert never == loss_of(told_none, batch, seed=1)
    assert always != never
    assert len({loss_of(told_half, batch, seed=seed) for seed in range(4)}) == 4, "a coin a step and recording"


def test_without_a_teacher_a_decoder_hears_what_it_said_itself() -> None:
    module, batch = emitter("additive"), eight_recordings()
    own = emitted_by(module, batch)
    i = next(i for i, each in enumerate(own) if 1 < len(each) < 5)
    # Of a recording whose truth is what it says, both histories are the same.
    truth = own[i]
    frames = [int(batch.lengths[i]) - len(truth) + 1, *[1] * (len(truth) - 1)]
    same = noise([truth], [frames])._replace(features=batch.features[i : i + 1, : sum(frames)])
    untaught = build_module(
        module.config.model_copy(update={"task": module.task.model_copy(update={"teacher_share": 0.0})})
    )
    untaught.load_state_dict(module.state_dict())
    assert float(untaught.train().loss(same).value.detach()) == pytest.approx(loss_of(module, same), rel=1e-6)
    other = noise([[(language + 1) % 3 for language in truth]], [frames])._replace(features=same.features)
    assert float(untaught.loss(other).value.detach()) != pytest.approx(loss_of(module, other), rel=1e-3)


def test_scoring_tells_no_truth_whatever_training_does() -> None:
    batch, taught = eight_recordings(), emitter("additive")
    untaught = make(
        task={"teacher_share": 0.0}, encoder={"cell": "gru", "hidden_size": 6, "bidirectional": True}
    ).eval()
    assert isinstance(untaught.task, SequenceConfig)
    untaught.load_state_dict(taught.state_dict())
    assert torch.equal(scores_of(untaught, batch), scores_of(taught, batch))


# --- learning ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_eight_recordings_are_learnt_by_heart(attention: str) -> None:
    module, batch = make(attention, task={"decoder_size": 32}, encoder={"hidden_size": 32}), eight_recordings()
    train(module, batch, steps=150)
    scored = module.eval().score(batch)
    assert torch.equal(scored.log_likelihoods.argmax(dim=1), scored.languages)
    assert scored.tallies["sequence_error_rate"][0] == scored.tallies["sequence_wrong"][0] == 0
    truth = [[int(language) for language in row if language >= 0] for row in batch.part_languages]
    assert emitted_by(module, batch) == truth


@pytest.mark.parametrize("num_parts", [2, 3, 8])
@pytest.mark.parametrize("attention", ["none", "additive"])
def test_the_parts_of_a_batch_add_up_to_its_gradient(attention: str, num_parts: int) -> None:
    batch, training = eight_recordings(), {"batch_size": 8}
    whole, cut = make(attention, training=training), make(attention, training=training)
    cut.num_parts = num_parts
    torch.autograd.backward(whole.training_step(batch, 0))
    for part in range(num_parts):
        rows = SwitchedBatch(*(field[part::num_parts] for field in batch))
        torch.autograd.backward(cut.training_step(rows, 0) / num_parts)  # Lightning averages
    for (name, one), other in zip(whole.named_parameters(), cut.parameters(), strict=True):
        assert one.grad is not None, f"{name} takes no part, which several ranks would stumble over"
        torch.testing.assert_close(one.grad, other.grad, atol=1e-6, rtol=1e-4)
