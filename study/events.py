"""The event log: the truth of a trial, one append-only file an attempt, one JSON object a line.

The attempt appends and flushes; the coordinator tails it and takes only lines that end. Events carry their own time,
so reading a log twice gives the same points twice, and MLflow keeps one of each.
"""

import errno
import json
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, FiniteFloat, TypeAdapter, ValidationError

from lightning_modules.config import Frozen

logger = logging.getLogger(__name__)


class Event(Frozen):
    """What happened, and when (milliseconds since 1970).

    A metric may be infinite or no number at all, and is written as `Infinity` or `NaN`, which Python reads and JSON
    does not know; MLflow takes both.
    """

    model_config = ConfigDict(allow_inf_nan=True, ser_json_inf_nan="constants")

    time_ms: int


class Started(Event):
    """The attempt has built its module and is about to train.

    Attributes:
        resumed_epoch: the first epoch that it trains.
        warm: whether it was forked from the warm server.
        num_ranks: processes that train together.
        micro_batches: parts that each batch is trained in.
        visible_gpus: what CUDA_VISIBLE_DEVICES says to it.
        latency_ms: milliseconds to score one utterance, where its spec asked for that.
    """

    type: Literal["started"] = "started"
    pid: int
    host: str
    device: str
    num_threads: int
    num_parameters: int
    resumed_epoch: int
    warm: bool
    num_ranks: int = 1
    micro_batches: int = 1
    visible_gpus: str | None = None
    latency_ms: FiniteFloat | None = None


class Progress(Event):
    """A sign of life within an epoch, every few seconds."""

    type: Literal["progress"] = "progress"
    epoch: int
    step: int


class EpochEnded(Event):
    """One epoch is trained and scored; written before its checkpoint, so that no checkpoint is ahead of the log.

    Attributes:
        sources: what a development source costs, in bits an utterance, calibrated; for pruners that compare sources.
    """

    type: Literal["epoch"] = "epoch"
    epoch: int
    objective: FiniteFloat
    metrics: dict[str, float]
    sources: dict[str, float] = Field(default_factory=dict)


class Ended(Event):
    """The attempt's last word: its outcome, and what an evaluation measured."""

    type: Literal["ended"] = "ended"
    outcome: Literal["complete", "diverged", "failed", "out_of_memory"]
    metrics: dict[str, float] = Field(default_factory=dict)
    failure: str = ""
    traceback: str = ""


AnyEvent = Annotated[Started | Progress | EpochEnded | Ended, Field(discriminator="type")]
_EVENT: TypeAdapter[AnyEvent] = TypeAdapter(AnyEvent)


class EventLog:
    """Appends events to a file; each is one write, so that a killed process leaves at most one torn line."""

    def __init__(
        self,
        path: Path,
        *,
        clock: Callable[[], float] = time.time,
        watch: "Callable[[AnyEvent], None]" = lambda _: None,
    ) -> None:
        self._path = path
        self._clock = clock
        self._watch = watch
        self._last_ms = 0

    def now_ms(self) -> int:
        """The time, never running backwards within one log."""
        self._last_ms = max(self._last_ms, int(self._clock() * 1000))
        return self._last_ms

    def append(self, event: AnyEvent) -> None:
        """Writes one event; the line is in the kernel's hands when this returns."""
        line = event.model_dump_json().encode() + b"\n"
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            if os.write(descriptor, line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))
        finally:
            os.close(descriptor)
        self._watch(event)


class EventReader:
    """Decodes a growing log: feed it bytes, get the events of the lines that ended."""

    def __init__(self) -> None:
        self.offset = 0
        self._rest = b""

    def feed(self, data: bytes) -> list[AnyEvent]:
        """Events of the whole lines in what was read so far; a broken line is logged and passed over."""
        self.offset += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [event for line in lines if (event := _decode(line)) is not None]


def read_events(path: Path) -> list[AnyEvent]:
    """All whole events of a log; none if there is no file."""
    return EventReader().feed(path.read_bytes()) if path.exists() else []


def _decode(line: bytes) -> AnyEvent | None:
    try:
        return _EVENT.validate_python(json.loads(line))
    except (ValueError, ValidationError):
        logger.warning("passed over a broken line of %d bytes in an event log", len(line))
        return None
