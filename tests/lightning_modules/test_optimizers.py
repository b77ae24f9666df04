"""The learning rate over a training, also over one that was resumed."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
from pydantic import TypeAdapter
from pytorch_lightning.callbacks import LambdaCallback

from lightning_modules.config import ScheduleConfig, TrialConfig
from lightning_modules.language_id import LanguageId
from lightning_modules.optimizers import rate_at

SCHEDULE: TypeAdapter[Any] = TypeAdapter(ScheduleConfig)
NUM_STEPS = 10


def shares(**fields: Any) -> list[float]:
    share = rate_at(SCHEDULE.validate_python(fields), num_steps=NUM_STEPS)
    assert share is not None
    return [share(step) for step in range(NUM_STEPS)]


def test_a_constant_rate_needs_no_schedule() -> None:
    assert rate_at(SCHEDULE.validate_python({"kind": "constant"}), num_steps=NUM_STEPS) is None


def test_the_rate_rises_linearly_and_stays() -> None:
    assert shares(kind="constant", warmup_steps=4) == [0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1, 1]


def test_half_a_cosine_falls_after_the_warm_up() -> None:
    rates = shares(kind="cosine", warmup_steps=2)
    expected = [0.5 * (1 + math.cos(math.pi * step / 8)) for step in range(8)]
    assert rates == pytest.approx([0.5, 1.0, *expected])
    assert rates[-1] < 0.05


def test_a_warm_up_as_long_as_the_training_only_rises() -> None:
    assert shares(kind="cosine", warmup_steps=NUM_STEPS) == pytest.approx([(step + 1) / 10 for step in range(10)])


class Rates(pl.Callback):
    """The learning rate that each step was taken with."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:  # noqa: ARG002
        self.seen.append(optimizer.param_groups[0]["lr"])


def scheduled(config: TrialConfig, **fields: Any) -> TrialConfig:
    rate = {"kind": "sgd", "learning_rate": 1.0}
    return TrialConfig.model_validate(config.model_dump() | {"schedule": fields, "optimizer": rate})


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "cosine", "warmup_steps": 3},
        {"kind": "constant", "warmup_steps": 7},
        {"kind": "plateau", "patience": 0, "factor": 0.5},
    ],
    ids=["cosine", "constant", "plateau"],
)
def test_a_resumed_training_goes_on_with_the_same_rates(
    config: TrialConfig, fit: Callable[..., LanguageId], tmp_path: Path, fields: dict[str, Any]
) -> None:
    trial, checkpoint = scheduled(config, **fields), tmp_path / "last.ckpt"
    whole, first, rest = Rates(), Rates(), Rates()
    save = LambdaCallback(on_train_epoch_end=lambda trainer, _: trainer.save_checkpoint(checkpoint))
    fit(trial, callbacks=[whole])
    fit(trial, callbacks=[first, save], max_epochs=2)
    fit(trial, callbacks=[rest], resume=checkpoint)
    assert first.seen + rest.seen == whole.seen
    assert len(set(whole.seen)) > 1


def test_the_rate_of_each_step_is_the_schedules(config: TrialConfig, fit: Callable[..., LanguageId]) -> None:
    rates, on_record = Rates(), list[float]()
    note = LambdaCallback(
        on_train_epoch_end=lambda _, module: on_record.append(module.training_metrics()["train/learning_rate"])
    )
    fit(scheduled(config, kind="cosine", warmup_steps=2), callbacks=[rates, note])
    share = rate_at(SCHEDULE.validate_python({"kind": "cosine", "warmup_steps": 2}), num_steps=12)
    assert share is not None
    assert rates.seen == pytest.approx([share(step) for step in range(12)])
    assert on_record == rates.seen[2::3], "the last step's of each epoch of three"


def test_the_rate_falls_where_the_development_loss_has_not(config: TrialConfig, fit: Callable[..., LanguageId]) -> None:
    losses: list[float] = []
    rates = Rates()
    note = LambdaCallback(on_train_epoch_end=lambda _, module: losses.append(module.development_metrics["val/loss"]))
    fit(scheduled(config, kind="plateau", patience=0, factor=0.5), callbacks=[rates, note])
    expected, best, rate = [], math.inf, 1.0
    for loss in losses:
        expected += [rate] * 3
        if loss < best * (1 - 1e-4):  # torch's own threshold for what counts as better
            best = loss
        else:
            rate *= 0.5
    assert rates.seen == pytest.approx(expected)
