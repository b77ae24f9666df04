"""`lidstudy ablate`: a controlled comparison around one trial; says first what it will cost and what it can show."""

from collections import defaultdict
from collections.abc import Sequence
from math import sqrt
from pathlib import Path

from rich.console import Console
from rich.table import Table

from lightning_modules.errors import ConfigError
from reports.ablation import ALPHA, FACTORIAL
from reports.multiple_comparisons import seeds_needed, smallest_adjusted_p
from reports.power import smallest_separable_effect
from reports.records import TrialState, name_of_tuning
from reports.statistics import PooledSd, pooled_sd
from reports.wording import NOTHING, count, listing
from search_spaces.space import Space
from search_spaces.two_level_designs import two_level_design
from search_spaces.wording import value_in_words
from study.ablation import Ablation, comparison_study, plan_ablation, tuned_values, tuning_study
from study.ablation_config import AblationConfig, AblationOptions
from study.ablation_factors import Base
from study.ablation_tuning import Tuned
from study.commands.console import make_console
from study.commands.sweep import SweepOptions, busy_lines, costs_of, plan_of, run_plan
from study.config import StudyConfig
from study.features import are_missing
from study.launchers.build import check_launcher
from study.opening import read_trials
from study.plan import StudyPlan
from study.recovery import read_config
from study.settling import read_manifest, recorded_study
from study.trials import TrialSummary, best_trial
from study.view import duration
from study.workspace import StudyFolder, Workspace, open_workspace


def ablate(study: str, options: AblationOptions, sweep: SweepOptions, *, folder: Path, dry_run: bool) -> int:
    """Tunes and compares the arms, or goes on with that; returns the exit status.

    Raises:
        ConfigError: no such study, trial or factor, or an ablation of that name compares something else.
    """
    workspace = open_workspace(folder, writable=not dry_run)
    base, trials = _base(study, options, workspace)
    ablation = plan_ablation(base, options)
    said = _said(ablation, workspace)
    tuning = _plan(tuning_study(ablation), sweep, workspace) if options.tuning else None
    # Until all is tuned, the middle stands for the best draws, for what the comparison will cost.
    comparison = _plan(comparison_study(ablation, _tuned(ablation, workspace), said=said), sweep, workspace)
    check_launcher(comparison.config.launcher, workspace.study(ablation.name))
    console = make_console()
    _print_plan(console, ablation, said, noise=_noise(trials, ablation, workspace))
    _print_cost(console, [plan for plan in (tuning, comparison) if plan is not None])
    if dry_run:
        return 0
    if tuning is not None and _num_left(tuning) and (status := run_plan(tuning)):
        return status
    tuned = _tuned(ablation, workspace)
    comparison = _plan(comparison_study(ablation, tuned, said=said), sweep, workspace)
    assert comparison.config.ablation is not None
    if untuned := comparison.config.ablation.untuned:
        console.print(
            f"no draw of {listing(untuned)} trained to its end: the middle of each range stands for the best",
            markup=False,
            soft_wrap=True,
        )
    return run_plan(comparison)


def _base(study: str, options: AblationOptions, workspace: Workspace) -> tuple[Base, list[TrialSummary]]:
    folder = workspace.existing_study(study)
    config, space = recorded_study(folder)
    trials = read_trials(folder)
    best = best_trial(trials)
    number = options.trial if options.trial is not None else None if best is None else best.number
    if number is None:
        raise ConfigError(f"study '{study}' has no complete trial to start from; name one by --base.")
    if not folder.trial(number).is_frozen:
        raise ConfigError(f"study '{study}' has no trial {number}; `lidstudy report {study}` lists them.")
    values = read_config(folder, number)
    last_seed = _last_seed(folder, trials, options.name or f"{config.name}-ablation", workspace)
    from study.evaluation import read_ledger

    num_looks = 0 if options.trial is None else len(read_ledger(folder))
    base = Base(
        config=config,
        space=space,
        trial=number,
        values=values,
        last_seed=last_seed,
        command=read_manifest(folder)["command"],
        num_test_looks=num_looks,
    )
    return base, trials


