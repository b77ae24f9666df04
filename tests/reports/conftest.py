"""A synthetic study: as a record in memory, and written to MLflow with the keys of reports/records.py."""

import dataclasses
import json
import math
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lightning_modules.config import TrialConfig, content_hash
from reports import records as r
from reports.records import MetricPoint, StudyManifest, StudyRecord, TrialRecord, TrialState
from reports.selection import chosen
from tests.reports.helpers import MakeStudy

START_MS = 1_790_000_000_000
LANGUAGES = ("en", "es", "fr", "it", "ru")
BOUND = 2 * math.log2(len(LANGUAGES))
EPOCHS = 8
COMMON = {"encoder.cell", "training.max_epochs"}  # params that hold these are a whole configuration

WriteStudy = Callable[[StudyRecord, str], None]


def make_manifest(name: str = "demo") -> StudyManifest:
    sources = {"en": "drascula", "es": "drascula-es", "fr": "armelle", "it": "menardi", "ru": "festvox"}
    rows = [
        {
            "split": split,
            "language": lang,
            "source": {"train": "asterisk", "dev": src}.get(split, f"source-{lang}-{half}"),
            **numbers,
        }
        for lang, src in sources.items()
        for half in (0, 1)
        for split, numbers in {
            "train": {"recordings": 480, "hours": 0.31, "speakers": 1},
            "dev": {"recordings": 160, "hours": 0.14, "speakers": 4},
            "test": {"recordings": 75, "hours": 0.06, "speakers": 2},
        }.items()
        if split == "test" or not half
    ]
    return StudyManifest(
        name=name,
        question="Which recurrent cell and which gradient clipping serve short utterances best, and does it matter?",
        objective=r.OBJECTIVE,
        objective_bound=BOUND,
        num_trials=30,
        parameters=(
            r.SearchedParameter(path="encoder.cell", kind="choices", choices=("rnn_tanh", "gru", "lstm")),
            r.SearchedParameter(path="encoder.hidden_size", kind="choices", choices=(32, 64, 128)),
            r.SearchedParameter(path="clipping.kind", kind="choices", choices=("none", "norm", "value")),
            r.SearchedParameter(
                path="clipping.max_norm", kind="float", low=0.05, high=20.0, log=True, when={"clipping.kind": ("norm",)}
            ),
            r.SearchedParameter(path="optimizer.learning_rate", kind="float", low=1e-4, high=1e-1, log=True),
            r.SearchedParameter(path="training.batch_size", kind="int", low=8, high=64),
        ),
        config={"trials": 30, "slots": 2},
        space={"encoder.cell": {"choices": ["rnn_tanh", "gru", "lstm"]}},
        languages=LANGUAGES,
        corpus={"name": "prompts", "data_hash": "9f86d081884c", "rows": rows},
        command="lidstudy run demo --seed 1",
        versions={"lidstudy": "0.1.0", "python": "3.11.7", "torch": "2.14.1", "pytorch-lightning": "2.6.6"},
        seed=1,
    )


def flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found.update(flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value})
    return found


def make_params(rng: random.Random, seed: int) -> dict[str, Any]:
    kind = rng.choice(["none", "norm", "value"])
    config = TrialConfig.model_validate(
        {
            "encoder": {"cell": rng.choice(["rnn_tanh", "gru", "lstm"]), "hidden_size": rng.choice([32, 64, 128])},
            "clipping": {"kind": kind, **({"max_norm": 10 ** rng.uniform(-1.3, 1.3)} if kind == "norm" else {})},
            "optimizer": {"kind": "adam", "learning_rate": 10 ** rng.uniform(-4, -1)},
            "training": {"batch_size": rng.randint(8, 64), "max_epochs": EPOCHS},
            "seed": seed,
        }
    )
    return flat(config.model_dump(mode="json"))


def curve(values: list[float], start_ms: int) -> tuple[MetricPoint, ...]:
    return tuple(MetricPoint(step=i, value=v, time_ms=start_ms + 4000 * (i + 1)) for i, v in enumerate(values))


