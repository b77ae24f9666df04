"""What a study is about to do: configuration, search space and data, checked against each other."""

import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, assert_never, get_args

from lightning_modules.config import BATCH_NORMALISING, SCORED_DATA, SEARCHABLE_DATA, DataConfig, SequenceConfig
from lightning_modules.data.manifest import Split, Utterance
from lightning_modules.data.prepared import PreparedCorpus, describe_corpus, open_corpus_of
from lightning_modules.data.segments import check_training_speech
from lightning_modules.data.splits import check_splits, shared_with_training
from lightning_modules.data.switched_utterances import scored_rows
from lightning_modules.errors import ConfigError, CorpusError
from reports.records import SearchedParameter, StudyManifest
from search_spaces.space import Space, load_space
from study.combinations import check_combination, check_sources, num_configurations
from study.config import StudyConfig
from study.devices import CPU, Device, Slot, SlotSizing, choose_devices, make_slots
from study.launchers.config import InlineConfig, LauncherConfig, LocalConfig, RayConfig, SlurmConfig
from study.leaks import in_words, known_leaks
from study.mlflow_place import mlflow_url
from study.objectives import LATENCY, Goal, LatencyConfig, described, further_goals, objective_bound
from study.pretrained import check_pretrained
from study.provenance import versions
from study.sampler_config import DesignConfig
from study.workspace import Workspace

PRECISION_PATH: Final = "training.precision"
ENCODER_PATH: Final = "encoder.kind"
BORDER_PATH: Final = "head.border_s"
SPLIT_RULE = "Training shares no {kept_apart} with development or test; these two share no recording."


@dataclass(frozen=True, kw_only=True)
class StudyPlan:
    """A study whose parts fit together.

    Attributes:
        config: what was asked.
        space: the search space.
        workspace: where everything lies.
        corpus: the prepared corpus.
        slots: the shares of devices that trials get, as far as they are known before the first one.
        sizing: sizes the slots of GPUs as trials end; None where their number is given.
        num_cores: cores that this process may use.
        time_budget_s: seconds after which no new trial is started; None for any time.
        objective_bound: upper bound of the first objective.
        command: what makes the study.
    """

    config: StudyConfig
    space: Space
    workspace: Workspace
    corpus: PreparedCorpus
    slots: tuple[Slot, ...]
    sizing: SlotSizing | None = None
    num_cores: int
    time_budget_s: float | None = None
    objective_bound: float
    command: str

    @property
    def data_hash(self) -> str:
        """Hash of the corpus."""
        return self.corpus.data_hash

    @property
    def num_trials(self) -> int:
        """The budget, or all configurations there are where the sampler tries every one."""
        return min(self.config.trials, num_configurations(self.config, self.space) or self.config.trials)

    @property
    def mlflow_url(self) -> str:
        """Where the study is recorded, with the password."""
        return mlflow_url(self.config.storage.mlflow, self.workspace)

    @property
    def further(self) -> tuple[Goal, ...]:
        """The further objectives."""
        return further_goals(self.config)

    @property
    def latency(self) -> LatencyConfig | None:
        """How attempts measure latency; None where that is no objective."""
        return self.config.latency if LATENCY in self.config.further_objectives else None

    @property
    def searched(self) -> tuple[SearchedParameter, ...]:
        """The parameters of the space, as reports know them."""
        return tuple(SearchedParameter(**each) for each in self.space.searched_parameters())

    def manifest(self) -> StudyManifest:
        """The study's own description, for MLflow and reports."""
        return StudyManifest(
            name=self.config.name,
            question=self.config.question,
            objective=f"val/{self.config.objective}",
            objective_bound=self.objective_bound,
            num_trials=self.num_trials,
            parameters=self.searched,
            config=self.config.model_dump(mode="json"),
            space=self.space.to_json(),
            languages=self.config.trial.data.languages,
            corpus=corpus_facts(self.corpus, self.config.trial.data),
            command=self.command,
            versions=versions(),
            seed=self.config.seed,
            further_objectives=described(self.config),
            time_budget_s=self.time_budget_s,
        )


