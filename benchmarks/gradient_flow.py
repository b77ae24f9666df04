"""What measuring gradients costs a training by default: the same epoch with and without, alternately in one process.

    python -m benchmarks.gradient_flow [--epochs 9] [--steps 40] [--threads 1] [--device cuda]

An epoch is what Lightning runs of it: steps on batches of 32 utterances of 2 s, clipping, the optimiser's step, and the
epoch's metrics. Prints, for each network, the median seconds of an epoch without and with measures every 40 steps, and
the median of the ratios of neighbours, with its quartiles. Seconds are the process's own on its CPUs, which depend
less on what else the machine does; with --device cuda those of a clock on the wall, once the GPU is done.
"""

import argparse
from statistics import median, quantiles
from typing import Any

import torch

from benchmarks.throughput import now
from lightning_modules.build import build_module
from lightning_modules.config import TrialConfig
from lightning_modules.data.batches import Batch
from lightning_modules.lid_module import LidModule

NETWORKS = {
    "gru-64": {"cell": "gru", "hidden_size": 64},
    "lstm-256": {"cell": "lstm", "hidden_size": 256},
}
BATCH_SIZE = 32
DURATION_S = 2.0
EVERY = 40


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=9)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", choices=list(NETWORKS))
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"{'network':10} {'without':>9} {'with':>9} {'ratio':>7}   quartiles")
    for name in [arguments.only] if arguments.only else NETWORKS:
        pairs = compare(NETWORKS[name], num_epochs=arguments.epochs, num_steps=arguments.steps, device=arguments.device)
        ratios = [measured / plain for plain, measured in pairs]
        low, _, high = quantiles(ratios, n=4)
        without, measured = median(plain for plain, _ in pairs), median(each for _, each in pairs)
        print(f"{name:10} {without:8.3f}s {measured:8.3f}s {median(ratios):7.3f}   {low:.3f} to {high:.3f}")


def compare(encoder: dict[str, Any], *, num_epochs: int, num_steps: int, device: str) -> list[tuple[float, float]]:
    """Seconds of (an epoch without, an epoch with), whose order changes from pair to pair."""
    plain, measured = (training(encoder, num_steps=num_steps, every=every, device=device) for every in (0, EVERY))
    for each in (plain, measured):
        epoch(*each, num_steps=EVERY + 1)
    pairs = []
    for number in range(num_epochs):
        seconds = {}
        for each in (plain, measured) if number % 2 else (measured, plain):
            seconds[each is measured] = epoch(*each, num_steps=num_steps)
        pairs.append((seconds[False], seconds[True]))
    return pairs


def training(
    encoder: dict[str, Any], *, num_steps: int, every: int, device: str
) -> tuple[LidModule, torch.optim.Optimizer, Batch]:
    """A module, its optimiser, and a batch."""
    flow = {"every": every}
    training = {"batch_size": BATCH_SIZE, "steps_per_epoch": num_steps, "gradient_flow": flow}
    config = TrialConfig.model_validate({"encoder": encoder, "training": training})
    module, features = build_module(config).to(device), config.data.features
    num_frames = round(DURATION_S * features.frames_per_s)
    languages = torch.arange(BATCH_SIZE) % len(config.data.languages)
    noise = torch.randn(BATCH_SIZE, num_frames, features.num_values)
    batch = Batch(noise, torch.full((BATCH_SIZE,), num_frames), languages, torch.arange(BATCH_SIZE))
    return module, module.configure_optimizers(), Batch(*(rows.to(device) for rows in batch))


def epoch(module: LidModule, optimizer: torch.optim.Optimizer, batch: Batch, *, num_steps: int) -> float:
    """Seconds."""
    began = now(batch.features.device.type)
    module.train()
    module.on_train_epoch_start()
    for step in range(num_steps):
        module.on_train_batch_start(batch, step)
        optimizer.zero_grad()
        torch.autograd.backward(module.training_step(batch, step))
        module.configure_gradient_clipping(optimizer)
        optimizer.step()
        module.gradient_flow.after_step(module)
    module.training_metrics()
    return now(batch.features.device.type) - began


if __name__ == "__main__":
    main()