def make_history(rng: random.Random, params: dict[str, Any], epochs: int, start_ms: int) -> dict[str, Any]:
    cell = {"rnn_tanh": 0.35, "gru": 0.0, "lstm": 0.08}[params["encoder.cell"]]
    rate = abs(math.log10(params["optimizer.learning_rate"]) + 2.4) * 0.22
    floor = 1.55 + cell + rate + rng.gauss(0, 0.06)
    falling = [floor + (2.6 - floor) * math.exp(-0.5 * i) + rng.gauss(0, 0.02) for i in range(epochs)]
    clipped = 0.0 if params["clipping.kind"] == "none" else 1 / (1 + params.get("clipping.max_norm", 1.0))
    norms = [2.5 * math.exp(-0.2 * i) + rng.random() for i in range(epochs)]
    share = [max(0.0, 1 - v / 2.9) for v in falling]
    values = {
        r.OBJECTIVE: falling,
        r.TRAIN_LOSS: [1.6 * math.exp(-0.3 * i) + 0.1 * rng.random() for i in range(epochs)],
        r.VAL_LOSS: [0.7 * v for v in falling],
        r.VAL_ACCURACY: share,
        r.VAL_C_PRIMARY: [v / 2.2 for v in falling],
        r.VAL_C_PRIMARY_CALIBRATED: [v / 2.4 for v in falling],
        r.VAL_C_AVG: [v / 5 for v in falling],
        r.VAL_EER: [v / 6 for v in falling],
        r.VAL_CLLR: [v * 1.15 for v in falling],
        r.GRAD_NORM_BEFORE: norms,
        r.GRAD_NORM_AFTER: [v * (1 - 0.7 * clipped) for v in norms],
        r.GRAD_NORM_MAX: [v * 3 for v in norms],
        r.GRAD_SHARE_CLIPPED: [clipped * math.exp(-0.1 * i) for i in range(epochs)],
        r.TIME_TRAIN_S: [3.1 + rng.random() / 5] * epochs,
        r.TIME_VALIDATION_S: [0.5 + rng.random() / 10] * epochs,
    }
    return {key: curve(points, start_ms) for key, points in values.items()}


def best_metrics(history: dict[str, tuple[MetricPoint, ...]]) -> dict[str, float]:
    best = min(history[r.OBJECTIVE], key=lambda point: point.value).step
    metrics = {
        r.BEST_PREFIX + key.removeprefix("val/"): points[best].value
        for key, points in history.items()
        if key.startswith("val/")
    }
    return {**metrics, r.BEST_OBJECTIVE: history[r.OBJECTIVE][best].value, r.BEST_EPOCH: float(best)}


def make_trial(
    number: int,
    state: TrialState = TrialState.COMPLETE,
    *,
    params: dict[str, Any] | None = None,
    objective: float | None = None,
    seed: int | None = None,
    metrics: dict[str, float] | None = None,
) -> TrialRecord:
    rng = random.Random(number)
    seed = number if seed is None else seed
    drawn = make_params(rng, seed)
    params = {**({} if params and set(params) >= COMMON else drawn), **(params or {}), "seed": seed}
    epochs = {TrialState.PRUNED: 3, TrialState.DIVERGED: 2, TrialState.FAILED: 1}.get(state, EPOCHS)
    start_ms = START_MS + number * 16_000
    history = make_history(rng, params, epochs, start_ms)
    found = {key: points[-1].value for key, points in history.items()}
    if state in {TrialState.COMPLETE, TrialState.DIVERGED}:
        found |= best_metrics(history) | {r.NUM_PARAMETERS: 20_000.0 + number}
    if state is TrialState.DIVERGED:
        found[r.BEST_OBJECTIVE] = BOUND
    if objective is not None:
        found[r.BEST_OBJECTIVE] = objective
    reasons = {TrialState.DIVERGED: "the loss is not finite at step 61", TrialState.FAILED: "ValueError: no such voice"}
    return TrialRecord(
        run_id=f"run{number}",
        number=number,
        state=state,
        seed=seed,
        configuration_hash=content_hash({k: v for k, v in params.items() if k != "seed"}),
        params=dict(sorted(params.items())),
        metrics=dict(sorted((found | (metrics or {})).items())),
        history=history,
        start_ms=start_ms,
        end_ms=None if state is TrialState.RUNNING else start_ms + 4200 * epochs,
        failure=reasons.get(state, ""),
        tags={r.TAG_COMMIT: "0123abc", r.TAG_DEVICE: "cpu"},
    )


