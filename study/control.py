"""What users tell a coordinator, as files: `stop`, `enqueue`, `retry`. Each is validated first and consumed once.

A command is renamed into `studies/<name>/control/`, so that a coordinator sees all of it or nothing, and its name says
when it was given. It is removed once what it asks for is on record, so that a coordinator that dies loses none.
"""

import contextlib
import logging
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from lightning_modules.config import Frozen
from study.workspace import StudyFolder, write_atomic

logger = logging.getLogger(__name__)


class Stop(Frozen):
    """Start nothing more; `now` also ends what runs, else it is waited for."""

    kind: Literal["stop"] = "stop"
    now: bool = False


class Enqueue(Frozen):
    """Try these values next; searched parameters that are left out are the sampler's.

    Attributes:
        params: path -> value.
        seed: of the trial; None for the study's own rule.
        retry_of: the failed trial that is tried again, or None.
    """

    kind: Literal["enqueue"] = "enqueue"
    params: dict[str, Any]
    seed: Annotated[int, Field(ge=0, lt=2**32)] | None = None
    retry_of: int | None = None


Command = Annotated[Stop | Enqueue, Field(discriminator="kind")]
_COMMAND: TypeAdapter[Command] = TypeAdapter(Command)


def send(folder: StudyFolder, command: Command) -> Path:
    """Leaves a command for the coordinator; returns its file."""
    path = folder.control / f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}.json"
    write_atomic(path, command.model_dump_json() + "\n")
    return path


def pending(folder: StudyFolder) -> list[tuple[str, Command]]:
    """Commands that were not consumed yet, oldest first, each under its name; what is no command is set aside."""
    found: list[tuple[str, Command]] = []
    for path, command in _read(folder):
        if not isinstance(command, ValidationError):
            found.append((path.stem, command))
            continue
        logger.warning("%s is no command and is set aside: %s", path, str(command).splitlines()[0])
        with contextlib.suppress(FileNotFoundError):  # as somebody else may be doing
            reject(folder, path.stem)
    return found


def num_asked_for(folder: StudyFolder) -> int:
    """How many trials users have asked for that do not exist yet; changes nothing."""
    return sum(isinstance(command, Enqueue) for _, command in _read(folder))


def _read(folder: StudyFolder) -> Iterator[tuple[Path, Command | ValidationError]]:
    for path in sorted(folder.control.glob("*.json")):
        try:
            yield path, _COMMAND.validate_json(path.read_bytes())
        except FileNotFoundError:
            continue  # somebody else has carried it out since
        except ValidationError as error:
            yield path, error


def wants_stop_now(folder: StudyFolder) -> bool:
    """Whether a user has asked for an end at once, and nobody has carried it out yet."""
    return any(isinstance(command, Stop) and command.now for _, command in pending(folder))


def forget_stops(folder: StudyFolder) -> None:
    """Removes stops that were meant for a coordinator that is gone."""
    for name, command in pending(folder):
        if isinstance(command, Stop):
            consume(folder, name)


def reject(folder: StudyFolder, name: str) -> Path:
    """Sets a command aside that cannot be carried out; returns its file."""
    path = folder.control / f"{name}.json"
    return path.rename(path.with_suffix(".rejected"))


def consume(folder: StudyFolder, name: str) -> None:
    """Removes a command that was carried out."""
    (folder.control / f"{name}.json").unlink(missing_ok=True)
