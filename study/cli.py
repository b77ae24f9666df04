"""The command line: arguments in, one call into the packages, words out.

Everything heavy is imported inside the commands, so that `lidstudy --help` answers at once.
"""

import gc
import logging
import os
import signal
import sys
from concurrent.futures import BrokenExecutor
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
GC_THRESHOLDS = (50_000, 20, 20)  # by default a tenth of the start goes by in collections of what imports leave
MAX_SEED = 2**32 - 1  # the largest that a configuration may hold


@corpus_app.command("prepare")
def corpus_prepare(
    name: Annotated[
        str,
        typer.Argument(
            help="prompts (real speech), prompts_further (the same and more to train on), espeak (synthetic), or the "
            ".toml file of your own."
        ),
    ],
    *,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Fetch, clean and split a corpus, and compute its features; goes on where it was interrupted."""
    from study.commands.corpus import prepare

    prepare(name, workspace)


@corpus_app.command("layouts")
def corpus_layouts() -> None:
    """Show the layouts in which a corpus of your own may lie."""
    from study.commands.corpus import layouts

    layouts()


@corpus_app.command("describe")
def corpus_describe(
    name: str,
    *,
    sources: Annotated[bool, typer.Option("--sources", help="A row a source, not one a language.")] = False,
    figures: Annotated[
        Path | None, typer.Option(help="Folder for a drawing of durations, languages, speakers and noise.")
    ] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Show what a prepared corpus holds: hours, speakers and sources by split and language, and what was skipped."""
    from study.commands.corpus import describe

    describe(name, workspace, sources=sources, figures=figures)


SlotsOption = Annotated[
    int | None,
    typer.Option(min=1, help="Trials at a time a device; by default one a core, or what a GPU has room for."),
]
DevicesOption = Annotated[str, typer.Option(help="auto, cpu, or GPUs as cuda:0,cuda:1.")]
DevicesPerTrialOption = Annotated[int, typer.Option(min=1, help="Devices that one trial trains on; on the CPU, ranks.")]
TrialsOption = Annotated[int | None, typer.Option(min=1, help="Instead of the study's own budget.")]
TimeBudgetOption = Annotated[str | None, typer.Option(help="Start no trial after this time, as 2h, 45min or 90s.")]
LauncherOption = Annotated[
    str | None, typer.Option(help="Where trials run: local, ray or slurm; instead of what the study's file says.")
]
AddressOption = Annotated[
    str | None, typer.Option("--ray-address", help="Of a running Ray cluster: HOST:PORT or auto.")
]
DeterministicOption = Annotated[
    bool, typer.Option("--deterministic", help="Ask and tell in the order of numbers, whichever trial ends first.")
]


@app.command()
def sweep(
    study: Annotated[
        str,
        typer.Argument(
            help="A preset (demo, architecture, clipping … see docs/study-files.md), or a study's .toml file."
        ),
    ],
    *,
    slots: SlotsOption = None,
    devices: DevicesOption = "auto",
    devices_per_trial: DevicesPerTrialOption = 1,
    trials: TrialsOption = None,
    time_budget: TimeBudgetOption = None,
    deterministic: DeterministicOption = False,
    launcher: LauncherOption = None,
    ray_address: AddressOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan, its cost and its disk use; start nothing.")
    ] = False,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Run a study; the same command resumes it."""
    from study.commands.sweep import SweepOptions, dry, run

    options = SweepOptions(
        slots=slots,
        devices=devices,
        devices_per_trial=devices_per_trial,
        trials=trials,
        time_budget=time_budget,
        deterministic=deterministic,
        launcher=launcher,
        address=ray_address,
    )
    if dry_run:
        dry(study, options, folder=workspace)
    else:
        raise typer.Exit(run(study, options, folder=workspace))


@app.command()
def ablate(
    study: Annotated[str, typer.Argument(help="A study of this workspace; its best trial is the base.")],
    *,
    name: Annotated[str, typer.Option(help="Of the ablation; STUDY-ablation if it has none.")] = "",
    base: Annotated[int | None, typer.Option(help="Another trial as the base.")] = None,
    factor: Annotated[
        list[str] | None,
        typer.Option(help="PATH, or PATH=LEVEL,LEVEL; may be repeated. Without any, every choice of the study."),
    ] = None,
    design: Annotated[
        Literal["one_at_a_time", "leave_one_out", "factorial", "fractional"],
        typer.Option(help="Which combinations of levels are compared; a fraction takes two levels a factor."),
    ] = "one_at_a_time",
    halvings: Annotated[
        int, typer.Option(help="How often a fractional design halves the factorial; 0: once.", min=0)
    ] = 0,
    seeds: Annotated[
        int | None,
        typer.Option(
            help="Replicates of each arm, under seeds that all arms share; by default 8, or more where 8 could show "
            "nothing.",
            min=1,
        ),
    ] = None,
    tune: Annotated[
        list[str] | None, typer.Option(help="What is tuned anew for each arm; the learning rate, if nothing else.")
    ] = None,
    draws: Annotated[int, typer.Option(help="Draws of these for each arm; 0 tunes nothing.", min=0)] = 6,
    margin: Annotated[
        float | None, typer.Option(help="A difference in the objective that would not matter.", min=0.0)
    ] = None,
    slots: SlotsOption = None,
    devices: DevicesOption = "auto",
    devices_per_trial: DevicesPerTrialOption = 1,
    launcher: LauncherOption = None,
    ray_address: AddressOption = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan, what it can show and its cost; start nothing.")
    ] = False,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Compare a trial with variants of it under the same seeds; the same command goes on."""
    from study.ablation_config import AblationOptions
    from study.commands.ablate import ablate as compare
    from study.commands.sweep import SweepOptions

    options = AblationOptions(
        name=name,
        trial=base,
        factors=tuple(factor or ()),
        design=design,
        halvings=halvings,
        seeds=seeds,
        tuned=tuple(tune or ()) or AblationOptions().tuned,
        tuning=draws,
        margin=margin or None,
    )
    sweep = SweepOptions(
        slots=slots, devices=devices, devices_per_trial=devices_per_trial, launcher=launcher, address=ray_address
    )
    raise typer.Exit(compare(study, options, sweep, folder=workspace, dry_run=dry_run))


@app.command()
def resume(
    study: Annotated[str, typer.Argument(help="A study of this workspace; its file is not needed.")],
    *,
    failed: Annotated[bool, typer.Option("--failed", help="Try its failed trials again.")] = False,
    slots: SlotsOption = None,
    devices: DevicesOption = "auto",
    devices_per_trial: DevicesPerTrialOption = 1,
    trials: TrialsOption = None,
    time_budget: TimeBudgetOption = None,
    launcher: LauncherOption = None,
    ray_address: AddressOption = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Go on with a study as it is on record."""
    from study.commands.sweep import SweepOptions
    from study.commands.sweep import resume as go_on

    options = SweepOptions(
        slots=slots,
        devices=devices,
        devices_per_trial=devices_per_trial,
        trials=trials,
        time_budget=time_budget,
        launcher=launcher,
        address=ray_address,
    )
    raise typer.Exit(go_on(study, options, folder=workspace, failed=failed))


@app.command()
def train(
    config: Annotated[str, typer.Argument(help="A trial's config.json, a preset, or a study's .toml file.")],
    *,
    study: Annotated[str, typer.Option(help="The study that the trial is recorded in.")] = "train",
    seed: Annotated[int | None, typer.Option(min=0, max=MAX_SEED, help="Instead of the configuration's own.")] = None,
    devices: Annotated[
        str, typer.Option(help="auto (the first GPU, if there is one), cpu, or a GPU as cuda:0.")
    ] = "auto",
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Train one configuration here, in this process, and record it like any trial: breakpoints work."""
    from study.commands.train import train_one

    raise typer.Exit(train_one(config, study=study, seed=seed, devices=devices, folder=workspace))


@app.command()
def reproduce(
    run: Annotated[str, typer.Argument(help="A complete trial, as STUDY/TRIAL.")],
    *,
    devices: Annotated[
        str, typer.Option(help="auto (the first GPU, if there is one), cpu, or a GPU as cuda:0.")
    ] = "auto",
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Train a trial again from its record, and say whether every epoch's values are the same."""
    from study.commands.reproduce import reproduce as train_again

    raise typer.Exit(train_again(run, devices=devices, folder=workspace))


@app.command()
def stop(
    study: str,
    *,
    now: Annotated[bool, typer.Option("--now", help="End what runs too, instead of waiting for it.")] = False,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Ask a study that runs to end; the same sweep command goes on later."""
    from study.commands.control import stop as ask_to_stop

    ask_to_stop(study, workspace, now=now)


@app.command()
def enqueue(
    study: str,
    params: Annotated[str, typer.Argument(help='JSON, as \'{"encoder.cell": "lstm"}\'; the sampler chooses the rest.')],
    *,
    seed: Annotated[
        int | None, typer.Option(min=0, max=MAX_SEED, help="Of the trial; by default the study's own rule.")
    ] = None,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Have a study try these values next."""
    from study.commands.control import enqueue as add

    add(study, params, workspace, seed=seed)


@app.command()
def retry(study: str, trial: int, *, workspace: WorkspaceOption = DEFAULT_WORKSPACE) -> None:
    """Have a study try a failed trial again, under the same values and seed."""
    from study.commands.control import retry as try_again

    try_again(study, trial, workspace)


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
def status(
    study: str,
    *,
    follow: Annotated[bool, typer.Option("--follow", help="Watch it until its coordinator ends, or Ctrl-C.")] = False,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
    as_json: JsonOption = False,
) -> None:
    """Show how a study stands, also while it runs."""
    from study.commands.inspect import follow_status, show_status

    if follow:
        signal.signal(signal.SIGINT, _no_longer_watching)
        follow_status(study, workspace)
    else:
        show_status(study, workspace, as_json=as_json)


@app.command()
def report(
    studies: Annotated[list[str], typer.Argument(help="A study; or several, which are set side by side.")],
    *,
    out: Annotated[
        Path | None, typer.Option(help="Folder for the report; by default reports/STUDY in the workspace.")
    ] = None,
    clips: Annotated[
        bool,
        typer.Option("--clips", help="Let readers hear mistakes: puts audio of this workspace's corpus into the page."),
    ] = False,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Write a study's report, or set several side by side: one HTML file, Markdown, LaTeX, CSV, Parquet, figures."""
    from study.commands.report import write

    write(studies, workspace, out=out, clips=clips)


@app.command()
def evaluate(
    run: Annotated[str, typer.Argument(help="A trial, as STUDY/TRIAL, such as demo/7.")],
    *,
    on: Annotated[str, typer.Option("--on", help="A prepared corpus.")],
    split: Annotated[Literal["dev", "test", "all"], typer.Option(help="Which part of it.")] = "test",
    conditions: Annotated[
        str,
        typer.Option(help="Durations, speakers and noise, such as 3s,whole,10s-two-speakers,10s-noise-5db-first-half."),
    ] = "3s,10s,30s,whole",
    max_utterances: Annotated[int, typer.Option(min=1, help="Of a language under each condition.")] = 200,
    allow_shared: Annotated[
        bool, typer.Option("--allow-shared", help="Score sources and speakers that the trial was trained on.")
    ] = False,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Score a trial on any corpus, by duration, noise and language; test data of its own counts as one more look."""
    from study.commands.evaluate import evaluate as score_trial
    from study.evaluate_on import Asked

    names = tuple(each.strip() for each in conditions.split(","))
    score_trial(run, Asked(on, split, names, max_utterances, allow_shared), folder=workspace, as_json=as_json)


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
    calibrate_on: Annotated[
        Path | None, typer.Option("--calibrate-on", help="Development scores of the same system, in such a file.")
    ] = None,
    backend: Annotated[
        Literal["logistic", "gaussian"] | None,
        typer.Option(
            help="How these calibrate: by multiclass logistic regression alone, which is meant if nothing is said, or "
            "after a Gaussian a language."
        ),
    ] = None,
    open_set: Annotated[
        bool, typer.Option("--open-set", help="Target languages may be without utterances, and others be no targets.")
    ] = False,
    figures: Annotated[
        Path | None, typer.Option(help="Folder for a drawing of reliability, detection error and cost.")
    ] = None,
    as_json: JsonOption = False,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,  # noqa: ARG001 - every command takes it; this one needs none
) -> None:
    """Score any system's output: accuracy, C_avg, C_primary, EER, Cllr; by condition and source where it has them."""
    from study.commands.score import Options, score_file

    score_file(file, Options(kind, calibrate_on, backend, open_set, figures), as_json=as_json)


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
def clean(
    study: Annotated[str | None, typer.Argument(help="One study; by default all, and what lies beside them.")] = None,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Remove what no resume, report or evaluation needs any more."""
    from study.commands.housekeeping import clean as make_room

    make_room(study, workspace, dry_run=dry_run)


@app.command()
def archive(
    study: str,
    *,
    out: Annotated[Path | None, typer.Option(help="The archive; by default STUDY.tar.gz here.")] = None,
    checkpoints: Annotated[bool, typer.Option("--checkpoints", help="Also those that MLflow has.")] = False,
    remove: Annotated[
        bool, typer.Option("--remove", help="Then remove the study's folder and move its MLflow experiment to the bin.")
    ] = False,
    workspace: WorkspaceOption = DEFAULT_WORKSPACE,
) -> None:
    """Pack a study, its report and its MLflow records into one .tar.gz file."""
    from study.commands.housekeeping import archive as pack

    pack(study, workspace, out=out, checkpoints=checkpoints, remove=remove)


@app.command()
def doctor(*, workspace: WorkspaceOption = DEFAULT_WORKSPACE, as_json: JsonOption = False) -> None:
    """Check versions, devices, stores, disk and limits, and say what to mend."""
    from study.commands.doctor import examine

    raise typer.Exit(examine(workspace, as_json=as_json))


def _interrupted(_signal: int, _frame: object) -> None:
    """Ctrl-C where a command has no way of its own to stop; click would call it `Aborted` and exit with 1."""
    sys.stderr.write("\nlidstudy: interrupted; the same command goes on from here.\n")
    sys.exit(130)


def _no_longer_watching(_signal: int, _frame: object) -> None:
    """Ctrl-C ends no study that another process runs."""
    sys.stderr.write("\nlidstudy: no longer watching; the study goes on.\n")
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
    """Runs a command.

    Exit status: 0 done, 1 a study that ended badly, 2 something that the user can mend, 3 a study that was told to stop
    before its budget was spent, 130 stopped by Ctrl-C.
    """
    gc.set_threshold(*GC_THRESHOLDS)
    _set_up_logging()
    signal.signal(signal.SIGINT, _interrupted)
    try:
        app()
    except LidstudyError as error:
        sys.stderr.write(f"lidstudy: error: {masked(str(error))}\n")
        sys.exit(2)
    except BrokenExecutor:
        sys.stderr.write(
            "lidstudy: error: a process that worked for this one was killed, perhaps since memory ran out. "
        )
        sys.stderr.write("Run the same command again: nothing is lost.\n")
        sys.exit(2)
    except OSError as error:
        from study.workspace import STORAGE_ERRORS

        if error.errno not in STORAGE_ERRORS:
            raise
        sys.stderr.write(f"lidstudy: error: cannot use {error.filename or 'to the workspace'}: {error.strerror}. ")
        sys.stderr.write("Mend that and run the same command again: nothing is lost.\n")
        sys.exit(2)