def make_scores(seed: int, sharpness: float) -> r.ScoreTable:
    rng = random.Random(seed)
    rows: list[tuple[str, str, str, str, float]] = []
    llr: list[tuple[float, ...]] = []
    for index, language in enumerate(LANGUAGES):
        for number in range(24):
            speaker = f"source-{language}-{number % 2}/{number % 4}"
            rows.append(
                (f"{speaker}#{number}", language, speaker.split("/", maxsplit=1)[0], speaker, 6.0 + rng.random())
            )
            llr.append(
                tuple(rng.gauss(sharpness if i == index else 0.4 * ((i + 1) % 5 == index), 1.0) for i in range(5))
            )
    utterance, language_, source, speaker_, duration = zip(*rows, strict=True)
    return r.ScoreTable(
        utterance=utterance,
        language=language_,
        source=source,
        speaker=speaker_,
        duration_s=duration,
        targets=LANGUAGES,
        llr=tuple(llr),
    )


def make_demo(name: str = "demo") -> StudyRecord:
    """Thirty trials of every state, replicates of the best, and a champion that was evaluated once."""
    states = {4: TrialState.DIVERGED, 9: TrialState.FAILED, 13: TrialState.DIVERGED, 17: TrialState.RUNNING}
    states |= dict.fromkeys((6, 11, 12, 19, 22, 24), TrialState.PRUNED)
    trials = [make_trial(number, states.get(number, TrialState.COMPLETE)) for number in range(27)]
    best = min((t for t in trials if t.state is TrialState.COMPLETE), key=lambda t: t.objective or math.inf)
    trials += [make_trial(27 + i, params=best.params, seed=100 + i) for i in range(3)]
    champion = min((t for t in trials if t.state is TrialState.COMPLETE), key=lambda t: t.objective or math.inf)
    test = {
        "test/accuracy": 0.517,
        "test/c_avg": 0.31,
        "test/c_primary": 0.872,
        "test/c_primary_calibrated": 0.761,
        "test/eer": 0.268,
        "test/cllr": 2.05,
        "test/cllr_calibrated": 1.84,
        r.TEST_P_VALUE: 0.018,
    }
    entry = r.LedgerEntry(
        time="2026-11-22T12:00:00Z",
        trial=champion.number,
        run_id=champion.run_id,
        data_hash="9f86d081884c",
        metrics={key.removeprefix("test/"): value for key, value in test.items()},
        num_sources=10,
        num_speakers=20,
        num_utterances=120,
    )
    return StudyRecord(
        manifest=make_manifest(name),
        run_id="parent",
        experiment_id="1",
        trials=tuple(trials),
        champion=champion.number,
        test_metrics=test,
        scores_dev=make_scores(1, 1.6),
        scores_test=make_scores(2, 1.0),
        ledger=(entry,),
        tags={r.TAG_STATE: "complete", r.TAG_COMMIT: "0123abc", r.TAG_DATA: "9f86d081884c"},
    )


@pytest.fixture
def demo() -> StudyRecord:
    return make_demo()


@pytest.fixture
def trial() -> Callable[..., TrialRecord]:
    return make_trial


@pytest.fixture
def make_study() -> MakeStudy:
    """A study of given trials and nothing else."""

    def make(*trials: TrialRecord, **changes: Any) -> StudyRecord:
        return dataclasses.replace(
            StudyRecord(manifest=make_manifest(), run_id="parent", experiment_id="1", trials=trials), **changes
        )

    return make


# --- MLflow -----------------------------------------------------------------------------------------------------------


def _json(content: Any) -> str:
    return json.dumps(content)


def _write_run(client: Any, experiment_id: str, tags: dict[str, str], trial: TrialRecord | None, start_ms: int) -> str:
    from mlflow.entities import Metric, Param, RunTag

    run_id: str = client.create_run(experiment_id, start_time=start_ms).info.run_id
    metrics, params = [], []
    if trial:
        stepped = [(key, p.value, p.time_ms, p.step) for key, points in trial.history.items() for p in points]
        stepped += [(key, value, start_ms, 0) for key, value in trial.metrics.items() if key not in trial.history]
        metrics = [Metric(*entry) for entry in stepped]
        params = [Param(key, r.param_text(value)) for key, value in trial.params.items()]
    for first in range(0, max(len(metrics), 1), 1000):
        client.log_batch(run_id, metrics=metrics[first : first + 1000])
    client.log_batch(run_id, params=params, tags=[RunTag(key, value) for key, value in tags.items()])
    return run_id


