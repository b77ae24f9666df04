"""What every storage of Optuna's must do for a study: the journal, SQLite and PostgreSQL."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from optuna import load_study
from sqlalchemy.exc import OperationalError

from lightning_modules.errors import StorageError, StoreAwayError
from reports.records import TrialState
from search_spaces.space import Space
from study.config import StudyConfig
from study.database_errors import as_storage_error
from study.opening import read_trials, study_place
from study.pruner_config import NoPrunerConfig, SuccessiveHalvingPrunerConfig
from study.sampler_config import NSGA2Config, TPEConfig
from study.storage import Storage
from study.storage_config import Place, StorageConfig
from study.trial_store import TrialStore
from study.trials import front
from study.workspace import StudyFolder, write_json
from tests.services.postgresql import ESCAPED_PASSWORD, PASSWORD, PostgresServer
from tests.study.stores import CONDITIONS, RANGES, ask_and_tell, asked, open_store, space_of

pytestmark = pytest.mark.usefixtures("closing")

STORAGES = ["journal", "sqlite", pytest.param("postgresql", marks=pytest.mark.services)]


@pytest.fixture(params=STORAGES)
def config(request: pytest.FixtureRequest) -> StudyConfig:
    urls: dict[str, Callable[[], str | None]] = {
        "journal": lambda: None,
        "sqlite": lambda: "sqlite:///shared/optuna.db",
        "postgresql": lambda: request.getfixturevalue("postgresql").new_database(),
    }
    return StudyConfig(
        name="stored",
        space="any",
        trials=30,
        sampler=TPEConfig(startup_trials=3),
        storage=StorageConfig(optuna=urls[request.param]()),
    )


@pytest.fixture
def space(tmp_path: Path) -> Space:
    return space_of(tmp_path, CONDITIONS)


def reopened(store: TrialStore, root: Path, config: StudyConfig, space: Space) -> TrialStore:
    store.close()
    return open_store(root, config, space)


def test_what_is_asked_reported_and_told_is_there_when_it_is_opened_again(
    config: StudyConfig, tmp_path: Path, space: Space
) -> None:
    store = open_store(tmp_path, config, space)
    proposals = [asked(store) for _ in range(4)]
    for number, _ in proposals:
        store.report(number, epoch=0, objective=0.1 + number)
        store.report(number, epoch=1, objective=1 / 3)
    store.tell(0, TrialState.COMPLETE, value=0.1)
    store.tell(1, TrialState.PRUNED, value=None)
    store.tell(2, TrialState.DIVERGED, value=4.6)
    before = store.trials()
    store = reopened(store, tmp_path, config, space)
    assert store.trials() == before
    assert [(each.number, each.params) for each in before] == proposals
    assert [each.state for each in before] == [
        TrialState.COMPLETE, TrialState.PRUNED, TrialState.DIVERGED, TrialState.RUNNING,
    ]  # fmt: skip
    assert before[3].reports == {0: 3.1, 1: 1 / 3}
    assert [each.value for each in before] == [0.1, None, 4.6, None]
    store.close()


def test_a_running_trial_is_adopted(config: StudyConfig, tmp_path: Path, space: Space) -> None:
    store = open_store(tmp_path, config, space)
    number, _ = asked(store)
    store.report(number, epoch=0, objective=2.0)
    store = reopened(store, tmp_path, config, space)
    store.attach(number)
    store.report(number, epoch=0, objective=9.0)  # a replayed event: the first report stays
    store.report(number, epoch=1, objective=1.0)
    store.tell(number, TrialState.COMPLETE, value=1.0)
    with pytest.raises(StorageError, match="has ended"):
        store.attach(number)
    (trial,) = reopened(store, tmp_path, config, space).trials()
    assert (trial.state, trial.reports) == (TrialState.COMPLETE, {0: 2.0, 1: 1.0})


def test_telling_twice_changes_nothing(config: StudyConfig, tmp_path: Path, space: Space) -> None:
    store = open_store(tmp_path, config, space)
    number, _ = asked(store)
    store.tell(number, TrialState.COMPLETE, value=1.0)
    store.tell(number, TrialState.FAILED, value=None)
    (trial,) = reopened(store, tmp_path, config, space).trials()
    assert (trial.state, trial.value) == (TrialState.COMPLETE, 1.0)


@pytest.mark.parametrize("sampler", [TPEConfig(startup_trials=3), NSGA2Config(population=3, rest_at_random=True)])
def test_proposals_do_not_depend_on_where_they_are_stored_nor_on_reopening(
    config: StudyConfig, tmp_path: Path, space: Space, sampler: TPEConfig | NSGA2Config
) -> None:
    config = config.model_copy(update={"sampler": sampler})
    in_journal = config.model_copy(update={"storage": StorageConfig()})
    store = open_store(tmp_path / "whole", in_journal, space)
    whole = ask_and_tell(store, tmp_path / "whole", in_journal, space, 10)
    parts = []
    for _ in range(5):
        store = open_store(tmp_path / "parts", config, space)
        parts += ask_and_tell(store, tmp_path / "parts", config, space, 2)
        store.close()
    assert parts == whole


def test_a_changed_space_is_carried_over(config: StudyConfig, tmp_path: Path, space: Space) -> None:
    store = open_store(tmp_path, config, space)
    ask_and_tell(store, tmp_path, config, space, 6)
    before = store.trials()
    smaller = space_of(tmp_path, '[space]\n"encoder.cell" = { choices = ["gru", "lstm"] }\n', "smaller")
    store = reopened(store, tmp_path, config, smaller)
    after = store.trials()
    assert [(each.number, each.state, each.value) for each in after] == [
        (each.number, each.state, each.value) for each in before
    ]
    assert asked(store)[0] == 6
    store = reopened(store, tmp_path, config, space)  # and back again
    assert [(each.params, each.fits) for each in store.trials()[:6]] == [(each.params, True) for each in before]
    store.close()


def optunas_own_front(root: Path, config: StudyConfig) -> list[int]:
    """What a tool of Optuna's would say of the stored study."""
    storage = Storage(study_place(StudyFolder(root / "studies" / config.name), config))
    try:
        return sorted(trial.number for trial in load_study(study_name=config.name, storage=storage._optuna).best_trials)
    finally:
        storage.close()


