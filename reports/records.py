"""What a study leaves behind: every MLflow key, and the typed records that are read back.

The tracker (study/tracking.py) writes with these names and the loader (reports/load.py) reads with them, so that
neither can drift from the other. Nothing here imports mlflow or pandas.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from lightning_modules.errors import StorageError
from reports.evaluation_records import Evaluation

CLASSIFICATION: Final = "classification"

# --- tags ------------------------------------------------------------------------------------------------------------
TAG_KIND: Final = "lidstudy.kind"  # "study" on the parent run, "trial" on its children, "attempt" on theirs
TAG_STUDY: Final = "lidstudy.study"
TAG_TRIAL: Final = "lidstudy.trial"  # "<study>/<number>", unique: a run is found by it before one is created
TAG_NUMBER: Final = "lidstudy.number"
TAG_STATE: Final = "lidstudy.state"  # a TrialState; on the parent run a StudyState
TAG_SEED: Final = "lidstudy.seed"
TAG_CONFIGURATION: Final = "lidstudy.configuration_hash"
TAG_COMMIT: Final = "lidstudy.commit"
TAG_DIFF: Final = "lidstudy.diff_hash"  # hash of the uncommitted change; absent when the tree is clean
TAG_VERSIONS: Final = "lidstudy.versions"  # JSON: python, lidstudy and the libraries that decide results
TAG_DATA: Final = "lidstudy.data_hash"
TAG_DEVICE: Final = "lidstudy.device"
TAG_HOST: Final = "lidstudy.host"
TAG_FAILURE: Final = "lidstudy.failure"  # one line: why a trial failed, diverged or timed out
TAG_FAILURE_CLASS: Final = "lidstudy.failure_class"  # a FailureClass: what kind of end a trial or an attempt came to
TAG_ATTEMPTS: Final = "lidstudy.attempts"
TAG_ATTEMPT: Final = "lidstudy.attempt"  # "<study>/<number>/<attempt>", unique, on the run of an attempt
TAG_CHAMPION: Final = "lidstudy.champion"  # on the parent run: the number of the trial that development data chose

# --- artifacts -------------------------------------------------------------------------------------------------------
ARTIFACT_CONFIG: Final = "config.json"  # trial: the TrialConfig
ARTIFACT_EVENTS: Final = "events.jsonl"  # trial: the event logs of its attempts, one after another
ARTIFACT_TRACEBACK: Final = "traceback.txt"  # trial: only of defects
ARTIFACT_SCORES_DEV: Final = "scores/dev.parquet"  # trial: a row an utterance or segment, see SCORE_COLUMNS
ARTIFACT_CHECKPOINT: Final = "checkpoint/best.ckpt"  # trial
ARTIFACT_CURVES: Final = "figures/learning_curves.png"  # trial
ARTIFACT_CONFUSION: Final = "figures/confusion.png"  # trial
ARTIFACT_GRADIENT_FLOW: Final = "gradient_flow.json"  # trial: a GradientFlow, where that was asked for
ARTIFACT_STUDY: Final = "study.json"  # parent run: a StudyManifest as JSON
ARTIFACT_SCORES_TEST: Final = "scores/test.parquet"  # parent run: the champion on test data
ARTIFACT_LEDGER: Final = "ledger.jsonl"  # parent run: every evaluation on speech that was not trained on

SCORE_COLUMNS: Final = ("utterance", "language", "source", "speaker", "duration_s")
"""Leading columns of a scores file; those after them are the target languages, holding log-likelihood ratios (nats)."""

# --- metrics: stepped by epoch ---------------------------------------------------------------------------------------
OBJECTIVE: Final = "val/cllr_calibrated"  # bits; the default objective
TRAIN_LOSS: Final = "train/loss"
VAL_LOSS: Final = "val/loss"
VAL_ACCURACY: Final = "val/accuracy"  # macro: mean over languages
VAL_C_AVG: Final = "val/c_avg"  # LRE07, raw scores
VAL_C_PRIMARY: Final = "val/c_primary"  # LRE17, raw scores
VAL_C_PRIMARY_CALIBRATED: Final = "val/c_primary_calibrated"
VAL_EER: Final = "val/eer"
VAL_CLLR: Final = "val/cllr"  # bits, raw scores
GRAD_NORM_BEFORE: Final = "grad/norm_before_clipping"  # mean over the epoch's steps
GRAD_NORM_AFTER: Final = "grad/norm_after_clipping"
GRAD_NORM_QUANTILES: Final = ("grad/norm_q10", "grad/norm_q50", "grad/norm_q90")  # before clipping, over steps
GRAD_NON_FINITE: Final = "grad/steps_non_finite"  # dropped in the epoch
GRAD_NORM_MAX: Final = "grad/norm_max"  # largest before clipping in the epoch
GRAD_SHARE_CLIPPED: Final = "grad/share_clipped"  # 0..1
GRAD_FLOW_PREFIX: Final = "grad/flow/"  # by layer and gate: lightning_modules/gradient_flow.py
GRAD_OVER_TIME: Final = "training.gradient_flow.over_time"  # the param of trials with an ARTIFACT_GRADIENT_FLOW
TIME_TRAIN_S: Final = "time/train_s"
TIME_VALIDATION_S: Final = "time/validation_s"

# --- metric of the parent run, stepped by trial -----------------------------------------------------------------------
STUDY_OBJECTIVE: Final = "study/objective"  # a point a recorded trial: what Optuna was told, or NaN

# --- metrics without steps -------------------------------------------------------------------------------------------
BEST_OBJECTIVE: Final = "best/objective"  # trial: the value that Optuna was told
BEST_EPOCH: Final = "best/epoch"
BEST_PREFIX: Final = "best/"  # the val/ metrics at the best epoch, as best/accuracy, best/c_primary …
PEAK_MEMORY_MB: Final = "device/peak_memory_mb"  # by epoch, GPUs only
NUM_PARAMETERS: Final = "model/num_parameters"
ATTEMPTS_S: Final = "time/attempts_s"  # trial of several attempts: their seconds, without the pauses between them
LATENCY_MS: Final = "model/latency_ms"  # to score one utterance; only where that is an objective of the study
FURTHER_PREFIX: Final = "objective/"  # trial: what Optuna was told of each further objective, by its name
TEST_PREFIX: Final = "test/"  # parent run: accuracy, c_avg, c_primary, c_primary_calibrated, eer, cllr, cllr_calibrated
ON_PREFIX: Final = "on/"  # trial: on/CORPUS/SPLIT/CONDITION/SCORE, of `lidstudy evaluate`
TEST_P_VALUE: Final = "test/p_above_chance"  # permutation of languages over sources, of raw decisions
TEST_P_CALIBRATED: Final = "test/p_above_chance_calibrated"  # the same of decisions after calibration


class TrialState(StrEnum):
    """How a trial stands; the value of TAG_STATE."""

    RUNNING = "running"
    INTERRUPTED = "interrupted"
    """Stopped by Ctrl-C; the same command goes on with it."""
    COMPLETE = "complete"
    PRUNED = "pruned"
    DIVERGED = "diverged"
    FAILED = "failed"
    TIMED_OUT = "timed_out"

    @property
    def in_words(self) -> str:
        """`timed out`, for people."""
        return self.value.replace("_", " ")

    @property
    def mlflow_status(self) -> str:
        """The MLflow run status that stands for this state."""
        return {
            "running": "RUNNING",
            "complete": "FINISHED",
            "diverged": "FINISHED",
            "failed": "FAILED",
            "timed_out": "FAILED",
        }.get(self.value, "KILLED")


class FailureClass(StrEnum):
    """Why a trial has no result; the value of TAG_CLASS."""

    OUT_OF_MEMORY = "out_of_memory"
    LOST = "lost"
    TIMED_OUT = "timed_out"
    DEFECT = "defect"


class StudyState(StrEnum):
    """How a study stands; the value of TAG_STATE on the parent run."""

    RUNNING = "running"
    COMPLETE = "complete"
    """Its budget of trials or of time is spent."""
    STOPPED = "stopped"
    """By `lidstudy stop`; the same command goes on."""
    INTERRUPTED = "interrupted"
    """By Ctrl-C; the same command goes on."""
    FAILED = "failed"
    """Too many trials in a row were defects, or the champion could not be scored."""

    @property
    def mlflow_status(self) -> str:
        """The MLflow run status that stands for this state."""
        return {"running": "RUNNING", "complete": "FINISHED", "failed": "FAILED"}.get(self.value, "KILLED")


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricPoint:
    """One logged value."""

    step: int
    value: float
    time_ms: int


@dataclass(frozen=True, kw_only=True)
class SearchedParameter:
    """A parameter that the study searched.

    Attributes:
        path: its path in TrialConfig, which is also its MLflow param.
        kind: choices, int or float.
        choices: the levels, for kind choices.
        low: smallest value, for int and float.
        high: largest value.
        log: whether it is searched on a logarithmic scale.
        when: the condition under which it exists: path -> allowed values.
    """

    path: str
    kind: str
    choices: tuple[Any, ...] = ()
    low: float | None = None
    high: float | None = None
    log: bool = False
    when: dict[str, tuple[Any, ...]] = field(default_factory=dict)

    def exists(self, params: Mapping[str, Any]) -> bool:
        """Whether a configuration was given it, for a network has some value of most paths all the same."""
        holds = all(params.get(path) in allowed for path, allowed in self.when.items())
        return holds and params.get(self.path) is not None


def chosen(searched: Iterable[SearchedParameter], params: Mapping[str, Any]) -> dict[str, Any]:
    """Path -> value of the parameters that a configuration was given, in the order of the space."""
    return {each.path: params[each.path] for each in searched if each.exists(params)}


@dataclass(frozen=True, kw_only=True)
class FurtherObjective:
    """What a study minimised beside its first objective.

    Attributes:
        name: as the study's file names it.
        metric: the metric of a trial that holds its value.
        meaning: what it is, without a full stop.
    """

    name: str
    metric: str
    meaning: str = ""


@dataclass(frozen=True, kw_only=True)
class StudyManifest:
    """What was asked: the study's own description, stored as ARTIFACT_STUDY.

    Attributes:
        name: the study.
        question: the question that it answers, one sentence.
        objective: the metric that was minimised; the first where there are several.
        objective_bound: its upper bound, what a diverged trial counts as.
        num_trials: the budget.
        parameters: what was searched.
        config: the StudyConfig as JSON.
        space: the search space as JSON.
        languages: target languages, in score order.
        corpus: `name`, `data_hash`, `rows` (one per split, language and source: recordings, hours, speakers), and
            optionally `shared` (sentences: which sources or speakers stand on both sides of a split) and `split_rule`
            (one sentence).
        command: the command that started the study.
        versions: lidstudy, python and the libraries that decide results.
        seed: the study's seed.
        further_objectives: what was minimised beside the objective; none in most studies.
        time_budget_s: seconds after which its last coordinator started no new trial; None for any time.
    """

    name: str
    question: str
    objective: str
    objective_bound: float
    num_trials: int
    parameters: tuple[SearchedParameter, ...]
    config: dict[str, Any]
    space: dict[str, Any]
    languages: tuple[str, ...]
    corpus: dict[str, Any]
    command: str
    versions: dict[str, str]
    seed: int
    further_objectives: tuple[FurtherObjective, ...] = ()
    time_budget_s: float | None = None

    @property
    def task(self) -> str:
        """What networks are asked: `task_of`."""
        return task_of(self.config)

    @property
    def scored(self) -> str:
        """What is scored: `scored_of`."""
        return scored_of(self.config)


def task_of(config: Mapping[str, Any]) -> str:
    """The kind of a study's task, which is the same for all its trials."""
    return str(config.get("trial", {}).get("task", {}).get("kind", CLASSIFICATION))


