"""Every network and every clipping rule on a real GPU, against the same on the CPU."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from lightning_modules.build import build_module
from lightning_modules.clipping import ClippingStep
from lightning_modules.config import TrialConfig
from lightning_modules.data.batches import Batch
from lightning_modules.language_id import LanguageId
from lightning_modules.states_over_time import gradients_over_time
from tests.lightning_modules.networks import ENCODERS, POOLINGS, make, padded, scores_of
from tests.lightning_modules.test_clipping_in_training import ALL_RULES, train

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings("ignore:.*no `val_dataloader`.*"),
    # Of torch's own and of Lightning's making, and none of them about what is tested here.
    pytest.mark.filterwarnings("default::UserWarning"),
]

LENGTHS = [120, 1, 37]
NUM_STEPS = 6


@pytest.fixture(autouse=True)
def exact_products() -> Iterator[None]:
    """cuDNN rounds the factors of a product to 10 bits by default."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


def batch_of(lengths: list[int]) -> Batch:
    names = list(range(len(lengths)))
    return Batch(*padded(lengths, names=names, garbage=float("nan")), torch.tensor(names) % 3, torch.tensor(names))


def to_gpu(batch: Batch) -> Batch:
    return Batch(*(rows.cuda() for rows in batch))


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("encoder", ENCODERS)
def test_scores_are_those_of_the_cpu(encoder: str, pooling: str) -> None:
    module, batch = make(encoder, pooling).eval(), batch_of(LENGTHS)
    expected = scores_of(module, batch.features, batch.lengths)
    on_gpu = to_gpu(batch)
    scores = scores_of(module.cuda(), on_gpu.features, on_gpu.lengths)
    torch.testing.assert_close(scores.cpu(), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("encoder", ENCODERS)
def test_gradients_are_those_of_the_cpu(encoder: str) -> None:
    gradients = []
    for device in ("cpu", "cuda"):
        module, batch = make(encoder).to(device), batch_of(LENGTHS)
        module.loss(batch if device == "cpu" else to_gpu(batch)).value.backward()  # type: ignore[no-untyped-call]
        gradients.append(torch.cat([each.grad.cpu().ravel() for each in module.parameters() if each.grad is not None]))
    torch.testing.assert_close(gradients[1], gradients[0], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("pooling", ["last", "statistics"])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_gradients_of_states_over_time_are_those_of_the_cpu(encoder: str, pooling: str) -> None:
    module, batch = make(encoder, pooling), batch_of(LENGTHS)
    expected = gradients_over_time(module, batch)
    found = gradients_over_time(module.cuda(), to_gpu(batch))
    assert list(found) == list(expected)
    for name, norms in expected.items():
        np.testing.assert_allclose(found[name], norms, rtol=1e-2, atol=1e-6)


def trained(encoder: str, *, precision: str, device: str = "gpu", **parts: Any) -> list[ClippingStep]:
    """What clipping did at each step of an epoch."""
    training = {"batch_size": 3, "steps_per_epoch": NUM_STEPS, "max_epochs": 1, "gradient_flow": {"every": 2}}
    config = make(encoder).config.model_dump(mode="json") | {"training": training} | parts
    module = build_module(TrialConfig.model_validate(config))
    assert isinstance(module, LanguageId)
    steps = train(module, [batch_of(LENGTHS)] * NUM_STEPS, accelerator=device, precision=precision)
    metrics = module.training_metrics()
    assert np.isfinite(list(metrics.values())).all()
    assert any(name.startswith("grad/flow/update_ratio/") for name in metrics)
    return steps


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_network_trains_in_every_precision(encoder: str, precision: str) -> None:
    steps = trained(encoder, precision=precision)
    assert len(steps) == NUM_STEPS
    assert sum(step.is_finite for step in steps) >= NUM_STEPS - 2, "the scaler may drop its first steps"


@pytest.mark.parametrize("rule", ALL_RULES, ids=lambda rule: rule["kind"])
def test_rules_see_in_float16_the_gradients_that_they_see_on_the_cpu(rule: dict[str, Any]) -> None:
    plain = trained("one_way", precision="32-true", device="cpu", clipping=rule)
    scaled = trained("one_way", precision="16-mixed", clipping=rule)
    np.testing.assert_allclose(scaled[0], plain[0], rtol=0.05, atol=1e-3)
