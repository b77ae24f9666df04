"""StudyConfig: a question and its budget, read from TOML and validated where it enters."""

import os
import re
import tomllib
from collections.abc import Sequence
from difflib import get_close_matches
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from lightning_modules.config import Frozen, PositiveInt, TrialConfig
from lightning_modules.errors import ConfigError
from search_spaces.schema import leaves
from study.storage_config import StorageConfig
from study.urls import masked

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"


class TPEConfig(Frozen):
    """Tree-structured Parzen estimator, multivariate and grouped by condition (Bergstra et al., 2011).

    Attributes:
        startup_trials: trials sampled at random before the estimator is used.
    """

    kind: Literal["tpe"] = "tpe"
    startup_trials: PositiveInt = 8


class RandomConfig(Frozen):
    """Independent uniform samples."""

    kind: Literal["random"] = "random"


SamplerConfig = Annotated[TPEConfig | RandomConfig, Field(discriminator="kind")]


class MedianPrunerConfig(Frozen):
    """Stops a trial whose best objective so far is worse than the median of the others' at the same epoch.

    Attributes:
        startup_trials: trials that must be complete before any is pruned.
        warmup_epochs: epochs during which no trial is pruned.
    """

    kind: Literal["median"] = "median"
    startup_trials: PositiveInt = 4
    warmup_epochs: Annotated[int, Field(ge=0)] = 2


class NoPrunerConfig(Frozen):
    """Every trial runs to its end."""

    kind: Literal["none"] = "none"


PrunerConfig = Annotated[MedianPrunerConfig | NoPrunerConfig, Field(discriminator="kind")]

Objective = Literal["cllr_calibrated", "cllr", "c_primary_calibrated", "c_primary", "c_avg", "eer", "error_rate"]


class StudyConfig(Frozen):
    """A study: its question, its search space, its budget, and the configuration that every trial starts from.

    Attributes:
        name: names the folder, the MLflow experiment and the report.
        question: what the study is to answer, one sentence.
        space: a search space that ships, or the path of a .toml file.
        trials: how many trials at most.
        seed: of the sampler and, plus the number of earlier replicates, of the trials.
        objective: what is minimised on development data.
        sampler: proposes configurations.
        pruner: stops hopeless trials.
        evaluate: score the configuration that development data chose, once, on test data.
        storage: where records are kept.
        trial: the base configuration; searched parameters replace its values.
    """

    name: Annotated[str, Field(pattern=NAME_PATTERN)]
    question: str = ""
    space: str
    trials: PositiveInt
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    objective: Objective = "cllr_calibrated"
    sampler: SamplerConfig = TPEConfig()
    pruner: PrunerConfig = MedianPrunerConfig()
    evaluate: bool = True
    storage: StorageConfig = StorageConfig()
    trial: TrialConfig = TrialConfig()

    @model_validator(mode="after")
    def _seeds_belong_to_the_study(self) -> Self:
        if "seed" in self.trial.model_fields_set:
            raise ValueError("trial.seed is set by the study; set `seed` at the top of the file instead.")
        return self

    def settled(self) -> dict[str, Any]:
        """What may not change once trials exist: everything but the budget, the question and where it is kept."""
        return self.model_dump(mode="json", exclude={"trials", "question", "evaluate", "storage"})


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
        return StudyConfig.model_validate(content)
    except ValidationError as error:
        raise ConfigError(f"{place}: {first_finding(error)}") from None


def first_finding(error: ValidationError) -> str:
    """One line for a validation error: key, what is wrong, what was given, and how many more there are."""
    findings = error.errors(include_url=False)
    first = findings[0]
    key = ".".join(str(part) for part in first["loc"]) or "(top level)"
    message = re.sub(r"^Value error, ", "", first["msg"])
    if first["type"] == "extra_forbidden":
        return f"{key}: there is no such key{_nearest(key, str(first['loc'][-1]))}{_more(findings)}"
    given = f" (got {masked(repr(first['input']))})" if isinstance(first["input"], str | int | float | bool) else ""
    return f"{key}: {message}{given}{_more(findings)}"


def _more(findings: Sequence[Any]) -> str:
    return f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""


def _nearest(path: str, name: str) -> str:
    """`; did you mean …?` where a key of that section, or of the study, is spelt alike."""
    section = path.removesuffix(name).rstrip(".")
    known = {key.rpartition(".")[2] for key in leaves() if f"trial.{key.rpartition('.')[0]}" == section}
    known |= set(StudyConfig.model_fields) if not section else set()
    close = get_close_matches(name, sorted(known), n=1)
    return f"; did you mean {close[0]}?" if close else f"; known here: {', '.join(sorted(known))}" if known else ""


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
