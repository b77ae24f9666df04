"""`lidstudy report`."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lightning_modules.errors import ConfigError, StorageError
from reports.load import load_study
from reports.render import write_comparison, write_report
from study.commands.console import make_console
from study.mlflow_place import mlflow_tracking_uri, records_url
from study.workspace import open_workspace


def write(studies: Sequence[str], folder: Path, *, out: Path | None, clips: bool = False) -> None:
    """Writes a study's report, or what several found side by side, from what MLflow has; prints where it lies.

    Args:
        studies: one, or several.
        folder: the workspace.
        out: where to; None for the study's place in the workspace.
        clips: whether readers can hear mistakes, from audio in this workspace.

    Raises:
        ConfigError: a study is named twice, or has no audio to hear here.
    """
    if twice := [name for name, times in Counter(studies).items() if times > 1]:
        raise ConfigError(f"study '{twice[0]}' is named more than once; a comparison is of different studies.")
    if clips and len(studies) > 1:
        raise ConfigError("--clips is for the report of one study.")
    workspace = open_workspace(folder)
    place = out or workspace.report("-beside-".join(studies))
    records = [load_study(study, tracking_uri=mlflow_tracking_uri(records_url(workspace, study))) for study in studies]
    if clips:
        from study.clips import clips_of

        records = [replace(records[0], clips=clips_of(records[0], workspace.root))]
    try:
        files = write_report(records[0], place) if len(records) == 1 else write_comparison(records, place)
    except OSError as error:
        raise StorageError(
            f"the report cannot be written to {place}: {error.strerror}; choose another --out."
        ) from None
    console = make_console()
    console.print(f"report:   {files.html}", soft_wrap=True)
    console.print(f"markdown: {files.markdown}", soft_wrap=True)
    console.print(f"latex:    {files.latex}", soft_wrap=True)
    console.print(f"tables:   {files.csv} and .parquet", soft_wrap=True)
    if files.figures.exists():
        console.print(f"figures:  {files.figures}, as SVG and PNG", soft_wrap=True)
    if clips:
        num, where = len(records[0].clips), f", in the page and in {files.clips}" if records[0].clips else ""
        console.print(f"clips:    {num}{where}", soft_wrap=True)
