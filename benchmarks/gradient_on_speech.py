"""How much of its gradient the first state keeps on real speech, in networks as they begin.

    OMP_NUM_THREADS=1 python -m benchmarks.gradient_on_speech [--workspace DIR]

Prints |dL/dh_t| of the first state over that of the last one (benchmarks/gradient_over_time.py says how it is measured)
on the first training batch of a trial of preset vanishing_gradients: corpus `prompts`, which has to be prepared and
have features (any study on it makes them), 32 segments of 2 s, 200 steps, cross-entropy of five languages.
"""

import argparse
from pathlib import Path
from typing import Final

import torch

from benchmarks.gradient_over_time import norms_over_time
from benchmarks.textbook_arms import CELLS, Initialisation
from benchmarks.textbook_figures import CELL_NAMES, INITIALISATIONS, STATE
from lightning_modules.build import build_module
from lightning_modules.config import Cell, LastPoolingConfig, RecurrentEncoderConfig, TrialConfig
from lightning_modules.data.batches import Batch
from lightning_modules.data.tasks import training_batches
from lightning_modules.states_over_time import StateTap
from study.speech import Speech, open_speech

SEED: Final = 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workspace", type=Path, default=Path("workspace"))
    speech = open_speech(TrialConfig(), parser.parse_args().workspace)
    torch.set_num_threads(1)
    print(f"| cell | {' | '.join(INITIALISATIONS)} |\n|{' --- |' * (1 + len(INITIALISATIONS))}")
    for cell in CELLS:
        shares = [f"{kept(configuration(cell, initialisation), speech):.0e}" for initialisation in INITIALISATIONS]
        print(f"| {CELL_NAMES[cell]} | {' | '.join(shares)} |", flush=True)


def configuration(cell: Cell, initialisation: Initialisation) -> TrialConfig:
    return TrialConfig(
        encoder=RecurrentEncoderConfig(
            cell=cell, initialisation=initialisation, bidirectional=False, frames_per_step=1
        ),
        pooling=LastPoolingConfig(),
        seed=SEED,
    )


def kept(config: TrialConfig, speech: Speech) -> float:
    batch = training_batches(speech.recordings, store=speech.store, config=config)[0, 0]
    assert isinstance(batch, Batch)
    module, tap = build_module(config).double().eval(), StateTap()
    loss = module.loss(batch._replace(features=batch.features.double()), tap=tap).value
    norms = norms_over_time(loss, tap, num_sequences=len(batch.lengths))[STATE]
    return norms[0] / norms[-1]


if __name__ == "__main__":
    main()
