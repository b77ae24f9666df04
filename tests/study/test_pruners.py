"""Every pruner stops what it should, leaves the rest alone, and does the same after a resume."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from reports.records import TrialState
from search_spaces.space import Space
from study.config import StudyConfig
from study.pruner_config import (
    HyperbandPrunerConfig,
    MedianPrunerConfig,
    NoPrunerConfig,
    PatientPrunerConfig,
    PercentilePrunerConfig,
    PrunerConfig,
    SuccessiveHalvingPrunerConfig,
    WilcoxonPrunerConfig,
)
from study.sampler_config import RandomConfig
from study.trial_store import TrialStore
from tests.study.stores import RANGES, asked, open_store, space_of

pytestmark = pytest.mark.usefixtures("closing")

SOURCES = ("asterisk", "drascula", "festvox", "menardi", "armelle")


@pytest.fixture
def space(tmp_path: Path) -> Space:
    return space_of(tmp_path, RANGES)


def config_of(pruner: PrunerConfig) -> StudyConfig:
    return StudyConfig(name="pruned", space="any", trials=50, sampler=RandomConfig(), pruner=pruner)


def looks(store: TrialStore, objectives: Sequence[float]) -> list[bool]:
    """A trial's epochs, and whether the pruner would stop it after each; it is told when it ends."""
    number, _ = asked(store)
    verdicts = []
    for epoch, objective in enumerate(objectives):
        store.report(number, epoch=epoch, objective=objective)
        verdicts.append(store.should_prune(number))
        if verdicts[-1]:
            store.tell(number, TrialState.PRUNED, value=None)
            return verdicts
    store.tell(number, TrialState.COMPLETE, value=min(objectives))
    return verdicts


@pytest.mark.parametrize(
    ("pruner", "bad", "verdicts"),
    [
        (MedianPrunerConfig(startup_trials=4, warmup_epochs=2), 2.0, [False, False, True]),
        (MedianPrunerConfig(startup_trials=4, warmup_epochs=2), 1.15, [False] * 6),
        (MedianPrunerConfig(startup_trials=5), 2.0, [False] * 6),
        (MedianPrunerConfig(startup_trials=4, warmup_epochs=1, min_trials=5), 2.0, [False] * 6),
        (PercentilePrunerConfig(startup_trials=4, warmup_epochs=1, percentile=25.0), 1.15, [False, True]),
        (PercentilePrunerConfig(startup_trials=4, warmup_epochs=1, percentile=90.0), 1.15, [False] * 6),
        (SuccessiveHalvingPrunerConfig(min_epochs=2, reduction_factor=2), 2.0, [False, True]),
        (SuccessiveHalvingPrunerConfig(min_epochs=2, reduction_factor=2, skipped_rungs=1), 2.0, [False] * 3 + [True]),
        (PatientPrunerConfig(patience=2, wraps=MedianPrunerConfig(warmup_epochs=1)), 2.0, [False] * 3 + [True]),
        (NoPrunerConfig(), 99.0, [False] * 6),
    ],
)
def test_a_trial_is_stopped_where_the_pruner_says_so(
    pruner: PrunerConfig, bad: float, verdicts: list[bool], tmp_path: Path, space: Space
) -> None:
    store = open_store(tmp_path, config_of(pruner), space)
    for objective in (1.3, 1.2, 1.1, 1.0):  # each better than the one before, so none is stopped
        assert not any(looks(store, [objective] * 6))
    falling_behind = [bad + epoch / 1000 for epoch in range(6)]
    assert looks(store, falling_behind) == verdicts


def test_hyperband_divides_the_epochs_of_the_study_into_brackets(tmp_path: Path, space: Space) -> None:
    pruner = HyperbandPrunerConfig(min_epochs=1, reduction_factor=3)
    config = config_of(pruner)
    assert config.trial.training.max_epochs == 10  # so the first rungs are after 1, 3 and 9 epochs
    store = open_store(tmp_path, config, space)
    lengths = {len(looks(store, [1.0 + trial / 100] * 10)) for trial in range(40)}
    assert lengths == {1, 3, 9, 10}


@pytest.mark.parametrize(
    "pruner",
    [SuccessiveHalvingPrunerConfig(min_epochs=1, reduction_factor=2), HyperbandPrunerConfig(reduction_factor=2)],
)
def test_rungs_outlive_a_coordinator(pruner: PrunerConfig, tmp_path: Path, space: Space) -> None:
    objectives = [[1.0 + ((trial * 7) % 5) / 10] * 10 for trial in range(12)]
    store = open_store(tmp_path / "whole", config_of(pruner), space)
    whole = [looks(store, each) for each in objectives]
    parts = []
    for each in objectives:
        store = open_store(tmp_path / "parts", config_of(pruner), space)
        parts.append(looks(store, each))
        store.close()
    assert parts == whole
    assert any(any(verdicts) for verdicts in whole)


