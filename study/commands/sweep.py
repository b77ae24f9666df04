"""`lidstudy sweep`: runs a study, or shows what it would cost."""

import os
import re
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from rich.console import Console

from lightning_modules.errors import ConfigError, StorageError
from lightning_modules.processes import worker_pool
from reports.records import TEST_P_VALUE, StudyState, TrialState, looks, scored_of
from reports.wording import count, p_value
from search_spaces.space import Space
from search_spaces.wording import described
from study.closing import left_to_score, score_conditions_of
from study.commands.console import make_console, progress_bars
from study.commands.control import retry_failed
from study.commands.headline import headline
from study.commands.inspect import has_more, study_status
from study.config import StudyConfig, load_study_config
from study.control import forget_stops
from study.features import are_missing, make_features
from study.idle import refuse_other_launchers
from study.launchers.build import build_launcher, check_launcher
from study.launchers.config import launcher_named
from study.opening import open_trial_store, read_trials
from study.plan import StudyPlan, make_plan
from study.pretrained import keep_pretrained
from study.processes import kill_with_children
from study.provenance import run_tags
from study.settling import check_settled, read_manifest, recorded_study, settle
from study.trials import TrialSummary
from study.view import LiveView, PlainView, View, duration
from study.workspace import StudyFolder, Workspace, coordinator_lease, open_workspace

if TYPE_CHECKING:
    from study.cost import Cost

P = ParamSpec("P")
R = TypeVar("R")

SIGNIFICANT = 0.05
STOP_S = 0.1
BUSY = 0.75  # of the cores
UNITS_S = {"h": 3600.0, "min": 60.0, "s": 1.0}
DURATION = re.compile("".join(rf"(?:(?P<{unit}>\d+(?:\.\d+)?){unit})?" for unit in UNITS_S))
EXIT_STATUS = {StudyState.COMPLETE: 0, StudyState.FAILED: 1, StudyState.STOPPED: 3, StudyState.INTERRUPTED: 130}


class Stopped(Exception):  # noqa: N818 - nothing is wrong
    """Ctrl-C or SIGTERM came while another process worked for this one."""


@dataclass(frozen=True, kw_only=True)
class SweepOptions:
    """What the command line says beside the study's file.

    Attributes:
        slots: trials at a time a device.
        devices: as `study.devices.choose_devices` takes them.
        devices_per_trial: devices of each trial.
        trials: instead of the study's own budget.
        time_budget: after which no new trial is started, as `2h`, `30min`, `90s`.
        deterministic: tell and ask in the order of numbers.
        launcher: `local`, `ray` or `slurm`, instead of the study's own.
        address: of a Ray cluster.
    """

    slots: int | None = None
    devices: str = "auto"
    devices_per_trial: int = 1
    trials: int | None = None
    time_budget: str | None = None
    deterministic: bool = False
    launcher: str | None = None
    address: str | None = None


def run(study: str, options: SweepOptions, *, folder: Path) -> int:
    """Runs or resumes a study; returns the exit status."""
    workspace = open_workspace(folder, writable=True)
    return run_plan(plan_of(_config(study, options), options, workspace))


def resume(study: str, options: SweepOptions, *, folder: Path, failed: bool) -> int:
    """Goes on with a study as it is on record, without its file; `failed` also tries its failed trials again."""
    workspace = open_workspace(folder, writable=True)
    study_folder = workspace.existing_study(study)
    config, space = recorded_study(study_folder)
    plan = plan_of(config, options, workspace, space=space)
    # What made the study stays on record: this command makes none where there is none.
    return run_plan(replace(plan, command=read_manifest(study_folder)["command"]), failed=failed)


def run_plan(plan: StudyPlan, *, failed: bool = False) -> int:
    """Runs a planned study to its end; returns the exit status.

    Args:
        plan: the study.
        failed: whether failed trials are tried again; they are queued once nothing keeps the study from running.
    """
    console = make_console()
    try:
        state = _run_plan(plan, console, failed=failed)
    except Stopped:
        state = StudyState.INTERRUPTED
    _print_end(console, state, plan.config.name, plan.workspace)
    return EXIT_STATUS[state]


