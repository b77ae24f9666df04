"""`lidstudy report`."""

from pathlib import Path

from lightning_modules.errors import StorageError
from reports.load import load_study
from reports.render import write_report
from study.commands.console import make_console
from study.mlflow_place import mlflow_tracking_uri, records_url
from study.workspace import open_workspace


def write(study: str, folder: Path, *, out: Path | None) -> None:
    """Writes a study's report from what MLflow has, and prints where it lies."""
    workspace = open_workspace(folder)
    place = out or workspace.report(study)
    record = load_study(study, tracking_uri=mlflow_tracking_uri(records_url(workspace, study)))
    try:
        files = write_report(record, place)
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
