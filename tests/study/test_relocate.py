"""An attempt's spec on another machine, and in a study that has moved."""

from pathlib import Path

import pytest

from lightning_modules.config import TrialConfig
from study.devices import Slot
from study.launchers.relocate import CHECKPOINT, files_to_ship, relocate
from study.spec import SPEC_FILE, AttemptSpec, read_spec
from study.workspace import Workspace, write_json


@pytest.fixture
def spec(tmp_path: Path) -> AttemptSpec:
    """Of a training that begins with another trial's weights."""
    workspace = Workspace(tmp_path / "workspace")
    folder = workspace.study("later")
    beginning = folder.pretrained("before/3").best_checkpoint
    beginning.parent.mkdir(parents=True)
    beginning.write_bytes(b"weights")
    trial = folder.trial(7)
    attempt = trial.root / "attempt-0"
    attempt.mkdir(parents=True)
    return AttemptSpec(
        number=7,
        attempt=0,
        folder=attempt,
        trial_folder=trial.root,
        checkpoint=beginning,
        workspace=workspace.root,
        objective="cllr",
        slot=Slot(name="cpu-0"),
        config=TrialConfig(),
    )


def test_what_a_training_begins_with_travels_with_it(spec: AttemptSpec, tmp_path: Path) -> None:
    assert files_to_ship(spec) == {CHECKPOINT: b"weights"}
    there = relocate(spec, root=tmp_path / "there", workspace=tmp_path / "speech")
    assert there.checkpoint == there.trial_folder / CHECKPOINT


def test_what_a_training_begins_with_is_found_in_a_study_that_has_moved(spec: AttemptSpec, tmp_path: Path) -> None:
    write_json(spec.folder / SPEC_FILE, spec.model_dump(mode="json"))
    (tmp_path / "workspace").rename(tmp_path / "moved")
    found = read_spec(tmp_path / "moved" / spec.folder.relative_to(tmp_path / "workspace"))
    assert found is not None
    assert found.checkpoint is not None
    assert found.checkpoint.read_bytes() == b"weights"
