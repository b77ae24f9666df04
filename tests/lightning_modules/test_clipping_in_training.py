"""Clipping within a training by Lightning: parts of a batch, mixed precision, checkpoints, and the recurrent rule.

Shape legend: B utterances, S steps, F values a frame, H hidden units.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning.callbacks import LambdaCallback
from pytorch_lightning.plugins import MixedPrecision
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightning_modules.build import build_module
from lightning_modules.clipping import ClippingStep
from lightning_modules.config import TrialConfig
from lightning_modules.data.batches import Batch
from lightning_modules.encoders import Encoded, Tap
from lightning_modules.encoders._base import Encoder
from lightning_modules.language_id import LanguageId
from lightning_modules.lid_module import Diverged
from lightning_modules.recurrent_clipping import RecurrentClipping
from tests.lightning_modules.conftest import NUM_BANDS

pytestmark = pytest.mark.filterwarnings("ignore:.*no `val_dataloader`.*")

Fit = Callable[..., LanguageId]
NUM_STEPS = 4


class StepByStep(Encoder):
    """h_t = tanh(W x_t + U h_(t-1)), each state shown to the tap."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.output_size = hidden_size
        self.weight_ih = nn.Linear(input_size, hidden_size)
        self.weight_hh = nn.Parameter(nn.init.orthogonal_(torch.empty(hidden_size, hidden_size)))

    def forward(
        self,
        x_BTF: Tensor,
        lengths_B: Tensor,
        *,
        languages_BT: Tensor | None = None,  # noqa: ARG002 - it is told nothing
        tap: Tap | None = None,
    ) -> Encoded:
        h_BH, states = x_BTF.new_zeros(len(x_BTF), self.output_size), []
        for t in range(x_BTF.shape[1]):
            h_BH = torch.tanh(self.weight_ih(x_BTF[:, t]) + h_BH @ self.weight_hh.T)
            if tap is not None:
                h_BH = tap.step("state", t, h_BH)
            states.append(h_BH)
        return Encoded(torch.stack(states, dim=1), lengths_B)


def config_of(**parts: Any) -> TrialConfig:
    return TrialConfig.model_validate(
        {
            "data": {"languages": ["en", "fr", "it"], "features": {"num_bands": NUM_BANDS}},
            "encoder": {"hidden_size": 5, "frames_per_step": 1, "bidirectional": False},
            "pooling": {"kind": "last"},
            "optimizer": {"kind": "sgd", "learning_rate": 0.1},
            "training": {"batch_size": 6, "steps_per_epoch": NUM_STEPS, "max_epochs": 1},
            **parts,
        }
    )


def module_of(config: TrialConfig, *, num_parts: int = 1) -> LanguageId:
    """A module whose encoder runs step by step."""
    module = build_module(config, num_parts=num_parts)
    assert isinstance(module, LanguageId)
    torch.manual_seed(3)
    module.encoder = StepByStep(NUM_BANDS, 5)
    return module


def whole_batches(num_batches: int = NUM_STEPS, *, size: int = 6, loudness: float = 3.0) -> list[Batch]:
    generator = torch.Generator().manual_seed(1)
    return [
        Batch(
            loudness * torch.randn(size, 12, NUM_BANDS, generator=generator),
            torch.full((size,), 12),
            torch.arange(size) % 3,
            torch.arange(size),
        )
        for _ in range(num_batches)
    ]


def in_parts(batches: list[Batch], *, num_parts: int) -> list[Batch]:
    return [Batch(*(rows[part::num_parts] for rows in batch)) for batch in batches for part in range(num_parts)]


def train(module: LanguageId, batches: list[Batch], *, num_parts: int = 1, **options: Any) -> list[ClippingStep]:
    """One epoch; what clipping did at each step."""
    options = {"precision": "32-true", "accelerator": "cpu"} | options
    if "plugins" in options:
        options.pop("precision")
    plugins = [LightningEnvironment(), *options.pop("plugins", [])]
    data: Any = batches
    pl.Trainer(
        devices=1,
        plugins=plugins,
        max_epochs=1,
        accumulate_grad_batches=num_parts,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    ).fit(module, DataLoader(data, batch_size=None))
    return module.clipping_steps