def scored_of(config: Mapping[str, Any]) -> str:
    """What each score of a study's is of: an `utterance`, or a `segment`, in one language, of code-switched speech."""
    return "utterance" if task_of(config) == CLASSIFICATION else "segment"


def heard_of(task: str) -> str:
    """What a network of a task hears as one, with a loss of its own: an `utterance`, or a code-switched `recording`."""
    return "utterance" if task == CLASSIFICATION else "recording"


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """One trial as MLflow knows it.

    Attributes:
        run_id: MLflow's id.
        number: the trial's number in the study.
        state: how it ended.
        seed: its seed.
        configuration_hash: equal for replicates; the trial's own where it is not on record.
        params: the flat TrialConfig, path -> value.
        metrics: last value of each metric.
        history: every point of the metrics by epoch, sorted by step.
        start_ms: start, milliseconds since the epoch.
        end_ms: end, or None while it runs.
        failure: one line, or "".
        tags: the run's lidstudy tags (commit, device, attempts), optional.
    """

    run_id: str
    number: int
    state: TrialState
    seed: int
    configuration_hash: str
    params: dict[str, Any]
    metrics: dict[str, float]
    history: dict[str, tuple[MetricPoint, ...]]
    start_ms: int
    end_ms: int | None
    failure: str = ""
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def objective(self) -> float | None:
        """The value that Optuna was told, or None."""
        return self.metrics.get(BEST_OBJECTIVE)