def make_plan(
    config: StudyConfig,
    *,
    workspace: Workspace,
    space: Space | None = None,
    slots: int | None = None,
    devices: str = "auto",
    devices_per_trial: int = 1,
    time_budget_s: float | None = None,
) -> StudyPlan:
    """Checks that the study's parts fit together.

    Args:
        config: the study.
        workspace: where its corpus is prepared.
        space: what is searched; None for the space that the study names.
        slots: attempts at a time a device; None for one a core, or one a GPU to begin with.
        devices: as `choose_devices` takes them.
        devices_per_trial: devices of each attempt; on the CPU, ranks.
        time_budget_s: seconds after which no new trial is started.

    Raises:
        ConfigError: the space does not fit the base configuration, a trial needs a device that is not there, or records
            would leave the workspace.
        CorpusError: the corpus is missing, leaks, or lacks a language.
    """
    space = space or _named_space(config)
    _check_base(config, space)
    _check_searched(space)
    check_combination(config, space)
    _check_conditions(config, space)
    _check_latency(config, devices_per_trial=devices_per_trial)
    _check_ranks(config, space, num_ranks=max(devices_per_trial, _devices_of_job(config.launcher)))
    mlflow_url(config.storage.mlflow, workspace)
    data = config.trial.data
    with _blamed_on(config, "data.corpus"):
        corpus = open_corpus_of(data, workspace.root)
        check_splits(corpus.recordings, allow_shared=corpus.allow_shared)
    with _blamed_on(config, "data"):
        of_split = {
            split: scored_rows(corpus.recordings, split=split, data=data, task=config.trial.task)
            for split in get_args(Split)
        }
        check_training_speech(corpus.recordings, data.trained_languages)
    check_pretrained(config.trial, space, corpus.recordings, workspace=workspace, study=config.name)
    if config.evaluate:
        _check_sources(of_split["test"], corpus=corpus.name)
    check_sources(config, len({each.source for each in of_split["dev"]}))
    _check_border(config, space, [each.duration_s for each in of_split["dev"]])
    num_cores = len(os.sched_getaffinity(0))
    chosen = choose_devices(devices)
    _check_precision(config, space, has_gpu=_has_gpu(config.launcher, chosen))
    is_sized = slots is None and chosen[0].memory_mb is not None
    return StudyPlan(
        config=config,
        space=space,
        workspace=workspace,
        corpus=corpus,
        slots=make_slots(chosen, slots=slots, devices_per_trial=devices_per_trial, num_cores=num_cores),
        sizing=SlotSizing(chosen, num_cores=num_cores, devices_per_trial=devices_per_trial) if is_sized else None,
        num_cores=num_cores,
        time_budget_s=time_budget_s,
        objective_bound=objective_bound(config),
        command=shlex.join(["lidstudy", *sys.argv[1:]]),
    )


def _named_space(config: StudyConfig) -> Space:
    try:
        return load_space(config.space, around_defaults=False)
    except ConfigError as error:
        raise ConfigError(f"study {config.name}, key space: {error}") from None


def _check_base(config: StudyConfig, space: Space) -> None:
    """What may be proposed around the base configuration: of a design its arms alone, whose values go together."""
    base = config.trial.model_dump(mode="json")
    try:
        if isinstance(config.sampler, DesignConfig):
            for arm in config.sampler.arms:
                space.apply(base, arm.params)
            return
        space.check_base(base)
    except ConfigError as error:
        raise ConfigError(f"study {config.name}, with the configuration in its [trial]: {error}") from None
    try:
        space.check_read(base)
    except ConfigError as error:
        raise ConfigError(f"study {config.name}, {error}") from None


@contextmanager
def _blamed_on(config: StudyConfig, key: str) -> Iterator[None]:
    """Names study and key in what is wrong with the corpus."""
    try:
        yield
    except CorpusError as error:
        raise CorpusError(f"study {config.name}, key trial.{key}: {error}") from None


def _check_searched(space: Space) -> None:
    """All trials of a study must be scored on the same data, or their objectives could not be compared."""
    searchable = [f"data.{key}" for key in SEARCHABLE_DATA]
    for parameter in space.parameters:
        if parameter.path.startswith("data.") and parameter.path not in searchable:
            raise ConfigError(
                f"space {space.name}, key {parameter.path}: a study cannot search it, since its trials would be scored "
                f"on different data; of data, only {', '.join(searchable)} can be searched. Make a study for each."
            )
        if parameter.path.startswith(SCORED_DATA):
            raise ConfigError(
                f"space {space.name}, key {parameter.path}: a study cannot search it, since its trials would be scored "
                f"on different data; {' and '.join(SCORED_DATA)} are the same for all. Make a study for each."
            )


def _check_conditions(config: StudyConfig, space: Space) -> None:
    """What the best trials of each value are scored by must have values that can be told apart."""
    choices = [parameter.path for parameter in space.parameters if parameter.choices]
    if config.conditions_of and config.conditions_of not in choices:
        raise ConfigError(
            f"study {config.name}, key conditions_of: {config.conditions_of!r} has no choices in space {space.name}; "
            f"those that do: {', '.join(choices) or 'none'}."
        )


def _check_latency(config: StudyConfig, *, devices_per_trial: int) -> None:
    """One utterance is scored on one device, and a process that is to fork ranks must not have used it."""
    if devices_per_trial > 1 and LATENCY in config.further_objectives:
        raise ConfigError(
            f"study {config.name}, key further_objectives: latency is measured on a trial's one device, but trials "
            f"have {devices_per_trial}; leave --devices-per-trial out, or latency."
        )
    if isinstance(config.trial.task, SequenceConfig) and LATENCY in config.further_objectives:
        raise ConfigError(
            f"study {config.name}, key further_objectives: a decoder takes as long as what it says, which before its "
            "training is chance; latency cannot be an objective of task.kind sequence."
        )


