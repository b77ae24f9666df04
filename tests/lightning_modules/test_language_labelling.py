"""LanguageLabelling: what must never change a label, what a step and a part are, learning, and parts of a batch.

Shape legend: B recordings, S steps, P parts, L languages.
"""

from functools import cache
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lightning_modules.build import build_module
from lightning_modules.data.batches import SwitchedBatch
from lightning_modules.language_labelling import LanguageLabelling
from tests.lightning_modules.networks import ENCODERS, TRUNCATED
from tests.lightning_modules.switching import eight_recordings, make_config, noise, rows_of

CELLS = ["rnn_tanh", "rnn_relu", "gru", "lstm"]
ALL_KINDS = list(product(CELLS, [False, True], [1, 3, 10]))


def make(**parts: Any) -> LanguageLabelling:
    module = build_module(make_config(**parts))
    assert isinstance(module, LanguageLabelling)
    return module


@cache
def labeller(cell: str = "gru", *, bidirectional: bool = True, frames_per_step: int = 3) -> LanguageLabelling:
    """An untrained module in evaluation mode."""
    encoder = {"cell": cell, "hidden_size": 6, "bidirectional": bidirectional, "frames_per_step": frames_per_step}
    return make(encoder=encoder).eval()


@cache
def labeller_with(encoder: str) -> LanguageLabelling:
    """After a pass in training mode, so that running statistics are none that change nothing."""
    module = make(encoder=ENCODERS[encoder], training={"bptt": TRUNCATED} if encoder == "one_way" else {})
    batch = eight_recordings()
    module(batch.features, batch.lengths)
    return module.eval()


def scores_of(module: LanguageLabelling, batch: SwitchedBatch) -> Tensor:
    """(N, L) in the order of rows."""
    with torch.no_grad():
        scored = module.score(batch)
    return scored.log_likelihoods[scored.indices.argsort()]


def labels_of(module: LanguageLabelling, batch: SwitchedBatch) -> list[Tensor]:
    """Each recording's own steps, (S, L)."""
    with torch.no_grad():
        labels = module(batch.features, batch.lengths)
    return [rows[:count] for rows, count in zip(labels.log_posteriors, labels.steps.tolist(), strict=True)]


def assert_same(one: Tensor, other: Tensor) -> None:
    """To 1e-5, or that share of the largest score: those of an untrained relu network reach hundreds."""
    torch.testing.assert_close(one, other, rtol=0, atol=1e-5 * max(1.0, float(other.abs().max())))


# --- padding, order, company ------------------------------------------------------------------------------------------


@given(
    kind=st.sampled_from(ALL_KINDS),
    frames=st.lists(st.lists(st.integers(1, 120), min_size=1, max_size=4), min_size=1, max_size=4),
    longer=st.integers(0, 20),
    garbage=st.sampled_from([-1e6, 1e30, float("inf"), float("nan")]),
)
@settings(max_examples=60)
def test_padding_never_changes_a_label_or_a_score(
    kind: tuple[str, bool, int], frames: list[list[int]], longer: int, garbage: float
) -> None:
    cell, bidirectional, frames_per_step = kind
    module = labeller(cell, bidirectional=bidirectional, frames_per_step=frames_per_step)
    languages = [[place % 3 for place in range(len(each))] for each in frames]
    batch, clean = noise(languages, frames, garbage=garbage, longer=longer), noise(languages, frames)
    alone = [
        rows_of(clean, [i])._replace(features=clean.features[i : i + 1, :length])
        for i, length in enumerate(clean.lengths.tolist())
    ]
    assert_same(scores_of(module, batch), torch.cat([scores_of(module, each) for each in alone]))
    for labels, each in zip(labels_of(module, batch), alone, strict=True):
        assert_same(labels, labels_of(module, each)[0])