def _trial_tags(trial: TrialRecord, study: str, parent: str) -> dict[str, str]:
    tags = {
        **trial.tags,
        "mlflow.parentRunId": parent,
        r.TAG_KIND: "trial",
        r.TAG_STUDY: study,
        r.TAG_TRIAL: r.trial_tag(study, trial.number),
        r.TAG_NUMBER: str(trial.number),
        r.TAG_STATE: trial.state.value,
        r.TAG_SEED: str(trial.seed),
        r.TAG_CONFIGURATION: trial.configuration_hash,
    }
    return tags | ({r.TAG_FAILURE: trial.failure} if trial.failure else {})


def _write_scores(client: Any, run_id: str, table: r.ScoreTable, artifact: str, folder: Path) -> None:
    import pyarrow as pa
    from pyarrow.parquet import write_table

    columns = {name: list(getattr(table, name)) for name in r.SCORE_COLUMNS}
    columns |= dict(zip(table.targets, (list(column) for column in zip(*table.llr, strict=True)), strict=True))
    path = folder / Path(artifact).name
    write_table(pa.table(columns), path)
    client.log_artifact(run_id, str(path), str(Path(artifact).parent))


def write_to_mlflow(study: StudyRecord, tracking_uri: str, folder: Path) -> None:  # noqa: C901 - what is there
    """Write a record as the tracker would: one experiment, a parent run, a child run a trial, artifacts."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=tracking_uri)
    name = study.manifest.name
    experiment = client.create_experiment(name, artifact_location=(folder / "artifacts").as_uri())
    tags = {**study.tags, r.TAG_KIND: "study", r.TAG_STUDY: name}
    if study.champion is not None:
        tags[r.TAG_CHAMPION] = str(study.champion)
    parent = _write_run(client, experiment, tags, None, START_MS)
    for key, value in study.test_metrics.items():
        client.log_metric(parent, key, value)
    client.log_text(parent, _json(dataclasses.asdict(study.manifest)), r.ARTIFACT_STUDY)
    if study.ledger:
        lines = "".join(_json(dataclasses.asdict(entry)) + "\n" for entry in study.ledger)
        client.log_text(parent, lines, r.ARTIFACT_LEDGER)
    if study.scores_test:
        _write_scores(client, parent, study.scores_test, r.ARTIFACT_SCORES_TEST, folder)
    for trial in study.trials:
        run_id = _write_run(client, experiment, _trial_tags(trial, name, parent), trial, trial.start_ms)
        if trial.end_ms is not None:
            client.set_terminated(run_id, trial.state.mlflow_status, trial.end_ms)
        if trial.number in study.gradient_flow:
            flow = _json(dataclasses.asdict(study.gradient_flow[trial.number]))
            client.log_text(run_id, flow, r.ARTIFACT_GRADIENT_FLOW)
        if trial.number in study.source_costs:
            client.log_text(run_id, _events(trial, study.source_costs[trial.number]), r.ARTIFACT_EVENTS)
        if study.scores_dev and trial == chosen(study):
            _write_scores(client, run_id, study.scores_dev, r.ARTIFACT_SCORES_DEV, folder)


def _events(trial: TrialRecord, costs: dict[str, float]) -> str:
    """A torn line, an epoch that was not the best, and the one that was."""
    best = trial.metrics[r.BEST_EPOCH]
    others = {"type": "epoch", "epoch": best + 1, "sources": dict.fromkeys(costs, 9.0)}
    return "\n".join(['{"type": "epo', _json(others), _json({"type": "epoch", "epoch": best, "sources": costs}), ""])


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database; it is migrated once, because that takes longer than most tests."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def tracking_uri(template: Path, tmp_path: Path) -> str:
    """An empty database of the test's own."""
    shutil.copy(template, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


@pytest.fixture
def write_study(tmp_path: Path) -> WriteStudy:
    return lambda study, uri: write_to_mlflow(study, uri, tmp_path)
