"""`lidstudy clean|archive`: make room without losing what a resume, a report or an evaluation needs."""

from collections import defaultdict
from pathlib import Path

from rich.console import Console

from study.archive import archive_study
from study.commands.console import make_console
from study.housekeeping import Cleaned, clean_study, clean_workspace
from study.workspace import open_workspace

BYTES_A_MB = 1e6


def clean(study: str | None, folder: Path, *, dry_run: bool) -> None:
    """Removes what one study, or everything in a workspace, no longer needs, and says what that was."""
    workspace = open_workspace(folder)
    if study is None:
        cleaned = clean_workspace(workspace, dry_run=dry_run)
    else:
        cleaned = clean_study(workspace.existing_study(study), dry_run=dry_run)
    _print(make_console(), cleaned, verb="would remove" if dry_run else "removed")


def archive(study: str, folder: Path, *, out: Path | None, checkpoints: bool, remove: bool) -> None:
    """Packs a study into one file."""
    workspace, console = open_workspace(folder), make_console()
    study_folder = workspace.existing_study(study)
    archived = archive_study(
        workspace, study_folder, out=out or Path(f"{study}.tar.gz"), checkpoints=checkpoints, remove=remove
    )
    console.print(f"archive:  {archived.path}", soft_wrap=True)
    console.print(f"it holds {archived.num_files} files in {_megabytes(archived.num_bytes)} and was read back")
    if not archived.has_records:
        console.print("note: MLflow had no records of the study, so the archive has none")
    if remove:
        console.print(
            f"removed {study_folder.root}; MLflow's experiment is in MLflow's bin. To bring the study back: "
            f"`tar -xzf {archived.path} -C {workspace.root}`, then `lidstudy resume {study}`",
            soft_wrap=True,
        )


def _print(console: Console, cleaned: Cleaned, *, verb: str) -> None:
    """A line a kind, then the sum and what was left alone."""
    kinds: dict[str, list[int]] = defaultdict(list)
    for leftover in cleaned.leftovers:
        kinds[leftover.what].append(leftover.num_bytes)
    for what, sizes in kinds.items():
        console.print(f"{verb} {what}: {len(sizes)}, {_megabytes(sum(sizes))}", markup=False, soft_wrap=True)
    freed = "would free" if verb.startswith("would") else "freed"
    if kinds:
        console.print(f"{freed} {_megabytes(cleaned.num_bytes)}")
    else:
        console.print("nothing to remove")
    for note in cleaned.notes:
        console.print(f"note: {note}", markup=False, soft_wrap=True)


def _megabytes(num_bytes: int) -> str:
    return f"{num_bytes / BYTES_A_MB:,.1f} MB"
