"""A study in one file: its folder, its report and its records in MLflow.

    studies/NAME/              as it lies in the workspace, so that unpacking it there brings the study back
    reports/NAME/
    records/NAME/              what MLflow had, readable without MLflow
        experiment.json  runs/RUN_ID.json  artifacts/RUN_ID/…
        contents.json          SHA-256 of every file in the archive

Checkpoints that MLflow has too are left out unless they are asked for: MLflow keeps them, in its bin if need be.
"""

import json
import os
import shutil
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from lightning_modules.errors import ConfigError
from study.housekeeping import study_leftovers
from study.idle import idle
from study.leftovers import REMOVED
from study.mlflow_records import StudyRecords, required_records
from study.tarball import Packer, check_name, new_archive
from study.workspace import StudyFolder, Workspace

FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Archived:
    """What was packed.

    Attributes:
        path: the archive.
        num_files: in it.
        num_bytes: of the archive itself.
        has_records: whether MLflow had any.
    """

    path: Path
    num_files: int
    num_bytes: int
    has_records: bool


def archive_study(workspace: Workspace, folder: StudyFolder, *, out: Path, checkpoints: bool, remove: bool) -> Archived:
    """Packs a study; with `remove`, then takes it out of the workspace and moves its experiment to MLflow's bin.

    Raises:
        ConfigError: the archive would lie in what it packs.
        StorageError: something works on the study, `out` exists, or something cannot be read or written.
    """
    name, out = folder.root.name, out.absolute()
    for packed in (folder.root, workspace.report(name)):
        if out.is_relative_to(packed.absolute()) or out.resolve().is_relative_to(packed.resolve()):
            raise ConfigError(f"--out {out} lies in {packed}, which is packed itself; choose a place outside.")
    if remove and folder.root.is_symlink():
        raise ConfigError(f"{folder.root} is a link, which --remove does not follow; archive without it.")
    with idle(folder):
        records = required_records(workspace, name)
        archived = _pack(workspace, folder, records, out=out, checkpoints=checkpoints)
        if remove:  # MLflow first: a study whose experiment is in the bin can still be resumed
            if records is not None:
                records.delete()
            _remove(workspace, folder)
    return archived


def _pack(
    workspace: Workspace, folder: StudyFolder, records: StudyRecords | None, *, out: Path, checkpoints: bool
) -> Archived:
    name = folder.root.name
    facts = {
        "format": FORMAT,
        "study": name,
        "lidstudy": version("lidstudy"),
        "time": datetime.now(tz=UTC).isoformat(timespec="seconds"),
        "checkpoints": checkpoints,
    }
    unneeded = _unneeded(folder, checkpoints=checkpoints)
    with new_archive(out, contents=f"records/{name}/contents.json", facts=facts) as packer:
        packer.add_tree(f"studies/{name}", folder.root, skip=lambda path: path in unneeded)
        if workspace.report(name).is_dir():
            packer.add_tree(f"reports/{name}", workspace.report(name), skip=lambda _: False)
        if records is not None:
            _pack_records(packer, records, f"records/{name}", checkpoints=checkpoints)
    return Archived(
        path=out, num_files=len(packer.hashes), num_bytes=out.stat().st_size, has_records=records is not None
    )


def _unneeded(folder: StudyFolder, *, checkpoints: bool) -> set[Path]:
    """Files of a study that are not packed: its lease, and what `lidstudy clean` would remove."""
    leftovers = [leftover.path for leftover in study_leftovers(folder)]
    best = {path for path in leftovers if path == path.with_name("best.ckpt")}
    return {folder.lease, *leftovers} - (best if checkpoints else set())


def _pack_records(packer: Packer, records: StudyRecords, place: str, *, checkpoints: bool) -> None:
    """Artifacts go through a folder of their own, a run at a time."""
    packer.add(f"{place}/experiment.json", _json(records.experiment()))
    for run in records.runs():
        run_id = run["run_id"]
        packer.add(f"{place}/runs/{run_id}.json", _json(run))
        with tempfile.TemporaryDirectory(prefix="lidstudy-") as scratch:
            for path in records.artifacts(run_id, checkpoints=checkpoints):
                target = check_name(f"{place}/artifacts/{run_id}/{path}")
                packer.add(target, records.fetch(run_id, path, Path(scratch)))


def _remove(workspace: Workspace, folder: StudyFolder) -> None:
    """Renamed out of `studies` first, so that a removal that is cut off leaves no half study."""
    name, root = folder.root.name, folder.root
    hidden = workspace.root / f"{REMOVED}{name}-{os.getpid()}"
    root.rename(hidden)
    shutil.rmtree(hidden)


def _json(content: object) -> bytes:
    return json.dumps(content, indent=1, ensure_ascii=False).encode()
