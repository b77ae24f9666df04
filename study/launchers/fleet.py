"""Attempts on machines of a cluster that share no file system: an agent a slot, and a local copy of what it has.

The engine places agents and carries calls to them; the fleet decides what they do. All calls are made by a thread of
its own, so that a slow cluster never holds up the coordinator: `poll` and `read` look at local files. An agent that is
gone takes its attempt with it, which is then lost for good, and another agent is placed where there is room.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import wait

from lightning_modules.errors import TrialError
from study.devices import Slot
from study.launchers._base import Life, Status, read_from, tail_of
from study.launchers.mirror import Mirror
from study.launchers.parcel import make_parcel
from study.launchers.posts import CONTENT, Engine, Post
from study.launchers.relocate import files_to_ship
from study.spec import AGENT_FILE, EVENTS_FILE, OUTPUT_FILE, SPEC_FILE, AttemptSpec
from study.workspace import read_whole_json, write_json

logger = logging.getLogger(__name__)

TICK_S = 0.05
CENSUS_S = 2.0
MAX_STILLBORN = 3
PATIENCE_S = 60.0
LEAVE_S = 5.0


class Fleet:
    """The launcher of an engine's agents."""

    def __init__(self, engine: Engine, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Finds the agents that an earlier coordinator left, and begins to place others."""
        self._engine = engine
        self._clock = clock
        self._posts = {post.slot.name: post for post in engine.found()}
        self._mirrors: dict[str, Mirror] = {}  # of attempts that are not known to be over
        self._orphans: deque[Mirror] = deque()  # of an earlier coordinator; to be joined to their agents
        self._content: dict[str, CONTENT] = {}  # parcels that the engine holds
        self._lock = threading.Lock()  # of who has which slot
        self._closing = threading.Event()
        self._broken: Exception | None = None
        self._counted_at = -CENSUS_S
        self._num_stillborn = 0
        self._began_at = clock()
        self._has_warned = False
        self._thread = threading.Thread(target=self._run, name="fleet", daemon=True)
        self._thread.start()

    # --- the coordinator's side: local files and what the thread has found out ---------------------------------------

    @property
    def slots(self) -> tuple[Slot, ...]:
        """Slots that have an agent or wait for one."""
        return tuple(post.slot for post in sorted(self._posts.copy().values(), key=lambda post: post.number))

    def warm_up(self) -> None:
        """Agents are started with their first attempt."""

    def free_slots(self) -> tuple[Slot, ...]:
        """Slots whose agent is there and has nothing to do.

        Raises:
            TrialError: agents cannot start.
            OSError: what agents say cannot be written here.
        """
        self._raise_if_broken()
        return tuple(slot for slot in self.slots if (post := self._posts.get(slot.name)) and post.is_free)

    def resize(self, slots: tuple[Slot, ...]) -> None:
        """The cluster's share of a GPU is fixed when an agent starts: there is nothing to size."""

    def submit(self, spec: AttemptSpec) -> bool:
        """Hands an attempt to the slot's agent; False if it has another or is gone."""
        self._raise_if_broken()
        with self._lock:
            post = self._posts.get(spec.slot.name)
            if post is None or not post.is_free:
                return False
            spec.folder.mkdir(parents=True, exist_ok=True)
            write_json(spec.folder / AGENT_FILE, {"agent": post.name, **self._engine.whereabouts})
            write_json(spec.folder / SPEC_FILE, spec.model_dump(mode="json"))
            post.mirror = self._mirrors[spec.key] = Mirror(spec)
        return True

    def poll(self, spec: AttemptSpec) -> Status:
        """What the last report said; says that it is over only when everything it left is here."""
        status = self._mirror(spec).status
        if status.is_over:
            self._mirrors.pop(spec.key, None)  # its files say so from now on
        return status

    def kill(self, spec: AttemptSpec) -> None:
        """Has the attempt ended by its agent."""
        self._mirror(spec).wants_kill = True

    def read(self, spec: AttemptSpec, offset: int) -> bytes:
        """The event log's copy from an offset on."""
        self._raise_if_broken()
        return read_from(spec.folder / EVENTS_FILE, offset)

    def fetch(self, spec: AttemptSpec) -> None:
        """Everything is here before `poll` says that the attempt has ended."""

    def output_tail(self, spec: AttemptSpec) -> str:
        """The end of what the attempt printed, or why it was lost."""
        return tail_of(spec.folder / OUTPUT_FILE)

    def close(self) -> None:
        """Gives back what idle agents hold; those that work go on if the cluster does."""
        self._closing.set()
        self._thread.join()
        idle = [post for post in self._posts.values() if post.mirror is None and not post.is_busy]
        wait([post.agent.call("leave") for post in idle if post.facts is not None], timeout=LEAVE_S)
        for post in idle:
            self._engine.end(post.agent)
        self._engine.close()

    def _mirror(self, spec: AttemptSpec) -> Mirror:
        mirror = self._mirrors.get(spec.key)
        if mirror is None:
            mirror = Mirror(spec)
            if not mirror.status.is_over:
                self._mirrors[spec.key] = mirror
                self._orphans.append(mirror)
        return mirror

    def _raise_if_broken(self) -> None:
        if self._broken is not None:
            raise self._broken

    # --- the thread's side: everything that talks to the cluster ------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._closing.is_set():
                self._step()
                self._closing.wait(TICK_S)
        except Exception as error:  # noqa: BLE001 - raised again where the coordinator asks
            self._broken = error

    def _step(self) -> None:
        now = self._clock()
        if now - self._counted_at >= CENSUS_S:
            self._counted_at = now
            self._place_agents(self._engine.room())
            self._warn_if_nobody_answers(now)
        while self._orphans:
            self._adopt(self._orphans.popleft())
        for post in list(self._posts.values()):
            self._tend(post, now)

    def _place_agents(self, room: int) -> None:
        """As many agents as there is room for; those that work are left alone."""
        number = 0
        while len(self._posts) < room:
            if f"{self._engine.name}-{number}" not in self._posts:
                self._place(number)
            number += 1
        dispensable = sorted(self._posts.values(), key=lambda post: (post.facts is not None, -post.number))
        for post in dispensable:
            if len(self._posts) > room and self._claim(post):
                self._engine.end(post.agent)

    def _claim(self, post: Post) -> bool:
        """Takes a slot away unless an attempt has it."""
        with self._lock:
            if post.mirror is not None or post.is_busy:
                return False
            del self._posts[post.slot.name]
            return True

    def _place(self, number: int) -> None:
        post = self._engine.place(number)
        self._posts[post.slot.name] = post

    def _adopt(self, mirror: Mirror) -> None:
        """Joins an attempt of an earlier coordinator to its agent, or declares it lost."""
        place = read_whole_json(mirror.spec.folder / AGENT_FILE)
        name = "" if place is None else place["agent"]
        post = next((post for post in self._posts.values() if post.name == name), None)
        if post is None or post.mirror is not None:
            mirror.lose("its agent is gone")
        else:
            post.is_started = True
            post.mirror = mirror

    def _tend(self, post: Post, now: float) -> None:
        """Hears what an agent has answered, and asks what is due."""
        gone = post.hear(temporary=self._engine.temporary)
        mirror = post.mirror
        if gone is not None:
            self._replace(post, gone)
        elif mirror is not None and mirror.status.life is Life.LOST:
            self._replace(post, "it was lost")  # its successor must find nothing of it
        elif mirror is not None and mirror.status.is_over:
            post.let_go()
        else:
            if post.facts is not None:
                self._num_stillborn = 0
                if mirror is not None and not post.is_started:
                    self._start(post, mirror)
            post.ask(now)

    def _start(self, post: Post, mirror: Mirror) -> None:
        assert post.facts is not None
        parcel = make_parcel(mirror.spec.config.data, mirror.spec.workspace)
        content: CONTENT = {}
        if parcel.name not in post.facts["data"]:
            if parcel.name not in self._content:
                self._content[parcel.name] = self._engine.ship(parcel)
            content = self._content[parcel.name]
        post.start(mirror.spec, files=files_to_ship(mirror.spec), parcel=parcel.name, content=content)

    def _replace(self, post: Post, why: str) -> None:
        """An agent is gone or cannot be trusted: its attempt is lost, and another agent takes its place."""
        logger.info("the agent of %s is gone: %s", post.slot.name, why)
        with self._lock:
            del self._posts[post.slot.name]
        if post.mirror is not None:
            post.mirror.lose(why)
        self._engine.end(post.agent)
        self._num_stillborn += post.facts is None
        if self._num_stillborn >= MAX_STILLBORN:
            last = why.strip().splitlines()[-1] if why.strip() else "no reason was given"
            raise TrialError(f"agents cannot start on the cluster, {MAX_STILLBORN} in a row died: {last}")

    def _warn_if_nobody_answers(self, now: float) -> None:
        if not self._has_warned and now - self._began_at > PATIENCE_S:
            self._has_warned = True
            if all(post.facts is None for post in self._posts.values()):
                logger.warning("no agent has started after %.0f s: the cluster may have no room now", PATIENCE_S)
