"""Made-up features of two languages, enough to train on, and trainings that leave nothing behind."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment

from lightning_modules.build import build_module
from lightning_modules.config import TrialConfig
from lightning_modules.data.batches import evaluation_batches, training_loader
from lightning_modules.data.feature_store import FeatureStore
from lightning_modules.data.manifest import Recording, Utterance
from lightning_modules.data.switched import switched_evaluation_batches
from lightning_modules.data.switched_utterances import join_switched
from lightning_modules.data.tasks import training_batches
from lightning_modules.lid_module import LidModule

NUM_FRAMES = 30
NUM_BANDS = 8


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Tiny tensors gain nothing from threads, and tests run beside one another."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


@pytest.fixture(scope="session")
def recordings() -> tuple[Recording, ...]:
    """Two languages, each with four recordings of two speakers."""
    return tuple(
        Recording(
            id=f"{language}/{number}",
            path="",
            language=language,
            source=f"{language}-source",
            speaker=f"{language}/{number % 2}",
            duration_s=NUM_FRAMES / 100,
            split="train",
        )
        for language in ("en", "fr")
        for number in range(4)
    )


@pytest.fixture
def store(recordings: tuple[Recording, ...], tmp_path: Path) -> FeatureStore:
    """A store on disk of noise that differs a little between the languages."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "features"
    folder.mkdir()
    noise = rng.normal(size=(len(recordings), NUM_FRAMES, NUM_BANDS)).cumsum(axis=1)
    noise[: len(recordings) // 2] += rng.normal(size=(NUM_FRAMES, NUM_BANDS))
    np.save(folder / "frames.npy", noise.reshape(-1, NUM_BANDS).astype(np.float16))
    np.save(folder / "offsets.npy", np.arange(len(recordings) + 1) * NUM_FRAMES)
    ids = ", ".join(f'"{recording.id}"' for recording in recordings)
    (folder / "index.json").write_text(f'{{"ids": [{ids}]}}')
    return FeatureStore.open(folder)


@pytest.fixture(scope="session")
def utterances(recordings: tuple[Recording, ...]) -> tuple[Utterance, ...]:
    """Each recording alone, and one of two recordings, so that lengths differ."""
    alone = [[recording] for recording in recordings]
    return tuple(
        Utterance(
            id=f"{group[0].speaker}#{number}",
            language=group[0].language,
            source=group[0].source,
            speaker=group[0].speaker,
            split="dev",
            recordings=tuple(recording.id for recording in group),
            duration_s=sum(recording.duration_s for recording in group),
        )
        for number, group in enumerate([[recordings[0], recordings[2]], *alone])
    )


@pytest.fixture(scope="session")
def config() -> TrialConfig:
    """A two-layer network with dropout wherever there can be any, four epochs of three steps."""
    return TrialConfig.model_validate(
        {
            "data": {"languages": ["en", "fr"], "segment_s": 0.2, "features": {"num_bands": NUM_BANDS}},
            "encoder": {"hidden_size": 5, "num_layers": 2, "dropout": 0.3},
            "pooling": {"kind": "statistics", "dropout": 0.3},
            "training": {"max_epochs": 4, "steps_per_epoch": 3, "batch_size": 4},
            "seed": 5,
        }
    )


@pytest.fixture
def fit(
    store: FeatureStore, recordings: Sequence[Recording], utterances: Sequence[Utterance], tmp_path: Path
) -> Callable[..., LidModule]:
    """Trains a module as attempts do: nothing printed, logged or saved but by callbacks."""

    def evaluation_of(config: TrialConfig) -> Any:
        if config.task.kind == "classification":
            return evaluation_batches(utterances, store=store, data=config.data, max_frames=70)
        joined = join_switched(utterances, switching=config.task.switching)
        return switched_evaluation_batches(joined, store=store, data=config.data, max_frames=70)

    def run(
        config: TrialConfig, *, callbacks: list[pl.Callback], max_epochs: int | None = None, resume: Path | None = None
    ) -> LidModule:
        module = build_module(config)
        pl.Trainer(
            accelerator="cpu",
            devices=1,
            plugins=[LightningEnvironment()],
            max_epochs=max_epochs or config.training.max_epochs,
            callbacks=callbacks,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            default_root_dir=tmp_path,
        ).fit(
            module,
            training_loader(
                training_batches(recordings, store=store, config=config),
                steps_per_epoch=config.training.steps_per_epoch,
            ),
            torch.utils.data.DataLoader(evaluation_of(config), batch_size=None),
            ckpt_path=resume,
            weights_only=True,
        )
        return module

    return run
