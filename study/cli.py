"""The command line: arguments in, one call into the packages, words out.

Everything heavy is imported inside the commands, so that `lidstudy --help` answers at once.
"""

import logging
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from lightning_modules.errors import LidstudyError
from study.urls import masked

app = typer.Typer(
    name="lidstudy",
    help="Hyperparameter studies of spoken language identification: sweep, browse in MLflow, report.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
corpus_app = typer.Typer(help="Get speech ready.", no_args_is_help=True)
space_app = typer.Typer(help="Check search spaces.", no_args_is_help=True)
app.add_typer(corpus_app, name="corpus")
app.add_typer(space_app, name="space")

WorkspaceOption = Annotated[
    Path,
    typer.Option("--workspace", envvar="LIDSTUDY_WORKSPACE", help="Folder that holds all state.", file_okay=False),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
DEFAULT_WORKSPACE = Path("workspace")


@corpus_app.command("prepare")
def corpus_prepare(
    name: Annotated[str, typer.Argument(help="prompts (real speech) or espeak (synthetic).")],
    *,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Fetch, clean and split a corpus, and compute its features; goes on where it was interrupted."""
    from study.commands.corpus import prepare

    prepare(name, workspace)


@corpus_app.command("describe")
def corpus_describe(name: str, *, workspace: WorkspaceOption = DEFAULT_WORKSPACE) -> None:
    """Show what a prepared corpus holds: minutes and speakers by split, language and source, and what was skipped."""
    from study.commands.corpus import describe

    describe(name, workspace)


@app.command()
def sweep(
    study: Annotated[str, typer.Argument(help="A preset (demo) or the path of a study's .toml file.")],
    *,
    slots: Annotated[int | None, typer.Option(min=1, help="Trials at a time; one a core by default.")] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Instead of the study's own budget.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan, its cost and its disk use; start nothing.")
    ] = False,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Run a study; the same command resumes it."""
    from study.commands.sweep import dry, run

    if dry_run:
        dry(study, slots=slots, trials=trials, folder=workspace)
    else:
        raise typer.Exit(run(study, slots=slots, trials=trials, folder=workspace))


@app.command("list")
def list_studies(*, workspace: WorkspaceOption = DEFAULT_WORKSPACE, as_json: JsonOption = False) -> None:
    """List the studies of a workspace."""
    from study.commands.inspect import list_all

    list_all(workspace, as_json=as_json)


@app.command()
def show(
    study: str, trial: int, *, workspace: WorkspaceOption = DEFAULT_WORKSPACE, as_json: JsonOption = False
) -> None:
    """Show one trial: how it ended, its parameters, its epochs."""
    from study.commands.inspect import show_trial

    show_trial(study, trial, workspace, as_json=as_json)


@app.command()
def status(study: str, *, workspace: WorkspaceOption = DEFAULT_WORKSPACE, as_json: JsonOption = False) -> None:
    """Show how a study stands, also while it runs."""
    from study.commands.inspect import show_status

    show_status(study, workspace, as_json=as_json)


@app.command()
def report(
    study: str,
    *,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the report; by default reports/STUDY in the workspace.")
    ] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Write the report of a study: one HTML file, Markdown and CSV."""
    from study.commands.report import write

    write(study, workspace, out=out)


@app.command()
def ui(
    *,
    port: Annotated[int, typer.Option(min=1, max=65535)] = 5000,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Start the MLflow UI on the workspace, on this machine only, and print the address of the training view."""
    from study.commands.ui import serve

    raise typer.Exit(serve(workspace, port=port))


@app.command()
def score(
    file: Annotated[
        Path, typer.Argument(help="CSV or Parquet with columns utterance, language and one a target language.")
    ],
    *,
    kind: Annotated[Literal["llr", "log_posterior"], typer.Option(help="What the scores are, in nats.")] = "llr",
    as_json: JsonOption = False,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,  # noqa: ARG001 - every command takes it; this one needs none
) -> None:
    """Score any system's output: accuracy, C_avg, C_primary, EER, Cllr."""
    from study.commands.score import score_file

    score_file(file, kind=kind, as_json=as_json)


@space_app.command("check")
def space_check(
    space: Annotated[str, typer.Argument(help="A shipped space or the path of a .toml file.")],
    *,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,  # noqa: ARG001 - every command takes it; this one needs none
) -> None:
    """Check a search space against the configuration's schema."""
    from study.commands.space import check

    check(space)


@space_app.command("schema")
def space_schema_command(
    *,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,  # noqa: ARG001 - every command takes it; this one needs none
) -> None:
    """Print the JSON Schema of search spaces, for editors."""
    from study.commands.space import schema

    schema()


@app.command()
def doctor(*, workspace: WorkspaceOption = DEFAULT_WORKSPACE) -> None:
    """Check versions, cores, disk and the workspace, and say what to mend."""
    from study.commands.doctor import examine

    raise typer.Exit(examine(workspace))


def _interrupted(_signal: int, _frame: object) -> None:
    """Ctrl-C where a command has no way of its own to stop; click would call it `Aborted` and exit with 1."""
    sys.stderr.write("\nlidstudy: interrupted; the same command goes on from here.\n")
    sys.exit(130)


class _Masking(logging.Formatter):
    """Keeps passwords of URLs out of the log, whoever logs them."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, masked."""
        return masked(super().format(record))


def _set_up_logging() -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(_Masking("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=os.environ.get("LIDSTUDY_LOG", "WARNING").upper(), handlers=[handler])


def main() -> None:
    """Exit status: 0 done, 1 a study that ended badly, 2 something that the user can mend, 130 stopped by Ctrl-C."""
    _set_up_logging()
    signal.signal(signal.SIGINT, _interrupted)
    try:
        app()
    except LidstudyError as error:
        sys.stderr.write(f"lidstudy: error: {masked(str(error))}\n")
        sys.exit(2)
    except OSError as error:
        from study.workspace import STORAGE_ERRORS

        if error.errno not in STORAGE_ERRORS:
            raise
        sys.stderr.write(f"lidstudy: error: cannot write {error.filename or 'to the workspace'}: {error.strerror}. ")
        sys.stderr.write("Mend that and run the same command again: nothing is lost.\n")
        sys.exit(2)
