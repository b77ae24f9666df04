"""What the forkserver does before it forks attempts: imports, one tiny training, and opening the study's speech.

The training pays torch's and Lightning's first-use costs once instead of in every attempt. Where attempts train on GPUs
there is none: the first backward pass of a process asks CUDA for its devices, also where it runs on the CPU, and what
CUDA answers then is all that forked children ever see ("No CUDA GPUs are available"). The speech is opened here so that
no attempt reads the manifest or pads the development batches again: all share what was in memory at the fork. All of it
runs on one thread, since threads that are started here would hang the forked children.
"""

import gc
import json
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch

from lightning_modules.build import build_module
from lightning_modules.config import DataConfig, RecurrentEncoderConfig, TrainingConfig, TrialConfig
from lightning_modules.data.batches import Batch
from lightning_modules.errors import CorpusError
from study.attempt import build_trainer
from study.devices import Slot
from study.launchers.local import REHEARSAL_VARIABLE, SPEECH_VARIABLE
from study.spec import AttemptSpec
from study.speech import Speech, open_speech


class OpenSpeech(NamedTuple):
    """Speech, and what it was opened as."""

    config: TrialConfig
    workspace: Path
    speech: Speech


def rehearse() -> None:
    """One optimiser step and one development pass on noise."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    config = TrialConfig(
        data=DataConfig(languages=("a", "b")),
        encoder=RecurrentEncoderConfig(hidden_size=4),
        training=TrainingConfig(max_epochs=1, steps_per_epoch=1, batch_size=4),
    )
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(4, 30, config.data.features.num_values, generator=generator)
    languages = torch.tensor([0, 1, 0, 1])
    batches: Any = [Batch(features, torch.tensor([30, 30, 29, 28]), languages, torch.arange(4))]
    loader = torch.utils.data.DataLoader(batches, batch_size=None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = build_trainer(config, [], folder=Path.cwd(), slot=Slot(name="rehearsal"))
        trainer.fit(build_module(config), loader, loader)


@contextmanager
def no_gpus() -> Iterator[None]:
    """Lightning counts GPUs, and where there is no driver that spoils every fork."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    yield
    os.environ.pop("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = visible


def opened(asked: str) -> OpenSpeech | None:
    """The speech that the launcher names; None where it names none, or where an attempt had better say what is wrong.

    Args:
        asked: JSON, as `warm_speech` makes it, or "".
    """
    if not asked:
        return None
    names = json.loads(asked)
    config, workspace = TrialConfig.model_validate(names["config"]), Path(names["workspace"])
    try:
        return OpenSpeech(config, workspace, open_speech(config, workspace))
    except (CorpusError, OSError):
        return None


def speech_of(spec: AttemptSpec) -> Speech | None:
    """What an attempt trains on, if it is open."""
    if SPEECH is None or SPEECH.workspace != spec.workspace or not SPEECH.config.names_same_speech(spec.config):
        return None
    return SPEECH.speech


torch.set_num_threads(1)
if os.environ.pop(REHEARSAL_VARIABLE, ""):
    with no_gpus():
        rehearse()
SPEECH = opened(os.environ.pop(SPEECH_VARIABLE, ""))
gc.enable()  # preload.py held it still
gc.collect()
gc.freeze()  # the children's collector leaves what is here alone, and so the pages stay shared