@dataclass(frozen=True, kw_only=True)
class ScoreTable:
    """Scores of each utterance or segment: columns of equal length; `condition` may be left out."""

    utterance: tuple[str, ...]
    language: tuple[str, ...]
    source: tuple[str, ...]
    speaker: tuple[str, ...]
    duration_s: tuple[float, ...]
    targets: tuple[str, ...]
    llr: tuple[tuple[float, ...], ...]
    condition: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class FlowCurve:
    """|dL/dh_t| against t of one trial after so many epochs, as lightning_modules/states_over_time.py defines it.

    Attributes:
        epochs_trained: 0 before the first step.
        norms: name of a recurrence (`layer0/forward`; `.../cell` for the LSTM's c) or layer -> a value an input t.
    """

    epochs_trained: int
    norms: dict[str, tuple[float, ...]]


@dataclass(frozen=True, kw_only=True)
class GradientFlow:
    """Content of ARTIFACT_GRADIENT_FLOW: one trial's curves in the order of training."""

    curves: tuple[FlowCurve, ...]


def parse_gradient_flow(text: str) -> GradientFlow:
    """The curves in a file; StorageError where it is broken."""
    try:
        return GradientFlow(
            curves=tuple(
                FlowCurve(
                    epochs_trained=int(curve["epochs_trained"]),
                    norms={str(name): tuple(map(float, values)) for name, values in curve["norms"].items()},
                )
                for curve in json.loads(text)["curves"]
            )
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StorageError(f"{ARTIFACT_GRADIENT_FLOW} is not readable: {error}") from error


@dataclass(frozen=True, kw_only=True)
class LedgerEntry:
    """One evaluation on other speech than a trial was trained on, or on some of that where `known` says so.

    Attributes:
        corpus: where `lidstudy evaluate` was told to look; "" of the look that ends a study.
        split: which part of that corpus.
        conditions: which were asked for; none of the look that ends a study.
        declared: of the look that ends a study: the conditions that its file named by then.
        known: as of Evaluation.
        is_declared: whether these conditions are those, of a trial that the file chose: they belong to that look.
        has_test: whether test speech of the study was scored, of whatever corpus; None where that was not noted: then
            what is not development speech of the study's corpus counts.
    """

    time: str  # ISO 8601, UTC
    trial: int
    run_id: str
    data_hash: str
    metrics: dict[str, float]
    num_sources: int
    num_speakers: int
    num_utterances: int
    corpus: str = ""
    split: str = "test"
    conditions: tuple[str, ...] = ()
    declared: tuple[str, ...] = ()
    is_declared: bool = False
    known: tuple[str, ...] = ()
    has_test: bool | None = None

    def is_look(self, data_hash: str) -> bool:
        """Whether it is a look at the test data of the corpus of that hash, which a study can spend only once."""
        has_test = self.has_test
        if has_test is None:
            has_test = self.data_hash == data_hash and self.split != "dev"
        return not self.corpus or (has_test and not self.is_declared)


def looks(ledger: Iterable[LedgerEntry], data_hash: str) -> tuple[LedgerEntry, ...]:
    """The looks at a study's own test data; other corpora, and development data, may be scored at will."""
    return tuple(entry for entry in ledger if entry.is_look(data_hash))


def parse_ledger(text: str) -> tuple[LedgerEntry, ...]:
    """Entries of a ledger, one JSON object a line; ValueError where one is broken."""
    try:
        entries = (json.loads(line) for line in text.splitlines() if line.strip())
        lists = ("conditions", "declared", "known")
        return tuple(LedgerEntry(**{**each, **{key: tuple(each.get(key, ())) for key in lists}}) for each in entries)
    except TypeError as error:
        raise ValueError(str(error)) from error


@dataclass(frozen=True, kw_only=True)
class StudyRecord:
    """A whole study, read back from MLflow.

    Attributes:
        manifest: what was asked.
        run_id: the parent run.
        experiment_id: the MLflow experiment.
        trials: in order of number.
        champion: the number of the trial that development data chose, once it was evaluated on test data.
        test_metrics: the parent run's test/ metrics.
        scores_dev: the champion's (or the best trial's) development scores.
        scores_test: the champion's test scores.
        ledger: every evaluation on speech that no trial was trained on.
        evaluations: what `lidstudy evaluate` found, in the order of trials and corpora.
        gradient_flow: trial's number -> how gradients flow in it over time, of trials that measured that.
        source_costs: trial's number -> source -> what it costs at the best epoch, in bits an utterance, calibrated; of
            studies that compare arms, where every language has enough sources to draw from.
        tags: the parent run's lidstudy tags (state, commit, data hash), optional.
        clips: utterance -> MP3 to hear it by; MLflow has none, and whoever has the audio adds them.
    """

    manifest: StudyManifest
    run_id: str
    experiment_id: str
    trials: tuple[TrialRecord, ...]
    champion: int | None = None
    test_metrics: dict[str, float] = field(default_factory=dict)
    scores_dev: ScoreTable | None = None
    scores_test: ScoreTable | None = None
    ledger: tuple[LedgerEntry, ...] = ()
    evaluations: tuple[Evaluation, ...] = ()
    gradient_flow: dict[int, GradientFlow] = field(default_factory=dict)
    source_costs: dict[int, dict[str, float]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    clips: dict[str, bytes] = field(default_factory=dict)

    @property
    def looks(self) -> tuple[LedgerEntry, ...]:
        """Looks at the study's own test data."""
        return looks(self.ledger, str(self.manifest.corpus.get("data_hash", "")))


def trial_tag(study: str, number: int) -> str:
    """The unique value of TAG_TRIAL."""
    return f"{study}/{number}"


def name_of_tuning(ablation: str) -> str:
    """Name of the study that tunes the arms of an ablation of that name."""
    return f"{ablation}-tuning"


def attempt_tag(study: str, number: int, attempt: int) -> str:
    """The unique value of TAG_ATTEMPT."""
    return f"{study}/{number}/{attempt}"


def param_text(value: object) -> str:
    """A parameter as MLflow shows it: strings bare, everything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def param_value(text: str) -> Any:
    """The inverse of `param_text`, except for strings that read as JSON."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
