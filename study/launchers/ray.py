"""Ray as the engine: an actor an agent, on a cluster that runs or one of this machine's own.

On a cluster that runs, actors are named and detached: they go on without the coordinator, and the next one finds them
by the study's namespace. A cluster of its own ends with the coordinator, and its attempts with it; trials then go on
from the checkpoints that were brought home.

What travels: the actor's class by its name, so that every machine needs this package; specs, events and reports as
plain text, bytes and dictionaries; speech through Ray's object store.
"""

import contextlib
import json
import os
import signal
import sys
import uuid
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, RayActorError, RayError

from lightning_modules.errors import ConfigError
from study.devices import CPU, Slot
from study.launchers.agent import Agent
from study.launchers.census import silence_at
from study.launchers.config import RayConfig
from study.launchers.parcel import Parcel
from study.launchers.posts import CONTENT, AgentHandle, Post
from study.workspace import StudyFolder, read_whole_json, write_json

IDENTITY_FILE = "ray.json"
ANSWER_S = 5.0


class RayAgent(Agent):
    """An agent whose parcels come from Ray's object store."""

    def start(self, spec: str, *, files: dict[str, bytes], parcel: str, content: Mapping[str, Iterable[Any]]) -> None:
        """Starts an attempt; pieces are fetched one at a time, and only if this node lacks them."""
        pieces = {path: (ray.get(piece) for piece in of_file) for path, of_file in content.items()}
        super().start(spec, files=files, parcel=parcel, content=pieces)


class RayHandle:
    """Calls an actor's methods."""

    def __init__(self, actor: Any) -> None:
        self.actor = actor

    def call(self, method: str, *arguments: Any, **keywords: Any) -> "Future[Any]":
        """Asks; the answer waits in a future."""
        future: Future[Any] = getattr(self.actor, method).remote(*arguments, **keywords).future()
        return future


