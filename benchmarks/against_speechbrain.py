"""LSTM and GRU against SpeechBrain's: the part of benchmarks/throughput.py that needs it installed."""

import time
from collections.abc import Callable
from statistics import median
from typing import Any, Final

import torch
from torch import Tensor, nn

from benchmarks.throughput import BATCH_SIZE, NUM_FRAMES, in_turns
from lightning_modules.config import Cell, FullBPTTConfig, RecurrentEncoderConfig
from lightning_modules.encoders.recurrent import RecurrentEncoder

HIDDEN_SIZE: Final = 64
NUM_BANDS: Final = 40
NUM_STEPS: Final = 10
CELLS: Final[tuple[Cell, ...]] = ("lstm", "gru")
ROW: Final = "{:<28}{:>14}{:>14}{:>14}"


def compare_all(*, rounds: int) -> None:
    """Prints frames a second of both, forward and backward; padding does not count as frames."""
    print(ROW.format("", "lidstudy", "SpeechBrain", "ratio"))
    for cell in CELLS:
        for shortest in (NUM_FRAMES, NUM_FRAMES // 2):
            print(row(cell, shortest=shortest, rounds=rounds), flush=True)


def row(cell: Cell, *, shortest: int, rounds: int) -> str:
    lengths_B = torch.linspace(shortest, NUM_FRAMES, BATCH_SIZE).round().long()
    x_BTF = torch.randn(BATCH_SIZE, NUM_FRAMES, NUM_BANDS, generator=torch.Generator().manual_seed(0))
    pairs = in_turns(_ours(cell, x_BTF, lengths_B), _theirs(cell, x_BTF, lengths_B), rounds=rounds)
    frames = NUM_STEPS * int(lengths_B.sum())
    return ROW.format(
        f"{cell}, {shortest} to {NUM_FRAMES} frames" if shortest < NUM_FRAMES else f"{cell}, {NUM_FRAMES} frames",
        f"{frames / median(ours_s for ours_s, _ in pairs):,.0f}",
        f"{frames / median(theirs_s for _, theirs_s in pairs):,.0f}",
        f"{median(theirs_s / ours_s for ours_s, theirs_s in pairs):.2f}",
    )


def _ours(cell: Cell, x_BTF: Tensor, lengths_B: Tensor) -> Callable[[], float]:
    config = RecurrentEncoderConfig(cell=cell, hidden_size=HIDDEN_SIZE, frames_per_step=1)
    encoder = RecurrentEncoder(config, input_size=NUM_BANDS, bptt=FullBPTTConfig())
    return _timed(encoder, lambda: encoder(x_BTF, lengths_B).states)


def _theirs(cell: Cell, x_BTF: Tensor, lengths_B: Tensor) -> Callable[[], float]:
    """Its lengths are shares of the longest; without any, nothing is packed."""
    from speechbrain.nnet import RNN

    network: Any = {"lstm": RNN.LSTM, "gru": RNN.GRU}[cell]
    module = network(hidden_size=HIDDEN_SIZE, input_size=NUM_BANDS, bidirectional=True)
    shares_B = None if int(lengths_B.min()) == NUM_FRAMES else lengths_B / NUM_FRAMES
    return _timed(module, lambda: module(x_BTF, lengths=shares_B)[0])


def _timed(module: nn.Module, states: Callable[[], Tensor]) -> Callable[[], float]:
    def steps_s() -> float:
        began = time.process_time()
        for _ in range(NUM_STEPS):
            module.zero_grad()
            states().square().mean().backward()  # type: ignore[no-untyped-call]
        return time.process_time() - began

    return steps_s
