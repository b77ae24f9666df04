"""An attempt's spec as the machine that it runs on needs it: that machine's folders, and the GPUs that it was given."""

import os
from collections.abc import Mapping
from pathlib import Path

from lightning_modules.errors import TrialError
from study.devices import Slot
from study.spec import AttemptSpec

BEST, LAST, SCORES, FLOW = "best.ckpt", "last.ckpt", "scores.json", "gradient_flow.json"
CHECKPOINT, DEVELOPMENT_SCORES = "checkpoint.ckpt", "development_scores.json"


def relocate(spec: AttemptSpec, *, root: Path, workspace: Path) -> AttemptSpec:
    """The same attempt in folders of this machine.

    Args:
        spec: as the coordinator wrote it.
        root: gets the trial's folder, with the attempt's in it.
        workspace: where corpus and features lie.
    """
    trial = root / f"{spec.purpose}-{spec.number}"
    return spec.model_copy(
        update={
            "folder": trial / f"attempt-{spec.attempt}",
            "trial_folder": trial,
            "checkpoint": trial / CHECKPOINT if spec.checkpoint else None,
            "development_scores": trial / DEVELOPMENT_SCORES if spec.development_scores else None,
            "workspace": workspace,
            "slot": given_gpus(spec.slot),
        }
    )


def files_to_ship(spec: AttemptSpec) -> dict[str, bytes]:
    """What the attempt needs of the trial: name in the trial's folder there -> content."""
    paths = {name: spec.trial_folder / name for name in (LAST, BEST, SCORES, FLOW)}
    if spec.checkpoint is not None:
        paths[CHECKPOINT] = spec.checkpoint
    if spec.development_scores is not None:
        paths[DEVELOPMENT_SCORES] = spec.development_scores
    return {name: path.read_bytes() for name, path in paths.items() if path.exists()}


def given_gpus(slot: Slot, *, environ: Mapping[str, str] = os.environ) -> Slot:
    """The slot with the GPUs that the engine gave this process in CUDA_VISIBLE_DEVICES, in place of numbers from 0 on.

    Raises:
        TrialError: the engine names GPUs by something else than their index, or gave too few.
    """
    if not slot.gpus:
        return slot
    given = [each.strip() for each in environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if each.strip()]
    if len(given) < len(slot.gpus) or not all(each.isdigit() for each in given):
        raise TrialError(
            f"slot {slot.name} needs {len(slot.gpus)} GPU(s) by index, but CUDA_VISIBLE_DEVICES is "
            f"'{','.join(given)}' on {os.uname().nodename}."
        )
    return slot.model_copy(update={"devices": tuple(f"cuda:{index}" for index in given[: len(slot.gpus)])})
