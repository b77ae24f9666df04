"""What tests share: corpus `espeak` and an empty MLflow store, made once a session."""

import os
import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest
from hypothesis import settings

from lightning_modules.config import FeaturesConfig
from lightning_modules.data.feature_building import build_feature_store
from lightning_modules.data.feature_store import FeatureStore
from lightning_modules.data.prepared import prepare_corpus
from study.leaks import look_for_leaks
from study.mlflow_store import connect
from study.workspace import Workspace

settings.register_profile("lidstudy", deadline=None)  # how long an example takes says what else the machine does
settings.load_profile("lidstudy")

pytest_plugins = ("tests.services.postgresql", "tests.study.stores")

TINY_STUDY = """
name = "tiny"
question = "Does a tiny study run?"
space = "{space}"
trials = {trials}
seed = 3

[sampler]
kind = "random"

[pruner]
kind = "none"

[trial.data]
corpus = "espeak"
languages = ["en", "es", "fr"]
segment_s = 1.0
utterance_s = 4.0
minimum_s = 1.0
max_utterances = 12

[trial.training]
max_epochs = {epochs}
steps_per_epoch = {steps}
batch_size = 6
"""

TINY_SPACE = """
[space]
"encoder.cell" = { choices = ["gru", "lstm"] }
"encoder.hidden_size" = { choices = [8, 16] }
"clipping.kind" = { choices = ["none", "norm"] }
"clipping.max_norm" = { float = [0.05, 5.0], log = true, when = { "clipping.kind" = ["norm"] } }
"optimizer.learning_rate" = { float = [0.001, 0.01], log = true }
"""


def nothing_to_show(_stage: str, _done: int, _total: int) -> None:
    """Progress that nobody watches."""


@pytest.fixture(scope="session")
def shared_speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with corpus espeak and its features; made once for all xdist workers, under the corpus's own lock."""
    base = tmp_path_factory.getbasetemp()
    root = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "speech"
    root.mkdir(exist_ok=True)
    corpus = prepare_corpus("espeak", root, progress=nothing_to_show)
    store = build_feature_store(corpus, FeaturesConfig(), workspace=root, progress=nothing_to_show)
    look_for_leaks(corpus, FeatureStore.open(store), progress=nothing_to_show)
    connect(Workspace(root).tracking_uri)
    return root


@pytest.fixture
def workspace(another_workspace: Callable[[], Path]) -> Path:
    """A workspace of the test's own, with speech in it."""
    return another_workspace()


@pytest.fixture
def another_workspace(shared_speech: Path, tmp_path: Path) -> Callable[[], Path]:
    """Makes workspaces, for tests that compare some."""
    numbers = count()

    def make() -> Path:
        number = next(numbers)
        return new_workspace(shared_speech, tmp_path / (f"workspace-{number}" if number else "workspace"))

    return make


def new_workspace(shared_speech: Path, root: Path) -> Path:
    """An empty workspace with the speech of a session in it."""
    root.mkdir()
    for name in ("corpora", "features"):
        (root / name).symlink_to(shared_speech / name)
    shutil.copytree(shared_speech / "mlflow", root / "mlflow")  # migrated already, which takes seconds
    return root


@pytest.fixture
def tiny_study(tmp_path: Path) -> Path:
    """A study's file: four trials of a second each."""
    return write_tiny_study(tmp_path)


def write_tiny_study(folder: Path, *, trials: int = 4, epochs: int = 3, steps: int = 4, changes: str = "") -> Path:
    """Writes a tiny study and its space; `changes` is TOML that goes after it."""
    space = folder / "tiny_space.toml"
    space.write_text(TINY_SPACE)
    path = folder / "tiny.toml"
    text = TINY_STUDY.format(space=space.name, trials=trials, epochs=epochs, steps=steps)
    if "[trial.task]" in changes:
        text = text.replace("segment_s = 1.0\n", "")  # which tasks of whole recordings do not have
    path.write_text(text + changes)
    return path