def weights_of(module: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


ALL_RULES: list[dict[str, Any]] = [
    {"kind": "none"},
    {"kind": "norm", "max_norm": 0.2},
    {"kind": "layer_norm", "max_norm": 0.1},
    {"kind": "value", "max_value": 0.02},
    {"kind": "autoclip", "percentile": 30.0},
    {"kind": "agc", "max_ratio": 0.02},
    {"kind": "skip", "skip_above": 0.7},
    {"kind": "recurrent", "max_state_norm": 0.005},
]
EVERY_RULE = pytest.mark.parametrize("rule", ALL_RULES, ids=lambda rule: rule["kind"])


# --- parts of a batch -------------------------------------------------------------------------------------------------


@EVERY_RULE
@pytest.mark.parametrize("num_parts", [2, 4])  # 4 parts of 6 utterances: two of 2, two of 1
def test_clipping_sees_the_sum_of_all_parts_of_a_batch(rule: dict[str, Any], num_parts: int) -> None:
    config = config_of(clipping=rule)
    whole, parts = module_of(config), module_of(config, num_parts=num_parts)
    at_once = train(whole, whole_batches())
    summed = train(parts, in_parts(whole_batches(), num_parts=num_parts), num_parts=num_parts)
    assert len(at_once) == len(summed) == NUM_STEPS
    np.testing.assert_allclose(summed, at_once, rtol=1e-4)
    torch.testing.assert_close(weights_of(parts), weights_of(whole), rtol=1e-4, atol=1e-6)
    assert any(step.clipped for step in at_once) == (rule["kind"] != "none")


# --- mixed precision --------------------------------------------------------------------------------------------------


class PlainlyScaled(MixedPrecision):
    """Lightning's handling of a scaled loss, with a forward pass in single precision, as a CPU has it."""

    def __init__(self, scale: float) -> None:
        super().__init__("16-mixed", "cpu", scaler=torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=3))

    def autocast_context_manager(self) -> torch.autocast:
        return torch.autocast("cpu", enabled=False)


@EVERY_RULE
def test_clipping_sees_gradients_that_are_unscaled(rule: dict[str, Any]) -> None:
    config = config_of(clipping=rule)
    plain, scaled = module_of(config), module_of(config)
    expected = train(plain, whole_batches())
    steps = train(scaled, whole_batches(), plugins=[PlainlyScaled(1024.0)])
    np.testing.assert_allclose(steps, expected, rtol=1e-4)
    torch.testing.assert_close(weights_of(scaled), weights_of(plain), rtol=1e-4, atol=1e-6)


@EVERY_RULE
def test_clipping_sees_gradients_that_are_unscaled_and_the_sum_of_all_parts(rule: dict[str, Any]) -> None:
    config = config_of(clipping=rule)
    plain, scaled = module_of(config), module_of(config, num_parts=2)
    expected = train(plain, whole_batches())
    plugin = PlainlyScaled(1024.0)
    steps = train(scaled, in_parts(whole_batches(), num_parts=2), num_parts=2, plugins=[plugin])
    np.testing.assert_allclose(steps, expected, rtol=1e-4)
    torch.testing.assert_close(weights_of(scaled), weights_of(plain), rtol=1e-4, atol=1e-6)


def test_a_scale_that_overflows_costs_a_step_and_is_no_divergence() -> None:
    module = module_of(config_of(clipping={"kind": "norm", "max_norm": 0.2}))
    before, plugin = weights_of(module), PlainlyScaled(3e38)
    steps = train(module, whole_batches(1, loudness=30.0), plugins=[plugin])
    assert [step.is_finite for step in steps] == [False]
    assert plugin.scaler is not None
    assert plugin.scaler.get_scale() == pytest.approx(1.5e38)
    assert torch.equal(weights_of(module), before)
    assert module.training_metrics()["grad/steps_non_finite"] == 1.0


def test_gradients_that_overflow_without_a_scale_diverge() -> None:
    module = module_of(config_of(clipping={"kind": "norm", "max_norm": 0.2}))
    weight: Any = module.head.output.weight
    weight.register_hook(lambda gradient: torch.full_like(gradient, math.inf))
    with pytest.raises(Diverged, match="gradient norm became inf"):
        train(module, whole_batches(1), plugins=[PlainlyScaled(1.0)])


@EVERY_RULE
def test_every_rule_works_in_bfloat16(rule: dict[str, Any]) -> None:
    config = config_of(clipping=rule)
    single, mixed = module_of(config), module_of(config)
    expected = train(single, whole_batches(1))
    steps = train(mixed, whole_batches(1), precision="bf16-mixed")
    np.testing.assert_allclose(steps, expected, rtol=0.1)
    assert all(parameter.dtype == torch.float32 for parameter in mixed.parameters())


# --- dropped steps and checkpoints ------------------------------------------------------------------------------------


def test_a_step_whose_gradient_is_not_finite_is_skipped_counted_and_no_divergence() -> None:
    module = module_of(config_of(clipping={"kind": "skip", "skip_above": 1e9}))
    calls = iter(range(NUM_STEPS))
    weight: Any = module.head.output.weight
    weight.register_hook(lambda gradient: torch.full_like(gradient, math.nan) if next(calls) == 1 else gradient)
    steps = train(module, whole_batches())
    assert [step.is_finite for step in steps] == [True, False, True, True]
    assert weights_of(module).isfinite().all()
    metrics = module.training_metrics()
    assert metrics["grad/steps_non_finite"] == 1.0
    assert metrics["grad/share_clipped"] == 0.25
    assert np.isfinite(list(metrics.values())).all()


def changed(config: TrialConfig, **parts: Any) -> TrialConfig:
    return TrialConfig.model_validate(config.model_dump() | parts)


