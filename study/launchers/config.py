"""LauncherConfig: where attempts run, read from `[launcher]` in a study's file or from the command line."""

from pathlib import Path
from typing import Annotated, ClassVar, Final, Literal, Self

from pydantic import Field, model_validator

from lightning_modules.config import Frozen, PositiveFloat, PositiveInt
from lightning_modules.errors import ConfigError


class LocalConfig(Frozen):
    """Processes of this machine."""

    kind: Literal["local"] = "local"
    engine: ClassVar = "local"


class InlineConfig(Frozen):
    """The coordinator's own process, one attempt at a time: for tests and debuggers."""

    kind: Literal["inline"] = "inline"
    engine: ClassVar = "local"


class RayConfig(Frozen):
    """A Ray cluster; no shared file system is needed.

    Attributes:
        address: of a running cluster that this machine is part of (`10.0.0.1:6379`, or `auto`); None starts a cluster
            of its own on this machine, which ends with the coordinator.
        slots: attempts at a time at most; None for as many as the cluster has room for.
        devices: `auto` takes GPUs where the cluster has any, else CPUs.
        slots_per_gpu: attempts that share a GPU.
        gpus_per_slot: GPUs of one attempt.
        cpus_per_slot: CPUs of one attempt, and its threads.
        node_folder: where nodes keep speech and attempts; None for a folder of the user's in their temporary one.
        linger_s: how long an agent without work waits for a coordinator before it gives its resources back.
    """

    kind: Literal["ray"] = "ray"
    engine: ClassVar = "ray"
    address: Annotated[str, Field(min_length=1)] | None = None
    slots: PositiveInt | None = None
    devices: Literal["auto", "gpu", "cpu"] = "auto"
    slots_per_gpu: PositiveInt = 1
    gpus_per_slot: PositiveInt = 1
    cpus_per_slot: PositiveInt = 1
    node_folder: Path | None = None
    linger_s: PositiveFloat = 1800.0

    @property
    def is_elsewhere(self) -> bool:
        """Whether attempts have other cores than this machine's."""
        return self.address is not None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.address is not None and self.address.startswith("ray://"):
            raise ValueError("address must be host:port or auto; run the coordinator on one of the cluster's machines")
        if self.gpus_per_slot > 1 and self.slots_per_gpu > 1:
            raise ValueError("slots_per_gpu and gpus_per_slot cannot both be more than 1")
        return self


class SlurmConfig(Frozen):
    """A Slurm cluster; the workspace is on a file system that all its nodes share.

    Attributes:
        executor: submitit's: `slurm`, or `local` to try it without a cluster.
        slots: jobs at a time.
        partition: and `account`, `qos`, `constraint`: as sbatch takes them; None for the cluster's default.
        gres: what a job gets besides CPUs (`gpu:1`, `gpu:a100:2`); its GPUs are what the attempt trains on.
        cpus: of a job, and its threads.
        memory_gb: of a job; None for the cluster's default.
        time_limit_min: of a job; a trial that needs longer goes on in another job from its last checkpoint.
        requeue: let Slurm start a job again that was preempted or whose node failed; it goes on from its checkpoint.
        sbatch: further options of sbatch by their long names, without dashes.
        setup: shell lines that the job runs first (`module load …`).
        ask_every_s: how often squeue is asked, for all jobs at once.
    """

    kind: Literal["slurm"] = "slurm"
    executor: Literal["slurm", "local"] = "slurm"
    slots: PositiveInt = 4
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    gres: Annotated[str, Field(pattern=r"^gpu(:[A-Za-z0-9_.-]+)?:[1-9][0-9]*$")] | None = None
    cpus: PositiveInt = 1
    memory_gb: PositiveFloat | None = None
    time_limit_min: PositiveInt = 240
    requeue: bool = True
    sbatch: dict[str, str | int | bool] = Field(default_factory=dict)
    setup: tuple[str, ...] = ()
    ask_every_s: PositiveFloat = 10.0

    @property
    def engine(self) -> str:
        """Who knows its jobs."""
        return "slurm" if self.executor == "slurm" else f"slurm with executor {self.executor}"

    @property
    def is_elsewhere(self) -> bool:
        """Whether attempts have other cores than this machine's."""
        return self.executor == "slurm"

    @property
    def num_gpus(self) -> int:
        """GPUs of a job."""
        return int(self.gres.rpartition(":")[2]) if self.gres else 0


LauncherConfig = Annotated[LocalConfig | InlineConfig | RayConfig | SlurmConfig, Field(discriminator="kind")]
KINDS: Final = {"local": LocalConfig, "ray": RayConfig, "slurm": SlurmConfig}


def launcher_named(
    kind: str | None, *, address: str | None, slots: int | None, given: LauncherConfig
) -> LauncherConfig:
    """The launcher that the command line names; the study's own options stay where the kind is the same.

    Args:
        kind: None for the study's own, or Ray where an address is given.
        address: of a Ray cluster.
        slots: attempts at a time on a cluster; this machine's slots are the plan's.
        given: what the study's file says.

    Raises:
        ConfigError: an unknown kind, or an address without Ray.
    """
    wanted = kind or ("ray" if address is not None else given.kind)
    if wanted not in KINDS:
        raise ConfigError(f"--launcher: there is no launcher '{wanted}'; allowed: {', '.join(KINDS)}.")
    if address is not None and wanted != "ray":
        raise ConfigError(f"--ray-address goes with --launcher ray, not with {wanted}.")
    config = given if given.kind == wanted else KINDS[wanted]()
    changes = {"address": address, "slots": slots if wanted != "local" else None}
    return config.model_copy(update={key: value for key, value in changes.items() if value is not None})
