"""Devices, and the slots that they are cut into: a slot is the share of a device that one trial gets.

What there is comes from an `Inventory`, so that sizing GPUs is tested without one. Nothing here imports torch: a
coordinator that touched CUDA could not fork attempts that use it.
"""

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from lightning_modules.config import Frozen, PositiveInt
from lightning_modules.errors import ConfigError

CPU = "cpu"
USABLE_SHARE = 0.9  # of a GPU's memory: the driver and other processes take some
CONTEXT_MB = 600  # what CUDA itself takes a process
TIMEOUT_S = 10
ENOUGH_TRIALS = 2  # that have ended before slots are sized by what they took


class Slot(Frozen):
    """The share of a device, or the devices, that one trial gets.

    Attributes:
        name: unique on its machine: `cpu-0`, `cuda0-1`.
        devices: `("cpu",)`, `("cuda:0",)`; several where a trial trains on several, a rank each.
        num_threads: CPU threads of all its ranks together.
    """

    name: str
    devices: tuple[str, ...] = (CPU,)
    num_threads: PositiveInt = 1

    @property
    def gpus(self) -> tuple[int, ...]:
        """Indices of its GPUs; none on the CPU."""
        return tuple(int(device.removeprefix("cuda:")) for device in self.devices if device != CPU)


@dataclass(frozen=True)
class Device:
    """One device; memory in MB where it bounds the number of slots."""

    name: str
    memory_mb: int | None = None


Inventory = Callable[[], tuple[Device, ...]]
"""Returns the GPUs of this machine."""


def find_gpus() -> tuple[Device, ...]:
    """The GPUs that the driver's own tool lists and CUDA_VISIBLE_DEVICES lets through; none where there is no tool.

    Raises:
        ConfigError: CUDA_VISIBLE_DEVICES names a part of a GPU, or one that is not there.
    """
    query = ["nvidia-smi", "--query-gpu=index,uuid,memory.total", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, check=True, timeout=TIMEOUT_S)
    except (OSError, subprocess.SubprocessError):
        return ()
    rows = [[cell.strip() for cell in line.split(",")] for line in done.stdout.splitlines() if line.strip()]
    devices = {uuid: Device(f"cuda:{index}", int(memory)) for index, uuid, memory in rows}
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return tuple(devices.values())
    chosen = [_index_of(name.strip(), devices) for name in visible.split(",")]
    return tuple(device for device in devices.values() if device.name in chosen)


def _index_of(visible: str, devices: Mapping[str, Device]) -> str | None:
    """The device that a word of CUDA_VISIBLE_DEVICES means, by index or by the start of its UUID; None for none."""
    if visible.isdigit():
        return f"cuda:{visible}"
    if not visible.startswith(("GPU-", "MIG-")):
        return None
    found = [device.name for uuid, device in devices.items() if uuid.startswith(visible)]
    if len(found) != 1:
        raise ConfigError(
            f"CUDA_VISIBLE_DEVICES names {visible}, which is no whole GPU that nvidia-smi lists: name GPUs by index, "
            "or leave it unset."
        )
    return found[0]


def choose_devices(asked: str, *, inventory: Inventory = find_gpus) -> tuple[Device, ...]:
    """Devices by name.

    Args:
        asked: `auto` (every GPU, or the CPU where there is none), `cpu`, or a list as `cuda:0,cuda:1`.
        inventory: lists the GPUs.

    Raises:
        ConfigError: an unknown name, a device named twice, or a GPU that is not there.
    """
    if asked == CPU:
        return (Device(CPU),)
    gpus = {device.name: device for device in inventory()}
    if asked == "auto":
        return tuple(gpus.values()) or (Device(CPU),)
    names = [name.strip() for name in asked.split(",")]
    for name in names:
        if name not in gpus:
            known = ", ".join(["auto", CPU, *gpus])
            raise ConfigError(f"--devices: there is no device '{name}' here; allowed: {known}; several with commas.")
    if len(set(names)) < len(names):
        raise ConfigError(f"--devices: a device is named twice in '{asked}'; use --slots for several trials a device.")
    return tuple(gpus[name] for name in names)


def let_see(slot: Slot) -> None:
    """Has CUDA in this process see the slot's GPUs alone, numbered as nvidia-smi does; before it looks for any."""
    os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # else unlike GPUs are numbered by their speed
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, slot.gpus))


def make_slots(
    devices: Sequence[Device], *, slots: int | None, devices_per_trial: int = 1, num_cores: int
) -> tuple[Slot, ...]:
    """Cuts devices into slots.

    Args:
        devices: what `choose_devices` returned.
        slots: slots a device; None for a slot a core on the CPU and one a GPU.
        devices_per_trial: devices of each slot; on the CPU, ranks.
        num_cores: cores that may be used; the slots' threads never oversubscribe them, but for one thread each.

    Raises:
        ConfigError: more devices a trial than there are, or on the CPU more processes than cores (two always can).
    """
    if devices[0].name == CPU:
        if devices_per_trial > max(2, num_cores):
            raise ConfigError(f"--devices-per-trial is {devices_per_trial} processes, but there are {num_cores} cores.")
        count = slots or max(1, num_cores // devices_per_trial)
        return _slots([(CPU,) * devices_per_trial] * count, num_cores=num_cores)
    if devices_per_trial > len(devices):
        raise ConfigError(f"--devices-per-trial is {devices_per_trial}, but there are {len(devices)} devices.")
    names = [device.name for device in devices]
    groups = [
        tuple(names[start : start + devices_per_trial])
        for start in range(0, len(names) - devices_per_trial + 1, devices_per_trial)
    ]
    return _slots([group for group in groups for _ in range(slots or 1)], num_cores=num_cores)


def slots_for_memory(device: Device, *, peak_mb: float, num_cores: int) -> int:
    """How many trials fit on a GPU, when the largest so far took `peak_mb`; at least 1, at most one a core."""
    if device.memory_mb is None:
        return 1
    return max(1, min(num_cores, int(USABLE_SHARE * device.memory_mb / (peak_mb + CONTEXT_MB))))


class SlotSizing:
    """Slots a GPU, from the memory that the first trials used; for studies that name no number of slots."""

    def __init__(self, devices: Sequence[Device], *, num_cores: int, devices_per_trial: int = 1) -> None:
        self._devices = tuple(devices)
        self._num_cores = num_cores
        self._devices_per_trial = devices_per_trial
        self._largest_mb = 0.0
        self._num_seen = 0

    def observe(self, peak_mb: float) -> tuple[Slot, ...] | None:
        """The slots that fit, once enough trials have ended; None before.

        Args:
            peak_mb: the most memory that a trial took of one GPU.
        """
        self._largest_mb = max(self._largest_mb, peak_mb)
        self._num_seen += 1
        if self._num_seen < ENOUGH_TRIALS:
            return None
        count = min(
            slots_for_memory(device, peak_mb=self._largest_mb, num_cores=self._num_cores) for device in self._devices
        )
        return make_slots(
            self._devices, slots=count, devices_per_trial=self._devices_per_trial, num_cores=self._num_cores
        )


def _slots(groups: Sequence[tuple[str, ...]], *, num_cores: int) -> tuple[Slot, ...]:
    """A slot a group; slots of one group are numbered."""
    num_threads = max(1, num_cores // len(groups))
    counts: dict[tuple[str, ...], int] = {}
    slots = []
    for group in groups:
        number = counts[group] = counts.get(group, -1) + 1
        label = "+".join(dict.fromkeys(device.replace(":", "") for device in group))
        slots.append(Slot(name=f"{label}-{number}", devices=group, num_threads=num_threads))
    return tuple(slots)
