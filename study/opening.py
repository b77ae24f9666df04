"""Opens the trials of a study: for its coordinator, or to read beside it."""

import uuid
from typing import Any

from lightning_modules.config import TrialConfig
from lightning_modules.errors import StorageError
from search_spaces.space import Space
from study.carry_over import carried
from study.combinations import longest_epochs, num_configurations
from study.config import StudyConfig
from study.mirror import Proposer, in_order_of
from study.pruner_config import WilcoxonPrunerConfig
from study.pruners import build_pruner
from study.sampler_config import GPConfig
from study.sampler_process import MirrorSpec, SamplerProcess
from study.samplers import build_sampler
from study.storage import IS_WHOLE, OWNER, SPACE_HASH, Storage, StoredStudy, Version, cut_torn_tail, present_trials
from study.storage_config import JOURNAL, Place, place_of, recorded_place
from study.trial_store import TrialStore
from study.trials import TrialSummary, summary_of
from study.workspace import StudyFolder, read_description, read_json, write_atomic

MANY_TRIALS = 1000


def open_trial_store(folder: StudyFolder, config: StudyConfig, space: Space) -> TrialStore:
    """Opens or makes a study's storage, for the one coordinator that holds the lease.

    Raises:
        StoreAwayError: the database does not answer.
        StorageError: the storage cannot be read, or holds another study of the same name.
    """
    folder.root.mkdir(parents=True, exist_ok=True)
    place = study_place(folder, config)
    if place.url is None:
        cut_torn_tail(place.journal)
    storage = Storage(place)
    try:
        stored = _present_version(storage, folder, config, space)
        trials = [in_order_of(space, trial) for trial in stored.trials()]
    except StorageError:
        storage.close()
        raise
    store = _store(storage, stored, config=config, space=space, num_trials=len(trials))
    store.load(trials)
    return store


def _store(storage: Storage, stored: StoredStudy, *, config: StudyConfig, space: Space, num_trials: int) -> TrialStore:
    pruner = build_pruner(config.pruner, max_epochs=longest_epochs(config, space))
    # The Gaussian process imports torch; any sampler that looks at thousands of trials holds up the event loop.
    in_process = isinstance(config.sampler, GPConfig) or max(num_trials, config.trials) >= MANY_TRIALS
    sampler = None if in_process else build_sampler(config.sampler, space=space, seed=config.seed)
    spec = MirrorSpec(
        name=config.name,
        space=space,
        seed=config.seed,
        sampler=config.sampler,
        num_objectives=config.num_objectives,
    )
    mirror = spec.mirror(sampler=sampler, pruner=pruner)
    proposer: Proposer = SamplerProcess(spec) if in_process else mirror
    return TrialStore(
        storage=storage,
        stored=stored,
        mirror=mirror,
        proposer=proposer,
        space_hash=space.hash,
        num_configurations=num_configurations(config, space),
        at_epoch=config.pruner.at_epoch if isinstance(config.pruner, WilcoxonPrunerConfig) else None,
    )


def study_place(folder: StudyFolder, config: StudyConfig) -> Place:
    """Where a study that is to run keeps its trials."""
    return place_of(config.storage, workspace=folder.root.parent.parent, journal=folder.journal)


def read_trials(folder: StudyFolder) -> list[TrialSummary]:
    """All trials, read beside a living coordinator; none if nothing was asked yet."""
    recorded = read_description(folder.manifest).get("optuna", JOURNAL) if folder.manifest.exists() else JOURNAL
    place = recorded_place(recorded, workspace=folder.root.parent.parent, journal=folder.journal)
    return [summary_of(trial) for trial in present_trials(place, folder.root.name)]


def _present_version(storage: Storage, folder: StudyFolder, config: StudyConfig, space: Space) -> StoredStudy:
    """The study of the present space; made anew where there is none yet."""
    versions = storage.versions(config.name)
    if versions:
        _check_owner(versions[0], folder)
    for torn in [version for version in versions if not version.is_whole]:
        storage.delete(torn)  # the coordinator died while it copied
        versions.remove(torn)
    if not versions:
        attributes = {SPACE_HASH: space.hash, OWNER: _owner(folder)}
        return storage.create(config.name, number=0, attributes=attributes, num_objectives=config.num_objectives)
    last = versions[-1]
    if last.attributes.get(SPACE_HASH, space.hash) == space.hash:
        return storage.load(last)
    return _carry_over(storage, last, folder=folder, config=config, space=space)


def _carry_over(
    storage: Storage, last: Version, *, folder: StudyFolder, config: StudyConfig, space: Space
) -> StoredStudy:
    trials = storage.load(last).trials()
    configs = {trial.number: _frozen_config(folder, trial.number) for trial in trials}
    known = {number: frozen for number, frozen in configs.items() if frozen is not None}
    attributes: dict[str, Any] = {IS_WHOLE: False, SPACE_HASH: space.hash, OWNER: _owner(folder)}
    new = storage.create(
        config.name, number=last.number + 1, attributes=attributes, num_objectives=config.num_objectives
    )
    for trial in carried(trials, known, space=space, base=config.trial.model_dump(mode="json")):
        new.add(trial)
    new.mark(IS_WHOLE, value=True)
    return new


def _frozen_config(folder: StudyFolder, number: int) -> TrialConfig | None:
    trial = folder.trial(number)
    return TrialConfig.model_validate(read_json(trial.config)) if trial.is_frozen else None


def _owner(folder: StudyFolder) -> str:
    """What tells this study from another of the same name in a shared database; made once."""
    if not folder.owner.exists():
        write_atomic(folder.owner, uuid.uuid4().hex, sync=True)
    return folder.owner.read_text(encoding="utf-8")


def _check_owner(version: Version, folder: StudyFolder) -> None:
    owner = version.attributes.get(OWNER)
    if owner is not None and owner != _owner(folder):
        raise StorageError(
            f"Optuna's storage holds a study '{folder.root.name}' of another workspace than {folder.root}; "
            "give the study another name, or put its files back."
        )
