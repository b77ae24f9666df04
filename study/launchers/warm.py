"""What the forkserver imports before it forks attempts: torch, Lightning, and one tiny training.

The training pays torch's and Lightning's first-use costs once instead of in every attempt. It runs on one thread,
since threads that are started here would hang the forked children, and touches no CUDA.
"""

import gc
import logging
import warnings
from typing import Any

import pytorch_lightning as pl
import torch

import study.attempt
from lightning_modules.build import build_module
from lightning_modules.config import DataConfig, RecurrentEncoderConfig, TrialConfig
from lightning_modules.data.batches import Batch

__all__ = ["study"]


def rehearse() -> None:
    """One optimiser step and one development pass on noise."""
    torch.set_num_threads(1)
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    config = TrialConfig(data=DataConfig(languages=("a", "b")), encoder=RecurrentEncoderConfig(hidden_size=4))
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(4, 30, config.data.features.num_bands, generator=generator)
    languages = torch.tensor([0, 1, 0, 1])
    batches: Any = [Batch(features, torch.tensor([30, 30, 29, 28]), languages, torch.arange(4))]
    loader = torch.utils.data.DataLoader(batches, batch_size=None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = pl.Trainer(
            accelerator="cpu",
            devices=1,
            max_epochs=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        trainer.fit(build_module(config), loader, loader)


rehearse()
gc.collect()
gc.freeze()  # the children's collector leaves what is here alone, and so the pages stay shared
