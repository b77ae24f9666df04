"""`lidstudy report`."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from lightning_modules.errors import ConfigError, StorageError
from reports.load import load_study
from reports.render import write_comparison, write_report
from study.commands.console import make_console
from study.mlflow_place import mlflow_tracking_uri, records_url
from study.workspace import open_workspace


def write(studies: Sequence[str], folder: Path, *, out: Path | None) -> None:
    """Writes a study's report, or what several found side by side, from what MLflow has; prints where it lies.

    Raises:
        ConfigError: a study is named twice.
    """
    if twice := [name for name, times in Counter(studies).items() if times > 1]:
        raise ConfigError(f"study '{twice[0]}' is named more than once; a comparison is of different studies.")
    workspace = open_workspace(folder)
    place = out or workspace.report("-beside-".join(studies))
    records = [load_study(study, tracking_uri=mlflow_tracking_uri(records_url(workspace, study))) for study in studies]
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
