"""Attempts as processes: warm, locked to their slot, killed for good, and found again by another launcher."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from study.devices import Slot
from study.events import Ended, EpochEnded, Started, read_events
from study.launchers._base import Life, Status
from study.launchers.local import LocalLauncher, lives, start_time
from study.spec import EVENTS_FILE, SUPERVISOR_FILE, AttemptSpec
from study.workspace import Workspace
from tests.conftest import write_tiny_study
from tests.study.helpers import config_of, kill_forkserver, until

pytestmark = pytest.mark.timeout(120)

SLOTS = (Slot(name="cpu-0"), Slot(name="cpu-1"))


@pytest.fixture
def launcher(workspace: Path) -> Iterator[LocalLauncher]:
    launcher = LocalLauncher(Workspace(workspace), slots=SLOTS)
    yield launcher
    launcher.close()


@pytest.fixture
def make_spec(workspace: Path, tmp_path: Path) -> Callable[..., AttemptSpec]:
    def make(number: int, *, slot: str = "cpu-0", epochs: int = 2, steps: int = 2) -> AttemptSpec:
        config = config_of(write_tiny_study(tmp_path, epochs=epochs, steps=steps)).trial
        folder = workspace / "trials" / str(number)
        return AttemptSpec(
            number=number,
            attempt=0,
            folder=folder / "attempt-0",
            trial_folder=folder,
            workspace=workspace,
            objective="cllr_calibrated",
            slot=Slot(name=slot),
            config=config,
        )

    return make


def ended(launcher: LocalLauncher, spec: AttemptSpec, *, kill: bool = False) -> Status:
    def is_over() -> bool:
        if kill:
            launcher.kill(spec)
        return launcher.poll(spec).life is not Life.RUNNING

    until(is_over)
    return launcher.poll(spec)


def has_trained_an_epoch(launcher: LocalLauncher, spec: AttemptSpec) -> bool:
    return b'"epoch"' in launcher.read(spec, 0)


def test_an_attempt_runs_warm_to_its_end_and_frees_its_slot(
    launcher: LocalLauncher, make_spec: Callable[..., AttemptSpec]
) -> None:
    spec = make_spec(0)
    assert launcher.submit(spec)
    assert launcher.free_slots() == SLOTS[1:]
    assert ended(launcher, spec) == Status(Life.EXITED, 0)
    started, *epochs, last = read_events(spec.folder / EVENTS_FILE)
    assert isinstance(started, Started)
    assert started.warm
    assert started.pid not in (os.getpid(), os.getppid())
    assert [event.epoch for event in epochs if isinstance(event, EpochEnded)] == [0, 1]
    assert isinstance(last, Ended)
    until(lambda: launcher.free_slots() == SLOTS)


def test_a_slot_is_never_given_twice(
    launcher: LocalLauncher, make_spec: Callable[..., AttemptSpec], workspace: Path
) -> None:
    first, second = make_spec(0, epochs=50), make_spec(1)
    other = LocalLauncher(Workspace(workspace), slots=SLOTS)
    assert launcher.submit(first)
    assert not launcher.submit(second)
    assert not other.submit(second)
    assert not (second.folder / "spec.json").exists()
    ended(launcher, first, kill=True)


def test_a_killed_attempt_says_so_and_is_gone(launcher: LocalLauncher, make_spec: Callable[..., AttemptSpec]) -> None:
    spec = make_spec(0, epochs=200)
    launcher.submit(spec)
    until(lambda: has_trained_an_epoch(launcher, spec))
    launcher.kill(spec)
    assert ended(launcher, spec) == Status(Life.EXITED, -signal.SIGKILL)
    until(lambda: SLOTS[0] in launcher.free_slots())


def test_a_trainer_dies_with_its_supervisor_and_the_attempt_is_lost(
    launcher: LocalLauncher, make_spec: Callable[..., AttemptSpec]
) -> None:
    spec = make_spec(0, epochs=200)
    launcher.submit(spec)
    until(lambda: has_trained_an_epoch(launcher, spec))
    os.kill(json.loads((spec.folder / SUPERVISOR_FILE).read_text())["pid"], signal.SIGKILL)
    assert ended(launcher, spec) == Status(Life.LOST)
    trainer = next(event.pid for event in read_events(spec.folder / EVENTS_FILE) if isinstance(event, Started))
    until(lambda: not Path(f"/proc/{trainer}").exists())


def test_another_launcher_finds_and_kills_what_the_first_started(
    launcher: LocalLauncher, make_spec: Callable[..., AttemptSpec], workspace: Path
) -> None:
    spec = make_spec(0, epochs=200)
    launcher.submit(spec)
    until(lambda: has_trained_an_epoch(launcher, spec))
    other = LocalLauncher(Workspace(workspace), slots=SLOTS)
    assert other.poll(spec) == Status(Life.RUNNING)
    assert other.free_slots() == SLOTS[1:]
    other.kill(spec)
    assert ended(other, spec) == Status(Life.EXITED, -signal.SIGKILL)


def test_a_pid_that_was_given_to_another_process_is_not_killed(
    launcher: LocalLauncher, make_spec: Callable[..., AttemptSpec]
) -> None:
    spec = make_spec(0)
    spec.folder.mkdir(parents=True)
    impostor = {"pid": os.getpid(), "start_time": 1}
    (spec.folder / SUPERVISOR_FILE).write_text(json.dumps(impostor))
    received: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _frame: received.append(number))
    try:
        launcher.kill(spec)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert received == []


def test_no_file_stays_open_for_an_attempt_that_ended(
    launcher: LocalLauncher, make_spec: Callable[..., AttemptSpec]
) -> None:
    counts = []
    for number in range(4):
        spec = make_spec(number, epochs=1, steps=1)
        until(partial(launcher.submit, spec))
        ended(launcher, spec)
        counts.append(len(list(Path("/proc/self/fd").iterdir())))
    assert counts[-1] <= counts[1]


def test_a_dead_attempt_is_lost_though_another_holds_its_slot(
    launcher: LocalLauncher, make_spec: Callable[..., AttemptSpec]
) -> None:
    first, second = make_spec(0, epochs=200), make_spec(1, epochs=200)
    launcher.submit(first)
    until(lambda: has_trained_an_epoch(launcher, first))
    os.kill(json.loads((first.folder / SUPERVISOR_FILE).read_text())["pid"], signal.SIGKILL)
    until(partial(launcher.submit, second))
    assert launcher.poll(first) == Status(Life.LOST)
    assert launcher.poll(second) == Status(Life.RUNNING)
    ended(launcher, second, kill=True)


def test_a_forkserver_that_dies_over_an_attempt_is_replaced_and_the_attempt_never_was(
    launcher: LocalLauncher, make_spec: Callable[..., AttemptSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec(0)

    def dies(_: object) -> None:
        raise EOFError("unexpected EOF")

    with monkeypatch.context() as patch:
        patch.setattr("multiprocessing.context.ForkServerProcess.start", dies)
        assert not launcher.submit(spec)
    assert not spec.folder.exists()
    assert launcher.free_slots() == SLOTS
    assert launcher.submit(spec)
    assert ended(launcher, spec) == Status(Life.EXITED, 0)


def test_a_forkserver_that_is_killed_leaves_its_attempts_alone_and_is_replaced(
    launcher: LocalLauncher, make_spec: Callable[..., AttemptSpec]
) -> None:
    first, second = make_spec(0, epochs=200), make_spec(1, slot="cpu-1")
    launcher.submit(first)
    until(lambda: has_trained_an_epoch(launcher, first))
    kill_forkserver()
    until(partial(launcher.submit, second))
    assert ended(launcher, second) == Status(Life.EXITED, 0)
    assert launcher.poll(first) == Status(Life.RUNNING)
    ended(launcher, first, kill=True)


def test_attempts_share_the_speech_that_the_server_has_opened(
    make_spec: Callable[..., AttemptSpec], workspace: Path
) -> None:
    first, second, third = make_spec(0), make_spec(1), make_spec(2)
    other_data = third.config.data.model_copy(update={"max_utterances": 2})
    third = third.model_copy(update={"config": third.config.model_copy(update={"data": other_data})})
    kill_forkserver()  # another launcher's, whose speech is not this one's
    launcher = LocalLauncher(Workspace(workspace), slots=SLOTS, speech=first.config)
    until(partial(launcher.submit, first))
    ended(launcher, first)
    (workspace / "corpora").unlink()
    last_words = []
    for spec in (second, third):
        until(partial(launcher.submit, spec))
        ended(launcher, spec)
        last_words.append(read_events(spec.folder / EVENTS_FILE)[-1])
    assert [event.outcome for event in last_words if isinstance(event, Ended)] == ["complete", "failed"]


def test_what_the_server_has_opened_hangs_no_attempt_that_has_threads(
    make_spec: Callable[..., AttemptSpec], workspace: Path
) -> None:
    """Where there is no rehearsal, opening the speech is the first that torch has to do."""
    spec = make_spec(0)
    spec = spec.model_copy(update={"slot": Slot(name="cpu-0", num_threads=2)})
    kill_forkserver()
    launcher = LocalLauncher(
        Workspace(workspace), slots=[Slot(name="cuda0-0", devices=("cuda:0",))], speech=spec.config
    )
    until(partial(launcher.submit, spec))
    assert ended(launcher, spec) == Status(Life.EXITED, 0)


LOOK = """
import torch
torch.autograd.backward = lambda *_, real=torch.autograd.backward, **__: (print("backward"), real(*_, **__))
import study.launchers.warm
"""


@pytest.mark.parametrize(("device", "ran"), [("cpu", "backward\n"), ("cuda:1", "")])
def test_no_backward_pass_asks_cuda_for_its_devices_before_attempts_on_gpus_are_forked(
    device: str, ran: str, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environ: dict[str, str] = {}
    monkeypatch.setattr("multiprocessing.forkserver.ensure_running", lambda: environ.update(os.environ))
    LocalLauncher(Workspace(workspace), slots=[Slot(name="slot", devices=(device,))]).warm_up()
    done = subprocess.run([sys.executable, "-c", LOOK], env=environ, capture_output=True, text=True, check=True)
    assert done.stdout == ran


def test_warming_up_takes_nothing_from_the_environment_that_another_thread_may_be_walking_through(
    launcher: LocalLauncher, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[str] = set()
    monkeypatch.setattr("multiprocessing.forkserver.ensure_running", lambda: seen.update(os.environ))
    launcher.warm_up()
    assert "LIDSTUDY_WARM_SPEECH" in seen
    assert seen <= set(os.environ)


def test_a_broken_spec_leaves_its_traceback_in_the_output(
    launcher: LocalLauncher, make_spec: Callable[..., AttemptSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec(0)
    monkeypatch.setattr("study.launchers.local.write_json", lambda path, _content: path.write_text("rubbish"))
    launcher.submit(spec)
    assert ended(launcher, spec) == Status(Life.EXITED, 1)
    assert "ValidationError" in launcher.output_tail(spec)


def test_a_missing_corpus_is_the_attempts_last_word(
    launcher: LocalLauncher, make_spec: Callable[..., AttemptSpec]
) -> None:
    spec = make_spec(0).model_copy(update={"workspace": Path("/nonexistent")})
    launcher.submit(spec)
    assert ended(launcher, spec) == Status(Life.EXITED, 0)
    last = read_events(spec.folder / EVENTS_FILE)[-1]
    assert isinstance(last, Ended)
    assert last.failure.startswith("CorpusError: corpus 'espeak' is not prepared")
    assert "Traceback" in last.traceback


def test_a_dead_supervisor_that_nobody_reaped_does_not_live(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    record = {"pid": process.pid, "start_time": start_time(process.pid)}
    (tmp_path / SUPERVISOR_FILE).write_text(json.dumps(record))
    assert lives(tmp_path)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it is dead, and stays a zombie
    assert Path(f"/proc/{process.pid}").exists()
    assert not lives(tmp_path)
    process.communicate()
