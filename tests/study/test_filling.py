"""Many slots that are free at once: filling them holds up neither what runs nor a stop."""

import itertools
import threading
from pathlib import Path

from reports.records import StudyState
from study.coordinator import FILL_S
from study.devices import Slot
from study.events import EpochEnded, Started
from study.launchers._base import Life, Status
from study.launchers.inline import InlineLauncher
from study.spec import AttemptSpec
from tests.conftest import write_tiny_study
from tests.study.helpers import run_study, trials_of

NUM_SLOTS = 12


class Wide(InlineLauncher):
    """Many slots with attempts that run until they are killed; it notes what it is asked for."""

    def __init__(self, *, stop_after: int | None = None) -> None:
        super().__init__()
        self.slots = tuple(Slot(name=f"wide-{number}") for number in range(NUM_SLOTS))
        self.calls: list[str] = []
        self.stopping = threading.Event()
        self._stop_after = stop_after
        self._dead: set[str] = set()

    def submit(self, spec: AttemptSpec) -> bool:  # noqa: ARG002 - the protocol's signature
        self.calls.append("submit")
        if self.calls.count("submit") == self._stop_after:
            self.stopping.set()
        return True

    def poll(self, spec: AttemptSpec) -> Status:
        return Status(Life.EXITED, -9) if spec.key in self._dead else Status(Life.RUNNING)

    def kill(self, spec: AttemptSpec) -> None:
        self._dead.add(spec.key)

    def read(self, spec: AttemptSpec, offset: int) -> bytes:  # noqa: ARG002
        self.calls.append("read")
        if self.calls.count("submit") == NUM_SLOTS:
            self.stopping.set()
        started = Started(
            time_ms=1, pid=1, host="here", device="cpu", num_threads=1, num_parameters=1, resumed_epoch=0, warm=True
        )
        epoch = EpochEnded(time_ms=2, epoch=0, objective=0.5, metrics={"val/cllr_calibrated": 0.5})
        return b"".join(event.model_dump_json().encode() + b"\n" for event in (started, epoch))[offset:]


def run_wide(launcher: Wide, workspace: Path, tmp_path: Path) -> StudyState:
    """A study with a slot for each trial, on a clock by which a look takes a tenth of the time to fill slots."""
    looks = itertools.count()
    return run_study(
        write_tiny_study(tmp_path, trials=NUM_SLOTS),
        workspace,
        launcher=launcher,
        stop=launcher.stopping,
        monotonic=lambda: next(looks) * FILL_S / 10,
    )


def test_attempts_that_run_are_read_while_slots_are_filled(workspace: Path, tmp_path: Path) -> None:
    launcher = Wide()
    run_wide(launcher, workspace, tmp_path)
    assert launcher.calls.count("submit") == NUM_SLOTS
    last_submit = NUM_SLOTS + launcher.calls.count("read") - 1 - launcher.calls[::-1].index("submit")
    assert "read" in launcher.calls[:last_submit]


def test_a_stop_is_obeyed_while_slots_are_filled(workspace: Path, tmp_path: Path) -> None:
    launcher = Wide(stop_after=1)
    assert run_wide(launcher, workspace, tmp_path) is StudyState.INTERRUPTED
    assert launcher.calls.count("submit") == 1
    assert len(trials_of(workspace)) == 1
