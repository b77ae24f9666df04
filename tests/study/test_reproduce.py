"""`lidstudy reproduce`: a record is enough to train a trial again, to the last bit on the same machine."""

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

from lightning_modules.errors import ConfigError, StorageError
from reports.records import PEAK_MEMORY_MB, TIME_TRAIN_S, TRAIN_LOSS, MetricPoint, TrialState
from study.commands.reproduce import differences, reproduce
from study.launchers.inline import InlineLauncher
from study.mlflow_place import mlflow_tracking_uri, records_url
from study.mlflow_store import connect
from study.spec import SPEC_FILE, read_spec
from study.workspace import Workspace
from tests.conftest import write_tiny_study
from tests.reports.conftest import make_trial
from tests.study.helpers import record_of, run_study, trials_of

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def done(workspace: Path, tmp_path: Path) -> Path:
    run_study(write_tiny_study(tmp_path, trials=2), workspace)
    return workspace


def test_a_trial_is_reproduced_bit_for_bit(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert reproduce("tiny/1", devices="cpu", folder=done) == 0
    said = capsys.readouterr().out
    assert "reproduced: all" in said
    assert "values of all epochs are the same, bit for bit" in said
    assert trials_of(done, "tiny-reproduced")[-1].value == trials_of(done)[1].value
    assert record_of(done, "tiny-reproduced").trials[0].seed == record_of(done).trials[1].seed


def test_a_trial_of_another_workspace_is_reproduced_from_mlflow_alone(
    done: Path,
    another_workspace: Callable[[], Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    elsewhere = another_workspace()
    monkeypatch.setenv("LIDSTUDY_MLFLOW", f"sqlite:///{done / 'mlflow' / 'mlflow.db'}")
    capsys.readouterr()
    assert reproduce("tiny/1", devices="cpu", folder=elsewhere) == 0
    assert "values of all epochs are the same, bit for bit" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="MLflow has no run of trial 7 of study 'tiny'"):
        reproduce("tiny/7", devices="cpu", folder=elsewhere)
    with pytest.raises(StorageError, match="There is no study named 'never'"):
        reproduce("never/0", devices="cpu", folder=elsewhere)


def test_what_comes_out_otherwise_is_told_with_what_may_have_changed(
    done: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frozen = Workspace(done).study("tiny").trial(0).config
    content = json.loads(frozen.read_text())
    content["optimizer"]["learning_rate"] *= 1.5  # as if the code had changed what a configuration means
    frozen.write_text(json.dumps(content))
    capsys.readouterr()
    assert reproduce("tiny/0", devices="cpu", folder=done) == 1
    said = capsys.readouterr().out
    assert "not reproduced: " in said
    assert "another torch: None then, " in said, "the first training left no versions on record"


@pytest.mark.parametrize(
    ("then", "now", "expected"),
    [
        (1.5, 1.5, None),
        (math.nan, math.nan, None),
        (math.nan, 1.5, math.inf),
        (1.5, math.nan, math.inf),
        (math.inf, 1.5, math.inf),
        (0.0, 1e-300, 1.0),
        (2.0, 1.5, 0.25),
    ],
)
def test_values_are_compared_to_the_last_bit_and_what_was_measured_is_not(
    then: float, now: float, expected: float | None
) -> None:
    trial = make_trial(1)
    one, other = (
        dataclasses.replace(
            trial,
            history={
                TRAIN_LOSS: (MetricPoint(step=0, value=value, time_ms=1),),
                TIME_TRAIN_S: (MetricPoint(step=0, value=seconds, time_ms=1),),
                PEAK_MEMORY_MB: (MetricPoint(step=0, value=seconds, time_ms=1),),
                f"on/prompts/test/{seconds}s/accuracy": (MetricPoint(step=0, value=0.5, time_ms=1),),
            },
        )
        for value, seconds in ((then, 3.0), (now, 4.0))
    )
    assert differences(one, other) == ({} if expected is None else {TRAIN_LOSS: expected})


@pytest.mark.parametrize(
    ("run", "message"),
    [
        ("tiny", "'tiny' is no run"),
        ("tiny/7", "trial 7 of study 'tiny' does not exist"),
    ],
)
def test_what_cannot_be_reproduced_is_refused(done: Path, run: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        reproduce(run, devices="cpu", folder=done)
    assert all(trial.state is TrialState.COMPLETE for trial in trials_of(done))


def test_what_is_trained_again_has_the_objective_and_the_threads_of_its_first_training(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = write_tiny_study(tmp_path, trials=1)
    study.write_text('objective = "eer"\n' + study.read_text())
    run_study(study, workspace, launcher=InlineLauncher(num_threads=2))
    assert reproduce("tiny/0", devices="cpu", folder=workspace) == 0
    assert record_of(workspace, "tiny-reproduced").manifest.objective == "val/eer"
    (attempt,) = Workspace(workspace).study("tiny-reproduced").trial(0).attempts()
    spec = read_spec(attempt)
    assert spec is not None
    assert spec.slot.num_threads == 2
    assert "bit for bit" in capsys.readouterr().out


def test_batches_in_parts_are_a_circumstance_that_is_told(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (attempt,) = Workspace(done).study("tiny").trial(0).attempts()
    content = json.loads((attempt / SPEC_FILE).read_text())
    (attempt / SPEC_FILE).write_text(json.dumps({**content, "micro_batches": 2}))
    frozen = Workspace(done).study("tiny").trial(0).config
    changed = json.loads(frozen.read_text())
    changed["optimizer"]["learning_rate"] *= 1.5
    frozen.write_text(json.dumps(changed))
    capsys.readouterr()
    assert reproduce("tiny/0", devices="cpu", folder=done) == 1
    assert "its batches were trained in 2 parts then, for want of memory" in capsys.readouterr().out


def test_a_run_that_mlflow_lost_cannot_be_compared(done: Path) -> None:
    url = mlflow_tracking_uri(records_url(Workspace(done), "tiny"))
    connect(url).delete_run(record_of(done).trials[0].run_id)
    with pytest.raises(ConfigError, match="MLflow has no run of trial 0 of study 'tiny'\\."):
        reproduce("tiny/0", devices="cpu", folder=done)
    assert not Workspace(done).study("tiny-reproduced").manifest.exists()
