"""What Optuna's side of a study costs at 2,000 and 10,000 trials: asks, tells, reports, pruning, reading and opening.

    python -m benchmarks.scale_optuna [--trials 2000 10000] [--storage sqlite:///PATH | postgresql://…]

The journal is made first: every trial with ten reports, from a space of six parameters, one of them under a condition.
Then a coordinator's calls are timed, a few rounds each, and their medians printed. Asks are made beside the event loop,
and a sampler proposes in a process of its own, whose CPU is not the calling thread's.
"""

import argparse
import gc
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from optuna.trial import FrozenTrial, create_trial
from optuna.trial import TrialState as OptunaState

from reports.records import TrialState
from search_spaces.space import Space, load_space
from study.carry_over import Fitting
from study.config import StudyConfig
from study.opening import open_trial_store, read_trials, study_place
from study.sampler_config import RandomConfig, TPEConfig
from study.storage import SPACE_HASH, Storage
from study.storage_config import OPTUNA_VARIABLE, Place, StorageConfig
from study.trial_store import TrialStore
from study.trials import OUTCOME, SPACE
from study.urls import masked
from study.workspace import StudyFolder, write_json

R = TypeVar("R")

SPACE_TEXT = """
[space]
"encoder.cell" = { choices = ["rnn_tanh", "rnn_relu", "gru", "lstm"] }
"encoder.hidden_size" = { int = [32, 256], log = true }
"encoder.dropout" = { float = [0.0, 0.5] }
"optimizer.learning_rate" = { float = [0.0003, 0.01], log = true }
"clipping.kind" = { choices = ["none", "norm", "value"] }
"clipping.max_norm" = { float = [0.05, 20.0], log = true, when = { "clipping.kind" = ["norm"] } }
"""
NUM_REPORTS = 10
NUM_ROUNDS = 15


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="+", default=[2000, 10_000])
    parser.add_argument("--storage", help="URL of a database instead of the journal")
    arguments = parser.parse_args()
    for count in arguments.trials:
        with tempfile.TemporaryDirectory() as folder:
            measure(Path(folder), count=count, url=arguments.storage)


def measure(root: Path, *, count: int, url: str | None) -> None:
    (root / "space.toml").write_text(SPACE_TEXT)
    space = load_space(str(root / "space.toml"))
    name = f"scale-{count}-{int(time.time())}"
    folder = StudyFolder(root / "studies" / name)
    folder.root.mkdir(parents=True)
    config = StudyConfig(name=name, space="any", trials=count * 2, storage=StorageConfig(optuna=url))
    open_trial_store(folder, config, space).close()
    write_json(folder.manifest, {"manifest": {}, "optuna": study_place(folder, config).recorded})
    if url is not None:
        os.environ[OPTUNA_VARIABLE] = url
    filled_s = timed(lambda: fill(folder, config, space, count))
    place = masked(url or "the journal")
    print(f"\n{count:,} trials with {NUM_REPORTS} reports each on {place} (written in {filled_s:.1f} s)")
    opened_s = timed(lambda: open_trial_store(folder, config, space).close())
    print(f"{'open':<28}{opened_s:10.2f} s")
    read_s = timed(lambda: read_trials(folder))
    print(f"{'read beside a coordinator':<28}{read_s:10.2f} s")
    for sampler in (TPEConfig(), RandomConfig()):
        store = open_trial_store(folder, config.model_copy(update={"sampler": sampler}), space)
        show(store, sampler.kind)
        store.close()


def fill(folder: StudyFolder, config: StudyConfig, space: Space, count: int) -> None:
    """Stores trials as `ask`, `report` and `tell` would."""
    place = study_place(folder, config)
    if place.url is None:
        fill_journal(place, config, space, count)
        return
    storage = Storage(place)
    stored = storage.load(storage.versions(config.name)[0])
    stored.trials()
    for number in range(count):
        stored.add(made(space, number))


