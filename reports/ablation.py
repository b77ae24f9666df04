"""A study that compares arms: what each replicate reached, and what every arm does beside the base."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from statistics import fmean
from typing import Any

from reports.ablation_statistics import PairedEffect, Replicates, Verdict, paired_effect, verdict
from reports.factorial_effects import Change, Training, changes, interaction, interactions, main_effect
from reports.multiple_comparisons import holm, smallest_adjusted_p
from reports.power import seeds_to_decide
from reports.records import TAG_STATE, StudyRecord, StudyState, TrialRecord, TrialState
from reports.source_bootstrap import SourceEffect, effect_over_sources
from reports.source_costs import languages_of_sources
from reports.statistics import Interval, MeanSd, mean_sd, t_interval
from search_spaces.designs import Factor
from search_spaces.two_level_designs import Alias, two_level_design

ALPHA = 0.05
"""The error rate of a whole table."""

FACTORIAL = ("factorial", "fractional")
"""Designs in which factors vary together, so that comparisons are main effects."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One configuration under all seeds.

    Attributes:
        name: `base`, or what differs from it.
        levels: of the factors, path -> level.
        tuned: what was tuned for it, path -> value.
        replicates: seed -> objective, None where it diverged.
        trials: seed -> number of the trial that reached it.
        num_failed: seeds without any result: their trials failed, or have lost their value.
    """

    name: str
    levels: Mapping[str, Any]
    tuned: Mapping[str, Any]
    replicates: Replicates
    trials: Mapping[int, int]
    num_failed: int

    @property
    def objectives(self) -> tuple[float, ...]:
        """Of the seeds that trained to the end, in their order."""
        return tuple(value for _, value in sorted(self.replicates.items()) if value is not None)

    @property
    def mean(self) -> MeanSd | None:
        """Mean and standard deviation; None without a result."""
        return mean_sd(self.objectives) if self.objectives else None

    @property
    def interval(self) -> Interval | None:
        """95 % t-interval of the mean over seeds; None for fewer than two."""
        return t_interval(self.objectives) if self.objectives else None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """An arm beside the base, or a factor's other level beside its base level.

    Attributes:
        name: the arm, or that level.
        change: where factors vary together, the factor's levels.
        effect: paired over seeds; positive is worse.
        adjusted_p: corrected over the whole table (Holm), once all that was planned has ended.
        verdict: what may be said.
        seeds_needed: how many would probably decide it, were the effect what it seems; None where it is decided, where
            so many have been run, or no number would.
        over_sources: the effect if other sources had been drawn, in bits an utterance; None where there are too few to
            speak of, or none is measured.
        aliases: interactions that a main effect cannot be told from.
    """

    name: str
    effect: PairedEffect
    adjusted_p: float | None
    verdict: Verdict
    change: Change | None = None
    seeds_needed: int | None = None
    over_sources: SourceEffect | None = None
    aliases: tuple[Alias, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Interaction:
    """What two changes do together beyond what each does alone.

    Attributes:
        changes: the two.
        effect: a difference of differences, paired over seeds; positive is worse than the sum of both.
        adjusted_p: corrected over all interactions (Holm).
        is_shown: whether the interval excludes zero, and the corrected p is small enough.
    """

    changes: tuple[Change, Change]
    effect: PairedEffect
    adjusted_p: float | None
    is_shown: bool


@dataclass(frozen=True, kw_only=True)
class Ablation:
    """What was compared, and what came of it.

    Attributes:
        config: as the study wrote it down (`study.ablation_config.AblationConfig`).
        arms: the base first.
        comparisons: in the order of the arms, or of the factors where these vary together.
        interactions: of the full factorial.
        num_asked: seeds that each arm is to be trained under.
        num_ended: trainings that were planned, each of an arm under a seed, that have ended.
        num_beside: trials that somebody asked for beside those that were planned; they are in no comparison.
        is_interim: whether more are to come. What was planned is one test of all results: until then there is no
            verdict, or who stops at the first would find one too often.
        smallest_p: the least that a corrected p-value of this table can be; `smallest_interaction_p` of the other one.
        looks: seeds that each arm had whenever somebody could look at all results and then asked for more.
        num_test_looks: at test data.
        sources: that development data come from.
        objective_name: what is compared.
        num_languages: that are told apart.
        shown: the trial that stands for the base where one is shown; None where none does.
    """

    config: Mapping[str, Any]
    arms: tuple[Arm, ...]
    comparisons: tuple[Comparison, ...]
    num_asked: int
    num_ended: int
    num_beside: int
    is_interim: bool
    smallest_p: float
    smallest_interaction_p: float
    looks: tuple[int, ...]
    sources: tuple[str, ...]
    objective_name: str
    interactions: tuple[Interaction, ...] = ()
    num_test_looks: int = 0
    num_languages: int = 0
    shown: int | None = None

    @property
    def is_factorial(self) -> bool:
        """Whether comparisons are main effects of factors."""
        return self.config["design"] in FACTORIAL


def compare(study: StudyRecord) -> Ablation | None:
    """The comparison of a study's arms; None for a study that compares none."""
    config = study.manifest.config.get("ablation")
    if not config:
        return None
    arms = _arms(study, config)
    looks = tuple(config.get("looks", ()))
    num_looks = 1 + len(looks)
    varied = _changes(config)
    effects = _effects(arms, varied)
    aliases = _aliases(config)
    adjusted = _adjusted(list(effects.values()), num_looks=num_looks)
    planned = _planned(study.trials, config)
    num_asked, num_ended = study.manifest.num_trials // len(arms), _num_ended(planned)
    is_interim = study.tags.get(TAG_STATE) != StudyState.COMPLETE and num_ended < study.manifest.num_trials
    if is_interim:
        adjusted = [None] * len(adjusted)
    interactions_found = _interactions(arms, config, num_looks=num_looks, is_interim=is_interim)
    num_seeds = num_asked if is_interim else max((each.n for each in effects.values()), default=0)
    over_sources = _over_sources(arms, varied, study) if study.source_costs else {}
    shown = middle_of_base(study.manifest.config, study.trials)
    return Ablation(
        config=config,
        arms=arms,
        comparisons=tuple(
            _comparison(
                name,
                effect,
                p,
                num=len(effects),
                num_looks=num_looks,
                is_interim=is_interim,
                margin=config.get("margin"),
                change=varied.get(name),
                over_sources=over_sources.get(name),
                aliases=aliases.get(varied[name].factor, ()) if name in varied else (),
            )
            for (name, effect), p in zip(effects.items(), adjusted, strict=True)
        ),
        interactions=interactions_found,
        num_asked=num_asked,
        num_ended=num_ended,
        num_beside=len(study.trials) - len(planned),
        is_interim=is_interim,
        smallest_p=_smallest_p(len(effects), num_seeds=num_seeds, num_looks=num_looks),
        smallest_interaction_p=_smallest_p(len(interactions_found), num_seeds=num_seeds, num_looks=num_looks),
        looks=looks,
        sources=tuple(languages_of_sources(study.manifest.corpus)),
        objective_name=study.manifest.objective,
        num_test_looks=len(study.looks),
        num_languages=len(study.manifest.languages),
        shown=None if shown is None or study.champion is not None else shown.number,
    )