class RayEngine:
    """Places agents by Ray's resources."""

    name = "ray"
    temporary: tuple[type[Exception], ...] = (ActorUnavailableError,)

    def __init__(self, config: RayConfig, *, study: StudyFolder) -> None:
        """Joins the cluster, or starts one.

        Raises:
            ConfigError: the cluster cannot be reached.
        """
        self._config = config
        self._is_own = config.address is None
        namespace = f"lidstudy-{study.root.name}-{_identity(study)}"
        _connect(config, namespace=namespace)
        address = ray.get_runtime_context().gcs_address
        self.whereabouts: Mapping[str, str] = {} if self._is_own else {"address": address, "namespace": namespace}
        self._has_gpus = config.devices == "gpu" or (
            config.devices == "auto" and any(node.get("GPU", 0) > 0 for node in _nodes())
        )

    def room(self) -> int:
        """Slots that fit on the nodes that live."""
        cpus, share = self._config.cpus_per_slot, self._config.slots_per_gpu
        room = 0
        for node in _nodes():
            fit = int(node.get("CPU", 0) // cpus)
            if self._has_gpus:
                fit = min(fit, int(node.get("GPU", 0) // self._config.gpus_per_slot) * share)
            room += fit
        return room if self._config.slots is None else min(room, self._config.slots)

    def found(self) -> list[Post]:
        """Actors of this study's namespace."""
        names = [] if self._is_own else ray.util.list_named_actors()
        numbers = [int(name.split(".")[0].rpartition("-")[2]) for name in names]
        return [
            Post(number, self._slot(number), name, RayHandle(ray.get_actor(name)))
            for number, name in zip(numbers, names, strict=True)
        ]

    def place(self, number: int) -> Post:
        """A new actor; Ray decides where, and starts it when there is room."""
        slot = self._slot(number)
        name = f"{slot.name}.{uuid.uuid4().hex[:8]}"
        num_gpus = self._config.gpus_per_slot / self._config.slots_per_gpu if self._has_gpus else 0
        options: dict[str, Any] = {
            "num_cpus": self._config.cpus_per_slot,
            "num_gpus": num_gpus,
            "max_restarts": 0,
            "scheduling_strategy": "SPREAD",
        }
        if not self._is_own:
            options |= {"name": name, "lifetime": "detached"}
        node = "" if self._config.node_folder is None else str(self._config.node_folder)
        actor_class: Any = ray.remote(RayAgent)
        actor = actor_class.options(**options).remote(slot.model_dump_json(), node=node, linger_s=self._config.linger_s)
        return Post(number, slot, name, RayHandle(actor))

    def ship(self, parcel: Parcel) -> CONTENT:
        """Puts every piece into the object store, from where each node gets it once."""
        return {path: [ray.put(chunk) for chunk in parcel.chunks(path)] for path in parcel.paths}

    def end(self, agent: AgentHandle) -> None:
        """Kills the actor."""
        assert isinstance(agent, RayHandle)
        try:
            ray.kill(agent.actor, no_restart=True)
        except (RayError, ValueError):
            return  # it is gone

    def close(self) -> None:
        """Leaves the cluster; ends it if it is its own."""
        ray.shutdown()

    def _slot(self, number: int) -> Slot:
        devices = tuple(f"cuda:{gpu}" for gpu in range(self._config.gpus_per_slot)) if self._has_gpus else (CPU,)
        return Slot(name=f"{self.name}-{number}", devices=devices, num_threads=self._config.cpus_per_slot)


def attempts_of_agents(address: str, namespace: str) -> list[str]:
    """Keys of the attempts that run on a study's agents.

    Raises:
        ConfigError: the cluster cannot be reached.
        RayError: an agent does not answer in time.
    """
    _connect(RayConfig(address=address), namespace=namespace)
    agents = [ray.get_actor(name) for name in ray.util.list_named_actors()]
    keys: list[str] = []
    for agent in agents:
        with contextlib.suppress(RayActorError):  # it is gone by now
            keys.append(ray.get(agent.at_work.remote(), timeout=ANSWER_S))
    return [key for key in keys if key]


def _connect(config: RayConfig, *, namespace: str) -> None:
    options: dict[str, Any] = {"namespace": namespace, "log_to_driver": False, "logging_level": "error"}
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if config.address is None:
        options |= {"address": "local", "include_dashboard": False}
        if config.slots is not None and config.devices == "cpu":
            options["num_cpus"] = config.slots * config.cpus_per_slot
    else:
        options["address"] = config.address
        _check_address(config.address)
    with _own_signals():
        try:
            ray.init(**options)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise _unreachable(config.address, str(error).strip().splitlines()[0].rstrip(".")) from error


def _check_address(address: str) -> None:
    """Ray itself would try for minutes, aloud, to connect to nothing."""
    host, _, port = address.rpartition(":")
    if host and port.isdigit() and (why := silence_at(host, int(port))):
        raise _unreachable(address, f"nothing listens there ({why})")


def _unreachable(address: str | None, why: str) -> ConfigError:
    return ConfigError(
        f"--ray-address {address or '(none)'}: {why}; start Ray on this machine with `ray start --address=HOST:6379`, "
        "set RAY_AUTH_MODE=token if the cluster has a token, or leave the address out for a cluster of this machine's "
        "own."
    )


@contextmanager
def _own_signals() -> Iterator[None]:
    """Ray puts handlers of its own in the place of ours, by which a study ends cleanly."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _nodes() -> list[dict[str, float]]:
    """Resources of every node that lives."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _identity(study: StudyFolder) -> str:
    """Keeps studies of the same name apart on one cluster; stays with the study's files wherever they go."""
    path = study.root / IDENTITY_FILE
    known = read_whole_json(path)
    if known is None:
        known = {"id": uuid.uuid4().hex[:8]}
        write_json(path, known, sync=True)
    return str(known["id"])


if __name__ == "__main__":  # asked by study/launchers/census.py, in a process that Ray may end as it likes
    sys.stdout.write(json.dumps(attempts_of_agents(*sys.argv[1:3])))
