"""What Optuna knows of a study: its journal, its sampler and pruner. Nothing else opens Optuna's storages.

Only the coordinator writes, under its lease. The sampler's random streams are reseeded from (study seed, trial
number) before each ask: a resumed study would else repeat the proposals of its first trials.
"""

import fcntl
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, assert_never

import numpy as np
import optuna
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock
from optuna.trial import FrozenTrial, Trial
from optuna.trial import TrialState as OptunaState

from lightning_modules.errors import StorageError
from reports.records import TrialState
from search_spaces.space import Space
from study.config import (
    MedianPrunerConfig,
    NoPrunerConfig,
    PrunerConfig,
    RandomConfig,
    SamplerConfig,
    StudyConfig,
    TPEConfig,
)

OUTCOME = "outcome"
COMMAND = "command"  # of a trial that a user asked for; with its seed and the trial that it tries again, if any
OPTUNA_STATE = {
    TrialState.COMPLETE: OptunaState.COMPLETE,
    TrialState.DIVERGED: OptunaState.COMPLETE,
    TrialState.PRUNED: OptunaState.PRUNED,
    TrialState.FAILED: OptunaState.FAIL,
    TrialState.TIMED_OUT: OptunaState.FAIL,
}


@dataclass(frozen=True, kw_only=True)
class TrialSummary:
    """One trial as Optuna knows it.

    Attributes:
        number: its number.
        state: how it stands.
        value: what Optuna was told, or None.
        params: the searched parameters.
        reports: objective by epoch.
        command: the user's command that it came from, or "".
        seed: the seed that a user chose for it, or None.
        retry_of: the failed trial that it tries again, or None.
    """

    number: int
    state: TrialState
    value: float | None
    params: dict[str, Any]
    reports: dict[int, float] = field(default_factory=dict)
    command: str = ""
    seed: int | None = None
    retry_of: int | None = None

    @property
    def is_retry(self) -> bool:
        """Whether it tries a failed trial again."""
        return self.retry_of is not None


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What a user asked a trial to be.

    Attributes:
        name: of the command; unique, so that it is carried out once.
        params: values of searched parameters.
        seed: of the trial; None for the study's own rule.
        retry_of: the failed trial that is tried again, or None.
    """

    name: str
    params: Mapping[str, Any]
    seed: int | None = None
    retry_of: int | None = None


class TrialStore:
    """The trials of one study."""

    def __init__(self, study: optuna.Study, *, seed: int) -> None:
        self._study = study
        self._seed = seed
        self._running: dict[int, Trial] = {}

    def ask(self, space: Space, wish: "Wish | None" = None) -> TrialSummary:
        """A new trial; where a user has a wish, the sampler proposes only what it leaves open."""
        number = len(self._study.get_trials(deepcopy=False))
        reseed(self._study.sampler, (self._seed, number))
        if wish is not None and wish.name:
            noted = {"name": wish.name, "seed": wish.seed, "retry_of": wish.retry_of}
            self._study.enqueue_trial(dict(wish.params), user_attrs={COMMAND: noted})
        trial = self._study.ask()
        self._running[trial.number] = trial
        space.suggest(trial)
        return _summary(self._frozen(trial.number))

    def take_up(self, number: int, space: Space) -> TrialSummary:
        """A trial whose coordinator died before it could start it; parameters that it lacks are proposed now."""
        reseed(self._study.sampler, (self._seed, number))
        self.attach(number)
        space.suggest(self._running[number])
        return _summary(self._frozen(number))

    def attach(self, number: int) -> None:
        """Takes over a running trial that an earlier coordinator asked for."""
        self._running[number] = Trial(self._study, self._frozen(number)._trial_id)  # noqa: SLF001 - no public name for it

    def report(self, number: int, *, epoch: int, objective: float) -> None:
        """Reports an epoch's objective; one that is reported already stays."""
        if epoch not in self._frozen(number).intermediate_values:
            self._running[number].report(objective, epoch)

    def should_prune(self, number: int, *, seen: int | None = None) -> bool:
        """Whether the pruner would stop a trial now.

        Args:
            number: the trial.
            seen: only trials 0 … seen-1 are compared with; None for all.
        """
        if seen is None:
            return self._running[number].should_prune()
        known = self._study.get_trials(deepcopy=False)
        part = optuna.create_study(study_name=self._study.study_name, direction=self._study.direction)
        part.add_trials(known[:seen])
        return bool(self._study.pruner.prune(part, known[number]))

    def tell(self, number: int, state: TrialState, *, value: float | None) -> None:
        """Ends a trial; telling an ended trial again changes nothing.

        Args:
            number: the trial.
            state: how it ended.
            value: finite for complete and diverged trials, None otherwise.
        """
        if value is not None and not math.isfinite(value):
            raise ValueError(f"value must be finite but got {value}.")
        if self._frozen(number).state.is_finished():
            return
        trial = self._running.pop(number)
        trial.set_user_attr(OUTCOME, state.value)
        self._study.tell(trial, value, state=OPTUNA_STATE[state], skip_if_finished=True)

    def trials(self) -> list[TrialSummary]:
        """All trials, in order of number."""
        return _summaries(self._study.get_trials(deepcopy=False))

    def _frozen(self, number: int) -> FrozenTrial:
        return self._study.get_trials(deepcopy=False)[number]


