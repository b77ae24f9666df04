"""Every sampler: a resumed study proposes what an uninterrupted one would have."""

import copy
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import TPESampler
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState

from reports.records import TrialState
from search_spaces.space import Space
from study.config import StudyConfig
from study.mirror import Mirror
from study.sampler_config import (
    CMAESConfig,
    ExhaustiveConfig,
    GPConfig,
    GridConfig,
    NSGA2Config,
    NSGA3Config,
    QMCConfig,
    RandomConfig,
    SamplerConfig,
    TPEConfig,
)
from study.samplers import build_sampler, random_streams
from study.tpe import GroupedTPESampler
from study.trial_store import TrialStore
from tests.study.stores import CHOICES, CONDITIONS, RANGES, ask_and_tell, asked, objective, open_store, space_of

pytestmark = pytest.mark.usefixtures("closing")

SAMPLERS: dict[str, tuple[SamplerConfig, str]] = {
    "tpe": (TPEConfig(startup_trials=4), RANGES),
    "tpe with conditions": (TPEConfig(startup_trials=4), CONDITIONS),
    "random": (RandomConfig(), CONDITIONS),
    "cma_es": (CMAESConfig(population=4), RANGES),
    "cma_es separable": (CMAESConfig(population=4, separable=True), RANGES),
    "cma_es margin": (CMAESConfig(population=4, margin=True, pruned_trials=True), RANGES),
    "cma_es adapt_rate": (CMAESConfig(population=4, adapt_rate=True), RANGES),
    "qmc sobol": (QMCConfig(), RANGES),
    "qmc halton": (QMCConfig(sequence="halton", scramble=False), CHOICES),
    "grid": (GridConfig(), CHOICES),
    "exhaustive": (ExhaustiveConfig(), CONDITIONS),
    "nsga2": (NSGA2Config(population=4), RANGES),
    "nsga2 undx": (NSGA2Config(population=4, crossover="undx"), RANGES),
    "nsga3": (NSGA3Config(population=4, crossover="sbx"), CHOICES),
    "gp": (GPConfig(startup_trials=2), RANGES),
}
NUM_STREAMS = {
    "tpe": 2,
    "random": 1,
    "cma_es": 2,
    "qmc": 1,
    "grid": 1,
    "exhaustive": 1,
    "nsga2": 2,
    "nsga3": 2,
    "gp": 2,
}
NUM_TRIALS = 12
NUM_OF_GP = 5  # each time that it is opened, its process imports torch


def num_trials(config: StudyConfig) -> int:
    return NUM_OF_GP if isinstance(config.sampler, GPConfig) else NUM_TRIALS


