"""|dL/dh_t| against t over a trial: before its first step and after each epoch, kept in one file of the trial's folder.

It is measured on one training batch, the first of the first epoch (its first part, where a batch comes in parts), which
depends on the configuration and its seed alone. The file is written anew, as a whole, before an epoch's checkpoint: an
attempt that goes on from one keeps what was measured up to there.
"""

import dataclasses
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from lightning_modules.errors import StorageError
from lightning_modules.lid_module import LidModule
from lightning_modules.states_over_time import gradients_over_time
from reports.records import FlowCurve, GradientFlow, parse_gradient_flow
from study.workspace import write_json


class GradientsOverTime(pl.Callback):
    """Measures and writes; where a trial has several ranks, only the first one does.

    Args:
        path: the trial's file.
        batch: what it is measured on.
        first_epoch: that this attempt trains.
    """

    def __init__(self, path: Path, *, batch: Any, first_epoch: int) -> None:
        self._path = path
        self._batch = batch
        self._first_epoch = first_epoch
        self._curves: list[FlowCurve] = []

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Takes over what attempts before measured; of the weights that this one begins with if nobody did."""
        if trainer.is_global_zero:
            self._curves = [each for each in _measured(self._path) if each.epochs_trained <= self._first_epoch]
            if not self._curves or self._curves[-1].epochs_trained < self._first_epoch:
                self._measure(pl_module, epochs_trained=self._first_epoch)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Runs after the development pass of the epoch."""
        if trainer.is_global_zero:
            self._measure(pl_module, epochs_trained=trainer.current_epoch + 1)

    def _measure(self, module: pl.LightningModule, *, epochs_trained: int) -> None:
        assert isinstance(module, LidModule)
        batch = module.transfer_batch_to_device(self._batch, module.device, 0)
        norms = {name: tuple(values) for name, values in gradients_over_time(module, batch).items()}
        self._curves.append(FlowCurve(epochs_trained=epochs_trained, norms=norms))
        write_json(self._path, dataclasses.asdict(GradientFlow(curves=tuple(self._curves))))


def _measured(path: Path) -> tuple[FlowCurve, ...]:
    """Nothing where there is no file, or a power cut left a part of one."""
    try:
        return parse_gradient_flow(path.read_text(encoding="utf-8")).curves
    except (FileNotFoundError, StorageError, UnicodeDecodeError):
        return ()
