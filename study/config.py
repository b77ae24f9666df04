"""StudyConfig: a question and its budget, read from TOML and validated where it enters."""

import os
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from lightning_modules.config import ClassificationConfig, Frozen, PositiveInt, TrialConfig
from lightning_modules.data.conditions import parse_condition
from lightning_modules.errors import ConfigError
from study.ablation_config import AblationConfig
from study.complaints import first_finding
from study.launchers.config import LauncherConfig, LocalConfig
from study.objectives import FurtherName, LatencyConfig, Score, objectives_complaint
from study.pruner_config import MedianPrunerConfig, PrunerConfig
from study.sampler_config import NSGA2Config, NSGA3Config, SamplerConfig, TPEConfig
from study.storage_config import StorageConfig

UNSETTLED = {
    *("trials", "question", "evaluate", "conditions", "conditions_of", "published"),
    *("limits", "space", "storage", "launcher", "ablation"),
}
NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"


class LimitsConfig(Frozen):
    """When an attempt or a trial is given up.

    Attributes:
        trial_s: seconds that a trial may train, over all its attempts; None for any time.
        silence_s: seconds without a sign of life after which an attempt counts as lost.
        lost_attempts: attempts of a trial that may be lost before it has failed.
        memory_mb: what an attempt may take of the machine's memory, beside what it starts with; None for any amount.
        defects_in_a_row: trials that fail one after the other before the study stops.
    """

    trial_s: Annotated[float, Field(gt=0.0)] | None = None
    silence_s: Annotated[float, Field(ge=30.0)] = 900.0
    lost_attempts: Annotated[int, Field(ge=0)] = 2
    memory_mb: PositiveInt | None = None
    defects_in_a_row: PositiveInt = 3


class StudyConfig(Frozen):
    """A study: its question, its search space, its budget, and the configuration that every trial starts from.

    Attributes:
        name: names the folder, the MLflow experiment and the report.
        question: what the study is to answer, one sentence.
        space: a search space that ships, or the path of a .toml file.
        trials: how many trials at most.
        seed: of the sampler and, plus the number of earlier replicates, of the trials.
        objective: what is minimised on development data; chooses the best epoch of a trial, and the champion.
        further_objectives: what is minimised beside it.
        latency: how the further objective `latency` is measured.
        sampler: proposes configurations.
        pruner: stops hopeless trials; none where there are further objectives.
        limits: when an attempt or a trial is given up.
        deterministic: the order of asks and tells depends on `window` alone, not on which trial ends first.
        window: trials under way at a time, as far as the sampler can tell; only with `deterministic`.
        evaluate: score the configuration that development data chose, once, on test data.
        conditions: score it under these as well, such as 3s, 10s, 30s, whole or 10s-noise-5db.
        conditions_of: path of a searched parameter: under these conditions, score the best trial of each of its values.
        published: figures from elsewhere that the report shows beside its own.
        storage: where records are kept.
        launcher: where attempts run.
        ablation: what arms are compared, of a study that `lidstudy ablate` made.
        trial: the base configuration; searched parameters replace its values.
    """

    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    question: str = ""
    space: str
    trials: PositiveInt
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    objective: Score = "cllr_calibrated"
    further_objectives: tuple[FurtherName, ...] = ()
    latency: LatencyConfig = LatencyConfig()
    sampler: SamplerConfig = TPEConfig()
    pruner: PrunerConfig = MedianPrunerConfig()
    limits: LimitsConfig = LimitsConfig()
    deterministic: bool = False
    window: PositiveInt = 2
    evaluate: bool = True
    conditions: tuple[str, ...] = ()
    conditions_of: str = ""
    published: Literal["", "padi2019"] = ""
    storage: StorageConfig = StorageConfig()
    launcher: LauncherConfig = LocalConfig()
    ablation: AblationConfig | None = None
    trial: TrialConfig = TrialConfig()

    @model_validator(mode="before")
    @classmethod
    def _no_pruner_for_several_objectives(cls, content: Any) -> Any:
        """The default pruner compares one objective; a pruner that is named is looked at below."""
        if isinstance(content, dict) and content.get("further_objectives") and "pruner" not in content:
            return {**content, "pruner": {"kind": "none"}}  # with its kind set, so that it is written down
        return content

    @model_validator(mode="after")
    def _objectives_go_together(self) -> Self:
        if complaint := objectives_complaint(self):
            raise ValueError(complaint)
        return self

    @model_validator(mode="after")
    def _seeds_belong_to_the_study(self) -> Self:
        if "seed" in self.trial.model_fields_set:
            raise ValueError("trial.seed is set by the study; set `seed` at the top of the file instead.")
        return self

    @field_validator("conditions")
    @classmethod
    def _conditions_have_one_spelling(cls, conditions: tuple[str, ...]) -> tuple[str, ...]:
        try:
            return tuple(dict.fromkeys(parse_condition(text).name for text in conditions))
        except ConfigError as error:
            raise ValueError(str(error)) from None

    @model_validator(mode="after")
    def _conditions_can_be_scored(self) -> Self:
        if not self.conditions:
            if self.conditions_of:
                raise ValueError("conditions_of needs conditions, such as 3s and 10s.")
            return self
        if not self.evaluate or not isinstance(self.trial.task, ClassificationConfig):
            raise ValueError(
                "conditions are scored on test data: they need evaluate = true and task.kind classification."
            )
        return self

    @model_validator(mode="after")
    def _a_second_generation(self) -> Self:
        """A genetic algorithm that never leaves its first generation is a random search."""
        if isinstance(self.sampler, NSGA2Config | NSGA3Config) and self.sampler.population >= self.trials:
            raise ValueError(
                f"sampler.population must be below trials but is {self.sampler.population} of {self.trials}: the first "
                "generation is random. Make it smaller, or name the sampler random."
            )
        return self

    @property
    def num_objectives(self) -> int:
        """How many there are."""
        return 1 + len(self.further_objectives)

    def settled(self) -> dict[str, Any]:
        """What may not change once trials exist: all but budget, limits, question, and where its space lies."""
        return self.model_dump(mode="json", exclude=UNSETTLED)


def load_study_config(name_or_path: str) -> StudyConfig:
    """A preset by name (`demo`) or a study's .toml file by path.

    Raises:
        ConfigError: no such preset or file, no valid TOML, or an invalid key; the message names file and key.
    """
    text, place = _read(name_or_path)
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{place}: not valid TOML: {error}") from None
    if name_or_path.endswith(".toml") and str(content.get("space", "")).endswith(".toml"):
        content["space"] = os.path.normpath(Path(name_or_path).parent / content["space"])
    try:
        return StudyConfig.model_validate(content, strict=True)  # "yes" is no truth value, and true no number
    except ValidationError as error:
        raise ConfigError(f"{place}: {first_finding(error, model=StudyConfig)}") from None


def preset_names() -> list[str]:
    """The presets that ship."""
    return sorted(entry.name.removesuffix(".toml") for entry in _presets().iterdir() if entry.name.endswith(".toml"))


def _presets() -> Any:
    return files("study") / "presets"


def _read(name_or_path: str) -> tuple[str, str]:
    if not name_or_path.endswith(".toml"):
        if name_or_path not in preset_names():
            known = ", ".join(preset_names())
            raise ConfigError(f"unknown study '{name_or_path}'; presets: {known}; or give the path of a .toml file.")
        return (_presets() / f"{name_or_path}.toml").read_text(encoding="utf-8"), f"preset {name_or_path}"
    try:
        return Path(name_or_path).read_text(encoding="utf-8"), name_or_path
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(f"{name_or_path}: cannot be read: {why}.") from None