def _run_plan(plan: StudyPlan, console: Console, *, failed: bool) -> StudyState:
    workspace, config = plan.workspace, plan.config
    study_folder = workspace.study(config.name)
    with ExitStack() as stack:
        stack.enter_context(coordinator_lease(study_folder))
        forget_stops(study_folder)  # they were meant for the coordinator before
        stop = stack.enter_context(_stop_on_signals())
        check_settled(plan, study_folder)
        ensure_features(plan, console, stop=stop)
        keep_pretrained(plan.config.trial, plan.space, workspace=workspace, study=config.name)
        refuse_other_launchers(study_folder, config.launcher)
        launcher = build_launcher(
            config.launcher, workspace=workspace, study=config.name, slots=plan.slots, speech=config.trial
        )
        stack.callback(launcher.close)
        launcher.warm_up()  # while MLflow is imported
        from study.coordinator import Coordinator
        from study.mlflow_opening import open_tracker, refuse_strangers

        if not study_folder.manifest.exists():
            refuse_strangers(workspace, config.name, url=plan.mlflow_url)
        stack.enter_context(_forgotten_unless_it_opens(study_folder))
        settle(plan, study_folder)
        view = stack.enter_context(_view(console, plan))
        view.message(headline(plan))
        store = open_trial_store(study_folder, config, plan.space)
        stack.callback(store.close)
        for line in space_lines(store.trials(), plan.space.name):
            view.message(line)
        tracker = open_tracker(
            workspace,
            plan.manifest(),
            tags=run_tags(plan.data_hash),
            data_hash=plan.data_hash,
            url=plan.mlflow_url,
        )
        for line in retry_failed(study_folder, store.trials()) if failed else ():
            view.message(line)
        coordinator = Coordinator(
            plan,
            folder=study_folder,
            store=store,
            tracker=tracker,
            launcher=launcher,
            view=view,
            stop=stop,
        )
        state = coordinator.run()
        if state is StudyState.COMPLETE:
            _score_conditions(plan, console, stop)
    return state


@contextmanager
def _forgotten_unless_it_opens(study_folder: StudyFolder) -> Iterator[None]:
    """A study whose storage never answered was never begun: its name is free, and a mistyped URL can be mended."""
    is_new = not study_folder.manifest.exists()
    try:
        yield
    except (StorageError, ConfigError):
        if is_new and not any(study_folder.root.glob("trials/*")):
            study_folder.manifest.unlink(missing_ok=True)
        raise


def dry(study: str, options: SweepOptions, *, folder: Path) -> None:
    """Shows the plan, and its cost from a few measured steps."""
    console = make_console()
    config = _config(study, options)
    plan = plan_of(config, options, open_workspace(folder))
    study_folder = plan.workspace.study(config.name)
    check_settled(plan, study_folder)
    check_launcher(config.launcher, study_folder)
    console.print(headline(plan))
    for parameter in plan.space.parameters:
        console.print(f"  {parameter.path:<28} {described(parameter)}", markup=False)
    num_ended = sum(trial.state is not TrialState.RUNNING for trial in read_trials(study_folder))
    num_left = max(0, plan.num_trials - num_ended)
    if num_ended:
        console.print(f"{num_ended} trials have ended already, {num_left} are left")
    if not num_left:
        return
    if are_missing(plan):
        console.print(
            "its cost can be measured once its features and copies are made and looked through for leaks; the sweep "
            "itself begins with that"
        )
        return
    console.print("measuring a few steps of some configurations …")
    for note in busy_lines():
        console.print(note)
    (cost,) = costs_of([(plan, num_left)])
    console.print(
        f"a trial takes about {duration(cost.trial_s)} (measured on "
        f"{count(cost.num_samples, 'sampled configuration')}: {cost.step_s * 1000:.0f} ms a step, "
        f"{cost.development_s:.1f} s a development pass)"
    )
    console.print(
        f"{'1 trial takes' if num_left == 1 else f'{num_left} trials take'} about {duration(cost.study_s)} if none is "
        "pruned; larger configurations, which a sampler may come to prefer, and a busy machine make it longer"
    )
    if config.conditions:
        which = f"best trial of each {config.conditions_of}" if config.conditions_of else "best trial"
        console.print(
            f"scoring the {which} on test data under {count(len(config.conditions), 'condition')} then takes about "
            f"{duration(cost.closing_s)}"
        )
    if len(plan.slots) > plan.num_cores:
        console.print(
            f"note: {len(plan.slots)} slots share {plan.num_cores} cores, so each is slower than was measured"
        )
    console.print(f"they need about {cost.disk_mb:.0f} MB of disk; {cost.free_mb:,.0f} MB are free")


