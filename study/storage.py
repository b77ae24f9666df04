"""Where Optuna keeps a study: its journal, or a database. Nothing else opens Optuna's storages.

Only the coordinator writes, under its lease; everybody else reads. A study whose search space changes becomes another
study in the same storage, and the last of them is the present one (study/carry_over.py).
"""

import fcntl
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import optuna
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages._cached_storage import _CachedStorage
from optuna.storages.journal._file import BaseJournalFileLock
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from optuna.trial import TrialState as OptunaState
from sqlalchemy.exc import SQLAlchemyError

from lightning_modules.errors import StorageError
from study.database_errors import as_storage_error
from study.database_lock import SQLITE, alone
from study.journal import Journal
from study.storage_config import Place

OWNER: Final = "owner"
SPACE_HASH: Final = "space"
IS_WHOLE: Final = "whole"
"""User attribute of a study: all trials of the one before have been copied into it."""
SQLITE_PATIENCE_S: Final = 30.0
CONNECT_PATIENCE_S: Final = 5


@dataclass(frozen=True)
class Version:
    """One study of Optuna's: what was asked under one search space.

    Attributes:
        number: 0 for the first space of a study, then 1, 2 …
        study_id: Optuna's.
        attributes: its user attributes.
    """

    number: int
    study_id: int
    attributes: dict[str, Any]

    @property
    def is_whole(self) -> bool:
        """Whether all trials of the version before are in it."""
        return bool(self.attributes.get(IS_WHOLE, self.number == 0))


class Storage:
    """Optuna's storage of one study, with every database error told as one of ours."""

    def __init__(self, place: Place) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._place = place
        with self._told():
            self._optuna = _open(place)

    def versions(self, name: str) -> list[Version]:
        """All spaces that a study had, the present one last."""
        with self._told():
            studies = self._optuna.get_all_studies()
        found = [
            Version(_version(study.study_name, name), study._study_id, study.user_attrs)  # noqa: SLF001 - no public name
            for study in studies
            if _version(study.study_name, name) >= 0
        ]
        return sorted(found, key=lambda version: version.number)

    def create(self, name: str, *, number: int, attributes: dict[str, Any], num_objectives: int = 1) -> "StoredStudy":
        """A new version of a study; all that it has for objectives is minimised."""
        with self._told():
            title = name if number == 0 else f"{name}@{number}"
            study_id = self._optuna.create_new_study([StudyDirection.MINIMIZE] * num_objectives, title)
            for key, value in attributes.items():
                self._optuna.set_study_user_attr(study_id, key, value)
        return StoredStudy(self._optuna, study_id, told=self._told)

    def load(self, version: Version) -> "StoredStudy":
        """A version that exists."""
        return StoredStudy(self._optuna, version.study_id, told=self._told)

    def delete(self, version: Version) -> None:
        """Forgets a version."""
        with self._told():
            self._optuna.delete_study(version.study_id)

    def close(self) -> None:
        """Closes connections."""
        if isinstance(self._optuna, _CachedStorage):
            self._optuna.remove_session()
            self._optuna._backend.engine.dispose()  # noqa: SLF001 - no public name for it

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, StorageInternalError) as error:
            raise as_storage_error(error, self._place) from None
        except (ValueError, KeyError, AssertionError) as error:
            if self._place.url is not None:
                raise
            raise StorageError(  # Optuna reads a journal line by line, as it is asked
                f"{self._place.shown} cannot be read: {error}; put back a copy of it, or give the study another name."
            ) from None


