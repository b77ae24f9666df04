"""A disk that fills up in mid-sweep: one clear line, and the same command goes on once there is room. Needs root."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from reports.records import TrialState
from study.devices import Slot
from study.launchers._base import Life, Status
from study.launchers.local import LocalLauncher
from study.spec import EXIT_STORAGE_FULL, AttemptSpec
from study.workspace import Workspace
from tests.conftest import write_tiny_study
from tests.study.helpers import config_of, record_of, trials_of, until

pytestmark = [pytest.mark.services, pytest.mark.timeout(300)]


@pytest.fixture
def small_disk(workspace: Path, tmp_path: Path) -> Iterator[Path]:
    """A workspace on a disk of 3 MB: room for the databases, not for a study."""
    root = tmp_path / "small"
    root.mkdir()
    mount("-t", "tmpfs", "-o", "size=3m", "tmpfs", str(root))
    for name in ("corpora", "features"):
        (root / name).symlink_to((workspace / name).resolve())
    yield root
    subprocess.run(["/bin/umount", "--lazy", str(root)], check=True)


@pytest.fixture
def empty_disk(tmp_path: Path) -> Iterator[Path]:
    root = tmp_path / "small"
    root.mkdir()
    mount("-t", "tmpfs", "-o", "size=3m", "tmpfs", str(root))
    yield root
    subprocess.run(["/bin/umount", "--lazy", str(root)], check=True)


def mount(*arguments: str) -> None:
    subprocess.run(["/bin/mount", *arguments], check=True)


def lidstudy(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from study.cli import main; main()", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)


def sweep(study: Path, root: Path) -> subprocess.CompletedProcess[str]:
    return lidstudy("sweep", str(study), "--workspace", str(root))


def test_a_full_disk_is_one_clear_line_and_loses_nothing(small_disk: Path, tmp_path: Path) -> None:
    study = write_tiny_study(tmp_path, trials=12)
    full = sweep(study, small_disk)
    assert full.returncode == 2, full.stdout + full.stderr
    (line,) = full.stderr.strip().splitlines()
    assert line.startswith("lidstudy: error: ")
    assert "nothing is lost" in line
    before = [trial for trial in trials_of(small_disk) if trial.state is TrialState.COMPLETE]
    mount("-o", "remount,size=80m", str(small_disk))
    roomy = sweep(study, small_disk)
    assert roomy.returncode == 0, roomy.stdout + roomy.stderr
    trials, record = trials_of(small_disk), record_of(small_disk)
    assert [trial for trial in trials if trial in before] == before
    assert [trial.state for trial in trials] == [run.state for run in record.trials] == [TrialState.COMPLETE] * 12
    assert [trial.value for trial in trials] == [run.objective for run in record.trials]


def test_preparing_on_a_full_disk_is_one_clear_line_and_goes_on(empty_disk: Path) -> None:
    check_full(lidstudy("corpus", "prepare", "espeak", "--workspace", str(empty_disk)))
    mount("-o", "remount,size=400m", str(empty_disk))
    roomy = lidstudy("corpus", "prepare", "espeak", "--workspace", str(empty_disk))
    assert roomy.returncode == 0, roomy.stdout + roomy.stderr


def test_features_on_a_full_disk_are_one_clear_line_and_leave_the_corpus_alone(
    empty_disk: Path, workspace: Path, tmp_path: Path
) -> None:
    (empty_disk / "corpora").symlink_to((workspace / "corpora").resolve())
    study = write_tiny_study(tmp_path, trials=1)
    check_full(sweep(study, empty_disk))
    mount("-o", "remount,size=400m", str(empty_disk))
    roomy = sweep(study, empty_disk)
    assert roomy.returncode == 0, roomy.stdout + roomy.stderr


def test_a_full_disk_does_not_hide_how_an_attempt_ended(empty_disk: Path, workspace: Path, tmp_path: Path) -> None:
    for name in ("corpora", "features"):
        (empty_disk / name).symlink_to((workspace / name).resolve())
    launcher = LocalLauncher(Workspace(empty_disk), slots=[Slot(name="cpu-0")])
    spec = AttemptSpec(
        number=0,
        attempt=0,
        folder=empty_disk / "trial" / "attempt-0",
        trial_folder=empty_disk / "trial",
        workspace=empty_disk,
        objective="cllr_calibrated",
        slot=Slot(name="cpu-0"),
        config=config_of(write_tiny_study(tmp_path, epochs=500)).trial,
    )
    assert launcher.submit(spec)
    until(lambda: launcher.read(spec, 0) != b"")
    fill(empty_disk / "ballast")
    until(lambda: launcher.poll(spec).life is not Life.RUNNING)
    assert launcher.poll(spec) == Status(Life.EXITED, EXIT_STORAGE_FULL)


def fill(path: Path) -> None:
    """Takes every byte that is left."""
    with path.open("wb", buffering=0) as file:
        while True:
            try:
                file.write(b"x" * 4096)
            except OSError:
                return


def check_full(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 2, done.stdout + done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert "No space left on device" in line