def _last_seed(folder: StudyFolder, trials: Sequence[TrialSummary], name: str, workspace: Workspace) -> int:
    """The largest seed of the study and of its other ablations; where this one has begun, what that was then."""
    for begun, offset in ((name_of_tuning(name), 1), (name, 2)):
        if workspace.study(begun).manifest.exists():
            return recorded_study(workspace.study(begun))[0].seed - offset
    used = [read_config(folder, each.number).seed for each in trials if folder.trial(each.number).is_frozen]
    for other in workspace.study_names():
        said = read_manifest(workspace.study(other))["config"].get("ablation") or {}
        if said.get("of") == folder.root.name:
            used.append(said["first_seed"] + said["seeds"] - 1)
    return max(used)


def _plan(study: tuple[StudyConfig, Space], sweep: SweepOptions, workspace: Workspace) -> StudyPlan:
    config, space = study
    return plan_of(config, sweep, workspace, space=space)


def _tuned(ablation: Ablation, workspace: Workspace) -> dict[str, Tuned]:
    if not ablation.options.tuning:
        return {}
    return tuned_values(ablation, read_trials(workspace.study(ablation.tuning_name)))


def _said(ablation: Ablation, workspace: Workspace) -> AblationConfig:
    """What is written down of the comparison, which may be on record already.

    Raises:
        ConfigError: what is on record compares something else, so that nothing would be paired.
    """
    folder = workspace.study(ablation.name)
    if not folder.manifest.exists():
        return ablation.config
    there = recorded_study(folder)[0].ablation
    if there is None or there.compares() != ablation.config.compares():
        raise ConfigError(f"study '{ablation.name}' exists and compares something else; choose another --name.")
    num_ended = len(_own_ended(folder))
    seeds = there.seeds if ablation.options.seeds is None else ablation.seeds
    asked = ablation.config.model_copy(update={"seeds": seeds})
    return asked.after(there, num_ended=num_ended, num_seen=-(-num_ended // len(ablation.arms)))


def _noise(trials: Sequence[TrialSummary], ablation: Ablation, workspace: Workspace) -> PooledSd | None:
    """What seeds of one configuration differ by, where the study or this comparison of it has any twice."""
    values = defaultdict[tuple[object, ...], list[float]](list)
    for place, each in enumerate((trials, read_trials(workspace.study(ablation.name)))):
        for trial in each:
            if trial.state is TrialState.COMPLETE and trial.value is not None and trial.fits:
                values[(place, *sorted(trial.params.items()))].append(trial.value)
    return pooled_sd(values.values())


def _print_plan(console: Console, ablation: Ablation, said: AblationConfig, *, noise: PooledSd | None) -> None:
    base, options = ablation.base, ablation.options
    first, last = said.first_seed, said.first_seed + said.seeds - 1
    seeds = f"seed {first}" if first == last else f"seeds {first} to {last}"
    console.print(
        f"ablation {ablation.name}: {len(ablation.arms)} arms ({options.design.replace('_', ' ')}) around trial "
        f"{base.trial} of study {base.config.name}, each under {seeds}, which nothing was chosen by",
        markup=False,
        soft_wrap=True,
    )
    table = Table(box=None, header_style="dim", pad_edge=False)
    for title in ("arm", *(factor.name for factor in ablation.factors)):
        table.add_column(title)
    for name, levels in ablation.arms.items():
        table.add_row(name, *(value_in_words(levels.get(factor.name, NOTHING)) for factor in ablation.factors))
    console.print(table)
    if kept := left_in(ablation):
        console.print(
            f"not left out, since no level of theirs is none, false or 0: {listing(kept)}", markup=False, soft_wrap=True
        )
    if further := base.config.further_objectives:
        console.print(f"{base.config.objective} alone is compared, and not {listing(further)}", markup=False)
    if options.tuning:
        console.print(
            f"first each arm, the base included, is tuned by {options.tuning} draws of {', '.join(options.tuned)} and "
            f"of what a level brings with it (study {ablation.tuning_name})",
            markup=False,
            soft_wrap=True,
        )
    else:
        console.print("nothing is tuned: the base keeps the values that were chosen for it, which favours it")
    for line in alias_lines(ablation):
        console.print(line, markup=False, soft_wrap=True)
    for line in power_lines(ablation, num_seeds=said.seeds, num_looks=1 + len(said.looks), noise=noise):
        console.print(line, markup=False, soft_wrap=True)


def left_in(ablation: Ablation) -> list[str]:
    """Choices of the study that are no components: where these are left out, nothing stands for them."""
    if ablation.options.design != "leave_one_out" or ablation.options.factors:
        return []
    factors = {factor.name for factor in ablation.factors}
    searched = (each.path for each in ablation.base.space.parameters if each.kind == "choices")
    return [path for path in searched if path in ablation.base.flat and path not in factors]


def alias_lines(ablation: Ablation) -> list[str]:
    """What a fraction cannot tell from its main effects."""
    if ablation.options.design != "fractional":
        return []
    aliases = two_level_design(ablation.factors, num_halvings=ablation.halvings).aliases()
    return [
        f"in this fraction {factor} cannot be told from {listing(each.in_words() for each in found)}"
        for factor, found in aliases.items()
        if found
    ]


def power_lines(ablation: Ablation, *, num_seeds: int, num_looks: int, noise: PooledSd | None) -> list[str]:
    """What so many seeds can show at all, and how large an effect has to be.

    Where factors vary together the comparisons are main effects, one for each other level: the mean of the arms with it
    less that of those with the base's, which are the fewer, the more levels a factor has.
    """
    what, spread, num_comparisons = "comparison", sqrt(2.0), ablation.num_comparisons
    if ablation.options.design in FACTORIAL:
        what = "main effect"
        spread = sqrt(2.0 * max(len(factor.levels) for factor in ablation.factors) / len(ablation.arms))
    lines = [_least_p_line(num_comparisons, what, num_seeds=num_seeds, num_looks=num_looks)]
    if pairs := ablation.num_interactions:
        lines.append(_least_p_line(pairs, "interaction", num_seeds=num_seeds, num_looks=num_looks))
    effect = smallest_separable_effect(
        spread * (noise.sd if noise else 1.0),
        num_pairs=num_seeds,
        num_comparisons=num_comparisons,
        alpha=ALPHA / num_looks,
    )
    if effect is None:
        return lines
    if noise is None:
        unknown = (
            f"an effect of {effect:.2g} times what seeds of one configuration differ by (standard deviation) is shown "
            "with probability 0.8, a smaller one where seeds move what is compared alike; how much they differ is not "
            "known yet, as no configuration has two"
        )
        return [*lines, unknown]
    found = (
        f"seeds of one configuration differ by {noise.sd:.3g} (standard deviation): an effect of {effect:.3g} is shown "
        "with probability 0.8, a smaller one where seeds move what is compared alike"
    )
    return [*lines, found]


def _least_p_line(num_comparisons: int, what: str, *, num_seeds: int, num_looks: int) -> str:
    least_p = min(1.0, num_looks * smallest_adjusted_p(num_comparisons=num_comparisons, num_seeds=num_seeds))
    looks = f", times {num_looks} looks" if num_looks > 1 else ""
    line = (
        f"{count(num_comparisons, what)} over {count(num_seeds, 'seed')}: the smallest p, corrected (Holm{looks}), is "
        f"{least_p:.3g}"
    )
    if least_p <= ALPHA:
        return line
    needed = seeds_needed(num_comparisons=num_comparisons, alpha=ALPHA / num_looks)
    return f"{line}, so none can be shown at {ALPHA:g}; it takes {needed} seeds"


def _print_cost(console: Console, plans: Sequence[StudyPlan]) -> None:
    left = {plan.config.name: _num_left(plan) for plan in plans}
    console.print("measuring a few steps of some arms …")
    for note in busy_lines():
        console.print(note)
    measured = [plan for plan in plans if left[plan.config.name] and not are_missing(plan)]
    costs = dict(
        zip(
            (plan.config.name for plan in measured),
            costs_of([(plan, left[plan.config.name]) for plan in measured]) if measured else (),
            strict=True,
        )
    )
    for plan in plans:
        name, num_trials = plan.config.name, plan.config.trials
        line = f"study {name}: {num_trials} trials, {num_trials - left[name]} of them done"
        if cost := costs.get(name):
            line += f"; a trial takes about {duration(cost.trial_s)}, the rest {duration(cost.study_s)}"
        console.print(line, markup=False, soft_wrap=True)
    if costs:
        total_s = sum(cost.study_s for cost in costs.values())
        console.print(f"together about {duration(total_s)}; a busy machine makes it longer")


def _num_left(plan: StudyPlan) -> int:
    return max(0, plan.config.trials - len(_own_ended(plan.workspace.study(plan.config.name))))


def _own_ended(folder: StudyFolder) -> list[TrialSummary]:
    """Trials of the design that have ended: what somebody asked for beside them, as a retry, is none."""
    return [each for each in read_trials(folder) if each.state is not TrialState.RUNNING and not each.command]