def open_trial_store(journal: Path, config: StudyConfig) -> TrialStore:
    """Opens or makes a study's journal, for the one coordinator that holds the lease."""
    cut_torn_tail(journal)
    storage = _storage(journal)
    known = [study.study_name for study in storage.get_all_studies()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study = (optuna.load_study if config.name in known else optuna.create_study)(
            study_name=config.name,
            storage=storage,
            sampler=build_sampler(config.sampler, seed=config.seed),
            pruner=build_pruner(config.pruner),
        )
    return TrialStore(study, seed=config.seed)


def read_trials(journal: Path, name: str) -> list[TrialSummary]:
    """All trials, read beside a living coordinator; none if nothing was asked yet."""
    if not journal.exists():
        return []
    storage = _storage(journal)
    ids = [study._study_id for study in storage.get_all_studies() if study.study_name == name]  # noqa: SLF001 - no public name
    return [summary for study_id in ids for summary in _summaries(storage.get_all_trials(study_id, deepcopy=False))]


def _storage(journal: Path) -> JournalStorage:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return JournalStorage(JournalFileBackend(str(journal), lock_obj=_Flock(journal)))
    except (OSError, ValueError, KeyError) as error:
        raise StorageError(f"Optuna's journal {journal} cannot be read: {error}") from None


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


def build_sampler(config: SamplerConfig, *, seed: int) -> BaseSampler:
    """The sampler that a study names."""
    match config:
        case TPEConfig(startup_trials=startup_trials):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                return TPESampler(n_startup_trials=startup_trials, group=True, multivariate=True, seed=seed)
        case RandomConfig():
            return RandomSampler(seed=seed)
        case _:
            assert_never(config)


def build_pruner(config: PrunerConfig) -> optuna.pruners.BasePruner:
    """The pruner that a study names."""
    match config:
        case MedianPrunerConfig(startup_trials=startup_trials, warmup_epochs=warmup_epochs):
            return optuna.pruners.MedianPruner(n_startup_trials=startup_trials, n_warmup_steps=warmup_epochs)
        case NoPrunerConfig():
            return optuna.pruners.NopPruner()
        case _:
            assert_never(config)


def reseed(sampler: BaseSampler, entropy: tuple[int, ...]) -> None:
    """Seeds every random stream of a sampler from the same entropy."""
    seeds = np.random.SeedSequence(entropy).generate_state(2)
    for stream, seed in zip(_streams(sampler), seeds, strict=False):
        stream.seed(int(seed))


def _streams(sampler: BaseSampler) -> list[np.random.RandomState]:
    """The sampler's random streams: Optuna has no public way to seed them anew."""
    if isinstance(sampler, TPESampler):
        return [sampler._rng.rng, sampler._random_sampler._rng.rng]  # noqa: SLF001
    if isinstance(sampler, RandomSampler):
        return [sampler._rng.rng]  # noqa: SLF001
    raise TypeError(f"no random streams are known of {type(sampler).__name__}.")


def _summaries(trials: list[FrozenTrial]) -> list[TrialSummary]:
    return [_summary(trial) for trial in trials]


def _summary(trial: FrozenTrial) -> TrialSummary:
    state = TrialState(trial.user_attrs[OUTCOME]) if trial.state.is_finished() else TrialState.RUNNING
    return TrialSummary(
        number=trial.number,
        state=state,
        value=trial.value if trial.state == OptunaState.COMPLETE else None,
        params=dict(trial.params),
        reports=dict(trial.intermediate_values),
        command=trial.user_attrs.get(COMMAND, {}).get("name", ""),
        seed=trial.user_attrs.get(COMMAND, {}).get("seed"),
        retry_of=trial.user_attrs.get(COMMAND, {}).get("retry_of"),
    )


def best_trial(trials: Sequence[TrialSummary]) -> TrialSummary | None:
    """The complete trial with the smallest value; the earlier of equals."""
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE and trial.value is not None]
    return min(complete, key=lambda trial: (trial.value, trial.number), default=None)


def sample_params(space: Space, count: int, *, seed: int) -> list[dict[str, Any]]:
    """Some random configurations of a space, kept nowhere."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=RandomSampler(seed=seed))
    return [space.suggest(study.ask()) for _ in range(count)]
