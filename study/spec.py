"""AttemptSpec: all that one process needs to work on a trial, handed over as JSON."""

from pathlib import Path
from typing import Literal, NamedTuple

from lightning_modules.config import Frozen, PositiveInt, TrialConfig
from study.devices import Slot
from study.objectives import LatencyConfig
from study.workspace import read_whole_json


class AttemptSpec(Frozen):
    """One attempt.

    Attributes:
        purpose: train a trial, or evaluate its best checkpoint on test data.
        number: the trial's number.
        attempt: 0 for the first attempt of the trial.
        folder: the attempt's own folder.
        trial_folder: where checkpoints and scores are kept.
        checkpoint: what `evaluate` scores; what `train` begins with, or None for weights that are drawn.
        development_scores: what `evaluate` fits its calibration on; None for `train`.
        workspace: where corpora and features lie.
        objective: name of the `val/` metric that is minimised, without the prefix.
        slot: the share of a device that it has.
        memory_mb: what it may take of the machine's memory; None for any amount.
        micro_batches: a batch is trained in so many parts, whose gradients add up to the whole batch's. More than one
            only after an attempt ran out of memory.
        latency: how to measure the model's latency before training; None where nobody asks, or it was measured already.
        config: the frozen configuration.
    """

    purpose: Literal["train", "evaluate"] = "train"
    number: int
    attempt: int
    folder: Path
    trial_folder: Path
    checkpoint: Path | None = None
    development_scores: Path | None = None
    workspace: Path
    objective: str
    slot: Slot
    memory_mb: PositiveInt | None = None
    micro_batches: PositiveInt = 1
    latency: LatencyConfig | None = None
    config: TrialConfig

    @property
    def key(self) -> str:
        """As `AttemptName` has it."""
        return AttemptName(self.purpose, self.number, self.attempt).key


class AttemptName(NamedTuple):
    """What tells an attempt from the others of its study."""

    purpose: Literal["train", "evaluate"]
    number: int
    attempt: int

    @property
    def key(self) -> str:
        """In one word."""
        return f"{self.purpose}-{self.number}-{self.attempt}"


def name_of(folder: Path) -> AttemptName:
    """Reads it off the path of an attempt's folder: `trials/00007/attempt-0`, or the same below `evaluations`."""
    is_evaluation = folder.parents[1].name == "evaluations"
    number, attempt = int(folder.parent.name), int(folder.name.removeprefix("attempt-"))
    return AttemptName("evaluate" if is_evaluation else "train", number, attempt)


def remade_spec(folder: Path, config: TrialConfig, *, objective: str) -> AttemptSpec:
    """For an attempt whose spec a power cut tore: all but its slot, and in how many parts it trained each batch.

    Whether it still runs, and how it ended, its other files say, and where it runs, those who run it.
    """
    name = name_of(folder)
    return AttemptSpec(
        **name._asdict(),
        folder=folder,
        trial_folder=folder.parent,
        workspace=folder.parents[4],
        objective=objective,
        slot=Slot(name=f"unknown-{name.number}"),
        config=config,
    )


def read_spec(folder: Path) -> AttemptSpec | None:
    """The spec in an attempt's folder, with the paths that hold now: a study may have been moved since, or unpacked.

    None where there is none, or where a power cut tore it.
    """
    content = read_whole_json(folder / SPEC_FILE)
    if content is None:
        return None
    spec = AttemptSpec.model_validate(content)
    trial = folder.parent
    study, workspace = trial.parents[1], trial.parents[3]
    moved = {
        name: None if path is None else study / Path(*path.parts[-3:])  # trials/00007/best.ckpt
        for name, path in (("checkpoint", spec.checkpoint), ("development_scores", spec.development_scores))
    }
    return spec.model_copy(update={"folder": folder, "trial_folder": trial, "workspace": workspace, **moved})


SPEC_FILE = "spec.json"
EVENTS_FILE = "events.jsonl"
EXIT_FILE = "exit.json"
SUPERVISOR_FILE = "supervisor.json"
STOP_FILE = "stop.json"
LOST_FILE = "lost.json"
"""Of an attempt that a cluster gave up: nothing that it still writes counts."""
JOB_FILE = "job.json"
"""Which job of Slurm, or of submitit's local executor, the attempt is."""
AGENT_FILE = "agent.json"
"""Which agent of a cluster has the attempt, and where agents are asked."""
OUTPUT_FILE = "output.log"
EXIT_STORAGE_FULL = 74
"""Exit status of an attempt that could not write: not the trial's fault, so the study stops and can be resumed."""