def test_the_values_of_several_objectives_are_kept_and_carried_over(
    config: StudyConfig, tmp_path: Path, space: Space
) -> None:
    several = {"further_objectives": ("c_primary", "parameters"), "pruner": NoPrunerConfig()}
    config = config.model_copy(update=several)
    store = open_store(tmp_path, config, space)
    ask_and_tell(store, tmp_path, config, space, 6)
    number, _ = asked(store)
    store.tell(number, TrialState.FAILED, value=None)
    with pytest.raises(ValueError, match="finite"):
        store.tell(asked(store)[0], TrialState.COMPLETE, value=1.0, further=(float("nan"), 2.0))
    before = store.trials()
    assert [len(each.values) for each in before] == [3] * 6 + [0, 0]
    assert optunas_own_front(tmp_path, config) == [each.number for each in front(before)]
    store = reopened(store, tmp_path, config, space)
    assert store.trials() == before
    smaller = space_of(tmp_path, '[space]\n"encoder.cell" = { choices = ["gru", "lstm"] }\n', "smaller")
    store = reopened(store, tmp_path, config, smaller)
    assert [each.values for each in store.trials()] == [each.values for each in before]
    assert not all(each.fits for each in store.trials()[:6]), "those that do not fit keep their values as well"
    assert {each.number for each in front(store.trials())} <= {each.number for each in store.trials() if each.fits}
    asked(store)
    store = reopened(store, tmp_path, config, space)
    assert [(each.values, each.fits) for each in store.trials()[:6]] == [(each.values, True) for each in before[:6]]
    store.close()


