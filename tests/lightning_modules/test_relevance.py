"""What attention finds relevant: windows against loops over frames, deletions against a network of one place."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lightning_modules.data.batches import Batch
from lightning_modules.encoders import Encoded, Encoder
from lightning_modules.language_id import MAX_FRAMES
from lightning_modules.relevance import SHARE, attends, relevance, weight_of_windows, without_windows
from tests.lightning_modules.helpers import attending

SIZES = st.tuples(st.integers(1, 60), st.integers(1, 7), st.integers(1, 9))


def batch(*lengths: int) -> Batch:
    torch.manual_seed(1)
    features = torch.randn(len(lengths), max(lengths), 40)
    return Batch(
        features, torch.tensor(lengths), torch.zeros(len(lengths), dtype=torch.long), torch.arange(len(lengths))
    )


@given(sizes=SIZES)
def test_windows_weigh_what_their_frames_weigh(sizes: tuple[int, int, int]) -> None:
    num_frames, frames_per_step, window = sizes
    num_steps = -(-num_frames // frames_per_step)
    weights = np.random.default_rng(0).dirichlet(np.ones(num_steps))
    expected = np.zeros(-(-num_frames // window))
    for frame in range(num_frames):
        step = frame // frames_per_step
        frames_of_step = min(frames_per_step, num_frames - step * frames_per_step)
        expected[frame // window] += weights[step] / frames_of_step
    found = weight_of_windows(weights, num_frames=num_frames, window=window, frames_per_step=frames_per_step)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    assert found.sum() == pytest.approx(1.0)


@given(num_frames=st.integers(1, 60), window=st.integers(1, 9))
def test_the_first_windows_of_an_order_are_left_out_and_the_others_stay_in_time(num_frames: int, window: int) -> None:
    features = torch.arange(num_frames, dtype=torch.float32).unsqueeze(1)
    num_windows = -(-num_frames // window)
    order = np.random.default_rng(0).permutation(num_windows)
    num_dropped = min(round(SHARE * num_windows), num_windows - 1)
    gone = set(order[:num_dropped].tolist())
    left = without_windows(features, order, window=window).ravel().tolist()
    assert left == [float(frame) for frame in range(num_frames) if frame // window not in gone]
    assert left, "something is always heard"


def test_weights_are_those_of_the_network_without_padding_and_sum_to_one() -> None:
    module, heard = attending(), batch(400, 150)
    found = relevance(module, heard, seed=1)
    assert found is not None
    for row, length in enumerate((400, 150)):
        alone = module(heard.features[row : row + 1, :length], torch.tensor([length]))
        np.testing.assert_allclose(found.weights[row], alone.attention[0].mean(dim=0).detach(), rtol=0, atol=1e-5)
        assert found.weights[row].sum() == pytest.approx(1.0)


class _Loud(torch.nn.Module):
    """Attends to the steps whose first value is large."""

    score = "additive"

    def forward(self, h_BSH: Tensor, mask_BS: Tensor, query_BQ: Tensor | None = None) -> Tensor:  # noqa: ARG002
        return (20 * h_BSH[..., 0]).masked_fill(~mask_BS, -torch.inf).softmax(dim=1)


class _AsHeard(Encoder):
    """States are the frames themselves."""

    output_size = 40

    def forward(self, x_BTF: Tensor, lengths_B: Tensor, **_: object) -> Encoded:
        return Encoded(x_BTF, lengths_B)


class _Remembering(torch.nn.Module):
    """A head that keeps the embeddings that it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, embedding_BE: Tensor, lengths_B: Tensor) -> Tensor:  # noqa: ARG002
        self.seen.append(embedding_BE)
        return torch.zeros(len(embedding_BE), 2)


def test_without_what_is_relevant_the_network_hears_nothing_of_it() -> None:
    module, head = attending(), _Remembering()
    module.encoder, module.pooling.attention, module.head = _AsHeard(), _Loud(), head  # type: ignore[assignment]
    heard = batch(500)
    heard.features[:] = 0.0
    heard.features[0, 100:150, 0] = 1.0  # one window of half a second
    relevance(module, heard, seed=1)
    whole, without_relevant, without_random = (float(embedding[0, 0]) for embedding in head.seen)
    assert whole == pytest.approx(1.0)
    assert without_relevant == pytest.approx(0.0)
    assert without_random in (pytest.approx(0.0), pytest.approx(1.0))


@pytest.mark.parametrize("pooling", ["attention", "multi_head", "attentive_statistics"])
def test_every_pooling_that_attends_can_be_asked(pooling: str) -> None:
    module = attending(pooling)
    assert attends(module)
    found = relevance(module, batch(200, 90, 1), seed=1)
    assert found is not None
    assert found.without_relevant.shape == found.without_random.shape == (3, 2)
    assert torch.isfinite(found.without_relevant).all()


def test_the_same_windows_are_chosen_by_chance_in_any_batch() -> None:
    module, heard = attending(), batch(400, 150)
    both = relevance(module, heard, seed=1)
    alone = relevance(module, Batch(*(each[1:] for each in heard)), seed=1)
    assert both is not None
    assert alone is not None
    torch.testing.assert_close(both.without_random[1:], alone.without_random, rtol=0, atol=1e-5)


def test_networks_that_do_not_attend_and_recordings_scored_in_pieces_are_left_out() -> None:
    assert not attends(attending("mean"))
    assert relevance(attending(), batch(MAX_FRAMES + 1), seed=1) is None