def _planned(trials: Sequence[TrialRecord], config: Mapping[str, Any]) -> list[TrialRecord]:
    """Those under the seeds of the plan: what was asked for once results could be seen is no part of the test."""
    seeds = range(config["first_seed"], config["first_seed"] + config["seeds"])
    return [trial for trial in trials if trial.seed in seeds]


def _num_ended(trials: Sequence[TrialRecord]) -> int:
    """Trainings, a failed one and its retry counted as one, of which none is under way."""
    at_work = {_training(each) for each in trials if each.state in (TrialState.RUNNING, TrialState.INTERRUPTED)}
    return len({_training(each) for each in trials} - at_work)


def _training(trial: TrialRecord) -> tuple[str, int]:
    return trial.configuration_hash, trial.seed


def _smallest_p(num_comparisons: int, *, num_seeds: int, num_looks: int) -> float:
    least = smallest_adjusted_p(num_comparisons=max(1, num_comparisons), num_seeds=num_seeds)
    return min(1.0, num_looks * least)


def _arms(study: StudyRecord, config: Mapping[str, Any]) -> tuple[Arm, ...]:
    designed = {each["name"]: each["params"] for each in study.manifest.config["sampler"]["arms"]}
    trials: dict[str, list[TrialRecord]] = {name: [] for name in designed}
    for trial in _planned(study.trials, config):
        name = next((name for name, params in designed.items() if _has(trial, params)), None)
        if name is not None:
            trials[name].append(trial)
    return tuple(_arm(name, config["arms"][name], params, trials[name]) for name, params in designed.items())


