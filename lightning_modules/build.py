"""From a TrialConfig to a module, and back from a checkpoint."""

from pathlib import Path
from typing import assert_never

import torch

from lightning_modules.config import ClassificationConfig, LabellingConfig, SequenceConfig, TrialConfig
from lightning_modules.language_id import LanguageId
from lightning_modules.language_labelling import LanguageLabelling
from lightning_modules.language_sequence import LanguageSequence
from lightning_modules.lid_module import LidModule


def build_module(config: TrialConfig, *, num_parts: int = 1) -> LidModule:
    """A fresh module whose initial weights depend on the configuration and its seed alone.

    Args:
        config: what to build.
        num_parts: parts that each training batch comes in, over micro-batches and ranks together.
    """
    return _module(config, num_parts=num_parts)


def load_module(checkpoint: Path) -> LidModule:
    """The trained module of a checkpoint, in evaluation mode, on the CPU."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    module = _module(TrialConfig.model_validate_json(state["trial_config"]), num_parts=1)
    module.load_state_dict(state["state_dict"])
    return module.eval()


def _module(config: TrialConfig, *, num_parts: int) -> LidModule:
    match config.task:
        case ClassificationConfig():
            return LanguageId(config, num_parts=num_parts)
        case LabellingConfig():
            return LanguageLabelling(config, num_parts=num_parts)
        case SequenceConfig():
            return LanguageSequence(config, num_parts=num_parts)
        case _:
            assert_never(config.task)
