"""Vanishing and exploding gradients, put to the test on the adding and the copying problem.

    OMP_NUM_THREADS=1 python -m benchmarks.textbook_effects train    # about an hour of one core
    python -m benchmarks.textbook_effects draw                       # figures and tables of docs/gradient-flow.md

`train` adds a line an arm to benchmarks/textbook_effects.jsonl; arms that stand there are not trained again. The
encoder (one layer, one direction, a frame a step), last pooling and clipping are those of lightning_modules; the
problems are in benchmarks/long_memory.py, what is measured of gradients is in benchmarks/gradient_over_time.py.

Three kinds of arm: networks as they begin; Adam, which learns, but whose steps hardly depend on the scale of gradients;
and a few steps of SGD, whose steps do, to see what explodes and what clipping does about it.
"""

import argparse
import json
import math
import time
from pathlib import Path
from typing import Final

import numpy as np
import torch

from benchmarks.gradient_over_time import gradient_over_time
from benchmarks.long_memory import BASELINE, MemoryNetwork, draw
from benchmarks.textbook_arms import Arm, Result, arms, read
from lightning_modules.clipping import ClippingStep, GradientClipper
from lightning_modules.config import (
    AdamConfig,
    Cell,
    NoClippingConfig,
    NormClippingConfig,
    OptimizerConfig,
    RecurrentEncoderConfig,
    SGDConfig,
)
from lightning_modules.optimizers import build_optimizer

RESULTS: Final = Path(__file__).with_suffix(".jsonl")
HIDDEN_SIZE: Final = 64
BATCH_SIZE: Final = 32
NUM_MEASURED: Final = 32
NUM_HELD_OUT: Final = 500
MAX_NORM: Final = 1.0
SGD_RATE: Final = 1e-2
ADAM_RATE: Final[dict[Cell, float]] = {"rnn_tanh": 1e-3, "rnn_relu": 1e-3, "gru": 1e-2, "lstm": 1e-2}
"""By one training each of adding at T = 50: an LSTM learned nothing at 3e-3; tanh and ReLU did no better than guess."""
LAGS: Final = 10
"""Curves are kept at so many lags, evenly, and at the first and the last."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["train", "draw"])
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--only", choices=["none", "adam", "sgd"], help="one optimiser's arms")
    parser.add_argument("--memory", type=int, help="arms of one T")
    parser.add_argument("--seed", type=int, help="arms of one seed")
    arguments = parser.parse_args()
    if arguments.what == "train":
        torch.set_num_threads(1)
        train_all(arguments.out, asked=[arguments.only, arguments.memory, arguments.seed])
        return
    from benchmarks.textbook_figures import draw_all
    from benchmarks.textbook_tables import all_tables

    results = read(arguments.out)
    draw_all(results)
    print("\n\n".join(all_tables(results)))


def train_all(path: Path, *, asked: list[str | int | None]) -> None:
    """Trains the arms of an optimiser, a T and a seed, each None for any, that are not in the file."""
    done = {result.arm for result in read(path)}
    for arm in arms():
        described = (arm.optimizer, arm.memory, arm.seed)
        if arm in done or any(each not in {None, of_arm} for each, of_arm in zip(asked, described, strict=True)):
            continue
        result = train(arm)
        with path.open("a") as file:
            file.write(json.dumps(_short(result.model_dump(mode="json"))) + "\n")
        loss = "diverged" if result.loss is None else f"{result.loss:.3g} (guess {BASELINE[arm.task]:.3g})"
        print(
            *arm.model_dump().values(),
            f"loss {loss} clipped {result.share_clipped:.0%} {result.cpu_s:.0f} s",
            flush=True,
        )


def train(arm: Arm) -> Result:
    began = time.process_time()
    torch.manual_seed(int(np.random.SeedSequence((arm.seed, 0)).generate_state(1)[0]))
    network = MemoryNetwork(arm.task, _encoder(arm))
    steps, diverged_at = _train(network, arm)
    loss = _loss(network, arm)
    if diverged_at is None and not math.isfinite(loss):
        diverged_at = arm.steps
    has_diverged = diverged_at is not None
    return Result(
        arm=arm,
        loss=None if has_diverged else loss,
        gradient=None if has_diverged or arm.optimizer == "sgd" else _gradient(network, arm),
        diverged_at=diverged_at,
        share_clipped=float(np.mean([step.clipped for step in steps])) if steps else 0.0,
        largest_norm=max((step.norm_before for step in steps), default=0.0),
        cpu_s=time.process_time() - began,
    )


def _train(network: MemoryNetwork, arm: Arm) -> tuple[list[ClippingStep], int | None]:
    """The steps whose gradients were finite, and the first whose loss or gradients were not."""
    optimizer = build_optimizer(_optimizer(arm), list(network.parameters()))
    clipper = GradientClipper(NormClippingConfig(max_norm=MAX_NORM) if arm.clipping == "norm" else NoClippingConfig())
    generator = _generator(arm, 0)
    steps: list[ClippingStep] = []
    for number in range(arm.steps):
        optimizer.zero_grad()
        loss = network.loss(draw(arm.task, num_sequences=BATCH_SIZE, memory=arm.memory, generator=generator))
        loss.backward()  # type: ignore[no-untyped-call]
        step = clipper.clip(network)
        if not (torch.isfinite(loss) and step.is_finite):
            return steps, number
        steps.append(step)
        optimizer.step()
    return steps, None


def _loss(network: MemoryNetwork, arm: Arm) -> float:
    held_out = draw(arm.task, num_sequences=NUM_HELD_OUT, memory=arm.memory, generator=_generator(arm, 2))
    with torch.no_grad():
        return float(network.loss(held_out))


def _gradient(network: MemoryNetwork, arm: Arm) -> dict[str, dict[int, float]]:
    sequences = draw(arm.task, num_sequences=NUM_MEASURED, memory=arm.memory, generator=_generator(arm, 1))
    return at_lags(gradient_over_time(network, sequences))


def _encoder(arm: Arm) -> RecurrentEncoderConfig:
    return RecurrentEncoderConfig(
        cell=arm.cell,
        initialisation=arm.initialisation,
        hidden_size=HIDDEN_SIZE,
        bidirectional=False,
        frames_per_step=1,
    )


def _optimizer(arm: Arm) -> OptimizerConfig:
    if arm.optimizer == "sgd":
        return SGDConfig(learning_rate=SGD_RATE)
    return AdamConfig(learning_rate=ADAM_RATE[arm.cell])


def _generator(arm: Arm, purpose: int) -> torch.Generator:
    return torch.Generator().manual_seed(int(np.random.SeedSequence((arm.seed, 1, purpose)).generate_state(1)[0]))


def at_lags(curves: dict[str, list[float]]) -> dict[str, dict[int, float]]:
    """State's name -> lag -> value; few enough lags for a small file."""
    return {name: {lag: curve[-1 - lag] for lag in _lags(len(curve))} for name, curve in curves.items()}


def _lags(num_steps: int) -> list[int]:
    return sorted({*range(0, num_steps, num_steps // LAGS), num_steps - 1})


def _short(value: object) -> object:
    """Numbers to three digits."""
    if isinstance(value, dict):
        return {key: _short(each) for key, each in value.items()}
    return float(f"{value:.3g}") if isinstance(value, float) and math.isfinite(value) else value


if __name__ == "__main__":
    main()