@given(kind=st.sampled_from(ALL_KINDS), order=st.permutations(range(8)), count=st.integers(1, 8))
@settings(max_examples=40)
def test_neither_order_nor_company_changes_a_label_or_a_score(
    kind: tuple[str, bool, int], order: list[int], count: int
) -> None:
    cell, bidirectional, frames_per_step = kind
    module = labeller(cell, bidirectional=bidirectional, frames_per_step=frames_per_step)
    batch, chosen = eight_recordings(), order[:count]
    whole, some = labels_of(module, batch), labels_of(module, rows_of(batch, chosen))
    for labels, i in zip(some, chosen, strict=True):
        assert_same(labels, whole[i])
    rows = rows_of(batch, chosen).indices
    assert_same(scores_of(module, rows_of(batch, chosen)), scores_of(module, batch)[rows[rows >= 0].sort().values])


@pytest.mark.parametrize("encoder", ENCODERS)
@given(
    frames=st.lists(st.lists(st.integers(1, 120), min_size=1, max_size=4), min_size=1, max_size=4),
    garbage=st.sampled_from([-1e6, float("nan")]),
)
@settings(max_examples=10)
def test_with_every_encoder_only_a_recordings_own_frames_decide_its_labels(
    encoder: str, frames: list[list[int]], garbage: float
) -> None:
    module, languages = labeller_with(encoder), [[place % 3 for place in range(len(each))] for each in frames]
    batch, clean = noise(languages, frames, garbage=garbage, longer=7), noise(languages, frames)
    for i, labels in enumerate(labels_of(module, batch)):
        alone = rows_of(clean, [i])
        alone = alone._replace(features=alone.features[:, : int(clean.lengths[i])])
        assert_same(labels, labels_of(module, alone)[0])


@pytest.mark.parametrize("encoder", ENCODERS)
def test_with_every_encoder_a_step_is_trained(encoder: str) -> None:
    module = make(encoder=ENCODERS[encoder], training={"bptt": TRUNCATED} if encoder == "one_way" else {})
    torch.autograd.backward(module.training_step(eight_recordings(), 0))
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


# --- steps and parts --------------------------------------------------------------------------------------------------


def naive_language(batch: SwitchedBatch, i: int, frame: int) -> int:
    spoken = [
        int(language)
        for language, count in zip(batch.part_languages[i], batch.part_frames[i], strict=True)
        for _ in range(int(count))
    ]
    return spoken[min(frame, len(spoken) - 1)]


