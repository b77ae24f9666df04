"""What an attempt says while it trains: signs of life, and each epoch's scores, weights, event and checkpoint."""

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

from lightning_modules import scoring
from lightning_modules.calibration import log_softmax
from lightning_modules.data.manifest import Utterance
from lightning_modules.lid_module import LidModule
from lightning_modules.processes import die_with_parent
from reports.records import PEAK_MEMORY_MB, ScoreTable
from study.events import EpochEnded, EventLog, Progress
from study.spec import AttemptSpec
from study.workspace import TrialFolder, write_json

SIGN_OF_LIFE_S = 5.0
BYTES_A_MB = 1024 * 1024


class TrialProgress(pl.Callback):
    """After each epoch: scores and weights if it is the best so far, then the event, then the checkpoint.

    It also stops a trial early: Lightning's own callback compares in single precision, in which one of two equal epochs
    can come out better. Where a trial has several ranks, only the first one writes.
    """

    def __init__(self, spec: AttemptSpec, log: EventLog, *, utterances: Sequence[Utterance]) -> None:
        self._spec = spec
        self._log = log
        self.utterances = utterances
        self._best_objective: float | None = None
        self._best_epoch = 0
        self._last_event: EpochEnded | None = None
        self._epoch_started = self._validation_started = self._validation_ended = self._spoke_at = 0.0

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:  # noqa: ARG002
        """Gives each rank its threads, now that it is a process of its own, and ties its life to the trainer's."""
        if trainer.world_size > 1:
            die_with_parent()
            torch.set_num_threads(max(1, self._spec.slot.num_threads // trainer.world_size))

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Starts the epoch's clock."""
        self._epoch_started = time.perf_counter()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Starts the development pass's clock."""
        self._validation_started = time.perf_counter()

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Stops it: what else is done at an epoch's end is no part of it."""
        self._validation_ended = time.perf_counter()

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """A sign of life, every few seconds."""
        self._speak(trainer)

    def on_validation_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """A sign of life, every few seconds."""
        self._speak(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Runs after the development pass of the epoch."""
        assert isinstance(pl_module, LidModule)
        metrics = self._metrics(pl_module)
        objective, epoch = metrics[f"val/{self._spec.objective}"], trainer.current_epoch
        is_better = self._best_objective is None or objective < self._best_objective
        if is_better:
            self._best_objective, self._best_epoch = objective, epoch
        self._save(trainer, pl_module, metrics, is_better=is_better)
        if is_over(epoch, best_epoch=self._best_epoch, patience=self._spec.config.training.patience):
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        """What a resumed attempt must know of the epochs before it."""
        last_event = None if self._last_event is None else self._last_event.model_dump_json()
        return {"best_objective": self._best_objective, "best_epoch": self._best_epoch, "last_event": last_event}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over what an earlier attempt knew."""
        self._best_objective, self._best_epoch = state_dict["best_objective"], state_dict["best_epoch"]
        self._last_event = EpochEnded.model_validate_json(state_dict["last_event"])

    def _metrics(self, module: LidModule) -> dict[str, float]:
        metrics = module.training_metrics() | module.development_metrics
        metrics["time/train_s"] = self._validation_started - self._epoch_started
        metrics["time/validation_s"] = self._validation_ended - self._validation_started
        if module.device.type == "cuda":
            metrics[PEAK_MEMORY_MB] = torch.cuda.max_memory_reserved(module.device) / BYTES_A_MB
        return metrics

    def _save(self, trainer: pl.Trainer, module: LidModule, metrics: dict[str, float], *, is_better: bool) -> None:
        """Weights of all ranks are the same, and saving waits for all of them; files of ours are the first one's."""
        folder, epoch = TrialFolder(self._spec.trial_folder), trainer.current_epoch
        assert module.development_scores is not None
        assert module.development_calibrated is not None
        if is_better:
            if trainer.is_global_zero:
                table = score_table(module.development_scores, self.utterances, self._spec.config.data.languages)
                write_json(folder.scores, {"epoch": epoch, **dataclasses.asdict(table)})
            _save_checkpoint(trainer, folder.best_checkpoint, weights_only=True)
        if trainer.is_global_zero:
            event = EpochEnded(
                time_ms=self._log.now_ms(),
                epoch=epoch,
                objective=metrics[f"val/{self._spec.objective}"],
                metrics=metrics,
                sources=source_costs(module.development_calibrated, self.utterances, self._spec.config.data.languages),
            )
            self._last_event = event
            self._log.append(event)
        _save_checkpoint(trainer, folder.last_checkpoint, weights_only=False)

    def _speak(self, trainer: pl.Trainer) -> None:
        now = time.monotonic()
        if now - self._spoke_at > SIGN_OF_LIFE_S and trainer.is_global_zero:
            self._spoke_at = now
            self._log.append(
                Progress(time_ms=self._log.now_ms(), epoch=trainer.current_epoch, step=trainer.global_step)
            )


def is_over(epoch: int, *, best_epoch: int, patience: int | None) -> bool:
    """Whether a trial stops early after an epoch: `patience` epochs in a row have not been better than the best."""
    return patience is not None and epoch - best_epoch >= patience


def score_table(log_likelihoods: np.ndarray, utterances: Sequence[Utterance], languages: Sequence[str]) -> ScoreTable:
    """(N, L) log-likelihoods of N utterances as log-likelihood ratios, a row an utterance."""
    llr = scoring.llr_from_log_likelihoods(log_likelihoods)
    return ScoreTable(
        utterance=tuple(utterance.id for utterance in utterances),
        language=tuple(utterance.language for utterance in utterances),
        source=tuple(utterance.source for utterance in utterances),
        speaker=tuple(utterance.speaker for utterance in utterances),
        duration_s=tuple(round(utterance.duration_s, 3) for utterance in utterances),
        targets=tuple(languages),
        llr=tuple(tuple(float(value) for value in row) for row in llr),
    )


def source_costs(calibrated: np.ndarray, utterances: Sequence[Utterance], languages: Sequence[str]) -> dict[str, float]:
    """Source -> mean over its utterances of -log2 of the language's posterior, in bits.

    Args:
        calibrated: log-likelihoods (N, L), in nats.
        utterances: N.
        languages: L.
    """
    truth = np.array([languages.index(utterance.language) for utterance in utterances])
    log_posteriors = log_softmax(calibrated)
    bits = -log_posteriors[np.arange(len(truth)), truth] / np.log(2.0)
    sources = np.array([utterance.source for utterance in utterances])
    return {str(source): float(bits[sources == source].mean()) for source in np.unique(sources)}


def _save_checkpoint(trainer: pl.Trainer, path: Path, *, weights_only: bool) -> None:
    """Waits for no disk: whoever resumes looks first whether all of it is there."""
    temporary = path.with_suffix(".tmp")
    trainer.save_checkpoint(temporary, weights_only=weights_only)
    if trainer.is_global_zero:
        temporary.replace(path)
