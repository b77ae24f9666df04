"""`lidstudy sweep`: runs a study, or shows what it would cost."""

import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from rich.console import Console

from lightning_modules.config import FeaturesConfig
from lightning_modules.data.feature_store import build_feature_store
from reports.records import TAG_DATA, TEST_P_VALUE, TrialState
from reports.sections._text import p_value
from study.commands.console import make_console, progress_bars
from study.config import StudyConfig, load_study_config
from study.coordinator import Coordinator
from study.evaluation import read_ledger
from study.launchers.local import LocalLauncher
from study.plan import StudyPlan, check_settled, make_plan, needs_features, read_manifest, settle
from study.provenance import code_tags
from study.storage import open_trial_store, read_trials
from study.tracking import open_tracker
from study.view import LiveView, PlainView, View, duration
from study.workspace import StudyFolder, Workspace, coordinator_lease, open_workspace

if TYPE_CHECKING:
    from study.cost import Cost

P = ParamSpec("P")
R = TypeVar("R")

SIGNIFICANT = 0.05
EXIT_STATUS = {TrialState.COMPLETE: 0, TrialState.FAILED: 1, TrialState.INTERRUPTED: 130}


def run(study: str, *, slots: int | None, trials: int | None, folder: Path) -> int:
    """Runs or resumes a study; returns the exit status."""
    console = make_console()
    config = _config(study, trials)
    workspace = open_workspace(folder, writable=True)
    study_folder = workspace.study(config.name)
    plan = make_plan(config, workspace=workspace, slots=slots)
    with ExitStack() as stack:
        stack.enter_context(coordinator_lease(study_folder))
        stop = stack.enter_context(_stop_on_signals())
        settle(plan, study_folder)
        _ensure_features(plan, console)
        launcher = LocalLauncher(workspace, num_slots=plan.num_slots)
        stack.callback(launcher.close)
        view = stack.enter_context(_view(console))
        view.message(_headline(plan))
        coordinator = Coordinator(
            plan,
            folder=study_folder,
            store=open_trial_store(study_folder.journal, config),
            tracker=open_tracker(
                workspace, plan.manifest(), tags=code_tags() | {TAG_DATA: plan.data_hash}, data_hash=plan.data_hash
            ),
            launcher=launcher,
            view=view,
            stop=stop,
        )
        state = coordinator.run()
    _print_end(console, state, config.name, workspace)
    return EXIT_STATUS[state]


def dry(study: str, *, slots: int | None, trials: int | None, folder: Path) -> None:
    """Shows the plan, and its cost from a few measured steps."""
    console = make_console()
    config = _config(study, trials)
    plan = make_plan(config, workspace=open_workspace(folder), slots=slots)
    study_folder = plan.workspace.study(config.name)
    check_settled(plan, study_folder)
    console.print(_headline(plan))
    for parameter in plan.space.parameters:
        console.print(f"  {parameter.path:<28} {parameter.to_json()}", markup=False)
    num_ended = sum(trial.state is not TrialState.RUNNING for trial in read_trials(study_folder.journal, config.name))
    num_left = max(0, config.trials - num_ended)
    if num_ended:
        console.print(f"{num_ended} trials have ended already, {num_left} are left")
    if not num_left:
        return
    if needs_features(plan) is not None:
        console.print(
            f"its cost can be measured once `lidstudy corpus prepare {config.trial.data.corpus}` has made the features"
        )
        return
    cost = _in_process(measure_cost, plan, num_trials=num_left)
    console.print(
        f"a trial takes about {duration(cost.trial_s)} (measured on {cost.num_samples} sampled configurations: "
        f"{cost.step_s * 1000:.0f} ms a step, {cost.development_s:.1f} s a development pass)"
    )
    console.print(
        f"{num_left} trials take about {duration(cost.study_s)} if none is pruned; larger configurations, which a "
        "sampler may come to prefer, and a busy machine make it longer"
    )
    if plan.num_slots > plan.num_cores:
        console.print(f"note: {plan.num_slots} slots share {plan.num_cores} cores, so each is slower than was measured")
    console.print(f"they need about {cost.disk_mb:.0f} MB of disk; {cost.free_mb:,.0f} MB are free")


def _config(study: str, trials: int | None) -> StudyConfig:
    config = load_study_config(study)
    return config if trials is None else config.model_copy(update={"trials": trials})


def _headline(plan: StudyPlan) -> str:
    data = plan.config.trial.data
    return (
        f"study {plan.config.name}: {plan.config.trials} trials of space {plan.space.name}, {plan.num_slots} at a time "
        f"with {plan.num_threads} thread{'s' if plan.num_threads > 1 else ''} each, "
        f"on {data.corpus} ({', '.join(data.languages)})"
    )


def _ensure_features(plan: StudyPlan, console: Console) -> None:
    features = needs_features(plan)
    if features is not None:
        console.print("computing features…")
        _in_process(build_features, plan, features)


def measure_cost(plan: StudyPlan, *, num_trials: int) -> "Cost":
    """What so many trials of the study will cost, from a few measured steps."""
    from study.cost import estimate_cost

    return estimate_cost(plan, num_trials=num_trials)


def build_features(plan: StudyPlan, features: FeaturesConfig) -> None:
    """Computes a corpus's features."""
    with progress_bars(make_console()) as progress:
        build_feature_store(plan.corpus, features, workspace=plan.workspace.root, progress=progress)


def _in_process(function: Callable[P, R], *arguments: P.args, **keywords: P.kwargs) -> R:
    """Calls a function in a process of its own: it imports torch, which the coordinator should not carry."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments, **keywords).result()


@contextmanager
def _view(console: Console) -> Iterator[View]:
    if console.is_terminal:
        with LiveView(console) as view:
            yield view
    else:
        yield PlainView(lambda text: console.print(text, markup=False))


@contextmanager
def _stop_on_signals() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set, from before the first record is made until after the last."""
    asked = threading.Event()

    def stop(_signal: int, _frame: object) -> None:
        asked.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _test_lines(folder: StudyFolder) -> list[str]:
    """What the last look at test data found, with what guessing would give beside it."""
    entries = read_ledger(folder)
    if not entries:
        return []
    entry = entries[-1]
    num_languages = len(read_manifest(folder)["languages"])
    shown = "above chance" if entry.metrics[TEST_P_VALUE] * len(entries) < SIGNIFICANT else "above chance is not shown"
    accuracy = f"accuracy {entry.metrics['test/accuracy']:.3f} (chance {1 / num_languages:.3f})"
    c_primary = f"C_primary {entry.metrics['test/c_primary']:.3f} (chance 1.000)"
    return [
        f"test data, {entry.num_utterances} utterances, {entry.num_sources} sources: {accuracy}, {c_primary}",
        f"{shown} ({p_value(entry.metrics[TEST_P_VALUE])} over sources; looks at test data: {len(entries)})",
    ]


def _print_end(console: Console, state: TrialState, name: str, workspace: Workspace) -> None:
    match state:
        case TrialState.COMPLETE:
            for line in _test_lines(workspace.study(name)):
                console.print(line)
            console.print(f"study {name} is complete. Report: `lidstudy report {name}`. MLflow UI: `lidstudy ui`.")
        case TrialState.INTERRUPTED:
            console.print(f"study {name} was stopped; run the same command to go on.")
        case _:
            console.print(
                f"study {name} stopped after three failures in a row; see `lidstudy status {name}`, "
                f"tracebacks lie in MLflow and under {workspace.study(name).root}."
            )
