"""Every sampler that takes several objectives: it proposes, learns from all, and resumes as if never stopped."""

from pathlib import Path
from typing import Any

import optuna
import pytest

from lightning_modules.errors import ConfigError
from reports.records import TrialState
from search_spaces.space import Space
from study.combinations import check_combination
from study.config import StudyConfig
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
from study.samplers import build_sampler
from tests.study.stores import (
    CHOICES,
    CONDITIONS,
    RANGES,
    ask_and_tell,
    asked,
    further,
    objective,
    open_store,
    space_of,
)

pytestmark = pytest.mark.usefixtures("closing")

SAMPLERS: dict[str, tuple[SamplerConfig, str]] = {
    "tpe": (TPEConfig(startup_trials=4), RANGES),
    "tpe with conditions": (TPEConfig(startup_trials=4), CONDITIONS),
    "gp": (GPConfig(startup_trials=2), RANGES),
    "nsga2": (NSGA2Config(population=4), RANGES),
    "nsga3": (NSGA3Config(population=4, crossover="sbx"), CHOICES),
    "qmc": (QMCConfig(), RANGES),
    "random": (RandomConfig(), CONDITIONS),
    "grid": (GridConfig(), CHOICES),
    "exhaustive": (ExhaustiveConfig(), CONDITIONS),
}
LEARNING = ("tpe", "gp", "nsga2", "nsga3")
NUM_TRIALS = 12
NUM_OF_GP = 6  # its process imports torch, and it fits a model an objective


def num_trials(name: str) -> int:
    return NUM_OF_GP if name == "gp" else NUM_TRIALS


def study_of(name: str, folder: Path) -> tuple[StudyConfig, Space]:
    sampler, text = SAMPLERS[name]
    config = StudyConfig(
        name="several",
        space="any",
        trials=50,
        seed=5,
        sampler=sampler,
        further_objectives=("c_primary", "parameters"),
    )
    space = space_of(folder, text)
    check_combination(config, space)
    return config, space


def in_one_go(root: Path, config: StudyConfig, space: Space, count: int) -> list[dict[str, Any]]:
    store = open_store(root, config, space)
    try:
        return ask_and_tell(store, root, config, space, count)
    finally:
        store.close()


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_study_that_is_resumed_proposes_the_same(name: str, tmp_path: Path) -> None:
    config, space = study_of(name, tmp_path)
    whole = in_one_go(tmp_path / "whole", config, space, num_trials(name))
    parts: list[dict[str, Any]] = []
    for _ in range(len(whole) // 3):
        parts += in_one_go(tmp_path / "parts", config, space, 3)
    assert parts == whole
    assert len({tuple(sorted(params.items())) for params in whole}) > len(whole) / 3
    store = open_store(tmp_path / "whole", config, space)
    for trial in store.trials():
        assert trial.values == (objective(trial.params), *further(config, trial.params))


@pytest.mark.parametrize("name", LEARNING)
def test_it_also_does_where_trials_overlap_and_end_in_another_order(name: str, tmp_path: Path) -> None:
    config, space = study_of(name, tmp_path)

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
                store.tell(number, TrialState.COMPLETE, value=objective(params), further=further(config, params))
                proposals.append(params)
        store.close()
        return proposals

    assert overlapping(tmp_path / "one", reopen=False) == overlapping(tmp_path / "two", reopen=True)


@pytest.mark.parametrize("name", LEARNING)
def test_what_is_proposed_depends_on_the_further_objectives_too(name: str, tmp_path: Path) -> None:
    """The same first objective and other further ones: a sampler that looked at the first alone would not notice."""
    config, space = study_of(name, tmp_path)
    proposals: list[list[dict[str, Any]]] = []
    for sign in (1.0, -1.0):
        store = open_store(tmp_path / f"sign{sign}", config, space)
        proposals.append([])
        for _ in range(num_trials(name)):
            number, params = asked(store)
            values = tuple(sign * value for value in further(config, params))
            store.tell(number, TrialState.COMPLETE, value=objective(params), further=values)
            proposals[-1].append(params)
        store.close()
    assert proposals[0][:2] == proposals[1][:2], "nothing is learnt at the start"
    assert proposals[0] != proposals[1]


def test_nothing_is_pruned_whatever_a_trial_is_compared_with(tmp_path: Path) -> None:
    config, space = study_of("random", tmp_path)
    store = open_store(tmp_path, config, space)
    ask_and_tell(store, tmp_path, config, space, 4)
    number, _ = asked(store)
    store.report(number, epoch=0, objective=100.0)
    assert not store.should_prune(number)
    assert not store.should_prune(number, seen=3), "as a deterministic study asks"


def test_cma_es_is_refused_and_optuna_would_refuse_it_too(tmp_path: Path) -> None:
    space = space_of(tmp_path, RANGES)
    config = StudyConfig(name="several", space="any", trials=9, further_objectives=("parameters",))
    cma_es = config.model_copy(update={"sampler": CMAESConfig()})
    with pytest.raises(ConfigError, match=r"^study several: sampler\.kind cma_es searches one objective; .* tpe, gp, "):
        check_combination(cma_es, space)
    own = optuna.create_study(directions=["minimize"] * 2, sampler=build_sampler(CMAESConfig(), space=space, seed=0))
    with pytest.raises(ValueError, match="multi-objective"):
        space.suggest(own.ask())
