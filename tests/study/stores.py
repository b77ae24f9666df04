"""Stores of a test's own, and a study that needs no training: an objective that depends on the parameters alone."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from reports.records import TrialState
from search_spaces.space import Space, load_space
from study.config import StudyConfig
from study.opening import open_trial_store
from study.trial_store import TrialStore
from study.trials import Wish
from study.workspace import StudyFolder, write_json

RANGES = """
[space]
"encoder.hidden_size" = { int = [8, 64] }
"encoder.dropout" = { float = [0.0, 0.5], step = 0.1 }
"optimizer.learning_rate" = { float = [0.001, 0.01], log = true }
"""

CHOICES = """
[space]
"encoder.cell" = { choices = ["gru", "lstm"] }
"encoder.num_layers" = { int = [1, 2] }
"encoder.dropout" = { float = [0.0, 0.2], step = 0.1 }
"""

CONDITIONS = """
[space]
"clipping.kind" = { choices = ["none", "norm", "value"] }
"clipping.max_norm" = { choices = [0.5, 1.0, 5.0], when = { "clipping.kind" = ["norm"] } }
"clipping.max_value" = { choices = [0.1, 1.0], when = { "clipping.kind" = ["value"] } }
"encoder.cell" = { choices = ["gru", "lstm"] }
"""


def space_of(folder: Path, text: str, name: str = "space") -> Space:
    path = folder / f"{name}.toml"
    path.write_text(text)
    return load_space(str(path))


def open_store(root: Path, config: StudyConfig, space: Space) -> TrialStore:
    """The store of a workspace's only study."""
    store = open_trial_store(StudyFolder(root / "studies" / config.name), config, space)
    _OPENED.append(store)
    return store


_OPENED: list[TrialStore] = []


@pytest.fixture
def closing() -> Iterator[None]:
    """Closes what a test opened."""
    yield
    while _OPENED:
        _OPENED.pop().close()


def asked(store: TrialStore, wish: Wish | None = None) -> tuple[int, dict[str, Any]]:
    """A new trial's number and parameters."""
    trial = store.ask(wish)
    return trial.number, trial.params


def objective(params: Mapping[str, Any]) -> float:
    """Something to minimise that orders any two configurations."""
    texts = sorted(f"{path}={value}" for path, value in params.items() if isinstance(value, str | bool))
    numbers = sum(math.sin(float(value)) for value in params.values() if isinstance(value, int | float))
    return numbers + sum(ord(character) for text in texts for character in text) / 10_000


def further(config: StudyConfig, params: Mapping[str, Any]) -> tuple[float, ...]:
    """A value of each further objective that pulls another way than the first."""
    return tuple(math.cos(objective(params) * (place + 2)) for place in range(len(config.further_objectives)))


def ask_and_tell(store: TrialStore, root: Path, config: StudyConfig, space: Space, count: int) -> list[dict[str, Any]]:
    """Asks and tells in turn, and writes the frozen configuration of each trial as the coordinator does."""
    proposals = []
    folder = StudyFolder(root / "studies" / config.name)
    for _ in range(count):
        number, params = asked(store)
        frozen = space.apply(config.trial.model_dump(mode="json"), params)
        write_json(folder.trial(number).config, frozen.model_dump(mode="json"))
        proposals.append(params)
        store.report(number, epoch=0, objective=objective(params) + 1.0)
        store.tell(number, TrialState.COMPLETE, value=objective(params), further=further(config, params))
    return proposals
