"""What a fleet keeps of attempts, on a cluster that has no machine."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from study.devices import Slot
from study.launchers._base import Life, Status
from study.launchers.fleet import Fleet
from study.launchers.parcel import Parcel
from study.launchers.posts import CONTENT, AgentHandle, Post
from study.spec import AGENT_FILE, EXIT_FILE, AttemptSpec
from study.workspace import write_json
from tests.conftest import write_tiny_study
from tests.study.helpers import config_of, until


class EmptyEngine:
    """A cluster without room."""

    name = "empty"
    temporary: tuple[type[Exception], ...] = ()
    whereabouts: Mapping[str, str] = MappingProxyType({})

    def room(self) -> int:
        return 0

    def found(self) -> list[Post]:
        return []

    def place(self, number: int) -> Post:
        raise AssertionError(number)

    def ship(self, parcel: Parcel) -> CONTENT:
        raise AssertionError(parcel)

    def end(self, agent: AgentHandle) -> None:
        raise AssertionError(agent)

    def close(self) -> None:
        pass


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    fleet = Fleet(EmptyEngine())
    yield fleet
    fleet.close()


@pytest.fixture
def spec(tmp_path: Path) -> AttemptSpec:
    folder = tmp_path / "trial" / "attempt-0"
    folder.mkdir(parents=True)
    return AttemptSpec(
        number=0,
        attempt=0,
        folder=folder,
        trial_folder=folder.parent,
        workspace=tmp_path,
        objective="cllr_calibrated",
        slot=Slot(name="empty-0"),
        config=config_of(write_tiny_study(tmp_path)).trial,
    )


def test_an_attempt_that_is_over_is_known_by_its_files_alone(fleet: Fleet, spec: AttemptSpec) -> None:
    until(lambda: fleet.poll(spec) == Status(Life.LOST))  # no agent has it
    assert not fleet._mirrors
    assert fleet.poll(spec) == Status(Life.LOST)


def test_an_attempt_that_ended_before_this_coordinator_came_is_not_kept(fleet: Fleet, spec: AttemptSpec) -> None:
    write_json(spec.folder / EXIT_FILE, {"status": 0})
    fleet.kill(spec)
    assert fleet.poll(spec) == Status(Life.EXITED, 0)
    fleet.kill(spec)
    assert not fleet._mirrors


def test_an_attempt_is_lost_if_a_power_cut_tore_which_agent_has_it(fleet: Fleet, spec: AttemptSpec) -> None:
    (spec.folder / AGENT_FILE).write_bytes(b"")
    until(lambda: fleet.poll(spec) == Status(Life.LOST))