def _config(study: str, options: SweepOptions) -> StudyConfig:
    return _changed(load_study_config(study), options)


def _changed(config: StudyConfig, options: SweepOptions) -> StudyConfig:
    changes: dict[str, Any] = {"trials": options.trials, "deterministic": options.deterministic or None}
    if options.launcher is not None or options.address is not None or config.launcher.kind != "local":
        changes["launcher"] = launcher_named(
            options.launcher, address=options.address, slots=options.slots, given=config.launcher
        )
    return config.model_copy(update={key: value for key, value in changes.items() if value is not None})


def plan_of(
    config: StudyConfig, options: SweepOptions, workspace: Workspace, *, space: Space | None = None
) -> StudyPlan:
    """A study as the command line changes it; `space` is None for the one that it names."""
    return make_plan(
        _changed(config, options),
        workspace=workspace,
        space=space,
        slots=options.slots,
        devices=options.devices,
        devices_per_trial=options.devices_per_trial,
        time_budget_s=None if options.time_budget is None else seconds(options.time_budget),
    )


def seconds(text: str) -> float:
    """`2h`, `1h30min`, `45min` or `90s` in seconds.

    Raises:
        ConfigError: for anything else.
    """
    found = DURATION.fullmatch(text.replace(" ", ""))
    total = sum(float(found[unit] or 0) * factor for unit, factor in UNITS_S.items()) if found else 0.0
    if total <= 0:
        raise ConfigError(f"--time-budget must be a time such as 90s, 45min, 2h or 1h30min but is '{text}'.")
    return total


def busy_lines() -> list[str]:
    """What makes a measurement too slow: other work on this machine."""
    load, num_cores = os.getloadavg()[0], len(os.sched_getaffinity(0))
    if load < BUSY * num_cores:
        return []
    return [f"note: this machine is busy (load {load:.1f} on {num_cores} cores): what is measured now is too slow"]


def ensure_features(plan: StudyPlan, console: Console, *, stop: threading.Event | None = None) -> None:
    """Computes the features of the study's corpus, and copies that it draws from, unless they are there.

    Raises:
        Stopped: `stop` was set first.
    """
    if are_missing(plan):
        console.print("computing features…")
        _in_process(stop, build_features, plan)


def costs_of(studies: Sequence[tuple[StudyPlan, int]]) -> "list[Cost]":
    """What so many trials of each study will cost, where their features are there; measured one after another."""
    return _in_process(None, measure_costs, studies)


def measure_costs(studies: Sequence[tuple[StudyPlan, int]]) -> "list[Cost]":
    """The same, in a process that may import torch."""
    from study.cost import estimate_cost

    return [estimate_cost(plan, num_trials=num_trials) for plan, num_trials in studies]


def build_features(plan: StudyPlan) -> None:
    """Computes a corpus's features, and copies."""
    with progress_bars(make_console()) as progress:
        make_features(plan, progress)


def _score_conditions(plan: StudyPlan, console: Console, stop: threading.Event) -> None:
    """Scores what is left to be scored under the study's conditions."""
    if numbers := left_to_score(plan):
        which = f"trial {numbers[0]}" if len(numbers) == 1 else f"trials {', '.join(map(str, numbers))}"
        console.print(f"scoring {which} on test data: {', '.join(plan.config.conditions)}", soft_wrap=True)
        for name in _in_process(stop, _score_conditions_of, plan, numbers):
            console.print(f"no test speech of {plan.corpus.name} fits {name}")


