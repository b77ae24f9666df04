"""One attempt: trains the module of a frozen configuration with Lightning and appends to its event log.

It never opens a database. After each epoch it writes an event, then the checkpoint; a new attempt goes on from the
last checkpoint and repeats at most the epoch whose event had just been written.
"""

import dataclasses
import logging
import os
import socket
import time
import traceback
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytorch_lightning as pl
import torch

from lightning_modules import scoring
from lightning_modules.build import build_module, load_module
from lightning_modules.config import TrialConfig
from lightning_modules.data.batches import Batch, TrainingBatches, evaluation_batches, training_loader
from lightning_modules.data.feature_store import FeatureStore, feature_store_path
from lightning_modules.data.manifest import Utterance
from lightning_modules.data.prepared import PreparedCorpus, open_corpus
from lightning_modules.data.utterances import join_utterances
from lightning_modules.language_id import Diverged, LanguageId
from reports.records import ScoreTable
from reports.statistics import permutation_p_value
from study.events import Ended, EpochEnded, EventLog, Started
from study.spec import EVENTS_FILE, EXIT_STORAGE_FULL, AttemptSpec
from study.workspace import STORAGE_ERRORS, read_json, write_json

logger = logging.getLogger(__name__)


def run_attempt(spec: AttemptSpec, *, warm: bool) -> int:
    """Works on a trial until it ends; returns the process's exit status.

    Whatever goes wrong becomes its last event; only a full disk is left to the exit status.
    """
    log = EventLog(spec.folder / EVENTS_FILE)
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)  # it greets every trainer
    try:
        torch.set_num_threads(spec.slot.num_threads)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*(does not have many workers|TorchScript|LeafSpec).*")
            ended = _train(spec, log, warm=warm) if spec.purpose == "train" else _evaluate(spec, log)
    except Diverged as divergence:
        ended = Ended(time_ms=log.now_ms(), outcome="diverged", failure=str(divergence))
    except Exception as error:  # noqa: BLE001 - the attempt's edge
        if isinstance(error, OSError) and error.errno in STORAGE_ERRORS:
            logger.error("the workspace cannot be written: %s", error)  # noqa: TRY400 - the traceback says nothing more
            return EXIT_STORAGE_FULL
        ended = Ended(
            time_ms=log.now_ms(),
            outcome="failed",
            failure=f"{type(error).__name__}: {error}".splitlines()[0][:500],
            traceback=traceback.format_exc(),
        )
    try:
        log.append(ended)
    except OSError:
        return EXIT_STORAGE_FULL
    return 0


def _train(spec: AttemptSpec, log: EventLog, *, warm: bool) -> Ended:
    config = spec.config
    corpus = open_corpus(config.data.corpus, spec.workspace)
    store = FeatureStore.open(feature_store_path(corpus, config.data.features, spec.workspace))
    module = build_module(config)
    progress = TrialProgress(spec, log, utterances=join_utterances(corpus.recordings, split="dev", data=config.data))
    resume_from = spec.trial_folder / "last.ckpt"
    resumed = _resumed(resume_from, patience=config.training.patience)
    log.append(_started(spec, log, module, resumed_epoch=resumed.first_epoch, warm=warm))
    if resumed.has_stopped:
        return Ended(time_ms=log.now_ms(), outcome="complete")
    trainer = build_trainer(config, [progress], folder=spec.folder)
    trainer.fit(
        module,
        training_loader(
            TrainingBatches(corpus.recordings, store=store, config=config),
            steps_per_epoch=config.training.steps_per_epoch,
        ),
        development_loader(progress.utterances, store=store, config=config),
        ckpt_path=resume_from if resume_from.exists() else None,
        weights_only=True,
    )
    return Ended(time_ms=log.now_ms(), outcome="complete")


def build_trainer(config: TrialConfig, callbacks: list[pl.Callback], *, folder: Path) -> pl.Trainer:
    """A trainer that prints, logs and saves nothing of its own."""
    return pl.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=config.training.max_epochs,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
    )


def development_loader(
    utterances: Sequence[Utterance], *, store: FeatureStore, config: TrialConfig
) -> torch.utils.data.DataLoader[Batch]:
    """Padded batches of all utterances, made once."""
    batches = evaluation_batches(utterances, store=store, languages=config.data.languages)
    dataset: Any = batches  # a list is a map-style data set, whatever the stubs say
    return torch.utils.data.DataLoader(dataset, batch_size=None)