def _check_ranks(config: StudyConfig, space: Space, *, num_ranks: int) -> None:
    """Each rank would normalise its own part of a batch, and the network would be another one."""
    searched = next((each for each in space.parameters if each.path == ENCODER_PATH), None)
    kinds = (config.trial.encoder.kind,) if searched is None else searched.choices
    normalising = [str(kind) for kind in kinds if kind in BATCH_NORMALISING]
    if num_ranks > 1 and normalising:
        raise ConfigError(
            f"study {config.name}, key trial.{ENCODER_PATH}: {' and '.join(normalising)} normalise over the batch, "
            f"which {num_ranks} devices a trial would cut in parts; give these trials one device."
        )


def _check_border(config: StudyConfig, space: Space, durations_s: Sequence[float]) -> None:
    """A border between heads is told from another by the development utterances that lie between the two alone."""
    searched = next((each for each in space.parameters if each.path == BORDER_PATH), None)
    if searched is None:
        return
    low, high = min(map(float, searched.extremes)), max(map(float, searched.extremes))
    if not any(low <= duration < high for duration in durations_s):
        raise ConfigError(
            f"space {space.name}, key {BORDER_PATH}: no development utterance is as long as {low:g} s and shorter than "
            f"{high:g} s, so that all its values score the same; leave it out of study {config.name}, or let "
            "trial.data.minimum_s and trial.data.utterance_s leave some."
        )


def _devices_of_job(launcher: LauncherConfig) -> int:
    """Devices of an attempt, where the launcher says so."""
    match launcher:
        case RayConfig():
            return 1 if launcher.devices == "cpu" else launcher.gpus_per_slot
        case SlurmConfig():
            return launcher.num_gpus
        case LocalConfig() | InlineConfig():
            return 1
        case _:
            assert_never(launcher)


def _check_precision(config: StudyConfig, space: Space, *, has_gpu: bool) -> None:
    """A forward pass in float16 needs a GPU's arithmetic, and a scale for the loss."""
    searched = next((each for each in space.parameters if each.path == PRECISION_PATH), None)
    asked = (config.trial.training.precision,) if searched is None else searched.choices
    if not has_gpu and "float16" in asked:
        place = f"study {config.name}, key trial.{PRECISION_PATH}"
        if searched is not None:
            place = f"space {space.name}, key {PRECISION_PATH}"
        raise ConfigError(f"{place}: float16 needs a GPU, and no slot has one; take bfloat16 or float32.")


def _has_gpu(launcher: LauncherConfig, devices: Sequence[Device]) -> bool:
    """Whether attempts may find a GPU: what a cluster has is not known before they do."""
    match launcher:
        case RayConfig():
            return launcher.devices != "cpu"
        case SlurmConfig():
            return launcher.num_gpus > 0
        case LocalConfig() | InlineConfig():
            return any(device.name != CPU for device in devices)
        case _:
            assert_never(launcher)


def _check_sources(utterances: Sequence[Utterance], *, corpus: str) -> None:
    """A source speaks one language: the test against chance permutes languages over sources."""
    languages: dict[str, str] = {}
    for utterance in utterances:
        language = languages.setdefault(utterance.source, utterance.language)
        if language != utterance.language:
            raise CorpusError(
                f"corpus {corpus}: source {utterance.source} holds {language} and {utterance.language}; "
                "name a source a language in its manifest."
            )


def corpus_facts(corpus: PreparedCorpus, data: DataConfig) -> dict[str, Any]:
    """What a report says of the data: a row per (split, language, source), and the speakers that dev and test share."""
    languages = data.languages
    rows = [
        {
            "split": row.split,
            "language": row.language,
            "source": row.source,
            "recordings": row.num_recordings,
            "hours": row.minutes / 60,
            "speakers": row.num_speakers,
        }
        for row in describe_corpus(corpus)
        if row.language in (data.trained_languages if row.split == "train" else languages)
    ]
    shared = [
        f"development and test share the speaker {each.speaker} ({each.language}), but no recording"
        for each in check_splits(corpus.recordings, allow_shared=corpus.allow_shared)
        if each.language in languages
    ]
    splits = {each.id: each.split for each in corpus.recordings if each.language in languages}
    shared += [f"{each}, as its description allows" for each in shared_with_training(corpus.recordings)]
    leaks = (each for each in known_leaks(corpus) or () if splits.get(each.first) != splits.get(each.second))
    if said := in_words(tuple(leaks)):
        shared.append(said)
    kept_apart = " or ".join(what for what in ("source", "speaker") if what not in corpus.allow_shared)
    return {
        "name": corpus.name,
        "data_hash": corpus.data_hash,
        "rows": rows,
        "shared": shared,
        "split_rule": SPLIT_RULE.format(kept_apart=kept_apart or "recording"),
        "num_skipped": len(corpus.skipped),
        "warnings": list(corpus.warnings),
    }
