"""What cannot work is refused before anything is trained, and the message names the key."""

import sys
from pathlib import Path
from typing import Any

import pytest

from lightning_modules.config import TrainingConfig, TrialConfig
from lightning_modules.errors import ConfigError
from study.combinations import check_combination, check_sources, longest_epochs, num_configurations
from study.config import StudyConfig, load_study_config
from tests.conftest import write_tiny_study
from tests.study.stores import CHOICES, CONDITIONS, RANGES, space_of

FLAT = '[space]\n"encoder.cell" = { choices = ["gru", "lstm"] }\n"pooling.kind" = { choices = ["mean", "max"] }\n'
MIXED = FLAT + '"encoder.hidden_size" = { int = [8, 64] }\n'
CONDITIONAL_RANGE = (
    '[space]\n"encoder.hidden_size" = { int = [8, 64] }\n"clipping.kind" = { choices = ["none", "norm"] }\n'
    '"clipping.max_norm" = { float = [0.1, 5.0], when = { "clipping.kind" = ["norm"] } }\n'
)
ONE_RANGE = '[space]\n"encoder.hidden_size" = { int = [8, 64] }\n'
HUGE = '[space]\n"encoder.hidden_size" = { int = [1, 2000] }\n"data.segment_s" = { float = [1.0, 11.0], step = 0.1 }\n'


def study(epochs: int = 10, **keys: Any) -> StudyConfig:
    trial = TrialConfig(training=TrainingConfig(max_epochs=epochs))
    return StudyConfig.model_validate({"name": "mine", "space": "any", "trials": 40, "trial": trial, **keys})


@pytest.mark.parametrize(
    ("sampler", "text", "message"),
    [
        ({"kind": "grid"}, CONDITIONS, r'grid has no conditions; name the sampler exhaustive \(.*"clipping\.max_norm"'),
        (
            {"kind": "grid"},
            RANGES,
            r'grid tries every value, but "optimizer\.learning_rate" .* is a float without step',
        ),
        ({"kind": "exhaustive"}, RANGES, r'exhaustive tries every value, but "optimizer\.learning_rate"'),
        ({"kind": "exhaustive"}, HUGE, r"more than 100,000"),
        ({"kind": "cma_es"}, FLAT, r"cma_es searches ranges \(int, float\), but space space has choices alone"),
        ({"kind": "cma_es"}, MIXED, r'cma_es draws choices at random, and space space has "encoder\.cell"'),
        ({"kind": "cma_es", "rest_at_random": True}, CONDITIONAL_RANGE, r'"clipping\.max_norm" with a when'),
        ({"kind": "cma_es", "separable": True}, ONE_RANGE, r"nothing to separate"),
        ({"kind": "gp"}, CONDITIONS, r"gp draws conditional parameters at random; .*rest_at_random"),
        ({"kind": "qmc"}, CONDITIONS, r"qmc draws conditional parameters at random"),
        ({"kind": "nsga2"}, CONDITIONS, r"nsga2 draws conditional parameters at random"),
        ({"kind": "nsga3"}, CONDITIONS, r"nsga3 draws conditional parameters at random"),
    ],
)
def test_a_sampler_that_cannot_sample_the_space_is_refused(
    sampler: dict[str, Any], text: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=f"^study mine, key sampler.kind: .*{message}"):
        check_combination(study(sampler=sampler), space_of(tmp_path, text))


@pytest.mark.parametrize(
    ("sampler", "text"),
    [
        ({"kind": "tpe"}, CONDITIONAL_RANGE),
        ({"kind": "random"}, CONDITIONAL_RANGE),
        ({"kind": "grid"}, CHOICES),
        ({"kind": "exhaustive"}, CONDITIONS),
        ({"kind": "cma_es"}, RANGES),
        ({"kind": "cma_es", "rest_at_random": True}, MIXED),
        ({"kind": "gp", "rest_at_random": True}, CONDITIONAL_RANGE),
        ({"kind": "nsga2"}, MIXED),
    ],
)
def test_what_works_is_let_through(sampler: dict[str, Any], text: str, tmp_path: Path) -> None:
    check_combination(study(sampler=sampler), space_of(tmp_path, text))