class TrialProgress(pl.Callback):
    """After each epoch: scores and weights if it is the best so far, then the event, then the checkpoint.

    It also stops a trial early: Lightning's own callback compares in single precision, in which one of two equal epochs
    can come out better.
    """

    def __init__(self, spec: AttemptSpec, log: EventLog, *, utterances: Sequence[Utterance]) -> None:
        self._spec = spec
        self._log = log
        self.utterances = utterances
        self._best_objective: float | None = None
        self._best_epoch = 0
        self._epoch_started = self._validation_started = 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Starts the epoch's clock."""
        self._epoch_started = time.perf_counter()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Starts the development pass's clock."""
        self._validation_started = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Runs after the development pass of the epoch."""
        assert isinstance(pl_module, LanguageId)
        now = time.perf_counter()
        metrics = pl_module.training_metrics() | pl_module.development_metrics
        metrics["time/train_s"] = self._validation_started - self._epoch_started
        metrics["time/validation_s"] = now - self._validation_started
        objective = metrics[f"val/{self._spec.objective}"]
        epoch = trainer.current_epoch
        if self._best_objective is None or objective < self._best_objective:
            self._best_objective, self._best_epoch = objective, epoch
            assert pl_module.development_scores is not None
            scores = score_table(pl_module.development_scores, self.utterances, self._spec.config.data.languages)
            write_json(self._spec.trial_folder / "scores.json", {"epoch": epoch, **dataclasses.asdict(scores)})
            _save(trainer, self._spec.trial_folder / "best.ckpt", weights_only=True)
        self._log.append(EpochEnded(time_ms=self._log.now_ms(), epoch=epoch, objective=objective, metrics=metrics))
        _save(trainer, self._spec.trial_folder / "last.ckpt", weights_only=False)
        if is_over(epoch, best_epoch=self._best_epoch, patience=self._spec.config.training.patience):
            trainer.should_stop = True

    def state_dict(self) -> dict[str, Any]:
        """What a resumed attempt must know of the epochs before it."""
        return {"best_objective": self._best_objective, "best_epoch": self._best_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over what an earlier attempt knew."""
        self._best_objective, self._best_epoch = state_dict["best_objective"], state_dict["best_epoch"]


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


def _evaluate(spec: AttemptSpec, log: EventLog) -> Ended:
    """Scores a trial's best checkpoint on test data, calibrated on its development scores alone."""
    assert spec.checkpoint is not None
    assert spec.development_scores is not None
    config = spec.config
    corpus = open_corpus(config.data.corpus, spec.workspace)
    utterances = join_utterances(corpus.recordings, split="test", data=config.data)
    scores = score_split(load_module(spec.checkpoint), corpus, utterances, config=config, workspace=spec.workspace)
    table = score_table(scores, utterances, config.data.languages)
    write_json(spec.trial_folder / "scores.json", dataclasses.asdict(table))
    metrics = metrics_on_test(table, read_json(spec.development_scores))
    return Ended(time_ms=log.now_ms(), outcome="complete", metrics=metrics)


def score_split(
    module: LanguageId,
    corpus: PreparedCorpus,
    utterances: Sequence[Utterance],
    *,
    config: TrialConfig,
    workspace: Path,
) -> np.ndarray:
    """Log-likelihoods (N, L) of utterances, in their order."""
    store = FeatureStore.open(feature_store_path(corpus, config.data.features, workspace))
    scores = np.zeros((len(utterances), len(config.data.languages)))
    with torch.inference_mode():
        for batch in evaluation_batches(utterances, store=store, languages=config.data.languages):
            scores[batch.indices.numpy()] = module(batch.features, batch.lengths).log_likelihoods.numpy()
    return scores


def metrics_on_test(table: ScoreTable, development: dict[str, Any]) -> dict[str, float]:
    """The `test/` metrics: raw, calibrated on development data, and the permutation p-value over sources."""
    languages = list(table.targets)
    llr, truth = np.array(table.llr), _indices(table.language, languages)
    calibration = scoring.fit_calibration(
        scoring.log_posteriors_from_llr(development["llr"]), _indices(development["language"], languages)
    )
    calibrated = scoring.llr_from_log_likelihoods(calibration.apply(scoring.log_posteriors_from_llr(llr)))
    permutation = permutation_p_value(truth.tolist(), llr.argmax(axis=1).tolist(), table.source)
    return {
        "test/accuracy": scoring.macro_accuracy(llr, truth),
        "test/c_avg": scoring.c_avg_lre07(llr, truth),
        "test/c_primary": scoring.c_primary(llr, truth),
        "test/c_primary_calibrated": scoring.c_primary(calibrated, truth),
        "test/eer": scoring.eer(llr, truth),
        "test/cllr": scoring.cllr(llr, truth),
        "test/cllr_calibrated": min(scoring.cllr(calibrated, truth), scoring.cllr_bound(len(languages))),
        "test/p_above_chance": permutation.p_value,
    }


def _indices(names: Sequence[str], languages: Sequence[str]) -> np.ndarray:
    return np.array([languages.index(name) for name in names])


def _save(trainer: pl.Trainer, path: Path, *, weights_only: bool) -> None:
    temporary = path.with_suffix(".tmp")
    trainer.save_checkpoint(temporary, weights_only=weights_only)
    temporary.replace(path)


class Resumed(NamedTuple):
    """Where an attempt goes on: its first epoch, and whether early stopping had its say in the one before."""

    first_epoch: int
    has_stopped: bool


def _resumed(checkpoint: Path, *, patience: int | None) -> Resumed:
    if not checkpoint.exists():
        return Resumed(0, has_stopped=False)
    content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    last_epoch, progress = int(content["epoch"]), content["callbacks"][TrialProgress.__qualname__]
    return Resumed(
        last_epoch + 1, has_stopped=is_over(last_epoch, best_epoch=progress["best_epoch"], patience=patience)
    )


def _started(spec: AttemptSpec, log: EventLog, module: LanguageId, *, resumed_epoch: int, warm: bool) -> Started:
    return Started(
        time_ms=log.now_ms(),
        pid=os.getpid(),
        host=socket.gethostname(),
        device="cpu",
        num_threads=spec.slot.num_threads,
        num_parameters=sum(parameter.numel() for parameter in module.parameters()),
        resumed_epoch=resumed_epoch,
        warm=warm,
    )