def _score_conditions_of(plan: StudyPlan, numbers: Sequence[int]) -> list[str]:
    """Conditions that no speech fits."""
    with progress_bars(make_console()) as progress:
        left_out = [score_conditions_of(plan, number, progress) for number in numbers]
    return list(dict.fromkeys(name for each in left_out for name in each))


def _in_process(stop: threading.Event | None, function: Callable[P, R], *arguments: P.args, **keywords: P.kwargs) -> R:
    """Calls a function in a process of its own: it imports torch, which the coordinator should not carry.

    Once `stop` is set, that process is ended with all that it has started, and Stopped is raised; `stop` is None where
    a signal ends this process itself.
    """
    with worker_pool(1) as pool:
        pid, answer = pool.submit(os.getpid), pool.submit(function, *arguments, **keywords)
        while stop is not None and not stop.is_set() and not answer.done():
            wait([answer], timeout=STOP_S)
        if stop is not None and stop.is_set():
            with suppress(BrokenProcessPool):  # Ctrl-C reached it, too, and before it had begun
                kill_with_children(pid.result())
            raise Stopped
        return answer.result()


@contextmanager
def _view(console: Console, plan: StudyPlan) -> Iterator[View]:
    if console.is_terminal:
        with LiveView(console, searched=plan.searched) as view:
            yield view
    else:
        yield PlainView(lambda text: console.print(text, markup=False), searched=plan.searched)


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


def space_lines(trials: Sequence[TrialSummary], space: str) -> list[str]:
    """What became of trials that another search space asked for."""
    foreign = sum(not trial.fits for trial in trials)
    if not foreign:
        return []
    line = f"{foreign} of {len(trials)} trials do not fit search space {space}: they keep their numbers"
    return [f"{line} and count against the budget, but nothing is learnt from them; --trials makes room for more"]


def _test_lines(folder: StudyFolder) -> list[str]:
    """What the last look at test data found, with what guessing would give beside it."""
    from study.evaluation import read_ledger

    manifest = read_manifest(folder)
    entries = looks(read_ledger(folder), manifest["corpus"]["data_hash"])
    of_study = [entry for entry in entries if not entry.corpus]
    if not of_study:
        return []
    entry = of_study[-1]
    num_languages, scored = len(manifest["languages"]), scored_of(manifest["config"])
    shown = "above chance" if entry.metrics[TEST_P_VALUE] * len(entries) < SIGNIFICANT else "above chance is not shown"
    raw, calibrated = (entry.metrics[f"test/{name}"] for name in ("accuracy", "accuracy_calibrated"))
    accuracy = f"accuracy {raw:.3f}, calibrated {calibrated:.3f} (chance {1 / num_languages:.3f})"
    c_primary = f"C_primary {entry.metrics['test/c_primary']:.3f} (chance 1.000)"
    return [
        f"test data, {entry.num_utterances} {scored}s, {entry.num_sources} sources: {accuracy}, {c_primary}",
        f"{shown} ({p_value(entry.metrics[TEST_P_VALUE])} of raw decisions, over sources; looks: {len(entries)})",
    ]


def _print_end(console: Console, state: StudyState, name: str, workspace: Workspace) -> None:
    match state:
        case StudyState.COMPLETE:
            for line in _test_lines(workspace.study(name)):
                console.print(line)
            is_short = has_more(study_status(workspace.study(name)))
            standing = "has spent its time, not its trials" if is_short else "is complete"
            console.print(f"study {name} {standing}. Report: `lidstudy report {name}`. MLflow UI: `lidstudy ui`.")
        case StudyState.INTERRUPTED | StudyState.STOPPED:
            console.print(f"study {name} was stopped; run the same command to go on.")
        case _:
            console.print(
                f"study {name} failed: too many trials in a row did, or all of them; `lidstudy status {name}` says "
                f"why. `lidstudy resume {name} --failed` tries them again.",
                soft_wrap=True,
            )
