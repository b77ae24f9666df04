"""How long a model takes to score one utterance, as a caller who has one recording would wait.

Shape legend: T frames, D bands.
"""

import copy
import statistics
import time
from typing import Final

import torch

from lightning_modules.lid_module import LidModule

WARM_UP_PASSES: Final = 3
"""The first passes allocate memory, and on a GPU choose kernels."""
MS_A_S: Final = 1000.0


def latency_ms(module: LidModule, *, utterance_s: float, num_passes: int, device: str) -> float:
    """Median milliseconds from the features of one utterance to its scores, at batch size 1.

    A copy of the module is measured, on noise of a generator of its own, so that training is the same with a
    measurement before it as without.

    Args:
        module: as it is; trained or not, it computes the same amount.
        utterance_s: length of the utterance, in seconds.
        num_passes: passes that are timed, after some that are not.
        device: as torch names it; on the CPU, the present number of threads is used.
    """
    features = module.config.data.features
    num_frames = max(1, round(utterance_s * features.frames_per_s))
    noise_1TD = torch.randn(1, num_frames, features.num_values, generator=torch.Generator().manual_seed(0))
    measured = copy.deepcopy(module).to(device).eval()
    inputs = (noise_1TD.to(device), torch.tensor([num_frames], device=device))
    with torch.inference_mode():
        for _ in range(WARM_UP_PASSES):
            _timed(measured, inputs)
        return MS_A_S * statistics.median(_timed(measured, inputs) for _ in range(num_passes))


def _timed(module: LidModule, inputs: tuple[torch.Tensor, torch.Tensor]) -> float:
    """Seconds of one pass; a GPU is waited for, since calls return before it is done."""
    wait_for(module.device)
    started = time.perf_counter()
    module(*inputs)
    wait_for(module.device)
    return time.perf_counter() - started


def wait_for(device: torch.device) -> None:
    """Until all that was asked of a GPU is done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