def scored(store: TrialStore, scores: Sequence[float]) -> bool:
    """A trial whose sources are scored at the pruner's epoch; whether it is stopped there."""
    number, _ = asked(store)
    is_stopped = False
    for epoch in range(4):
        store.report(number, epoch=epoch, objective=sum(scores) / len(scores))
        assert not store.should_prune(number), "epochs are no independent samples"
        if epoch == store.at_epoch:
            is_stopped = store.report_sources(number, dict(zip(SOURCES, scores, strict=True)))
        if is_stopped:
            store.tell(number, TrialState.PRUNED, value=None)
            return True
    store.tell(number, TrialState.COMPLETE, value=sum(scores) / len(scores))
    return False


def test_wilcoxon_compares_sources_once_at_its_epoch(tmp_path: Path, space: Space) -> None:
    store = open_store(tmp_path, config_of(WilcoxonPrunerConfig(at_epoch=1)), space)
    assert not scored(store, [1.0, 1.1, 0.9, 1.2, 1.0])
    assert scored(store, [1.5, 1.4, 1.3, 1.7, 1.6])  # worse on every source: p = 1/32
    assert not scored(store, [1.5, 1.0, 0.8, 1.1, 1.6])  # worse on some
    stopped = store.trials()[1]
    assert (stopped.state, sorted(stopped.reports)) == (TrialState.PRUNED, [0, 1])


def test_sources_are_matched_by_name_not_by_the_order_they_came_in(tmp_path: Path, space: Space) -> None:
    store = open_store(tmp_path, config_of(WilcoxonPrunerConfig(at_epoch=0)), space)
    first, _ = asked(store)
    scores = dict(zip(SOURCES, (1.0, 2.0, 3.0, 4.0, 5.0), strict=True))
    assert not store.report_sources(first, scores)
    store.tell(first, TrialState.COMPLETE, value=3.0)
    second, _ = asked(store)
    slightly_worse = {source: scores[source] + 0.01 * (place + 1) for place, source in enumerate(reversed(SOURCES))}
    assert store.report_sources(second, slightly_worse)


def test_the_first_scores_of_a_trials_sources_stay(tmp_path: Path, space: Space) -> None:
    config = config_of(WilcoxonPrunerConfig(at_epoch=0))
    store = open_store(tmp_path, config, space)
    scored(store, [1.0, 1.1, 0.9, 1.2, 1.0])
    number, _ = asked(store)
    assert store.report_sources(number, dict.fromkeys(SOURCES, 2.0))
    assert store.report_sources(number, dict.fromkeys(SOURCES, 0.0))  # a replayed event


def test_a_trial_pruned_over_sources_counts_by_their_mean(tmp_path: Path, space: Space) -> None:
    store = open_store(tmp_path, config_of(WilcoxonPrunerConfig(at_epoch=0)), space)
    scored(store, [1.0, 1.1, 0.9, 1.2, 1.0])
    assert scored(store, [1.5, 1.4, 1.3, 1.7, 1.6])
    complete, pruned = store._mirror._study.trials  # what samplers and pruners look at
    assert pruned.intermediate_values == {0: pytest.approx(1.5)}
    assert complete.intermediate_values.keys() == {0, 1, 2, 3, 4}


def test_epochs_under_wilcoxon_are_still_known_after_a_resume(tmp_path: Path, space: Space) -> None:
    config = config_of(WilcoxonPrunerConfig(at_epoch=1))
    store = open_store(tmp_path, config, space)
    scored(store, [1.0, 1.1, 0.9, 1.2, 1.0])
    before = store.trials()
    assert sorted(before[0].reports) == [0, 1, 2, 3]
    assert open_store(tmp_path, config, space).trials() == before


def test_a_trial_without_scores_of_its_sources_is_no_yardstick(tmp_path: Path, space: Space) -> None:
    store = open_store(tmp_path, config_of(WilcoxonPrunerConfig(at_epoch=1)), space)
    number, _ = asked(store)
    store.report(number, epoch=0, objective=0.1)
    store.tell(number, TrialState.COMPLETE, value=0.1)  # it stopped early
    assert not scored(store, [1.5, 1.4, 1.3, 1.7, 1.6])