def test_it_is_read_beside_a_living_coordinator(config: StudyConfig, tmp_path: Path, space: Space) -> None:
    folder = StudyFolder(tmp_path / "studies" / config.name)
    store = open_store(tmp_path, config, space)
    asked(store)
    with pytest.MonkeyPatch.context() as patch:
        if config.storage.optuna:
            patch.setenv("LIDSTUDY_OPTUNA_STORAGE", config.storage.optuna)
        write_json(folder.manifest, {"manifest": {}, "optuna": study_place(folder, config).recorded})
        assert read_trials(folder) == store.trials()
    store.close()


def test_another_workspaces_study_of_that_name_is_not_touched(
    config: StudyConfig, tmp_path: Path, space: Space
) -> None:
    if config.storage.optuna is None:
        assert not (tmp_path / "elsewhere").exists()  # each workspace has its own journal
        return
    if config.storage.optuna.startswith("sqlite"):
        config = config.model_copy(update={"storage": StorageConfig(optuna=f"sqlite:///{tmp_path}/shared.db")})
    open_store(tmp_path, config, space).close()
    with pytest.raises(StorageError, match="another workspace"):
        open_store(tmp_path / "elsewhere", config, space)


# --- databases --------------------------------------------------------------------------------------------------------


@pytest.mark.services
def test_a_postgresql_that_is_away_is_waited_for_and_nothing_is_lost(
    postgresql: PostgresServer, tmp_path: Path, space: Space
) -> None:
    config = StudyConfig(name="away", space="any", trials=9, storage=StorageConfig(optuna=postgresql.new_database()))
    store = open_store(tmp_path, config, space)
    first, _ = asked(store)
    postgresql.stop()
    with pytest.raises(StoreAwayError) as told:
        store.report(first, epoch=0, objective=1.0)
    assert PASSWORD not in str(told.value)
    assert ESCAPED_PASSWORD not in str(told.value)
    assert ":***@127.0.0.1" in str(told.value)
    for _ in range(2):
        with pytest.raises(StoreAwayError):
            asked(store)
    with pytest.raises(StoreAwayError):
        store.tell(first, TrialState.COMPLETE, value=1.0)
    with pytest.raises(StoreAwayError):
        open_store(tmp_path, config, space)
    assert [trial.state for trial in store.trials()] == [TrialState.RUNNING]
    postgresql.start()
    store.report(first, epoch=0, objective=1.0)
    store.tell(first, TrialState.COMPLETE, value=1.0)
    second, _ = asked(store)
    assert (first, second) == (0, 1)
    before = store.trials()
    assert reopened(store, tmp_path, config, space).trials() == before
    assert [trial.state for trial in before] == [TrialState.COMPLETE, TrialState.RUNNING]


@pytest.mark.services
def test_several_coordinators_may_be_the_first_to_use_a_database(
    postgresql: PostgresServer, tmp_path: Path, space: Space
) -> None:
    storage = StorageConfig(optuna=postgresql.new_database())
    configs = [StudyConfig(name=f"first{each}", space="any", trials=9, storage=storage) for each in range(4)]
    with ThreadPoolExecutor(4) as pool:
        stores = list(pool.map(lambda config: open_store(tmp_path, config, space), configs))
    assert [asked(store)[0] for store in stores] == [0] * 4


@pytest.mark.services
def test_a_wrong_password_is_no_reason_to_wait_and_is_not_shown(
    postgresql: PostgresServer, tmp_path: Path, space: Space
) -> None:
    url = postgresql.new_database().replace(ESCAPED_PASSWORD, "wr0ng-p4ss")
    config = StudyConfig(name="wrong", space="any", trials=9, storage=StorageConfig(optuna=url))
    with pytest.raises(StorageError, match="PGPASSWORD") as told:
        open_store(tmp_path, config, space)
    assert not isinstance(told.value, StoreAwayError)
    assert "wr0ng-p4ss" not in str(told.value)


