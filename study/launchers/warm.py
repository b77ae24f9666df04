"""What the forkserver imports before it forks attempts: torch, Lightning, and one tiny training.

The training pays torch's and Lightning's first-use costs once instead of in every attempt. It runs on one thread,
since threads that are started here would hang the forked children, and touches no CUDA.
"""

import gc
import logging
import os
import warnings
from pathlib import Path
from typing import Any

import torch

from lightning_modules.build import build_module
from lightning_modules.config import DataConfig, RecurrentEncoderConfig, TrainingConfig, TrialConfig
from lightning_modules.data.batches import Batch
from study.attempt import build_trainer
from study.devices import Slot


def rehearse() -> None:
    """One optimiser step and one development pass on noise."""
    torch.set_num_threads(1)
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    config = TrialConfig(
        data=DataConfig(languages=("a", "b")),
        encoder=RecurrentEncoderConfig(hidden_size=4),
        training=TrainingConfig(max_epochs=1, steps_per_epoch=1, batch_size=4),
    )
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(4, 30, config.data.features.num_bands, generator=generator)
    languages = torch.tensor([0, 1, 0, 1])
    batches: Any = [Batch(features, torch.tensor([30, 30, 29, 28]), languages, torch.arange(4))]
    loader = torch.utils.data.DataLoader(batches, batch_size=None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = build_trainer(config, [], folder=Path.cwd(), slot=Slot(name="rehearsal"))
        trainer.fit(build_module(config), loader, loader)


visible = os.environ.get("CUDA_VISIBLE_DEVICES")
os.environ["CUDA_VISIBLE_DEVICES"] = ""  # Lightning counts GPUs, and where there is no driver that spoils every fork
rehearse()
os.environ.pop("CUDA_VISIBLE_DEVICES")
if visible is not None:
    os.environ["CUDA_VISIBLE_DEVICES"] = visible
gc.collect()
gc.freeze()  # the children's collector leaves what is here alone, and so the pages stay shared
