"""A layer of a network that was trained on speech without labels: wav2vec 2.0, XLS-R, HuBERT, WavLM, by transformers.

The network is a folder of the workspace's `models`, as `save_pretrained` writes one, so nothing is fetched. Speech at
8 kHz is brought to the 16 kHz that these networks know; what lies above 4 kHz stays empty. Long recordings are read in
pieces of twenty seconds, since attention over all of an hour has no bound. Source: Baevski et al., NeurIPS 2020.
"""

from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from lightning_modules.config import FeaturesConfig
from lightning_modules.errors import ConfigError

PIECE_S: Final = 20
"""Of a long recording at a time. Each piece reads on until its last frame is whole, so frames stand as in one piece."""
NETWORK_RATE_HZ: Final = 16_000
_SMALLEST_VARIANCE: Final = 1e-7  # as transformers' own extractor has it


class SelfSupervised:
    """Computes (T, size) states of a layer: one frame each 20 ms, of windows of 25 ms.

    Raises:
        ConfigError: there is no such network, transformers is missing, or layer and size are not the network's.
    """

    def __init__(self, config: FeaturesConfig, models: Path) -> None:
        self._layer = config.layer
        self._model = _load(models / config.model)
        sizes = self._model.config
        if config.layer > sizes.num_hidden_layers:
            raise ConfigError(
                f"features.layer must be 0 to {sizes.num_hidden_layers} for model {config.model} but is {config.layer}."
            )
        if config.size != sizes.hidden_size:
            raise ConfigError(
                f"features.size must be {sizes.hidden_size} for model {config.model} but is {config.size}."
            )
        self._window, self._hop = _receptive_field(sizes.conv_kernel, sizes.conv_stride)
        self._piece = PIECE_S * NETWORK_RATE_HZ // self._hop * self._hop

    def num_frames(self, num_samples: int) -> int:
        """Frames of a recording of so many samples."""
        return (max(2 * num_samples, self._window) - self._window) // self._hop + 1

    def __call__(self, samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """From (num_samples,) at 8 kHz to (num_frames, size)."""
        starts = range(0, max(1, 2 * len(samples) - self._window + 1), self._piece)
        length = self._piece + self._window - self._hop
        pieces = (samples[start // 2 : -(-(start + length) // 2)] for start in starts)
        return np.concatenate([self._states(piece)[: self._piece // self._hop] for piece in pieces])

    def _states(self, samples: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Of one piece, at zero mean and unit variance, as these networks were trained."""
        import torch
        from torchaudio.functional import resample

        with torch.inference_mode():
            speech = resample(torch.from_numpy(np.ascontiguousarray(samples)), 1, 2)
            speech = torch.nn.functional.pad(speech, (0, max(0, self._window - len(speech))))
            speech = (speech - speech.mean()) / (speech.var(unbiased=False) + _SMALLEST_VARIANCE).sqrt()
            states = self._model(speech.unsqueeze(0), output_hidden_states=True).hidden_states[self._layer]
            return np.asarray(states.squeeze(0).numpy(), dtype=np.float32)


def _load(folder: Path) -> Any:
    if not (folder / "config.json").is_file():
        known = ", ".join(sorted(path.parent.name for path in folder.parent.glob("*/config.json"))) or "none"
        raise ConfigError(
            f"there is no pretrained network {folder.name!r} in {folder.parent}; there is {known}. "
            "Put a folder there that holds config.json and weights, as transformers' save_pretrained writes them."
        )
    try:
        from transformers import AutoModel
        from transformers.utils import logging as transformers_logging
    except ImportError:
        raise ConfigError("self-supervised features need the extra 'ssl': pip install 'lidstudy[ssl]'.") from None
    transformers_logging.disable_progress_bar()
    try:
        model = AutoModel.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"the pretrained network in {folder} cannot be read: {str(error).splitlines()[0]}") from None
    if not hasattr(model.config, "conv_kernel"):
        raise ConfigError(
            f"the network in {folder} ({model.config.model_type}) does not read speech as wav2vec 2.0 does."
        )
    return model.eval()


def _receptive_field(kernels: list[int], strides: list[int]) -> tuple[int, int]:
    """Samples that one frame has read, and how many later the next one begins."""
    field, step = 1, 1
    for kernel, stride in zip(kernels, strides, strict=True):
        field += (kernel - 1) * step
        step *= stride
    return field, step