@dataclass
class Locked:
    root: Path
    config: StudyConfig
    space: Space

    def open(self) -> TrialStore:
        return open_store(self.root, self.config, self.space)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """What is called inside is told that the database is away."""
        holder = sqlite3.connect(self.root / "o.db")
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreAwayError, match="locked"):
            yield
        holder.close()


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Locked]:
    """A study in SQLite, and a way to lock the database."""
    config = StudyConfig(
        name="locked",
        space="any",
        trials=9,
        pruner=SuccessiveHalvingPrunerConfig(min_epochs=1, reduction_factor=2),
        storage=StorageConfig(optuna="sqlite:///o.db"),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("study.storage.SQLITE_PATIENCE_S", 0.01)
        yield Locked(tmp_path, config, space_of(tmp_path, RANGES))


def test_a_sqlite_that_another_process_locks_is_away(locked: Locked) -> None:
    store = locked.open()
    number, _ = asked(store)
    with locked.lock():
        store.tell(number, TrialState.COMPLETE, value=1.0)
    store.tell(number, TrialState.COMPLETE, value=1.0)
    assert locked.open().trials() == store.trials()


def test_a_pruner_that_could_not_note_its_rung_is_asked_again(locked: Locked) -> None:
    store = locked.open()
    for objective, is_pruned in ((1.0, False), (2.0, True)):
        number, _ = asked(store)
        store.report(number, epoch=0, objective=objective)
        with locked.lock():
            store.should_prune(number)
        assert store.should_prune(number) is is_pruned


def test_a_trial_that_was_stored_although_the_answer_was_lost_is_not_stored_twice(locked: Locked) -> None:
    store, meanwhile = locked.open(), locked.open()
    with locked.lock():
        asked(store)
    assert asked(meanwhile) == asked(store)  # what is proposed depends on the number alone
    assert len(locked.open().trials()) == 1


def test_a_trial_that_was_told_although_the_answer_was_lost_is_told_once(locked: Locked) -> None:
    store = locked.open()
    number, _ = asked(store)
    meanwhile = locked.open()
    with locked.lock():
        store.tell(number, TrialState.COMPLETE, value=1.0)
    meanwhile.tell(number, TrialState.COMPLETE, value=1.0)
    store.tell(number, TrialState.COMPLETE, value=1.0)
    assert locked.open().trials() == store.trials()


def test_a_second_writer_is_noticed(locked: Locked) -> None:
    store, other = locked.open(), locked.open()
    asked(other)
    with pytest.raises(StorageError, match="somebody else writes"):
        asked(store)


def test_a_password_in_what_a_driver_says_is_masked(tmp_path: Path) -> None:
    error = OperationalError("SELECT 1", {}, Exception("could not connect to postgresql://ann:hush@db/studies"))
    told = as_storage_error(error, Place("postgresql://ann:hush@db/studies", tmp_path))
    assert "hush" not in str(told)
    assert str(told).count("***") == 2


def test_a_file_that_is_no_database_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "o.db").write_text("no database, but a text that is long enough to look at" * 20)
    config = StudyConfig(name="text", space="any", trials=9, storage=StorageConfig(optuna="sqlite:///o.db"))
    with pytest.raises(StorageError, match=r"o\.db cannot be used: .*not a database") as told:
        open_store(tmp_path, config, space_of(tmp_path, RANGES))
    assert not isinstance(told.value, StoreAwayError)


def test_no_password_is_written_down(tmp_path: Path) -> None:
    config = StudyConfig(
        name="secret", space="any", trials=9, storage=StorageConfig(optuna="postgresql://ann:hush@db/studies")
    )
    place = study_place(StudyFolder(tmp_path / "studies" / "secret"), config)
    for text in (repr(config), str(config), repr(place), place.shown, place.recorded):
        assert "hush" not in text
    assert json.loads(config.model_dump_json())["storage"]["optuna"] == "postgresql://ann:***@db/studies"
