"""From a TrialConfig to a module, and back from a checkpoint."""

from pathlib import Path
from typing import assert_never

import torch

from lightning_modules.config import ClassificationConfig, LabellingConfig, SequenceConfig, TrialConfig
from lightning_modules.errors import TrialError
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


def begin_with(module: LidModule, checkpoint: Path) -> None:
    """Gives a fresh module the encoder of a trained one, and its pooling where it has the same tensors.

    Raises:
        TrialError: the encoders differ; names the first tensor that does.
    """
    trained = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    own = module.state_dict()
    for part in ("encoder.", "pooling."):
        theirs = {name: tensor for name, tensor in trained.items() if name.startswith(part)}
        ours = {name: tensor for name, tensor in own.items() if name.startswith(part)}
        if differing := [name for name in sorted({*theirs, *ours}) if _shape(theirs, name) != _shape(ours, name)]:
            if part == "pooling.":
                continue
            name = differing[0]
            raise TrialError(
                f"training.pretrained is of another encoder: {name} has shape {_shape(theirs, name)} there and "
                f"{_shape(ours, name)} here."
            )
        own |= theirs
    module.load_state_dict(own)


def _shape(tensors: dict[str, torch.Tensor], name: str) -> tuple[int, ...] | None:
    return tuple(tensors[name].shape) if name in tensors else None


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
