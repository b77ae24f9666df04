"""One attempt in its own process, run to its end."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from study.devices import Slot
from study.launchers._base import Life, Status
from study.launchers.local import LocalLauncher
from study.spec import AttemptSpec
from study.workspace import Workspace
from tests.conftest import write_tiny_study
from tests.study.helpers import config_of, until


@pytest.fixture
def launcher(workspace: Path) -> Iterator[LocalLauncher]:
    launcher = LocalLauncher(Workspace(workspace), slots=[Slot(name="cpu-0")])
    yield launcher
    launcher.close()


@pytest.fixture
def run(workspace: Path, tmp_path: Path, launcher: LocalLauncher) -> Callable[..., AttemptSpec]:
    """Runs one attempt in its own process, to its end."""

    def run_one(
        name: str, *, steps: int = 3, batch_size: int = 6, hidden_size: int = 16, **changes: object
    ) -> AttemptSpec:
        study = config_of(write_tiny_study(tmp_path, epochs=2, steps=steps)).trial
        training = study.training.model_copy(update={"batch_size": batch_size})
        encoder = study.encoder.model_copy(update={"hidden_size": hidden_size})
        folder = workspace / "trials" / name
        spec = AttemptSpec(
            number=0,
            attempt=0,
            folder=folder / "attempt-0",
            trial_folder=folder,
            workspace=workspace,
            objective="cllr_calibrated",
            slot=Slot(name="cpu-0"),
            config=study.model_copy(update={"training": training, "encoder": encoder}),
        ).model_copy(update=changes)
        until(lambda: launcher.submit(spec))
        until(lambda: launcher.poll(spec).life is not Life.RUNNING)
        assert launcher.poll(spec) == Status(Life.EXITED, 0), launcher.output_tail(spec)
        return spec

    return run_one
