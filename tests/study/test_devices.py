"""Slots from a made-up inventory: no GPU is needed to cut one into shares."""

import stat
from pathlib import Path

import pytest

from lightning_modules.errors import ConfigError
from study.devices import CPU, Device, Slot, SlotSizing, choose_devices, find_gpus, make_slots, slots_for_memory

GPUS = (Device("cuda:0", 80_000), Device("cuda:1", 80_000))


def two_gpus() -> tuple[Device, ...]:
    return GPUS


def no_gpu() -> tuple[Device, ...]:
    return ()


def test_auto_takes_every_gpu_or_the_cpu() -> None:
    assert choose_devices("auto", inventory=two_gpus) == GPUS
    assert choose_devices("auto", inventory=no_gpu) == (Device(CPU),)
    assert choose_devices("cpu", inventory=two_gpus) == (Device(CPU),)
    assert choose_devices("cuda:1", inventory=two_gpus) == GPUS[1:]


@pytest.mark.parametrize("asked", ["cuda:2", "gpu", "cuda:0,cuda:0", ""])
def test_a_device_that_is_not_there_or_named_twice_is_refused(asked: str) -> None:
    with pytest.raises(ConfigError, match="--devices: "):
        choose_devices(asked, inventory=two_gpus)


def test_the_cpu_has_a_slot_a_core_and_threads_never_oversubscribe_it() -> None:
    assert [slot.name for slot in make_slots([Device(CPU)], slots=None, num_cores=3)] == ["cpu-0", "cpu-1", "cpu-2"]
    for count, threads in ((1, 8), (2, 4), (3, 2), (8, 1), (16, 1)):
        slots = make_slots([Device(CPU)], slots=count, num_cores=8)
        assert len(slots) == count
        assert {slot.num_threads for slot in slots} == {threads}


def test_several_trials_share_a_gpu_and_several_gpus_a_trial() -> None:
    shared = make_slots(GPUS, slots=2, num_cores=8)
    assert [(slot.name, slot.gpus) for slot in shared] == [
        ("cuda0-0", (0,)),
        ("cuda0-1", (0,)),
        ("cuda1-0", (1,)),
        ("cuda1-1", (1,)),
    ]
    assert {slot.num_threads for slot in shared} == {2}
    (whole,) = make_slots(GPUS, slots=None, devices_per_trial=2, num_cores=8)
    assert (whole.name, whole.gpus, whole.num_threads) == ("cuda0+cuda1-0", (0, 1), 8)
    with pytest.raises(ConfigError, match="--devices-per-trial is 3"):
        make_slots(GPUS, slots=None, devices_per_trial=3, num_cores=8)


def test_ranks_on_the_cpu_are_devices_of_one_slot() -> None:
    (slot,) = make_slots([Device(CPU)], slots=None, devices_per_trial=2, num_cores=2)
    assert slot == Slot(name="cpu-0", devices=(CPU, CPU), num_threads=2)


def test_a_gpu_has_as_many_slots_as_its_memory_has_room_for() -> None:
    device = Device("cuda:0", 80_000)
    assert slots_for_memory(device, peak_mb=11_400, num_cores=16) == 6  # 0.9 x 80,000 / (11,400 + 600)
    assert slots_for_memory(device, peak_mb=100, num_cores=16) == 16
    assert slots_for_memory(device, peak_mb=200_000, num_cores=16) == 1


def test_slots_follow_the_largest_trial_so_far() -> None:
    sizing = SlotSizing(GPUS, num_cores=16)
    assert sizing.observe(5_400) is None  # one trial says little
    first, second = sizing.observe(11_400), sizing.observe(35_400)
    assert first is not None
    assert second is not None
    assert (len(first), len(second)) == (12, 4)
    assert sizing.observe(100) == second


def test_the_drivers_tool_is_asked_and_cuda_visible_devices_is_kept_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho '0, GPU-8f6a2b, 81559'\necho '1, GPU-8f71c0, 40960'\n")
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert find_gpus() == (Device("cuda:0", 81559), Device("cuda:1", 40960))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert find_gpus() == (Device("cuda:1", 40960),)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-8f71c0")
    assert find_gpus() == (Device("cuda:1", 40960),)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-8f6,GPU-8f7")
    assert len(find_gpus()) == 2
    for none in ("", "-1", "none"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", none)
        assert find_gpus() == ()
    for unclear in ("MIG-1234", "GPU-0000", "GPU-8f"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", unclear)
        with pytest.raises(ConfigError, match=f"CUDA_VISIBLE_DEVICES names {unclear}, which is no whole GPU"):
            find_gpus()


def test_a_machine_without_the_tool_has_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_gpus() == ()
