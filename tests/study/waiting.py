"""A launcher for a coordinator that knows no waiting."""

from typing import Any

from study.devices import Slot
from study.launchers._base import Launcher, Life, Status
from study.spec import AttemptSpec


class Waiting:
    """A launcher whose waiting attempts run, for who knows two states only."""

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher

    @property
    def slots(self) -> tuple[Slot, ...]:
        return self._launcher.slots

    def poll(self, spec: AttemptSpec) -> Status:
        status = self._launcher.poll(spec)
        return Status(Life.RUNNING) if status.life is Life.WAITING else status

    def __getattr__(self, name: str) -> Any:
        return getattr(self._launcher, name)
