"""A fleet of agents without a cluster: each agent is a process of this machine, and can be killed."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import get_context, util
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from study.devices import Slot
from study.events import Started, read_events
from study.launchers._base import Life, Status
from study.launchers.agent import Agent
from study.launchers.fleet import Fleet
from study.launchers.mirror import Mirror, Report
from study.launchers.parcel import Parcel, make_parcel, unpack
from study.launchers.posts import CONTENT, AgentHandle, Post
from study.launchers.relocate import given_gpus
from study.spec import EVENTS_FILE, AttemptSpec
from tests.conftest import write_tiny_study
from tests.study.helpers import config_of, until

pytestmark = [pytest.mark.services, pytest.mark.timeout(600)]

_AGENTS: list[Agent] = []  # of a process that is one


def become(slot: str, node: str) -> None:
    _AGENTS.append(Agent(slot, node=node, linger_s=600.0))


def answer(method: str, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    return getattr(_AGENTS[0], method)(*arguments, **keywords)


class ProcessHandle:
    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self.pool = pool

    def call(self, method: str, *arguments: Any, **keywords: Any) -> "Future[Any]":
        try:
            return self.pool.submit(answer, method, arguments, keywords)
        except BrokenProcessPool as error:
            gone: Future[Any] = Future()
            gone.set_exception(error)
            return gone


class ProcessEngine:
    """Agents as processes of this machine."""

    name = "process"
    temporary: tuple[type[Exception], ...] = ()
    whereabouts: Mapping[str, str] = MappingProxyType({})

    def __init__(self, node: Path) -> None:
        self._node = node
        self.placed: list[ProcessHandle] = []

    def room(self) -> int:
        return 1

    def found(self) -> list[Post]:
        return []

    def place(self, number: int) -> Post:
        slot = Slot(name=f"{self.name}-{number}")
        arguments = (slot.model_dump_json(), str(self._node))
        pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=become, initargs=arguments)
        self.placed.append(ProcessHandle(pool))
        return Post(number, slot, f"{slot.name}.{len(self.placed)}", self.placed[-1])

    def ship(self, parcel: Parcel) -> CONTENT:
        return {path: list(parcel.chunks(path)) for path in parcel.paths}

    def end(self, agent: AgentHandle) -> None:
        assert isinstance(agent, ProcessHandle)
        for process in list((agent.pool._processes or {}).values()):
            process.kill()

    def close(self) -> None:
        for handle in self.placed:
            handle.pool.shutdown()


@pytest.fixture
def engine() -> Iterator[ProcessEngine]:
    with tempfile.TemporaryDirectory(prefix="node-", ignore_cleanup_errors=True) as node:
        yield ProcessEngine(Path(node))


@pytest.fixture
def fleet(engine: ProcessEngine) -> Iterator[Fleet]:
    fleet = Fleet(engine)
    yield fleet
    for mirror in fleet._mirrors.values():
        mirror.wants_kill = True
    until(lambda: all(mirror.status.is_over for mirror in fleet._mirrors.values()))
    fleet.close()


@pytest.fixture
def make_spec(workspace: Path, tmp_path: Path) -> Callable[..., AttemptSpec]:
    def make(*, attempt: int = 0, epochs: int = 2) -> AttemptSpec:
        trial = tmp_path / "trial"
        return AttemptSpec(
            number=0,
            attempt=attempt,
            folder=trial / f"attempt-{attempt}",
            trial_folder=trial,
            workspace=workspace,
            objective="cllr_calibrated",
            slot=Slot(name="process-0"),
            config=config_of(write_tiny_study(tmp_path, epochs=epochs)).trial,
        )

    return make


def started(spec: AttemptSpec) -> Started:
    first = read_events(spec.folder / EVENTS_FILE)[0]
    assert isinstance(first, Started)
    return first


def test_everything_an_attempt_left_is_here_when_it_has_ended(
    fleet: Fleet, make_spec: Callable[..., AttemptSpec]
) -> None:
    spec = make_spec()
    until(partial(fleet.submit, spec))
    assert not fleet.submit(make_spec(attempt=1)), "its agent has an attempt"
    until(lambda: fleet.poll(spec).is_over)
    assert fleet.poll(spec) == Status(Life.EXITED, 0)
    assert b'"outcome":"complete"' in fleet.read(spec, 0)
    assert {"best.ckpt", "last.ckpt", "scores.json"} <= {path.name for path in spec.trial_folder.iterdir()}
    assert started(spec).warm
    until(lambda: len(fleet.free_slots()) == 1)


def test_the_next_attempt_goes_on_at_another_agent_when_the_first_is_gone(
    fleet: Fleet, engine: ProcessEngine, make_spec: Callable[..., AttemptSpec]
) -> None:
    first = make_spec(epochs=300)
    until(partial(fleet.submit, first))
    until((first.trial_folder / "last.ckpt").exists)
    engine.end(engine.placed[0])
    until(lambda: fleet.poll(first).is_over)
    assert fleet.poll(first) == Status(Life.LOST)
    assert Mirror(first).status == Status(Life.LOST), "the next coordinator finds it so too"
    until(lambda: not Path(f"/proc/{started(first).pid}").exists())  # attempts end with their agent
    second = make_spec(attempt=1, epochs=300)
    until(partial(fleet.submit, second))
    until(lambda: bool(fleet.read(second, 0)))
    assert started(second).resumed_epoch > 0


def test_a_killed_attempt_says_so_and_its_agent_is_free(fleet: Fleet, make_spec: Callable[..., AttemptSpec]) -> None:
    spec = make_spec(epochs=300)
    until(partial(fleet.submit, spec))
    until(lambda: bool(fleet.read(spec, 0)))
    fleet.kill(spec)
    until(lambda: fleet.poll(spec).is_over)
    assert fleet.poll(spec) == Status(Life.EXITED, -9)
    until(lambda: len(fleet.free_slots()) == 1)


def test_an_agent_that_leaves_takes_nothing_of_its_parent_with_it(engine: ProcessEngine) -> None:
    parents = Path(util.get_temp_dir())  # which a process that is started by this one knows
    post = engine.place(0)
    post.agent.call("leave").result()
    assert parents.exists()


def test_what_a_lost_attempt_still_says_is_not_written(make_spec: Callable[..., AttemptSpec]) -> None:
    spec = make_spec()
    spec.folder.mkdir(parents=True)
    mirror = Mirror(spec)
    said = Report(life="running", exit_status=None, out_of_memory=False, events=b"early\n", files={}, output=b"")
    mirror.take(said)
    mirror.lose("its node is gone")
    mirror.take(said | {"events": b"late\n", "life": "exited", "exit_status": 0})
    assert (spec.folder / EVENTS_FILE).read_bytes() == b"early\n"
    assert mirror.status == Status(Life.LOST)


def test_a_parcel_is_unpacked_once(make_spec: Callable[..., AttemptSpec], tmp_path: Path) -> None:
    spec, asked = make_spec(), []

    def pieces(parcel: Parcel, path: str) -> Iterator[bytes]:
        asked.append(path)
        yield from parcel.chunks(path)

    parcel = make_parcel(spec.config.data, spec.workspace)
    for _ in range(2):
        place = unpack(parcel.name, {path: pieces(parcel, path) for path in parcel.paths}, node=tmp_path)
    assert sorted(asked) == sorted(parcel.paths)
    assert make_parcel(spec.config.data, place).name == parcel.name, "the same speech, at home there"


def test_an_attempt_gets_the_gpus_that_the_engine_gave() -> None:
    slot = Slot(name="ray-0", devices=("cuda:0", "cuda:1"))
    assert given_gpus(slot, environ={"CUDA_VISIBLE_DEVICES": "6,3"}).devices == ("cuda:6", "cuda:3")
    assert given_gpus(Slot(name="ray-0"), environ={"CUDA_VISIBLE_DEVICES": "6"}).devices == ("cpu",)
