"""A post: one slot of a cluster, the agent that holds it, and what was asked of it and is not answered yet."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol

from study.devices import Slot
from study.launchers.agent import Hello
from study.launchers.mirror import Mirror, Report
from study.launchers.parcel import Parcel
from study.spec import AttemptSpec

CONTENT = Mapping[str, Sequence[Any]]
"""A parcel in the engine's hands: path -> its pieces, in whatever form the engine passes on to agents."""

HELLO_S = 2.0
REPORT_S = 0.2
KILL_S = 1.0


class AgentHandle(Protocol):
    """An agent somewhere else: what `Agent` has, answered by futures."""

    def call(self, method: str, *arguments: Any, **keywords: Any) -> "Future[Any]":
        """Asks; answers come in the order of the questions."""


class Engine(Protocol):
    """Places agents on a cluster."""

    name: str
    """Slots are `<name>-0`, `<name>-1`, …"""

    whereabouts: Mapping[str, str]
    """`address` and `namespace` by which others find the agents; empty where agents end with the coordinator."""

    temporary: tuple[type[Exception], ...]
    """Errors of a call that may go away by themselves."""

    def room(self) -> int:
        """How many slots the cluster has now."""

    def found(self) -> "list[Post]":
        """Agents of this study that an earlier coordinator left."""

    def place(self, number: int) -> "Post":
        """A new agent, which starts when there is room."""

    def ship(self, parcel: Parcel) -> CONTENT:
        """Puts a parcel where agents can get it."""

    def end(self, agent: AgentHandle) -> None:
        """Ends an agent and what it runs, at once; harmless when it is gone."""

    def close(self) -> None:
        """Leaves the cluster."""


@dataclass
class Post:
    """One slot.

    Attributes:
        number: of the slot.
        slot: the slot.
        name: of its agent, unlike any before it.
        agent: how it is called.
        facts: what it said of itself last; None before its first word.
        mirror: the attempt that it has.
        is_started: whether it was told to start that attempt.
    """

    number: int
    slot: Slot
    name: str
    agent: AgentHandle
    facts: Hello | None = None
    mirror: Mirror | None = None
    is_started: bool = False
    _hello: "Future[Hello] | None" = None
    _started: "Future[None] | None" = None
    _report: "Future[Report | None] | None" = None
    _kill: "Future[None] | None" = None
    _hello_at: float = float("-inf")
    _report_at: float = float("-inf")
    _kill_at: float = float("-inf")

    @property
    def is_busy(self) -> bool:
        """Whether it works on an attempt, maybe one that nobody here asked for."""
        return self.facts is not None and self.facts["attempt"] != ""

    @property
    def is_free(self) -> bool:
        """Whether it can take an attempt."""
        return self.facts is not None and self.mirror is None and not self.is_busy

    def start(self, spec: AttemptSpec, *, files: Mapping[str, bytes], parcel: str, content: CONTENT) -> None:
        """Tells the agent to start the attempt."""
        self.is_started = True
        self._started = self.agent.call("start", spec.model_dump_json(), files=files, parcel=parcel, content=content)

    def ask(self, now: float) -> None:
        """Asks what is due and not yet asked."""
        mirror = self.mirror
        if mirror is None or not self.is_started:
            if self._hello is None and now - self._hello_at >= HELLO_S:
                self._hello_at = now
                self._hello = self.agent.call("hello")
            return
        if mirror.wants_kill and self._kill is None and now - self._kill_at >= KILL_S:
            self._kill_at = now
            self._kill = self.agent.call("kill", mirror.spec.key)
        if self._report is None and now - self._report_at >= REPORT_S:
            self._report_at = now
            self._report = self.agent.call("report", mirror.spec.key, offset=mirror.offset, versions=mirror.versions)

    def hear(self, *, temporary: tuple[type[Exception], ...]) -> str | None:
        """Takes the answers that have come; returns why the agent is gone, if it is."""
        for name in ("_hello", "_started", "_report", "_kill"):
            answer: Future[Any] | None = getattr(self, name)
            if answer is None or not answer.done():
                continue
            setattr(self, name, None)
            error = answer.exception()
            if error is None:
                self._take(name, answer.result())
            elif name == "_started" or not isinstance(error, temporary):
                return str(error) or type(error).__name__
        return None

    def let_go(self) -> None:
        """The attempt is over and everything it left is here."""
        self.mirror, self.is_started = None, False
        self._report = self._kill = self._started = None
        if self.facts is not None:
            self.facts = Hello(host=self.facts["host"], attempt="", data=self.facts["data"])

    def _take(self, name: str, answer: Any) -> None:
        if name == "_hello":
            self.facts = answer
        elif name == "_report" and self.mirror is not None and self._started is None:
            if answer is None:
                self.mirror.lose("its agent does not know it")
            else:
                self.mirror.take(answer)
