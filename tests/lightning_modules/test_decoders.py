"""Reconstruction: what the decoder unrolls, its error, and that only training hears of it.

Shape legend: B utterances, T frames, K frames that are made, D bands, E embedding size.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import LambdaCallback

from lightning_modules.build import build_module
from lightning_modules.config import GRUReconstructionConfig, TrialConfig
from lightning_modules.data.batches import Batch
from lightning_modules.decoders import FeatureDecoder
from lightning_modules.language_id import LanguageId
from lightning_modules.lid_module import LidModule

NUM_BANDS = 8


def decoder(*, stride: int = 3) -> FeatureDecoder:
    torch.manual_seed(0)
    config = GRUReconstructionConfig(hidden_size=5, stride=stride)
    return FeatureDecoder(config, embedding_size=4, num_values=NUM_BANDS)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-x)))


def naive_frames(module: FeatureDecoder, embedding_E: np.ndarray, *, count: int) -> np.ndarray:
    """(K, D) from the weights and the equations alone."""
    w = {name: value.double().numpy() for name, value in module.state_dict().items()}
    g = np.tanh(w["start.weight"] @ embedding_E + w["start.bias"])
    x, frames = np.zeros(NUM_BANDS), []
    for _ in range(count):
        from_x = np.split(w["cell.weight_ih"] @ x + w["cell.bias_ih"], 3)
        from_g = np.split(w["cell.weight_hh"] @ g + w["cell.bias_hh"], 3)
        r, z = sigmoid(from_x[0] + from_g[0]), sigmoid(from_x[1] + from_g[1])
        g = (1 - z) * np.tanh(from_x[2] + r * from_g[2]) + z * g
        x = w["output.weight"] @ g + w["output.bias"]
        frames.append(x)
    return np.array(frames)


@pytest.mark.parametrize(("num_frames", "count"), [(1, 1), (3, 1), (4, 2), (9, 3), (10, 4)])
def test_an_embedding_is_unrolled_into_every_third_frame_by_its_equations(num_frames: int, count: int) -> None:
    module, embedding_BE = decoder(), torch.randn(2, 4)
    made_BKD = module(embedding_BE, num_frames=num_frames).detach().numpy()
    expected = [naive_frames(module, row.double().numpy(), count=count) for row in embedding_BE]
    np.testing.assert_allclose(made_BKD, expected, atol=1e-6)


@pytest.mark.parametrize("garbage", [0.0, 1e30, float("nan")])
def test_the_error_is_that_of_each_utterances_own_frames(garbage: float) -> None:
    module, embedding_BE = decoder(), torch.randn(3, 4, requires_grad=True)
    lengths, features_BTD = [10, 1, 7], torch.full((3, 11, NUM_BANDS), garbage)
    errors = []
    for i, length in enumerate(lengths):
        features_BTD[i, :length] = torch.randn(length, NUM_BANDS)
        wanted_KD = features_BTD[i, :length:3].numpy()
        made_KD = naive_frames(module, embedding_BE[i].detach().double().numpy(), count=len(wanted_KD))
        errors.append(np.mean((made_KD - wanted_KD) ** 2))
    error = module.error(embedding_BE, features_BTD, torch.tensor(lengths))
    assert float(error.detach()) == pytest.approx(np.mean(errors), rel=1e-5)
    torch.autograd.backward(error)
    assert embedding_BE.grad is not None
    assert torch.isfinite(embedding_BE.grad).all()


# --- in LanguageId ----------------------------------------------------------------------------------------------------


def make(**parts: Any) -> LanguageId:
    config = {"data": {"languages": ["en", "fr"], "features": {"num_bands": NUM_BANDS}}, **parts}
    module = build_module(TrialConfig.model_validate(config))
    assert isinstance(module, LanguageId)
    return module


def batch_of(*, rows: int = 6) -> Batch:
    generator = torch.Generator().manual_seed(3)
    curve_BTD = torch.randn(rows, 1, NUM_BANDS, generator=generator) * torch.linspace(-1, 1, 30).view(1, -1, 1)
    return Batch(curve_BTD, torch.full((rows,), 30), torch.arange(rows) % 2, torch.arange(rows))


RECONSTRUCTION = {"kind": "gru", "hidden_size": 16, "stride": 5, "weight": 0.5}


def test_the_loss_has_the_weighted_error_and_the_scores_nothing_of_it() -> None:
    plain, module, batch = make().eval(), make(reconstruction=RECONSTRUCTION).eval(), batch_of()
    plain.load_state_dict(module.state_dict(), strict=False)
    assert module.reconstruction is not None
    embedding_BE = module(batch.features, batch.lengths).embedding
    error = module.reconstruction.error(embedding_BE, batch.features, batch.lengths)
    difference = module.loss(batch).value - plain.loss(batch).value
    torch.testing.assert_close(difference, 0.5 * error)
    assert torch.equal(module.score(batch).log_likelihoods, plain.score(batch).log_likelihoods)


def test_an_embedding_learns_what_it_is_unrolled_into() -> None:
    module, batch = make(reconstruction={**RECONSTRUCTION, "weight": 10.0}), batch_of()
    optimizer = torch.optim.Adam(module.parameters(), lr=0.02)
    errors = []
    for _ in range(150):
        module.on_train_epoch_start()
        optimizer.zero_grad()
        torch.autograd.backward(module.training_step(batch, 0))
        module.configure_gradient_clipping(optimizer)
        optimizer.step()
        errors.append(module.training_metrics()["train/reconstruction_error"])
    assert errors[-1] < 0.2 * errors[0]


@pytest.mark.parametrize("num_parts", [2, 4])
def test_the_parts_of_a_batch_add_up_to_its_gradient(num_parts: int) -> None:
    parts, batch = {"reconstruction": RECONSTRUCTION, "training": {"batch_size": 6}}, batch_of()
    whole, cut = make(**parts), make(**parts)
    cut.num_parts = num_parts
    torch.autograd.backward(whole.training_step(batch, 0))
    for part in range(num_parts):
        rows = Batch(*(field[part::num_parts] for field in batch))
        torch.autograd.backward(cut.training_step(rows, 0) / num_parts)  # Lightning averages
    for one, other in zip(whole.parameters(), cut.parameters(), strict=True):
        assert one.grad is not None
        torch.testing.assert_close(one.grad, other.grad, atol=1e-6, rtol=1e-4)
    for module in (whole, cut):
        module.configure_gradient_clipping(torch.optim.SGD(module.parameters(), lr=0.1))
    told, expected = cut.training_metrics(), whole.training_metrics()
    for name in ("train/loss", "train/reconstruction_error", "train/accuracy"):
        assert told[name] == pytest.approx(expected[name], rel=1e-5)


def test_an_epochs_metrics_have_the_error_of_its_steps_where_there_is_one(
    config: TrialConfig, fit: Callable[..., LidModule]
) -> None:
    metrics: list[dict[str, float]] = []

    def note(_: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, LidModule)
        metrics.append(module.training_metrics())

    trial = TrialConfig.model_validate({**config.model_dump(), "reconstruction": RECONSTRUCTION})
    fit(trial, callbacks=[LambdaCallback(on_train_epoch_end=note)], max_epochs=2)
    assert all(0.1 < each["train/reconstruction_error"] < 10.0 for each in metrics)
    assert len({each["train/reconstruction_error"] for each in metrics}) == 2
    fit(config, callbacks=[LambdaCallback(on_train_epoch_end=note)], max_epochs=1)
    assert "train/reconstruction_error" not in metrics[-1]
