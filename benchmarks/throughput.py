"""Training throughput and peak memory of every encoder: as a trial trains, against the bare torch loop.

    OMP_NUM_THREADS=1 python -m benchmarks.throughput [--only gru,lstm] [--rounds 7] [--steps 40] [--device cuda]
    OMP_NUM_THREADS=1 python -m benchmarks.throughput --speechbrain

`trial` is an epoch of Lightning with what a trial has: clipping (norm 1), gradient flow at its default, an event and
checkpoints at its end. `bare` is forward, backward, torch's own clipping and Adam's step over the same module and the
same batches (32 utterances of 2 s, 40 bands, in memory). They take turns in one process; the seconds of the
development pass are left out, and they are the processor's: one thread trains, so that other work on the machine counts
little. The table has medians over the rounds, and the median of each round's own ratio

    trial / bare    frames a second of a trial over those of the bare loop

Peak memory (VmHWM) is that of a process in which one of the two trains alone, its imports included.

With --device cuda both train on the first GPU, to which each moves its batches. The seconds are those of a clock on the
wall, once the GPU is done, and peak memory is what torch reserved of the GPU's.

With --speechbrain, which has to be installed, LSTM and GRU against SpeechBrain's classes of the same names: forward and
backward on the same batches, all of one length, and of lengths from half of it to all.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, Final

import pytorch_lightning as pl
import torch
from torch import nn

from lightning_modules.build import build_module
from lightning_modules.config import (
    ECAPAEncoderConfig,
    EncoderConfig,
    HierarchicalEncoderConfig,
    LevelConfig,
    MiddleLevelConfig,
    OutputRecurrentEncoderConfig,
    RecurrentEncoderConfig,
    TDNNEncoderConfig,
    TopLevelConfig,
    TrainingConfig,
    TrialConfig,
)
from lightning_modules.data.batches import Batch, development_loader
from lightning_modules.data.manifest import Utterance
from study.attempt import build_trainer
from study.devices import Slot
from study.events import EventLog
from study.processes import hide_library_warnings
from study.progress import TrialProgress
from study.spec import EVENTS_FILE, AttemptSpec

ENCODERS: Final[dict[str, EncoderConfig]] = {
    "rnn_tanh": RecurrentEncoderConfig(cell="rnn_tanh"),
    "rnn_relu": RecurrentEncoderConfig(cell="rnn_relu"),
    "gru": RecurrentEncoderConfig(cell="gru"),
    "lstm": RecurrentEncoderConfig(cell="lstm"),
    "output_recurrent": OutputRecurrentEncoderConfig(),
    "hierarchical": HierarchicalEncoderConfig(
        low=LevelConfig(hidden_size=64),
        middle=MiddleLevelConfig(hidden_size=128, window=10, hop=10),
        top=TopLevelConfig(hidden_size=128),
    ),
    "tdnn": TDNNEncoderConfig(channels=128, output_channels=384),
    "ecapa_tdnn": ECAPAEncoderConfig(channels=64, output_channels=192, bottleneck=32),
}
"""Those of the papers are wider: a step then costs more, and what is logged costs less of it."""
BATCH_SIZE: Final = 32
NUM_FRAMES: Final = 200
NUM_DIFFERENT: Final = 8
ROW: Final = "{:<18}{:>12}{:>12}{:>14}{:>10}{:>10}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(ENCODERS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=40, help="optimiser steps an epoch")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--speechbrain", action="store_true")
    parser.add_argument("--alone", choices=["trial", "bare"], help="one round of one of them; prints its peak memory")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    quiet()
    names = arguments.only.split(",")
    if arguments.speechbrain:
        from benchmarks.against_speechbrain import compare_all

        compare_all(rounds=arguments.rounds)
    elif arguments.alone:
        epochs = Epochs(configuration(names[0], steps=arguments.steps), device=arguments.device)
        epochs.of_trial() if arguments.alone == "trial" else epochs.bare()
        print(json.dumps({"peak_mb": peak_mb(arguments.device)}))
    else:
        print(ROW.format("", "trial", "bare", "trial / bare", "peak MB", "bare MB"))
        for name in names:
            print(row(name, rounds=arguments.rounds, steps=arguments.steps, device=arguments.device), flush=True)


def row(name: str, *, rounds: int, steps: int, device: str) -> str:
    epochs = Epochs(configuration(name, steps=steps), device=device)
    pairs = in_turns(epochs.of_trial, epochs.bare, rounds=rounds)
    frames = steps * BATCH_SIZE * NUM_FRAMES
    return ROW.format(
        name,
        f"{frames / median(trial_s for trial_s, _ in pairs):,.0f}",
        f"{frames / median(bare_s for _, bare_s in pairs):,.0f}",
        f"{median(bare_s / trial_s for trial_s, bare_s in pairs):.2f}",
        *(f"{peak_alone_mb(name, what, steps=steps, device=device):.0f}" for what in ("trial", "bare")),
    )


def in_turns(first: Callable[[], float], second: Callable[[], float], *, rounds: int) -> list[tuple[float, float]]:
    """Seconds of both, round by round, after one that warms up; who begins changes from round to round."""
    pairs: list[tuple[float, float]] = []
    for number in range(rounds + 1):
        if number % 2:
            second_s = second()
            pairs.append((first(), second_s))
        else:
            first_s = first()
            pairs.append((first_s, second()))
    return pairs[1:]


def configuration(name: str, *, steps: int) -> TrialConfig:
    return TrialConfig(
        encoder=ENCODERS[name],
        training=TrainingConfig(max_epochs=1, steps_per_epoch=steps, batch_size=BATCH_SIZE),
    )


class Epochs:
    """An epoch of one configuration, either way, on the same batches."""

    def __init__(self, config: TrialConfig, *, device: str) -> None:
        generator = torch.Generator().manual_seed(0)
        self._device = device
        different = [batch(config, generator) for _ in range(NUM_DIFFERENT)]
        self._config = config
        self._batches = [different[step % NUM_DIFFERENT] for step in range(config.training.steps_per_epoch)]

    def of_trial(self) -> float:
        """Seconds, from the first step to the last checkpoint, without the development pass."""
        with tempfile.TemporaryDirectory() as folder:
            spec = self._spec(Path(folder))
            clock = Clock(self._device)
            progress = TrialProgress(spec, EventLog(spec.folder / EVENTS_FILE), utterances=utterances(self._config))
            trainer = build_trainer(self._config, [clock, progress], folder=spec.folder, slot=spec.slot)
            loader, development = development_loader(self._batches), development_loader(self._batches[:1])
            trainer.fit(build_module(self._config), loader, development)
        return clock.training_s

    def bare(self) -> float:
        """Seconds of the loop that anybody would write."""
        module = build_module(self._config).to(self._device)
        optimizer = torch.optim.Adam(module.parameters(), lr=self._config.optimizer.learning_rate)
        module.train()
        began = now(self._device)
        for each in self._batches:
            optimizer.zero_grad()
            there = Batch(*(rows.to(self._device) for rows in each))
            module.loss(there).value.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(module.parameters(), 1.0)
            optimizer.step()
        return now(self._device) - began

    def _spec(self, folder: Path) -> AttemptSpec:
        return AttemptSpec(
            number=0,
            attempt=0,
            folder=folder,
            trial_folder=folder,
            workspace=folder,
            objective="cllr_calibrated",
            slot=Slot(name="slot", devices=("cpu" if self._device == "cpu" else "cuda:0",)),
            config=self._config,
        )


class Clock(pl.Callback):
    """Seconds of a training without its development passes."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._began = self._stopped = self._left_out_s = self.training_s = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Starts."""
        self._began = now(self._device)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Pauses."""
        self._stopped = now(self._device)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Goes on."""
        self._left_out_s += now(self._device) - self._stopped

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Ends."""
        self.training_s = now(self._device) - self._began - self._left_out_s


def now(device: str) -> float:
    """Seconds: of the processor, or on a GPU of the wall's clock, once it is done."""
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def batch(config: TrialConfig, generator: torch.Generator) -> Batch:
    """Noise, of all languages in turn."""
    data = config.data
    return Batch(
        torch.randn(BATCH_SIZE, NUM_FRAMES, data.features.num_values, generator=generator),
        torch.full((BATCH_SIZE,), NUM_FRAMES),
        torch.arange(BATCH_SIZE) % len(data.languages),
        torch.arange(BATCH_SIZE),
    )


def utterances(config: TrialConfig) -> list[Utterance]:
    """Those that a batch stands for."""
    languages = config.data.languages
    return [
        Utterance(
            id=f"u#{i}",
            language=languages[i % len(languages)],
            source="noise",
            speaker="nobody",
            split="dev",
            recordings=(f"u{i}",),
            duration_s=NUM_FRAMES / config.data.features.frames_per_s,
        )
        for i in range(BATCH_SIZE)
    ]


def peak_alone_mb(name: str, what: str, *, steps: int, device: str) -> float:
    command = [sys.executable, "-m", "benchmarks.throughput", "--only", name, "--alone", what, "--steps", str(steps)]
    command += ["--device", device]
    said: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return float(said["peak_mb"])


def peak_mb(device: str) -> float:
    """The most memory that this process had: resident, or reserved on the GPU."""
    if device == "cuda":
        return torch.cuda.max_memory_reserved() / 1024**2
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def quiet() -> None:
    import logging

    hide_library_warnings()
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)


if __name__ == "__main__":
    main()