def middle_of_base(config: Mapping[str, Any], trials: Sequence[TrialRecord]) -> TrialRecord | None:
    """The base's replicate with the middle objective, which shows what a training is like where the best would flatter.

    Args:
        config: of the study (`StudyManifest.config`).
        trials: its trials.

    Returns:
        The trial; None in a study that compares no arms, and where no replicate of the base has an objective.
    """
    if not config.get("ablation"):
        return None
    params = config["sampler"]["arms"][0]["params"]
    found = {
        (trial.objective, trial.number): trial
        for trial in _planned(trials, config["ablation"])
        if trial.state is TrialState.COMPLETE and trial.objective is not None and isfinite(trial.objective)
        if _has(trial, params)
    }
    return found[sorted(found)[(len(found) - 1) // 2]] if found else None


def _has(trial: TrialRecord, params: Mapping[str, Any]) -> bool:
    return all(path in trial.params and trial.params[path] == value for path, value in params.items())


def _arm(name: str, levels: Mapping[str, Any], params: Mapping[str, Any], trials: list[TrialRecord]) -> Arm:
    replicates: dict[int, float | None] = {}
    numbers: dict[int, int] = {}
    for trial in trials:  # of a failed trial and its retry, which have one seed, the one that has a result counts
        if trial.state is TrialState.DIVERGED:
            replicates.setdefault(trial.seed, None)
        elif trial.state is TrialState.COMPLETE and trial.objective is not None and isfinite(trial.objective):
            replicates[trial.seed], numbers[trial.seed] = trial.objective, trial.number
    over = (TrialState.FAILED, TrialState.TIMED_OUT, TrialState.COMPLETE)  # the last without an objective
    failed = {trial.seed for trial in trials if trial.state in over}
    tuned = {path: value for path, value in params.items() if path not in levels}
    return Arm(
        name=name,
        levels=levels,
        tuned=tuned,
        replicates=replicates,
        trials=numbers,
        num_failed=len(failed - set(replicates)),
    )


def _factors(config: Mapping[str, Any]) -> list[Factor]:
    return [Factor(path, levels[0], tuple(levels[1:])) for path, levels in config["factors"].items()]


def _changes(config: Mapping[str, Any]) -> dict[str, Change]:
    """Name of a comparison -> what is changed, where factors vary together."""
    if config["design"] not in FACTORIAL:
        return {}
    return {f"{change.factor} {change.level}": change for change in changes(_factors(config))}


def _aliases(config: Mapping[str, Any]) -> dict[str, tuple[Alias, ...]]:
    if config["design"] != "fractional":
        return {}
    return two_level_design(_factors(config), num_halvings=config["halvings"]).aliases()


def _trainings(arms: Sequence[Arm]) -> list[Training]:
    return [Training(arm.levels, arm.replicates) for arm in arms]


def _effects(arms: tuple[Arm, ...], varied: Mapping[str, Change]) -> dict[str, PairedEffect]:
    """Name of a comparison -> its effect."""
    if varied:
        return {name: main_effect(change, _trainings(arms)) for name, change in varied.items()}
    base, *others = arms
    return {arm.name: paired_effect(base.replicates, arm.replicates) for arm in others}


def _interactions(
    arms: Sequence[Arm], config: Mapping[str, Any], *, num_looks: int, is_interim: bool
) -> tuple[Interaction, ...]:
    if config["design"] != "factorial":
        return ()
    pairs = interactions(_factors(config))
    effects = [interaction(pair, _trainings(arms)) for pair in pairs]
    return tuple(
        Interaction(
            changes=pair,
            effect=effect,
            adjusted_p=None if is_interim else p,
            is_shown=not is_interim and verdict(effect, adjusted_p=p) is not Verdict.UNDECIDED,
        )
        for pair, effect, p in zip(pairs, effects, _adjusted(effects, num_looks=num_looks), strict=True)
    )


def _adjusted(effects: Sequence[PairedEffect], *, num_looks: int) -> list[float | None]:
    """p-values of a table, corrected for all of it, and for each time that somebody could look."""
    return [None if p is None else min(1.0, num_looks * p) for p in holm([effect.p_value for effect in effects])]


def _over_sources(arms: tuple[Arm, ...], varied: Mapping[str, Change], study: StudyRecord) -> dict[str, SourceEffect]:
    """Name of a comparison -> its effect over sources, averaged over the seeds under which every arm of it trained."""
    sides = {
        name: tuple([arm for arm in arms if arm.levels[to.factor] == level] for level in (to.base, to.level))
        for name, to in varied.items()
    } or {arm.name: ([arms[0]], [arm]) for arm in arms[1:]}
    found = {name: _effect_over_sources(base, other, study) for name, (base, other) in sides.items()}
    return {name: effect for name, effect in found.items() if effect is not None}


def _effect_over_sources(base: Sequence[Arm], other: Sequence[Arm], study: StudyRecord) -> SourceEffect | None:
    seeds = set.intersection(*(set(arm.trials) for arm in (*base, *other)))
    costs = {
        side: [study.source_costs.get(arm.trials[seed], {}) for arm in arms for seed in sorted(seeds)]
        for side, arms in (("base", base), ("other", other))
    }
    by_language: dict[str, list[float]] = defaultdict(list)
    for source, language in languages_of_sources(study.manifest.corpus).items():
        if not seeds or not all(source in each for tables in costs.values() for each in tables):
            return None
        means = {side: fmean(each[source] for each in tables) for side, tables in costs.items()}
        by_language[language].append(means["other"] - means["base"])
    return effect_over_sources(by_language) if by_language else None


def _comparison(
    name: str,
    effect: PairedEffect,
    adjusted_p: float | None,
    *,
    num: int,
    num_looks: int,
    is_interim: bool,
    margin: float | None,
    change: Change | None,
    over_sources: SourceEffect | None,
    aliases: tuple[Alias, ...],
) -> Comparison:
    said = Verdict.UNDECIDED
    if not is_interim and not effect.is_tied:  # a change that may never have acted has shown nothing
        said = verdict(effect, adjusted_p=adjusted_p, margin=margin, num_looks=num_looks)
    seeds = None
    if not is_interim and said is Verdict.UNDECIDED and effect.mean and effect.sd:
        # Whoever asks for more seeds has looked once more.
        seeds = seeds_to_decide(effect.mean, effect.sd, num_comparisons=num, alpha=ALPHA / (num_looks + 1))
    return Comparison(
        name=name,
        effect=effect,
        adjusted_p=adjusted_p,
        verdict=said,
        change=change,
        seeds_needed=None if seeds is not None and seeds <= effect.n else seeds,
        over_sources=over_sources,
        aliases=aliases,
    )