@pytest.mark.parametrize("frames_per_step", [1, 2, 3, 10, 20])
def test_the_loss_is_the_mean_over_recordings_of_the_mean_over_their_steps(frames_per_step: int) -> None:
    module, batch = labeller(frames_per_step=frames_per_step), eight_recordings()
    losses, rights, steps = [], 0, 0
    for i, labels_SL in enumerate(labels_of(module, batch)):
        truth = [naive_language(batch, i, s * frames_per_step + frames_per_step // 2) for s in range(len(labels_SL))]
        losses.append(-np.mean([float(labels_SL[s, language]) for s, language in enumerate(truth)]))
        rights += sum(int(labels_SL[s].argmax()) == language for s, language in enumerate(truth))
        steps += len(truth)
        assert len(truth) == -(-int(batch.lengths[i]) // frames_per_step)
    loss = module.loss(batch)
    assert float(loss.value.detach()) == pytest.approx(np.mean(losses), rel=1e-5)
    assert (loss.num_correct, loss.num_rows) == (rights, steps)


@pytest.mark.parametrize("frames_per_step", [1, 3, 10, 20])
def test_a_part_is_scored_by_the_steps_whose_middle_lies_in_it_or_the_nearest(frames_per_step: int) -> None:
    module, batch = labeller(frames_per_step=frames_per_step), eight_recordings()
    scores, num_nearest = scores_of(module, batch), 0
    for i, labels_SL in enumerate(labels_of(module, batch)):
        last = int(batch.lengths[i]) - 1
        middles = [min(s * frames_per_step + frames_per_step // 2, last) for s in range(len(labels_SL))]
        start = 0
        for place in range(int(batch.num_parts[i])):
            end = start + int(batch.part_frames[i, place])
            inside = [s for s, middle in enumerate(middles) if start <= middle < end]
            if not inside:
                num_nearest += 1
                inside = [min(range(len(middles)), key=lambda s: (abs(middles[s] - (start + end - 1) / 2), s))]
            expected = labels_SL[inside].mean(dim=0).log_softmax(dim=0)
            torch.testing.assert_close(scores[int(batch.indices[i, place])], expected, atol=1e-5, rtol=0)
            start = end
    assert (num_nearest > 0) == (frames_per_step >= 10), "else nothing was tried"


@pytest.mark.parametrize("frames_per_step", [1, 3, 10, 20])
def test_each_frame_is_counted_once_under_its_steps_label(frames_per_step: int) -> None:
    module, batch = labeller(frames_per_step=frames_per_step), eight_recordings()
    wrong = 0
    for i, labels_SL in enumerate(labels_of(module, batch)):
        guesses = labels_SL.argmax(dim=1).tolist()
        frames = range(int(batch.lengths[i]))
        wrong += sum(guesses[frame // frames_per_step] != naive_language(batch, i, frame) for frame in frames)
    assert module.score(batch).tallies == {"frame_error_rate": (wrong, int(batch.lengths.sum()))}


def test_rows_have_the_languages_of_their_parts() -> None:
    batch = eight_recordings()
    scored = labeller().score(batch)
    truth = [int(language) for row in batch.part_languages for language in row if language >= 0]
    assert scored.languages.tolist() == truth
    assert scored.indices.tolist() == list(range(len(truth)))
    torch.testing.assert_close(scored.log_likelihoods.exp().sum(dim=1), torch.ones(len(truth)))


# --- learning ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cell", CELLS)
def test_every_cell_learns_eight_recordings_by_heart(cell: str) -> None:
    module, batch = make(encoder={"cell": cell, "hidden_size": 32, "frames_per_step": 1}), eight_recordings()
    optimizer = torch.optim.Adam(module.parameters(), lr=0.01)
    for _ in range(160):
        optimizer.zero_grad()
        torch.autograd.backward(module.training_step(batch, 0))
        module.configure_gradient_clipping(optimizer)
        optimizer.step()
    scored = module.eval().score(batch)
    assert torch.equal(scored.log_likelihoods.argmax(dim=1), scored.languages)
    assert scored.tallies["frame_error_rate"][0] == 0


@pytest.mark.parametrize("num_parts", [2, 3, 8])
def test_the_parts_of_a_batch_add_up_to_its_gradient(num_parts: int) -> None:
    batch, training = eight_recordings(), {"batch_size": 8}
    whole, cut = make(training=training), make(training=training)
    cut.num_parts = num_parts
    torch.autograd.backward(whole.training_step(batch, 0))
    for part in range(num_parts):
        rows = SwitchedBatch(*(field[part::num_parts] for field in batch))
        torch.autograd.backward(cut.training_step(rows, 0) / num_parts)  # Lightning averages
    for one, other in zip(whole.parameters(), cut.parameters(), strict=True):
        assert one.grad is not None
        torch.testing.assert_close(one.grad, other.grad, atol=1e-6, rtol=1e-4)


def test_labels_are_smoothed_as_configured() -> None:
    batch = eight_recordings()
    plain, smooth = make().eval(), make(training={"label_smoothing": 0.3}).eval()
    losses = []
    for i, labels_SL in enumerate(labels_of(plain, batch)):
        truth = [naive_language(batch, i, s * 3 + 1) for s in range(len(labels_SL))]
        told = torch.stack([labels_SL[s, language] for s, language in enumerate(truth)])
        losses.append(float(-(0.7 * told + 0.3 * labels_SL.mean(dim=1)).mean()))
    assert float(smooth.loss(batch).value.detach()) == pytest.approx(np.mean(losses), rel=1e-5)