def test_a_resumed_autoclip_ends_bit_for_bit_as_an_uninterrupted_one(
    config: TrialConfig, fit: Fit, tmp_path: Path
) -> None:
    trial, checkpoint = changed(config, clipping={"kind": "autoclip", "percentile": 40.0}), tmp_path / "last.ckpt"
    save = LambdaCallback(on_train_epoch_end=lambda trainer, _: trainer.save_checkpoint(checkpoint))
    uninterrupted = fit(trial, callbacks=[])
    fit(trial, callbacks=[save], max_epochs=2)
    resumed = fit(trial, callbacks=[], resume=checkpoint)
    assert torch.equal(weights_of(resumed), weights_of(uninterrupted))
    assert resumed.clipping_steps == uninterrupted.clipping_steps
    forgetful = fit(trial, callbacks=[_Forget()], resume=checkpoint)
    assert forgetful.clipping_steps != uninterrupted.clipping_steps, "what is remembered decides"


class _Forget(pl.Callback):
    """Empties AutoClip's memory before the first step."""

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        assert isinstance(pl_module, LanguageId)
        pl_module.clipper.load_state_dict({"norms": []})


# --- within the backward pass -----------------------------------------------------------------------------------------


def naive_gradients(
    w_HF: Tensor, u_HH: Tensor, x_BSF: Tensor, v_BSH: Tensor, *, max_norm: float
) -> tuple[Tensor, Tensor, float]:
    """Backward pass of L = Σ_t v_t · h_t, h_t = tanh(W x_t + U h_(t-1)), one utterance and step after another.

    Returns dL/dW, dL/dU and the share of states whose gradient was scaled down.
    """
    of_w_HF, of_u_HH, num_scaled = torch.zeros_like(w_HF), torch.zeros_like(u_HH), 0
    for x_SF, v_SH in zip(x_BSF, v_BSH, strict=True):
        h = [torch.zeros(len(u_HH))]
        for x_F in x_SF:
            h.append(torch.tanh(w_HF @ x_F + u_HH @ h[-1]))
        from_later_H = torch.zeros(len(u_HH))
        for t in reversed(range(len(x_SF))):
            of_h_H = v_SH[t] + from_later_H
            length = math.sqrt(sum(float(each) ** 2 for each in of_h_H))
            if length > max_norm:
                of_h_H, num_scaled = of_h_H * (max_norm / length), num_scaled + 1
            inner_H = of_h_H * (1.0 - h[t + 1] ** 2)
            of_w_HF += torch.outer(inner_H, x_SF[t])
            of_u_HH += torch.outer(inner_H, h[t])
            from_later_H = u_HH.T @ inner_H
    return of_w_HF, of_u_HH, num_scaled / (x_BSF.shape[0] * x_BSF.shape[1])


@pytest.mark.parametrize("max_norm", [1e-3, 0.3, 1.0, 1e6])
def test_recurrent_clipping_scales_each_utterances_gradient_at_each_step(max_norm: float) -> None:
    torch.manual_seed(0)
    encoder, x_BSF = StepByStep(3, 4), torch.randn(5, 7, 3)
    nn.init.zeros_(encoder.weight_ih.bias)
    encoder.weight_hh.data *= 2.0
    v_BSH = torch.randn(5, 7, 4) * torch.logspace(-2, 0, 5)[:, None, None]
    tap = RecurrentClipping(max_norm)
    (encoder(x_BSF, torch.full((5,), 7), tap=tap).states * v_BSH).sum().backward()
    of_w_HF, of_u_HH, share = naive_gradients(
        encoder.weight_ih.weight.detach(), encoder.weight_hh.detach(), x_BSF, v_BSH, max_norm=max_norm
    )
    torch.testing.assert_close(encoder.weight_ih.weight.grad, of_w_HF, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(encoder.weight_hh.grad, of_u_HH, rtol=1e-4, atol=1e-6)
    assert tap.take_share() == pytest.approx(share)
    assert (share == 0.0) == (max_norm == 1e6)
    assert tap.take_share() == 0.0, "it counts anew for the next step"


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_recurrent_clipping_takes_whatever_a_network_computes_in(dtype: torch.dtype) -> None:
    tap, h_BH = RecurrentClipping(0.5), torch.ones(2, 4, dtype=dtype, requires_grad=True)
    tap.step("state", 0, h_BH).sum().backward()  # type: ignore[no-untyped-call]  # torch's own
    assert h_BH.grad is not None
    assert h_BH.grad.dtype == dtype
    assert h_BH.grad.norm(dim=1).tolist() == [0.5, 0.5]


def test_states_past_an_end_are_not_counted() -> None:
    tap, h_BH = RecurrentClipping(0.5), torch.ones(4, 3, requires_grad=True)
    (tap.step("state", 0, h_BH) * torch.tensor([[1.0], [0.1], [0.0], [0.0]])).sum().backward()  # type: ignore[no-untyped-call]  # torch's own
    assert tap.take_share() == 0.5


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_recurrent_clipping_hides_no_gradient_that_is_not_finite(value: float) -> None:
    tap, h_BH = RecurrentClipping(0.5), torch.ones(2, 3, requires_grad=True)
    (tap.step("state", 0, h_BH) * torch.tensor([[1.0], [value]])).sum().backward()  # type: ignore[no-untyped-call]  # torch's own
    assert h_BH.grad is not None
    assert h_BH.grad[0].norm() == pytest.approx(0.5)
    assert not h_BH.grad[1].isfinite().any()
