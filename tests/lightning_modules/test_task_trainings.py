"""Whole trainings of every task: resumed ones, metrics, and checkpoints that tell what they are of."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import LambdaCallback

from lightning_modules.build import load_module
from lightning_modules.config import TrialConfig
from lightning_modules.lid_module import LidModule, development_metrics
from tests.lightning_modules.switching import eight_recordings

SWITCHING = {"min_parts": 2, "max_parts": 3, "min_part_s": 0.15, "max_part_s": 0.25}
DATA = {"utterance_s": 0.3, "minimum_s": 0.1}
TASKS: dict[str, dict[str, Any]] = {
    "labelling": {"task": {"kind": "labelling", "switching": SWITCHING}},
    "attention": {"task": {"kind": "sequence", "switching": SWITCHING, "decoder_size": 6, "teacher_share": 0.5}},
    "no attention": {"task": {"kind": "sequence", "switching": SWITCHING, "decoder_size": 6, "attention": "none"}},
    "reconstruction": {"reconstruction": {"kind": "gru", "hidden_size": 6}},
}
TALLIES = {
    "labelling": {"val/frame_error_rate"},
    "attention": {"val/sequence_error_rate", "val/sequence_wrong"},
    "no attention": {"val/sequence_error_rate", "val/sequence_wrong"},
    "reconstruction": set(),
}


def of(config: TrialConfig, task: str) -> TrialConfig:
    dumped = config.model_dump()
    return TrialConfig.model_validate({**dumped, "data": {**dumped["data"], **DATA}, **TASKS[task]})


@pytest.mark.parametrize("task", TASKS)
def test_a_resumed_training_ends_bit_for_bit_as_an_uninterrupted_one(
    task: str, config: TrialConfig, fit: Callable[..., LidModule], tmp_path: Path
) -> None:
    metrics: list[dict[str, float]] = []

    def note(_: pl.Trainer, module: pl.LightningModule) -> None:
        assert isinstance(module, LidModule)
        metrics.append(module.training_metrics() | module.development_metrics)

    trial, checkpoint, watch = of(config, task), tmp_path / "last.ckpt", LambdaCallback(on_train_epoch_end=note)
    save = LambdaCallback(on_train_epoch_end=lambda trainer, _: trainer.save_checkpoint(checkpoint))
    uninterrupted = fit(trial, callbacks=[watch])
    fit(trial, callbacks=[save], max_epochs=2)
    resumed = fit(trial, callbacks=[watch], resume=checkpoint)
    assert metrics[4:] == metrics[2:4]
    assert len({each["train/loss"] for each in metrics[:4]}) == 4, "it learns, or at least changes"
    for name, weight in uninterrupted.state_dict().items():
        assert torch.equal(weight, resumed.state_dict()[name]), name


@pytest.mark.parametrize("task", TASKS)
def test_an_epochs_metrics_are_those_of_its_rows_and_the_tasks_own(
    task: str, config: TrialConfig, fit: Callable[..., LidModule]
) -> None:
    module = fit(of(config, task), callbacks=[], max_epochs=1)
    assert module.development_scores is not None
    of_rows = set(
        development_metrics(
            module.development_scores, torch.tensor([0, 1] * 99)[: len(module.development_scores)].numpy()
        )
    )
    assert set(module.development_metrics) == of_rows | TALLIES[task]
    assert all(module.development_metrics[name] >= 0.0 for name in TALLIES[task])


@pytest.mark.parametrize("task", ["labelling", "attention", "no attention"])
def test_a_checkpoint_tells_what_it_is_of(
    task: str, config: TrialConfig, fit: Callable[..., LidModule], tmp_path: Path
) -> None:
    checkpoint = tmp_path / "last.ckpt"
    save = LambdaCallback(on_train_epoch_end=lambda trainer, _: trainer.save_checkpoint(checkpoint))
    trained = fit(of(config, task), callbacks=[save], max_epochs=1).eval()
    loaded = load_module(checkpoint)
    assert type(loaded) is type(trained)
    batch = eight_recordings()
    batch = batch._replace(
        features=batch.features[..., : config.data.features.num_bands], part_languages=batch.part_languages.clamp(max=1)
    )
    assert torch.equal(loaded.score(batch).log_likelihoods, trained.score(batch).log_likelihoods)
