"""What a study is about to do: configuration, search space and data, checked against each other."""

import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any, get_args

from lightning_modules.config import FeaturesConfig
from lightning_modules.data.feature_store import feature_store_path
from lightning_modules.data.manifest import Split, Utterance
from lightning_modules.data.prepared import PreparedCorpus, describe_corpus, open_corpus
from lightning_modules.data.splits import check_splits
from lightning_modules.data.utterances import join_utterances
from lightning_modules.errors import ConfigError, CorpusError
from lightning_modules.scoring import cllr_bound
from reports.records import SearchedParameter, StudyManifest
from search_spaces.space import Space, load_space
from study.config import StudyConfig
from study.mlflow_place import mlflow_url, recorded_mlflow
from study.workspace import StudyFolder, Workspace, read_json, write_json

DECIDING_LIBRARIES = ("lidstudy", "torch", "torchaudio", "pytorch-lightning", "optuna", "mlflow", "numpy")

SEARCHABLE_DATA = ("data.segment_s",)

SPLIT_RULE = "Training shares no source or speaker with development or test; these two share no recording."


@dataclass(frozen=True, kw_only=True)
class StudyPlan:
    """A study whose parts fit together.

    Attributes:
        config: what was asked.
        space: the search space.
        workspace: where everything lies.
        corpus: the prepared corpus.
        num_slots: attempts at a time.
        num_cores: cores that this process may use.
        num_threads: CPU threads of each, so that the slots together do not oversubscribe the cores.
        objective_bound: upper bound of the objective.
    """

    config: StudyConfig
    space: Space
    workspace: Workspace
    corpus: PreparedCorpus
    num_slots: int
    num_cores: int
    num_threads: int
    objective_bound: float

    @property
    def data_hash(self) -> str:
        """Hash of the corpus."""
        return self.corpus.data_hash

    @property
    def mlflow_url(self) -> str:
        """Where the study is recorded, with the password."""
        return mlflow_url(self.config.storage.mlflow, self.workspace)

    def manifest(self) -> StudyManifest:
        """The study's own description, for MLflow and reports."""
        return StudyManifest(
            name=self.config.name,
            question=self.config.question,
            objective=f"val/{self.config.objective}",
            objective_bound=self.objective_bound,
            num_trials=self.config.trials,
            parameters=tuple(SearchedParameter(**each) for each in self.space.searched_parameters()),
            config=self.config.model_dump(mode="json"),
            space=self.space.to_json(),
            languages=self.config.trial.data.languages,
            corpus=corpus_facts(self.corpus, languages=self.config.trial.data.languages),
            command=shlex.join(["lidstudy", *sys.argv[1:]]),
            versions={"python": sys.version.split()[0], **{name: version(name) for name in DECIDING_LIBRARIES}},
            seed=self.config.seed,
        )


def make_plan(config: StudyConfig, *, workspace: Workspace, slots: int | None) -> StudyPlan:
    """Checks that the study's parts fit together.

    Args:
        config: the study.
        workspace: where its corpus is prepared.
        slots: attempts at a time; None for one a core.

    Raises:
        ConfigError: the space does not fit the base configuration.
        CorpusError: the corpus is missing, leaks, or lacks a language.
    """
    try:
        space = load_space(config.space)
    except ConfigError as error:
        raise ConfigError(f"study {config.name}, key space: {error}") from None
    space.apply(config.trial.model_dump(mode="json"), {})
    _check_searched(space)
    data = config.trial.data
    corpus = open_corpus(data.corpus, workspace.root)
    check_splits(corpus.recordings)
    of_split = {split: join_utterances(corpus.recordings, split=split, data=data) for split in get_args(Split)}
    if config.evaluate:
        _check_sources(of_split["test"], corpus=corpus.name)
    num_cores = len(os.sched_getaffinity(0))
    num_slots = slots or num_cores
    return StudyPlan(
        config=config,
        space=space,
        workspace=workspace,
        corpus=corpus,
        num_slots=num_slots,
        num_cores=num_cores,
        num_threads=max(1, num_cores // num_slots),
        objective_bound=objective_bound(config),
    )


def _check_searched(space: Space) -> None:
    """All trials of a study must be scored on the same data, or their objectives could not be compared."""
    for parameter in space.parameters:
        if parameter.path.startswith("data.") and parameter.path not in SEARCHABLE_DATA:
            raise ConfigError(
                f"space {space.name}, key {parameter.path}: a study cannot search it, since its trials would be scored "
                f"on different data; of data, only {', '.join(SEARCHABLE_DATA)} can be searched. Make a study for each."
            )


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


def objective_bound(config: StudyConfig) -> float:
    """The objective's upper bound: what a diverged trial counts as, and what larger values are cut to.

    Cllr: twice a guess's 2 log2 N bits; C_primary: 6, all decisions wrong; C_avg, EER and error rate: 1.
    """
    match config.objective:
        case "cllr" | "cllr_calibrated":
            return cllr_bound(len(config.trial.data.languages))
        case "c_primary" | "c_primary_calibrated":
            return 6.0
        case "c_avg" | "eer" | "error_rate":
            return 1.0


def settle(plan: StudyPlan, folder: StudyFolder) -> None:
    """Writes down what the study is, or checks that it is still the same.

    Raises:
        ConfigError: the study exists with another configuration, space or corpus; names the first difference.
    """
    now = {"config": plan.config.settled(), "space": plan.space.to_json(), "data_hash": plan.data_hash}
    if folder.manifest.exists():
        before = {key: value for key, value in read_json(folder.manifest).items() if key in now}
        for key, (old, new) in _differences(before, now).items():
            raise ConfigError(
                f"study '{plan.config.name}' exists with {key} = {old!r}, now it is {new!r}; "
                "give the changed study another name, or change it back."
            )
    mlflow = recorded_mlflow(plan.mlflow_url, plan.workspace)  # may change: a study that moves is recorded again
    write_json(folder.manifest, {**now, "mlflow": mlflow, "manifest": asdict(plan.manifest())})


def read_manifest(folder: StudyFolder) -> dict[str, Any]:
    """The description of a study that exists."""
    manifest: dict[str, Any] = read_json(folder.manifest)["manifest"]
    return manifest


def needs_features(plan: StudyPlan) -> FeaturesConfig | None:
    """The features that are still to be computed, or None."""
    features = plan.config.trial.data.features
    return None if feature_store_path(plan.corpus, features, plan.workspace.root).exists() else features


def corpus_facts(corpus: PreparedCorpus, *, languages: tuple[str, ...]) -> dict[str, Any]:
    """What a report says of the data: a row per (split, language, source), and the speakers that dev and test share."""
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
        if row.language in languages
    ]
    shared = [
        f"development and test share the speaker {each.speaker} ({each.language}), but no recording"
        for each in check_splits(corpus.recordings)
        if each.language in languages
    ]
    return {
        "name": corpus.name,
        "data_hash": corpus.data_hash,
        "rows": rows,
        "shared": shared,
        "split_rule": SPLIT_RULE,
        "num_skipped": len(corpus.skipped),
        "warnings": list(corpus.warnings),
    }


def _differences(before: Any, now: Any, path: str = "") -> dict[str, tuple[Any, Any]]:
    """Path -> (before, now) of every leaf that differs."""
    if isinstance(before, dict) and isinstance(now, dict):
        found: dict[str, tuple[Any, Any]] = {}
        for key in [*before, *(key for key in now if key not in before)]:
            found |= _differences(before.get(key), now.get(key), f"{path}.{key}" if path else key)
        return found
    return {} if before == now else {path: (before, now)}
