"""What benchmarks/textbook_effects.py trains, and what it keeps of each training."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal, NamedTuple

from benchmarks.long_memory import Task
from lightning_modules.config import Cell, Frozen

CELLS: Final[tuple[Cell, ...]] = ("rnn_tanh", "rnn_relu", "gru", "lstm")
TASKS: Final[tuple[Task, ...]] = ("adding", "copying")
NUM_SEEDS: Final = 3


Initialisation = Literal["orthogonal", "uniform"]
Clipping = Literal["none", "norm"]


class Arm(Frozen):
    """One training.

    Attributes:
        memory: the T of the problem.
        optimizer: none measures what a network begins with.
        steps: of the optimiser.
    """

    task: Task
    memory: int
    cell: Cell
    initialisation: Initialisation
    optimizer: Literal["none", "adam", "sgd"]
    clipping: Clipping
    steps: int
    seed: int


class Group(NamedTuple):
    """Arms that share an optimiser; what costs more is done under fewer seeds.

    Attributes:
        steps: T -> steps of the optimiser.
        memories: of each seed, which T.
        ways: of each seed, which initialisations and clipping rules.
    """

    optimizer: Literal["none", "adam", "sgd"]
    steps: dict[int, int]
    memories: tuple[tuple[int, ...], ...]
    ways: tuple[tuple[tuple[Initialisation, Clipping], ...], ...]


USUAL: Final[tuple[Initialisation, Clipping]] = ("orthogonal", "norm")
ALL_WAYS: Final[tuple[tuple[Initialisation, Clipping], ...]] = (
    ("orthogonal", "none"),
    USUAL,
    ("uniform", "none"),
    ("uniform", "norm"),
)
START: Final = Group(
    "none",
    dict.fromkeys((50, 100, 200, 400), 0),
    (((50, 100, 200, 400)), (50, 100), (50, 100)),
    ((("orthogonal", "none"), ("uniform", "none")),) * NUM_SEEDS,
)
SGD: Final = Group(
    "sgd", {50: 40, 100: 40, 200: 40, 400: 40}, ((50, 100, 200, 400), (50, 100), (50, 100)), (ALL_WAYS,) * NUM_SEEDS
)
ADAM: Final = Group("adam", {50: 800}, ((50,),) * NUM_SEEDS, (ALL_WAYS, (USUAL,), (USUAL,)))
ADAM_LONG: Final = Group(
    "adam",
    dict.fromkeys((100, 200, 400), 800),
    ((100, 200, 400), (), ()),
    ((USUAL, ("orthogonal", "none")),) * NUM_SEEDS,
)


class Result(Frozen):
    """What came of an arm.

    Attributes:
        loss: on held-out sequences; None where it diverged.
        gradient: after the last step: state's name -> lag (steps before the last) -> root mean square of |dL/dh_t|;
            None where it diverged, and under SGD, which takes too few steps to learn.
        diverged_at: the step at which loss or gradient was no longer finite.
        share_clipped: of the steps.
        largest_norm: of the whole gradient before clipping, over the steps that were finite.
        cpu_s: seconds of processor time.
    """

    arm: Arm
    loss: float | None
    gradient: dict[str, dict[int, float]] | None
    diverged_at: int | None
    share_clipped: float
    largest_norm: float
    cpu_s: float


def arms() -> Iterator[Arm]:
    """In the order of their training, what says most first."""
    for seed in range(NUM_SEEDS):
        yield from crossed(START, seed)
    for seed in range(NUM_SEEDS):
        for group in (SGD, ADAM, ADAM_LONG):
            yield from crossed(group, seed)


def crossed(group: Group, seed: int) -> Iterator[Arm]:
    """Every task x cell x T x way of beginning and clipping of a group, under one seed."""
    for memory, task, (initialisation, clipping), cell in itertools.product(
        group.memories[seed], TASKS, group.ways[seed], CELLS
    ):
        yield Arm(
            task=task,
            memory=memory,
            cell=cell,
            initialisation=initialisation,
            optimizer=group.optimizer,
            clipping=clipping,
            steps=group.steps[memory],
            seed=seed,
        )


def read(path: Path) -> list[Result]:
    """What has been trained so far."""
    return [Result.model_validate_json(line) for line in path.read_text().splitlines()] if path.exists() else []
