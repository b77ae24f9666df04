"""A search space that changed: old trials keep their numbers, and fit the new one or do not."""

from pathlib import Path
from typing import Any

import pytest

from lightning_modules.errors import ConfigError
from reports.records import StudyState, TrialState
from search_spaces.space import Space
from study.config import StudyConfig
from study.opening import read_trials
from study.pruner_config import SuccessiveHalvingPrunerConfig
from study.sampler_config import ExhaustiveConfig, TPEConfig
from study.storage import Storage
from study.storage_config import Place
from study.trial_store import TrialStore
from study.trials import best_trial
from study.workspace import StudyFolder, Workspace, read_json, write_json
from tests.conftest import write_tiny_study
from tests.study.helpers import RecordingView, run_study, trials_of
from tests.study.stores import CONDITIONS, ask_and_tell, asked, objective, open_store, space_of

pytestmark = pytest.mark.usefixtures("closing")

CONFIG = StudyConfig(name="carried", space="any", trials=40, sampler=ExhaustiveConfig())
NO_VALUE = CONDITIONS.replace(', "value"]', "]").replace(
    '"clipping.max_value" = { choices = [0.1, 1.0], when = { "clipping.kind" = ["value"] } }\n', ""
)
NORMS_AS_RANGE = CONDITIONS.replace("choices = [0.5, 1.0, 5.0]", "float = [0.5, 2.0], log = true")


@pytest.fixture
def all_tried(tmp_path: Path) -> TrialStore:
    """All 12 configurations of CONDITIONS, tried and closed."""
    space = space_of(tmp_path, CONDITIONS)
    store = open_store(tmp_path, CONFIG, space)
    ask_and_tell(store, tmp_path, CONFIG, space, 12)
    store.close()
    return store


def changed(tmp_path: Path, text: str, config: StudyConfig = CONFIG) -> tuple[TrialStore, Space]:
    space = space_of(tmp_path, text, "changed")
    return open_store(tmp_path, config, space), space


def test_trials_that_the_new_space_could_have_made_fit_it(all_tried: TrialStore, tmp_path: Path) -> None:
    store, space = changed(tmp_path, NO_VALUE)
    before, after = all_tried.trials(), store.trials()
    assert "value" not in NO_VALUE
    assert [each.number for each in after] == [each.number for each in before]
    assert [each.fits for each in after] == [each.params["clipping.kind"] != "value" for each in before]
    assert all(new.params == (old.params if new.fits else {}) for old, new in zip(before, after, strict=True))
    assert [(each.state, each.value, each.reports) for each in after] == [
        (each.state, each.value, each.reports) for each in before
    ]
    assert {each.space for each in after} == {space_of(tmp_path, CONDITIONS).hash} != {space.hash}


def test_a_trial_whose_configuration_a_power_cut_left_without_content_does_not_keep_the_space_from_changing(
    all_tried: TrialStore, tmp_path: Path
) -> None:
    StudyFolder(tmp_path / "studies" / CONFIG.name).trial(3).config.write_bytes(b"")
    store, _ = changed(tmp_path, CONDITIONS + '"encoder.num_layers" = { int = [1, 2] }\n')
    assert [each.number for each in store.trials()] == [each.number for each in all_tried.trials()]


def test_a_value_outside_a_narrower_range_does_not_fit(all_tried: TrialStore, tmp_path: Path) -> None:
    store, _ = changed(tmp_path, NORMS_AS_RANGE)
    for old, new in zip(all_tried.trials(), store.trials(), strict=True):
        assert new.fits == (old.params.get("clipping.max_norm") != 5.0)


def test_a_parameter_that_is_no_longer_searched_must_have_its_base_value(all_tried: TrialStore, tmp_path: Path) -> None:
    without_cell = CONDITIONS.replace('"encoder.cell" = { choices = ["gru", "lstm"] }\n', "")
    store, _ = changed(tmp_path, without_cell)
    for old, new in zip(all_tried.trials(), store.trials(), strict=True):
        assert new.fits == (old.params["encoder.cell"] == CONFIG.trial.model_dump()["encoder"]["cell"])
        assert "encoder.cell" not in new.params


def test_a_parameter_that_is_newly_searched_has_the_value_that_it_was_fixed_at(
    all_tried: TrialStore, tmp_path: Path
) -> None:
    store, _ = changed(tmp_path, CONDITIONS + '"encoder.num_layers" = { int = [1, 3] }\n')
    assert all(trial.fits and trial.params["encoder.num_layers"] == 1 for trial in store.trials())


def test_samplers_see_only_what_fits(all_tried: TrialStore, tmp_path: Path) -> None:
    store, _ = changed(tmp_path, NO_VALUE)
    assert store.is_exhausted  # all 8 configurations of the smaller space are known
    wider, _ = changed(tmp_path, NO_VALUE.replace('"lstm"]', '"lstm", "rnn_tanh"]'))
    new = [asked(wider)[1] for _ in range(4)]
    assert wider.is_exhausted
    assert {params["encoder.cell"] for params in new} == {"rnn_tanh"}


def test_tpe_proposes_the_same_from_trials_that_fit_whatever_else_there_is(tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"sampler": TPEConfig(startup_trials=2)})
    space = space_of(tmp_path, CONDITIONS)
    store = open_store(tmp_path, config, space)
    ask_and_tell(store, tmp_path, config, space, 10)
    store, _ = changed(tmp_path, NO_VALUE, config)
    number, params = asked(store)
    assert number == 10
    store, _ = changed(tmp_path, NO_VALUE, config)  # opened again: the same study, not another copy
    assert store.trials()[10].params == params