@pytest.fixture(params=SAMPLERS)
def study(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[StudyConfig, Space]:
    sampler, text = SAMPLERS[request.param]
    return StudyConfig(name="sampled", space="any", trials=50, seed=5, sampler=sampler), space_of(tmp_path, text)


def in_one_go(root: Path, config: StudyConfig, space: Space, count: int) -> list[dict[str, Any]]:
    store = open_store(root, config, space)
    try:
        return ask_and_tell(store, root, config, space, count)
    finally:
        store.close()


def test_a_study_that_is_resumed_after_every_trial_proposes_the_same(
    study: tuple[StudyConfig, Space], tmp_path: Path
) -> None:
    config, space = study
    whole = in_one_go(tmp_path / "whole", config, space, num_trials(config))
    parts: list[dict[str, Any]] = []
    for _ in whole:
        parts += in_one_go(tmp_path / "parts", config, space, 1)
    assert parts == whole
    assert len({tuple(sorted(params.items())) for params in whole}) > len(whole) / 3


def test_it_also_does_where_trials_overlap_and_end_in_another_order(
    study: tuple[StudyConfig, Space], tmp_path: Path
) -> None:
    def overlapping(root: Path, *, reopen: bool) -> list[dict[str, Any]]:
        store = open_store(root, config, space)
        proposals: list[dict[str, Any]] = []
        for _ in range(2):
            trials = [asked(store) for _ in range(3)]
            for place in (2, 0, 1):
                if reopen:
                    store.close()
                    store = open_store(root, config, space)
                number, params = trials[place]
                state = TrialState.PRUNED if place == 1 else TrialState.COMPLETE
                store.report(number, epoch=0, objective=float(number % 4))
                store.tell(number, state, value=None if place == 1 else float(number % 4))
                proposals.append(params)
        store.close()
        return proposals

    config, space = study
    assert overlapping(tmp_path / "one", reopen=False) == overlapping(tmp_path / "two", reopen=True)


def test_a_resumed_study_does_not_repeat_its_first_proposals(study: tuple[StudyConfig, Space], tmp_path: Path) -> None:
    config, space = study
    if isinstance(config.sampler, RandomConfig):
        config = config.model_copy(update={"sampler": TPEConfig()})  # its startup is random, and must not repeat either
    first = in_one_go(tmp_path, config, space, 3)
    second = in_one_go(tmp_path, config, space, 3)
    assert first != second


@pytest.mark.parametrize("name", [name for name in SAMPLERS if " " not in name])
def test_all_random_streams_are_known(name: str, tmp_path: Path) -> None:
    sampler, text = SAMPLERS[name]
    built = build_sampler(sampler, space=space_of(tmp_path, text), seed=0)
    assert len(list(random_streams(built))) == NUM_STREAMS[name]


def test_tpe_proposes_what_optunas_own_would_where_trials_end_in_order(tmp_path: Path) -> None:
    space = space_of(tmp_path, CONDITIONS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        own = TPESampler(n_startup_trials=4, multivariate=True, group=True)
    proposals = []
    for sampler in (own, build_sampler(TPEConfig(startup_trials=4), space=space, seed=0)):
        mirror = Mirror("any", space=space, seed=5, sampler=sampler)
        for number in range(25):
            trial = mirror.propose(number)
            proposals.append(trial.params)
            trial.state, trial.values = OptunaState.COMPLETE, [objective(trial.params)]
            mirror.put(trial)
    assert proposals[:25] == proposals[25:]


def test_tpe_does_not_depend_on_the_order_in_which_trials_end(tmp_path: Path) -> None:
    space = space_of(tmp_path, CONDITIONS)

    def mirror() -> Mirror:
        return Mirror(
            "any", space=space, seed=5, sampler=build_sampler(TPEConfig(startup_trials=1), space=space, seed=0)
        )

    random = Mirror("any", space=space, seed=6, sampler=build_sampler(RandomConfig(), space=space, seed=0))
    drawn = [random.propose(number) for number in range(20)]
    trials = [next(each for each in drawn if each.params["clipping.kind"] == kind) for kind in ("norm", "value")]
    for number, trial in enumerate(trials):
        trial.number, trial.state, trial.values = number, OptunaState.COMPLETE, [objective(trial.params)]
    by_number, by_ending = mirror(), mirror()
    for trial in trials:
        by_number.put(trial)
        by_ending.put(_running(trial))
    for trial in reversed(trials):
        by_ending.put(trial)
        _groups(by_ending)
    assert by_number.propose(2).params == by_ending.propose(2).params
    assert _groups(by_number) == _groups(by_ending)
    assert len(_groups(by_number)) == 3


def _running(trial: FrozenTrial) -> FrozenTrial:
    running = copy.copy(trial)
    running.state, running.values = OptunaState.RUNNING, None
    return running


def _groups(mirror: Mirror) -> list[list[str]]:
    """Groups in the order in which TPE samples them."""
    sampler = mirror._study.sampler
    assert isinstance(sampler, GroupedTPESampler)
    return [sorted(group) for group in sampler._groups(mirror._study).search_spaces]


@pytest.mark.parametrize("name", ["grid", "exhaustive"])
def test_a_sampler_that_tries_everything_tries_each_once_and_says_so(name: str, tmp_path: Path) -> None:
    sampler, text = SAMPLERS[name]
    config = StudyConfig(name="all", space="any", trials=50, sampler=sampler)
    space = space_of(tmp_path, text)
    store = open_store(tmp_path, config, space)
    proposals: list[dict[str, Any]] = []
    while not store.is_exhausted:
        number, params = asked(store)
        proposals.append(params)
        if len(proposals) % 3 == 0:
            store.tell(number, TrialState.FAILED, value=None)  # the others still run
    assert len(proposals) == space.count(1000) == 12
    assert len({tuple(sorted(params.items())) for params in proposals}) == 12
    assert open_store(tmp_path, config, space).is_exhausted


def test_the_gaussian_process_leaves_torch_out_of_the_coordinator(tmp_path: Path) -> None:
    space_of(tmp_path, RANGES)
    script = f"""
import sys
import warnings
from pathlib import Path
from search_spaces.space import load_space
from study.config import StudyConfig
from study.mirror import Mirror
from study.opening import open_trial_store
from study.workspace import StudyFolder
from reports.records import TrialState

def main():
    config = StudyConfig(name="gp", space="any", trials=9, sampler={{"kind": "gp", "startup_trials": 2}})
    folder = StudyFolder(Path({str(tmp_path)!r}) / "studies" / "gp")
    store = open_trial_store(folder, config, load_space({str(tmp_path / "space.toml")!r}))
    for _ in range(4):
        trial = store.ask()
        store.tell(trial.number, TrialState.COMPLETE, value=trial.params["encoder.dropout"])
    store.close()
    print("torch" in sys.modules, len(store.trials()))

if __name__ == "__main__":
    main()
"""
    path = tmp_path / "script.py"
    path.write_text(script)
    done = subprocess.run([sys.executable, str(path)], capture_output=True, text=True, check=True, cwd=Path.cwd(),
                          env={"PYTHONPATH": str(Path.cwd()), "PATH": "/usr/bin:/bin"})  # fmt: skip
    assert done.stdout.split() == ["False", "4"]


def test_a_sampler_process_that_died_is_replaced_and_proposes_the_same(tmp_path: Path) -> None:
    sampler, text = SAMPLERS["gp"]
    config, space = StudyConfig(name="gp", space="any", trials=9, sampler=sampler), space_of(tmp_path, text)
    whole = in_one_go(tmp_path / "whole", config, space, 7)
    store = open_store(tmp_path / "parts", config, space)
    first = ask_and_tell(store, tmp_path / "parts", config, space, 5)
    _kill_sampler(store)
    second = ask_and_tell(store, tmp_path / "parts", config, space, 2)
    store.close()
    assert first + second == whole


def _kill_sampler(store: TrialStore) -> None:
    process = store._proposer._process  # type: ignore[attr-defined]  # what a user would find with ps
    process.kill()
    process.join()
