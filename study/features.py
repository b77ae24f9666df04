"""What is made before a study's first trial: features, copies of speech that trials may draw from, a look for leaks."""

from pathlib import Path
from typing import get_args

from lightning_modules.config import CopyKind, FeaturesConfig
from lightning_modules.data.cards import Progress
from lightning_modules.data.feature_store import FeatureStore, copy_path, feature_store_path
from study.leaks import look_for_leaks, needs_a_look
from study.plan import StudyPlan

COPIES = "augmentation.copies"


def wanted_copies(plan: StudyPlan) -> tuple[CopyKind, ...]:
    """Kinds of copies that a trial of the study may draw from."""
    given = plan.config.trial.augmentation.copies
    searched = {parameter.path for parameter in plan.space.parameters}
    return tuple(kind for kind in get_args(CopyKind) if getattr(given, kind) > 0 or f"{COPIES}.{kind}" in searched)


def are_missing(plan: StudyPlan) -> bool:
    """Whether features or copies are still to be made, or leaks to be looked for.

    Raises:
        CorpusError: they are there, but damaged.
    """
    store = feature_store_path(plan.corpus, plan.config.trial.data.features, plan.workspace.root)
    paths = [store, *(copy_path(store, kind) for kind in wanted_copies(plan))]
    for path in paths:
        if path.exists():
            FeatureStore.open(path)
    return not all(path.exists() for path in paths) or _leaks_are_unknown(plan)


def _leaks_are_unknown(plan: StudyPlan) -> bool:
    """Where the default features are gone it stays so: they are what is looked through."""
    return needs_a_look(plan.corpus) and _default_features(plan).exists()


def _default_features(plan: StudyPlan) -> Path:
    return feature_store_path(plan.corpus, FeaturesConfig(), plan.workspace.root)


def make_features(plan: StudyPlan, progress: Progress) -> None:
    """Makes what is missing; imports torch.

    Raises:
        CorpusError: an audio file is missing or damaged, or music cannot be fetched.
    """
    from lightning_modules.data.feature_building import build_copy, build_feature_store

    features, root = plan.config.trial.data.features, plan.workspace.root
    build_feature_store(plan.corpus, features, workspace=root, progress=progress)
    for kind in wanted_copies(plan):
        build_copy(kind, plan.corpus, features, workspace=root, progress=progress)
    if _leaks_are_unknown(plan):
        look_for_leaks(plan.corpus, FeatureStore.open(_default_features(plan)), progress=progress)