class StoredStudy:
    """The stored trials of one study, each change of which is one call."""

    def __init__(
        self, storage: BaseStorage, study_id: int, *, told: Callable[[], AbstractContextManager[None]]
    ) -> None:
        self._storage = storage
        self._study_id = study_id
        self._told = told
        self._ids: dict[int, int] = {}  # trial number -> Optuna's id
        self._is_unsure = False  # whether a trial may be stored although the answer was lost

    def trials(self) -> list[FrozenTrial]:
        """All trials in order of number; not to be changed."""
        with self._told():
            trials = self._storage.get_all_trials(self._study_id, deepcopy=False)
        self._ids = {trial.number: trial._trial_id for trial in trials}  # noqa: SLF001 - no public name for it
        return trials

    def add(self, trial: FrozenTrial) -> None:
        """Stores a trial as a whole; storing it again after the connection was lost adds no second one."""
        if self._is_unsure:
            self.trials()
        self._is_unsure = True
        with self._told():
            if trial.number not in self._ids:
                _check_answers(self._storage)
                self._ids[trial.number] = self._storage.create_new_trial(self._study_id, trial)
            is_it = self._ids[trial.number] == self._id_of(trial.number)
        self._is_unsure = False
        if not is_it:
            raise StorageError(
                f"somebody else writes to this Optuna study: its trial {trial.number} is not ours; "
                "give one of the two studies another name."
            )

    def _id_of(self, number: int) -> int | None:
        try:
            return self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number)
        except KeyError:
            return None

    def report(self, number: int, step: int, value: float) -> None:
        """Stores a report."""
        with self._told():
            self._storage.set_trial_intermediate_value(self._ids[number], step, value)

    def note(self, number: int, key: str, value: Any) -> None:
        """Stores what a pruner noted."""
        with self._told():
            self._storage.set_trial_system_attr(self._ids[number], key, value)

    def tell(
        self, number: int, state: OptunaState, *, values: Sequence[float] | None, attributes: dict[str, Any]
    ) -> None:
        """Ends a trial; telling it again after the connection was lost changes nothing."""
        with self._told():
            try:
                for key, value in attributes.items():
                    self._storage.set_trial_user_attr(self._ids[number], key, value)
                self._storage.set_trial_state_values(self._ids[number], state, values)
            except UpdateFinishedTrialError:
                return

    def sync(self) -> None:
        """Waits until the disk has all of it; databases do so at each call."""
        if isinstance(self._storage, JournalStorage) and isinstance(self._storage._backend, Journal):  # noqa: SLF001
            self._storage._backend.sync()  # noqa: SLF001 - no public name for it

    def mark(self, key: str, value: Any) -> None:
        """Stores an attribute of the study."""
        with self._told():
            self._storage.set_study_user_attr(self._study_id, key, value)


def present_trials(place: Place, name: str) -> list[FrozenTrial]:
    """All trials of a study's present space, read beside a living coordinator; none if nothing was asked yet."""
    if place.url is None and not place.journal.exists():
        return []
    storage = Storage(place)
    try:
        whole = [version for version in storage.versions(name) if version.is_whole]
        return storage.load(whole[-1]).trials() if whole else []
    finally:
        storage.close()


def _version(title: str, name: str) -> int:
    """Which version of a study a study of Optuna's is; -1 for none."""
    if title == name:
        return 0
    number = title.removeprefix(f"{name}@")
    return int(number) if number != title and number.isdigit() else -1


def _open(place: Place) -> BaseStorage:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return _open_journal(place) if place.url is None else _open_database(place, place.url)


def _check_answers(storage: BaseStorage) -> None:
    """Raises at once if a database is away: Optuna would sleep and try again, several times."""
    if isinstance(storage, _CachedStorage):
        with storage._backend.engine.connect():  # noqa: SLF001 - no public name for it
            pass


def _open_database(place: Place, url: str) -> BaseStorage:
    is_sqlite = url.startswith(SQLITE)
    arguments: dict[str, float] = (
        {"timeout": SQLITE_PATIENCE_S} if is_sqlite else {"connect_timeout": CONNECT_PATIENCE_S}
    )
    try:
        with alone(url, connect_arguments=arguments):
            return _CachedStorage(RDBStorage(url, {"pool_pre_ping": True, "connect_args": arguments}))
    except ImportError:
        raise StorageError(
            f"{place.shown} needs a driver that is not installed: pip install 'lidstudy[postgres]'."
        ) from None
    except OSError as error:
        raise StorageError(f"{place.shown} cannot be opened: {error.strerror}") from None


def _open_journal(place: Place) -> BaseStorage:
    try:
        return JournalStorage(Journal(str(place.journal), _Flock(place.journal)))
    except (OSError, ValueError, KeyError) as error:
        raise StorageError(f"{place.shown} cannot be read: {error}") from None


class _Flock(BaseJournalFileLock):
    """The journal's lock as an flock, which dies with its process; Optuna's own lock files outlive it for 30 s."""

    def __init__(self, journal: Path) -> None:
        self._path = journal.with_suffix(".lock")
        self._file: IO[str] | None = None

    def acquire(self) -> bool:
        self._file = self._path.open("a")
        fcntl.flock(self._file, fcntl.LOCK_EX)
        return True

    def release(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def cut_torn_tail(journal: Path) -> None:
    """Cuts a journal to its last newline: a torn last line would break every later load."""
    if not journal.exists():
        return
    with journal.open("rb+") as file:
        content = file.read()
        file.truncate(content.rfind(b"\n") + 1)