def fill_journal(place: Place, config: StudyConfig, space: Space, count: int) -> None:
    """Writes the journal's lines at once: a call a line would wait for the disk a hundred thousand times."""
    from optuna.distributions import distribution_to_json

    storage = Storage(place)
    assert storage.versions(config.name)[0].attributes[SPACE_HASH] == space.hash
    lines = []
    for number in range(count):
        trial = made(space, number)
        worker = {"worker_id": "benchmark"}
        asked = {
            "op_code": 4, "study_id": 0, "datetime_start": "2026-01-01T00:00:00.000000+00:00", "state": 0,
            "value": None, "values": None, "user_attrs": {SPACE: space.hash}, "system_attrs": {},
            "intermediate_values": {},
            "distributions": {key: distribution_to_json(each) for key, each in trial.distributions.items()},
            "params": {key: trial.distributions[key].to_internal_repr(each) for key, each in trial.params.items()},
        }  # fmt: skip
        lines.append(worker | asked)
        lines += [
            worker | {"op_code": 7, "trial_id": number, "step": step, "intermediate_value": value}
            for step, value in trial.intermediate_values.items()
        ]
        lines.append(worker | {"op_code": 8, "trial_id": number, "user_attr": {OUTCOME: trial.user_attrs[OUTCOME]}})
        complete = "2026-01-01T00:01:00.000000+00:00"
        lines.append(
            worker
            | {"op_code": 6, "trial_id": number, "state": trial.state, "values": trial.values}
            | {"datetime_complete": complete}
        )
    with place.journal.open("a") as file:
        file.writelines(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)


def made(space: Space, number: int) -> FrozenTrial:
    """A trial with random parameters, one in three pruned."""
    draw = random.Random(number)
    reading = Drawing(draw)
    params = space.suggest(reading)
    value = draw.random()
    pruned = number % 3 == 0
    reports = {step: value + 1 / (step + 1) for step in range(3 if pruned else NUM_REPORTS)}
    trial = create_trial(
        state=OptunaState.PRUNED if pruned else OptunaState.COMPLETE,
        value=reports[max(reports)] if pruned else value,
        params=params,
        distributions=reading.distributions,
        intermediate_values=reports,
        user_attrs={OUTCOME: (TrialState.PRUNED if pruned else TrialState.COMPLETE).value, SPACE: space.hash},
    )
    trial.number = number
    return trial


class Drawing(Fitting):
    """Draws what a space asks for."""

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw
        self.distributions = {}

    def _take(self, name: str, distribution: object) -> object:
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if isinstance(distribution, CategoricalDistribution):
            value: object = self._draw.choice(distribution.choices)
        elif isinstance(distribution, IntDistribution):
            value = self._draw.randint(distribution.low, distribution.high)
        else:
            assert isinstance(distribution, FloatDistribution)
            value = self._draw.uniform(distribution.low, distribution.high)
        self.distributions[name] = distribution
        return value


def show(store: TrialStore, sampler: str) -> None:
    """Rounds of what a coordinator does with a trial, and the median of each call."""
    times: dict[str, list[float]] = {}
    cpu: dict[str, list[float]] = {}

    def call(name: str, function: Callable[..., R], *arguments: object, **keywords: object) -> R:
        started, started_cpu = time.perf_counter(), time.thread_time()
        result = function(*arguments, **keywords)
        cpu.setdefault(name, []).append(time.thread_time() - started_cpu)
        times.setdefault(name, []).append(time.perf_counter() - started)
        return result

    gc.collect()
    for _ in range(NUM_ROUNDS):
        number = call("ask", store.ask).number
        for epoch in range(3):
            call("report", store.report, number, epoch=epoch, objective=0.5)
            call("should_prune", store.should_prune, number)
        call("trials", store.trials)
        call("tell", store.tell, number, TrialState.COMPLETE, value=0.5)
    for name, each in times.items():
        own_ms = statistics.median(cpu[name]) * 1000
        print(
            f"{sampler + ' ' + name:<28}{statistics.median(each) * 1000:10.2f} ms   (worst {max(each) * 1000:.1f}; "
            f"CPU of the calling thread {own_ms:.2f})"
        )
    both = [ask + tell for ask, tell in zip(times["ask"], times["tell"], strict=True)]
    print(f"{sampler + ' ask + tell':<28}{statistics.median(both) * 1000:10.2f} ms   (worst {max(both) * 1000:.1f})")


def timed(function: Callable[[], object]) -> float:
    """Seconds of one call."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
