"""The training of benchmarks/overhead.py and nothing else: a loop over the same modules and batches, in one process.

    python -m benchmarks.bare WORK.json [--calibrate SECONDS]

Prints JSON: seconds that imports took, and seconds of each trial, from its module's first weight to its last score.
With --calibrate, the steps an epoch that make a trial train about so long.
"""

import argparse
import json
import os
import random
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import torch

from benchmarks.work import LEARNING_RATE, MAX_NORM, Data, Work, open_data
from lightning_modules.build import build_module
from lightning_modules.config import TrialConfig
from lightning_modules.data.batches import Batch, TrainingBatches, evaluation_batches
from lightning_modules.lid_module import LidModule
from study.launchers.local import start_time

WARM_UP_STEPS = 5
MEASURED_STEPS = 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--calibrate", type=float, metavar="SECONDS")
    arguments = parser.parse_args()
    imports_s = age_s()
    work = Work.model_validate_json(arguments.work.read_text())
    torch.set_num_threads(work.num_threads)
    data = open_data(work)
    configs = configurations(work)
    if arguments.calibrate is not None:
        print(json.dumps({"steps": calibrated(next(configs), data, trial_s=arguments.calibrate)}))
        return
    development = development_batches(next(configurations(work)), data)
    trials_s = [train(config, data, development) for config in islice(configs, work.trials)]
    print(json.dumps({"imports_s": imports_s, "trials_s": trials_s}))


def age_s() -> float:
    """Seconds since this process was started."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - start_time(os.getpid()) / os.sysconf("SC_CLK_TCK")


def configurations(work: Work) -> Iterator[TrialConfig]:
    """Drawn as a random sampler draws them."""
    draw = random.Random(work.seed)
    while True:
        yield work.config(learning_rate=draw.uniform(*LEARNING_RATE), max_norm=draw.uniform(*MAX_NORM))


def development_batches(config: TrialConfig, data: Data) -> list[Batch]:
    return evaluation_batches(data.development, store=data.store, data=config.data)


def train(config: TrialConfig, data: Data, development: list[Batch]) -> float:
    """One trial; seconds."""
    began = time.perf_counter()
    module = build_module(config)
    optimizer = module.configure_optimizers()
    batches = TrainingBatches(data.recordings, store=data.store, config=config)
    for epoch in range(config.training.max_epochs):
        module.train()
        module.on_train_epoch_start()
        for step in range(config.training.steps_per_epoch):
            take_step(module, optimizer, batches[epoch, step], step)
        evaluate(module, development)
        module.training_metrics()
    return time.perf_counter() - began


def take_step(module: LidModule, optimizer: torch.optim.Optimizer, batch: Batch, step: int) -> None:
    optimizer.zero_grad()
    torch.autograd.backward(module.training_step(batch, step))
    module.configure_gradient_clipping(optimizer)
    optimizer.step()


def evaluate(module: LidModule, development: list[Batch]) -> None:
    module.eval()
    module.on_validation_epoch_start()
    with torch.no_grad():
        for index, batch in enumerate(development):
            module.validation_step(batch, index)
    module.on_validation_epoch_end()


def calibrated(config: TrialConfig, data: Data, *, trial_s: float) -> int:
    """Steps an epoch, at least one."""
    development = development_batches(config, data)
    module = build_module(config)
    optimizer = module.configure_optimizers()
    batches = TrainingBatches(data.recordings, store=data.store, config=config)
    for step in range(WARM_UP_STEPS):
        take_step(module, optimizer, batches[0, step], step)
    evaluate(module, development)
    began = time.perf_counter()
    module.train()
    for step in range(MEASURED_STEPS):
        take_step(module, optimizer, batches[1, step], step)
    step_s = (time.perf_counter() - began) / MEASURED_STEPS
    began = time.perf_counter()
    evaluate(module, development)
    evaluation_s = time.perf_counter() - began
    return max(1, round((trial_s / config.training.max_epochs - evaluation_s) / step_s))


if __name__ == "__main__":
    main()