@pytest.mark.parametrize(
    ("pruner", "epochs", "message"),
    [
        ({"kind": "median", "warmup_epochs": 9}, 10, r"pruner\.warmup_epochs: 9 is too long for trials of 10 epochs"),
        ({"kind": "percentile", "warmup_epochs": 20}, 10, r"pruner\.warmup_epochs: 20"),
        ({"kind": "successive_halving", "min_epochs": 5, "skipped_rungs": 1}, 20, r"pruner\.min_epochs: 5 .*number 20"),
        ({"kind": "hyperband", "min_epochs": 4}, 10, r"pruner\.min_epochs: 4 and reduction_factor 3 leave one bracket"),
        ({"kind": "patient", "patience": 9}, 10, r"pruner\.patience: 9"),
        (
            {"kind": "patient", "patience": 1, "wraps": {"kind": "median", "warmup_epochs": 9}},
            10,
            r"pruner\.wraps\.warmup_epochs: 9",
        ),
        ({"kind": "wilcoxon", "at_epoch": 9}, 10, r"pruner\.at_epoch: 9"),
    ],
)
def test_a_pruner_whose_turn_never_comes_is_refused(
    pruner: dict[str, Any], epochs: int, message: str, tmp_path: Path
) -> None:
    space = space_of(tmp_path, RANGES)
    with pytest.raises(ConfigError, match=f"^study mine, key {message}"):
        check_combination(study(epochs, pruner=pruner), space)
    check_combination(study(epochs * 3, pruner=pruner), space)


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cmaes", None)
    with pytest.raises(ConfigError, match=r"pip install 'lidstudy\[cma\]'"):
        check_combination(study(sampler={"kind": "cma_es"}), space_of(tmp_path, RANGES))


def test_a_pruner_that_nobody_named_may_be_idle(tmp_path: Path) -> None:
    check_combination(study(1), space_of(tmp_path, RANGES))


def test_a_pruner_goes_by_the_most_epochs_that_the_space_searches(tmp_path: Path) -> None:
    space = space_of(tmp_path, '[space]\n"training.max_epochs" = { choices = [4, 30, 8] }\n')
    assert longest_epochs(study(10), space) == 30
    check_combination(study(10, pruner={"kind": "wilcoxon", "at_epoch": 20}), space)


@pytest.mark.parametrize(
    ("num_sources", "message"), [(1, "min_sources: must be at most"), (3, r"smallest p is 0\.125, .* below 0\.1")]
)
def test_wilcoxon_needs_sources_enough_to_reach_its_threshold(num_sources: int, message: str) -> None:
    config = study(pruner={"kind": "wilcoxon", "at_epoch": 2})
    with pytest.raises(ConfigError, match=message):
        check_sources(config, num_sources)
    check_sources(config, 4)


def test_a_genetic_algorithm_needs_a_second_generation(tmp_path: Path) -> None:
    path = write_tiny_study(tmp_path, trials=20)
    path.write_text(path.read_text().replace('kind = "random"', 'kind = "nsga2"'))
    with pytest.raises(ConfigError, match=r"tiny\.toml: .*sampler\.population must be below trials but is 20 of 20"):
        load_study_config(str(path))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ('kind = "cma_es"\nseparable = true\nmargin = true', "exclude each other"),
        ('kind = "nsga2"\npopulation = 2\ncrossover = "undx"', "at least 3 for crossover undx"),
        (
            'kind = "annealing"',
            r"sampler\.kind: there is no 'annealing'; known here: cma_es, design, exhaustive, .*tpe",
        ),
        (
            'kind = "tpe"\npopulation = 3',
            r"sampler\.population: there is no such key; known here: candidates, kind, startup_trials",
        ),
    ],
)
def test_options_that_do_not_go_together_are_refused_where_the_file_is_read(
    options: str, message: str, tmp_path: Path
) -> None:
    path = write_tiny_study(tmp_path)
    path.write_text(path.read_text().replace('kind = "random"', options))
    with pytest.raises(ConfigError, match=message):
        load_study_config(str(path))


def test_configurations_are_counted_with_their_conditions(tmp_path: Path) -> None:
    assert num_configurations(study(sampler={"kind": "exhaustive"}), space_of(tmp_path, CONDITIONS)) == 12
    assert num_configurations(study(sampler={"kind": "grid"}), space_of(tmp_path, CHOICES)) == 12
    assert num_configurations(study(sampler={"kind": "tpe"}), space_of(tmp_path, CHOICES)) is None