def test_the_best_trial_is_one_that_fits(all_tried: TrialStore, tmp_path: Path) -> None:
    best = best_trial(all_tried.trials())
    assert best is not None
    other = "lstm" if best.params["encoder.cell"] == "gru" else "gru"
    store, _ = changed(tmp_path, CONDITIONS.replace('["gru", "lstm"]', f'["{other}"]'))
    best_that_fits = best_trial(store.trials())
    assert best_that_fits is not None
    assert best_that_fits.number != best.number
    assert best_that_fits.value == min(objective(trial.params) for trial in store.trials() if trial.fits)


@pytest.mark.parametrize("kind", ["none", "value"])
def test_a_trial_that_still_runs_goes_on_under_its_number(kind: str, tmp_path: Path) -> None:
    space = space_of(tmp_path, CONDITIONS)
    store = open_store(tmp_path, CONFIG, space)
    number = _ask_for(kind, store, tmp_path, space)
    store, _ = changed(tmp_path, NO_VALUE)
    store.attach(number)
    store.report(number, epoch=0, objective=0.5)
    assert not store.should_prune(number)
    store.tell(number, TrialState.COMPLETE, value=0.25)
    for _ in range(2):
        trial = store.trials()[number]
        assert (trial.state, trial.value, trial.fits, trial.reports) == (
            TrialState.COMPLETE, 0.25, kind == "none", {0: 0.5},
        )  # fmt: skip
        store, _ = changed(tmp_path, NO_VALUE)
    store = open_store(tmp_path, CONFIG, space)  # and back again
    assert (store.trials()[number].value, store.trials()[number].fits) == (0.25, True)


def _ask_for(kind: str, store: TrialStore, root: Path, space: Space) -> int:
    """Asks until a trial has this kind of clipping; the others end, it runs."""
    while True:
        number, params = asked(store)
        frozen = space.apply(CONFIG.trial.model_dump(mode="json"), params)
        folder = StudyFolder(root / "studies" / CONFIG.name)
        write_json(folder.trial(number).config, frozen.model_dump(mode="json"))
        if params["clipping.kind"] == kind:
            return number
        store.tell(number, TrialState.FAILED, value=None)


def test_a_copy_that_was_cut_off_is_made_again(all_tried: TrialStore, tmp_path: Path) -> None:
    journal = StudyFolder(tmp_path / "studies" / CONFIG.name).journal
    Storage(Place(None, journal)).create(CONFIG.name, number=1, attributes={})  # died right after
    assert len(read_trials(StudyFolder(tmp_path / "studies" / CONFIG.name))) == 12
    store, _ = changed(tmp_path, NO_VALUE)
    assert len(store.trials()) == 12


def test_rungs_are_carried_over(tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"pruner": SuccessiveHalvingPrunerConfig(min_epochs=1, reduction_factor=2)})
    space = space_of(tmp_path, CONDITIONS)
    store = open_store(tmp_path, config, space)
    ask_and_tell(store, tmp_path, config, space, 1)
    for value in (0.1, 0.2):
        number = _ask_for("none", store, tmp_path, space)
        store.report(number, epoch=0, objective=value)
        store.should_prune(number)
        store.tell(number, TrialState.COMPLETE, value=value)
    store, _ = changed(tmp_path, NO_VALUE.replace('"lstm"]', '"lstm", "rnn_tanh"]'), config)
    number, _ = asked(store)
    store.report(number, epoch=0, objective=0.3)  # worse than two that reached the rung under the old space
    assert store.should_prune(number)


# --- a whole study ----------------------------------------------------------------------------------------------------


def test_a_study_whose_space_changed_goes_on(workspace: Path, tmp_path: Path) -> None:
    study = write_tiny_study(tmp_path, trials=2)
    assert run_study(study, workspace) is StudyState.COMPLETE
    path = tmp_path / "tiny_space.toml"
    path.write_text(path.read_text().replace("choices = [8, 16]", "choices = [4]"))
    study.write_text(study.read_text().replace("trials = 2", "trials = 3"))
    view = RecordingView()
    assert run_study(study, workspace, view=view) is StudyState.COMPLETE
    trials = trials_of(workspace)
    assert [(trial.number, trial.fits) for trial in trials] == [(0, False), (1, False), (2, True)]
    spaces = _written(workspace)["spaces"]
    assert [trial.space for trial in trials] == [spaces[0]["hash"], spaces[0]["hash"], spaces[1]["hash"]]


def test_anything_else_that_changed_is_refused(workspace: Path, tmp_path: Path) -> None:
    study = write_tiny_study(tmp_path, trials=1)
    run_study(study, workspace)
    study.write_text(study.read_text().replace("seed = 3", "seed = 4"))
    with pytest.raises(ConfigError, match=r"exists with config\.seed = 3, now it is 4"):
        run_study(study, workspace)


def test_trials_are_not_left_behind_in_another_storage(workspace: Path, tmp_path: Path) -> None:
    study = write_tiny_study(tmp_path, trials=1)
    run_study(study, workspace)
    study.write_text(study.read_text().replace("[sampler]", '[storage]\noptuna = "sqlite:///o.db"\n[sampler]'))
    with pytest.raises(ConfigError, match=r"exists with optuna = 'journal', now it is 'sqlite:///"):
        run_study(study, workspace)


def _written(workspace: Path) -> dict[str, Any]:
    content: dict[str, Any] = read_json(Workspace(workspace).study("tiny").manifest)
    return content
