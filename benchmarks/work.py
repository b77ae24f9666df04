"""The work that contestants of benchmarks/overhead.py share: configurations, one training, and what MLflow is told.

Learning rate and clipping norm are searched, which do not change what a step costs: so all trials cost the same,
whatever a sampler chooses, and contestants can be compared although each asks its own sampler.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytorch_lightning as pl

from lightning_modules.build import build_module
from lightning_modules.config import (
    AdamConfig,
    DataConfig,
    Frozen,
    NormClippingConfig,
    PositiveInt,
    TrainingConfig,
    TrialConfig,
)
from lightning_modules.data.batches import (
    TrainingBatches,
    development_loader,
    evaluation_batches,
    training_loader,
)
from lightning_modules.data.feature_store import FeatureStore, feature_store_path
from lightning_modules.data.manifest import Recording, Utterance
from lightning_modules.data.prepared import open_corpus
from lightning_modules.data.utterances import join_utterances
from lightning_modules.language_id import LanguageId

OBJECTIVE: Final = "val/cllr_calibrated"
LEARNING_RATE: Final = (0.0005, 0.005)
MAX_NORM: Final = (0.5, 5.0)
EXPERIMENT: Final = "overhead"


class Work(Frozen):
    """What every contestant does.

    Attributes:
        workspace: where the corpus and its features lie.
        folder: the contestant's own, empty at first.
        trials: how many in all.
        slots: how many at a time.
        num_threads: of each training.
        epochs: of each trial, each with a pass over development data.
        steps: an epoch.
        batch_size: segments a step.
        seed: of the sampler.
    """

    workspace: Path
    folder: Path
    trials: PositiveInt
    slots: PositiveInt
    num_threads: PositiveInt
    epochs: PositiveInt = 4
    steps: PositiveInt = 25
    batch_size: PositiveInt = 16
    seed: int = 1

    @property
    def tracking_uri(self) -> str:
        """The contestant's MLflow, as `lidstudy` places its own."""
        return f"sqlite:///{self.folder / 'mlflow' / 'mlflow.db'}"

    def config(self, *, learning_rate: float, max_norm: float) -> TrialConfig:
        """One configuration."""
        return TrialConfig(
            data=DataConfig(corpus="espeak"),
            optimizer=AdamConfig(learning_rate=learning_rate),
            clipping=NormClippingConfig(max_norm=max_norm),
            training=TrainingConfig(max_epochs=self.epochs, steps_per_epoch=self.steps, batch_size=self.batch_size),
            seed=self.seed,
        )


class Data(NamedTuple):
    """A corpus, opened."""

    recordings: tuple[Recording, ...]
    store: FeatureStore
    development: list[Utterance]


def open_data(work: Work) -> Data:
    """The corpus that all configurations share."""
    config = work.config(learning_rate=LEARNING_RATE[0], max_norm=MAX_NORM[0])
    corpus = open_corpus(config.data.corpus, work.workspace)
    store = FeatureStore.open(feature_store_path(corpus, config.data.features, work.workspace))
    development = join_utterances(corpus.recordings, split="dev", data=config.data)
    return Data(tuple(corpus.recordings), store, list(development))


class EachEpoch(pl.Callback):
    """Says each epoch's metrics, with the seconds that it took."""

    def __init__(self, say: Callable[[dict[str, float], int], None]) -> None:
        self._say = say
        self._began = self._validation_began = 0.0
        self.best = float("inf")

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Starts the epoch's clock."""
        self._began = time.perf_counter()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Starts the development pass's clock."""
        self._validation_began = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Runs after the development pass of the epoch."""
        assert isinstance(pl_module, LanguageId)
        metrics = pl_module.training_metrics() | pl_module.development_metrics
        metrics["time/train_s"] = self._validation_began - self._began
        metrics["time/validation_s"] = time.perf_counter() - self._validation_began
        self.best = min(self.best, metrics[OBJECTIVE])
        self._say(metrics, trainer.current_epoch)


def fit(config: TrialConfig, data: Data, *, say: Callable[[dict[str, float], int], None]) -> float:
    """One trial with Lightning, without checkpoints, a progress bar or other extras; its best objective."""
    each = EachEpoch(say)
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=config.training.max_epochs,
        callbacks=[each],
        use_distributed_sampler=False,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(
        build_module(config),
        training_loader(
            TrainingBatches(data.recordings, store=data.store, config=config),
            steps_per_epoch=config.training.steps_per_epoch,
        ),
        development_loader(evaluation_batches(data.development, store=data.store, data=config.data)),
    )
    return each.best


def fit_and_log(
    config: TrialConfig, data: Data, *, client: Any, experiment: str, told: Callable[[float], None]
) -> float:
    """One trial with a run in MLflow: its parameters at first, its metrics after each epoch.

    Args:
        config: the trial.
        data: what it trains on.
        client: an MlflowClient.
        experiment: its id.
        told: is told the objective after each epoch.
    """
    from mlflow.entities import Metric, Param

    run_id = client.create_run(experiment).info.run_id
    client.log_batch(run_id, params=[Param(key, str(value)) for key, value in flat(config.model_dump()).items()])

    def say(metrics: dict[str, float], epoch: int) -> None:
        now_ms = int(time.time() * 1000)
        client.log_batch(run_id, metrics=[Metric(key, value, now_ms, epoch) for key, value in metrics.items()])
        told(metrics[OBJECTIVE])

    best = fit(config, data, say=say)
    client.set_terminated(run_id)
    return best


def experiment_id(client: Any) -> str:
    """Of the experiment that a contestant made before its trials."""
    return str(client.get_experiment_by_name(EXPERIMENT).experiment_id)


def flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested configuration as path -> value."""
    flattened: dict[str, Any] = {}
    for key, value in content.items():
        flattened |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flattened
