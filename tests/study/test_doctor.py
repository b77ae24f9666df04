"""The doctor: what it says of machines, stores and file systems that are not as they should be."""

import fcntl
import json
import os
import resource
import sqlite3
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from search_spaces.space import load_space
from study.commands.doctor import examine
from study.doctor import file_system, stores
from study.doctor._base import Finding
from study.doctor.devices import examine_devices, look_at_devices
from study.doctor.file_system import Mount, clock, compare_times, file_time, locks, mount_of, mounted, renames
from study.doctor.machine import available_bytes, control_groups, cores, cpu_quota, memory, open_files, shared_memory
from study.doctor.stores import look_at_stores
from study.doctor.versions import compared, optional, required, requirements
from study.opening import open_trial_store
from study.workspace import Workspace
from tests.conftest import write_tiny_study
from tests.study.helpers import config_of, run_study

NVIDIA_SMI = "| NVIDIA-SMI 580.65   Driver Version: 580.65.06   CUDA Version: {cuda}  |"


def test_json_holds_every_finding(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = examine(tmp_path, as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert {entry["group"] for entry in found} == {"versions", "extras", "machine", "devices", "workspace", "stores"}
    assert status == int(any(entry["mend"] for entry in found))
    assert list(tmp_path.iterdir()) == []


# --- versions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "is_good"), [("rich>=13", True), ("rich<13", False), ("not-there>=1", False)])
def test_a_dependency_must_be_there_in_an_allowed_version(text: str, is_good: bool) -> None:  # noqa: FBT001
    assert (required(Requirement(text)).mend == "") is is_good


def test_an_extra_may_be_missing_but_not_too_old() -> None:
    missing = optional("ray", [Requirement("not-there"), Requirement("rich")])
    assert (missing.mend, missing.hint) == ("", "pip install 'lidstudy[ray]' -c constraints.txt")
    assert "13" in optional("ray", [Requirement("rich<13")]).seen
    assert optional("ray", [Requirement("rich<13")]).mend != ""


def test_requirements_are_read_from_the_checkout_else_from_what_is_installed(tmp_path: Path) -> None:
    assert requirements(Path(__file__).parents[2])[1].keys() >= {"synth", "postgres"}
    base, extras = requirements(tmp_path)
    assert {requirement.name for requirement in base} >= {"torch", "mlflow"}
    assert [requirement.name for requirement in extras["postgres"]] == ["psycopg"]


def test_versions_other_than_those_of_the_tests_are_named_but_need_no_mending(tmp_path: Path) -> None:
    (tmp_path / "constraints.txt").write_text("# which\nrich==0.1\nnot-there==1\n")
    (finding,) = compared(tmp_path / "constraints.txt")
    assert "rich 1" in finding.seen
    assert "not 0.1" in finding.seen
    assert (finding.mend, finding.hint != "") == ("", True)


# --- devices ----------------------------------------------------------------------------------------------------------


def hardware(torch: str | Exception, *, cuda: str = "13.1") -> Callable[[Sequence[str], float], str]:
    """Stands for a machine with GPUs, which there is not here."""

    def ask(command: Sequence[str], limit_s: float) -> str:
        if command[0] == "nvidia-smi":
            return NVIDIA_SMI.format(cuda=cuda)
        if isinstance(torch, Exception):
            raise torch
        return torch

    return ask


def torch_says(*names: str, cuda: str | None = "13.0") -> str:
    return "a warning\n" + json.dumps({"version": "2.14.1", "cuda": cuda, "names": names}) + "\n"


def to_mend(findings: list[Finding]) -> dict[str, str]:
    return {finding.name: finding.mend for finding in findings if finding.mend}


def test_devices_that_fit_together() -> None:
    findings = examine_devices(("cuda:0",), ask=hardware(torch_says("H100")))
    assert to_mend(findings) == {}
    assert [finding.name for finding in findings] == ["gpus", "torch", "driver"]


def test_a_gpu_that_is_named_and_not_there_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho '0, GPU-8f6a2b, 81559'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-1234")
    (finding,) = look_at_devices(tmp_path)
    assert "names MIG-1234" in finding.seen
    assert finding.mend


def test_gpus_that_torch_does_not_see() -> None:
    assert "1 of 2" in to_mend(examine_devices(("cuda:0", "cuda:1"), ask=hardware(torch_says("H100"))))["torch"]
    of_cpu = to_mend(examine_devices(("cuda:0",), ask=hardware(torch_says(cuda=None))))
    assert of_cpu["torch"].startswith("install a torch that was built for CUDA")


def test_a_driver_that_is_older_than_torchs_cuda() -> None:
    findings = examine_devices(("cuda:0",), ask=hardware(torch_says(), cuda="12.8"))
    assert "torch needs CUDA 13.0" in to_mend(findings)["driver"]


def test_a_driver_that_hangs_and_a_torch_that_breaks() -> None:
    hangs = examine_devices((), ask=hardware(subprocess.TimeoutExpired("python", 120)))
    assert "the driver hangs" in to_mend(hangs)["torch"]
    broken = subprocess.CalledProcessError(1, "python", stderr="Traceback\nImportError: libcuda.so\n")
    (_gpus, torch) = examine_devices((), ask=hardware(broken))
    assert (torch.seen, torch.mend != "") == ("it does not work: ImportError: libcuda.so", True)


# --- the machine ------------------------------------------------------------------------------------------------------


@pytest.fixture
def group(tmp_path: Path) -> list[Path]:
    """A control group of version 2 below one that is tighter."""
    inner = tmp_path / "outer" / "inner"
    inner.mkdir(parents=True)
    (inner / "cpu.max").write_text("max 100000\n")
    (inner.parent / "cpu.max").write_text("150000 100000\n")
    (inner / "memory.max").write_text("max\n")
    (inner / "memory.current").write_text("7\n")
    (inner.parent / "memory.max").write_text("1000\n")
    (inner.parent / "memory.current").write_text("400\n")
    (tmp_path / "own").write_text("0::/outer/inner\n")
    return control_groups(tmp_path / "own", tmp_path)


def test_control_groups_above_bind_too(group: list[Path], tmp_path: Path) -> None:
    assert cpu_quota(group) == 1.5
    assert available_bytes(group) == 600
    assert cpu_quota([tmp_path / "none"]) is None


def test_the_first_version_of_control_groups(tmp_path: Path) -> None:
    for controllers, files in {
        "cpu,cpuacct": {"cpu.cfs_quota_us": "50000", "cpu.cfs_period_us": "100000"},
        "memory": {"memory.limit_in_bytes": "900", "memory.usage_in_bytes": "100"},
    }.items():
        (tmp_path / controllers / "job").mkdir(parents=True)
        for name, text in files.items():
            (tmp_path / controllers / "job" / name).write_text(text + "\n")
    (tmp_path / "own").write_text("4:cpu,cpuacct:/job\n2:memory:/job\n")
    group = control_groups(tmp_path / "own", tmp_path)
    assert (cpu_quota(group), available_bytes(group)) == (0.5, 800)


def test_a_quota_below_the_cores_says_how_many_slots() -> None:
    assert cores(8, quota=2.5).mend.startswith("sweep with --slots 2")
    assert (cores(8, quota=8.0).mend, cores(8, quota=None).mend) == ("", "")


def test_little_memory_and_few_open_files() -> None:
    assert (memory(10**9).mend != "", memory(3 * 10**9).mend) == (True, "")
    assert open_files(256, 4096).mend == "ulimit -n 1024"
    assert open_files(256, 512).mend.startswith("ask the administrator")
    assert open_files(resource.RLIM_INFINITY, resource.RLIM_INFINITY).mend == ""


def test_shared_memory_that_is_not_there(tmp_path: Path) -> None:
    assert "--shm-size" in shared_memory(tmp_path / "gone").mend
    assert shared_memory(tmp_path).mend == ""


# --- the file system --------------------------------------------------------------------------------------------------


def test_locks_and_renames_work_here(tmp_path: Path) -> None:
    assert (locks(tmp_path).mend, renames(tmp_path).mend, file_time(tmp_path).mend) == ("", "", "")


def test_locks_of_the_kind_that_network_file_systems_stand_in_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """POSIX locks in place of flock, as NFS has them: they go when any copy of the file is closed."""
    monkeypatch.setattr(fcntl, "flock", fcntl.lockf)
    assert locks(tmp_path).seen == "a lock is lost when it is handed to another process"
    assert "two coordinators one study" in locks(tmp_path).mend


def test_locks_that_are_not_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_descriptor: int, _how: int) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert locks(tmp_path).seen == "flock fails: Function not implemented"


def test_locks_that_exclude_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", lambda _descriptor, _how: None)
    assert locks(tmp_path).mend != ""


def test_the_mount_of_a_folder_is_the_nearest(tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    far = str(tmp_path / "far away").replace(" ", "\\040")
    (tmp_path / "far away" / "below").mkdir(parents=True)
    table.write_text(
        "21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda rw\n"
        f"30 21 0:40 / {far} rw,noatime shared:2 - nfs4 server:/x rw,vers=4.2,local_lock=none\n"
    )
    found = mount_of(tmp_path / "far away" / "below", table=table)
    assert (found.kind, "local_lock=none" in found.options) == ("nfs4", True)
    assert mount_of(tmp_path, table=table).kind == "ext4"


def test_network_file_systems_are_named_for_what_they_break(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LIDSTUDY_MLFLOW", raising=False)
    assert mounted(Mount("ext4", ())).mend == ""
    assert "other machines do not see its locks" in mounted(Mount("lustre", ("rw", "localflock"))).mend
    assert "$LIDSTUDY_MLFLOW" in mounted(Mount("nfs4", ("rw",))).mend
    monkeypatch.setenv("LIDSTUDY_MLFLOW", "http://127.0.0.1:5000")
    assert mounted(Mount("nfs4", ("rw",))).mend == ""


def test_clocks_that_disagree() -> None:
    assert compare_times(1000.0, 1001.0).mend == ""
    assert compare_times(1000.0, 1030.0).seen == "30 s behind the clock"
    now = 1_800_000_000.0
    assert clock(now, 1.0, 1.1).mend == ""
    assert "jumped by -60 s" in clock(now, -59.0, 1.0).seen
    assert clock(0.0, 1.0, 1.0).mend.startswith("set the clock")


def test_a_workspace_that_fills_up_is_a_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_place: Path) -> Finding:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(file_system, "write_speed", full)
    (finding,) = file_system.look_at_file_system(tmp_path)
    assert "No space left on device" in finding.mend
    assert list(tmp_path.iterdir()) == []


# --- stores -----------------------------------------------------------------------------------------------------------


def by_name(folder: Path) -> dict[str, Finding]:
    return {finding.name: finding for finding in look_at_stores(folder)}


def tables(path: Path) -> set[str]:
    with sqlite3.connect(path) as connection:
        found = {str(row[0]) for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    connection.close()
    return found


def test_stores_that_are_in_use(workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIDSTUDY_OPTUNA_STORAGE", f"sqlite:///{tmp_path}/optuna.db")
    run_study(write_tiny_study(tmp_path, trials=1), workspace)
    found = by_name(workspace)
    for name in ("optuna", "mlflow"):
        assert found[name].mend == "", found[name]
        assert "migrated" in found[name].seen
        assert found[name].seen.endswith("writable")
    assert "lidstudy_doctor" not in tables(tmp_path / "optuna.db") | tables(workspace / "mlflow" / "mlflow.db")


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIDSTUDY_OPTUNA_STORAGE", f"sqlite:///{tmp_path}/optuna.db")
    found = by_name(tmp_path)
    assert all("which the first sweep makes" in finding.seen and not finding.mend for finding in found.values())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("variable", ["LIDSTUDY_OPTUNA_STORAGE", "LIDSTUDY_MLFLOW"])
def test_a_url_that_is_none_is_named_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "mysql://lid:s3cret@h/d")
    (wrong,) = (finding for finding in look_at_stores(tmp_path) if finding.mend)
    assert variable in wrong.mend
    assert "s3cret" not in repr(look_at_stores(tmp_path))


@pytest.mark.parametrize("variable", ["LIDSTUDY_OPTUNA_STORAGE", "LIDSTUDY_MLFLOW"])
def test_a_database_that_is_away_is_named_without_its_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "postgresql://lid:s3cret@127.0.0.1:1/nothing")
    (wrong,) = (finding for finding in look_at_stores(tmp_path) if finding.mend)
    assert "cannot be used" in wrong.mend
    assert "s3cret" not in repr(wrong)


def test_a_server_that_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIDSTUDY_MLFLOW", "http://lid:s3cret@127.0.0.1:1")
    finding = by_name(tmp_path)["mlflow"]
    assert "it does not answer" in finding.mend
    assert "s3cret" not in repr(finding)


@pytest.mark.parametrize("name", ["optuna", "mlflow"])
def test_tables_of_another_version(workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("LIDSTUDY_OPTUNA_STORAGE", f"sqlite:///{tmp_path}/optuna.db")
    config = config_of(write_tiny_study(tmp_path))
    open_trial_store(Workspace(workspace).study("tiny"), config, load_space(config.space)).close()
    path = {"optuna": tmp_path / "optuna.db", "mlflow": workspace / "mlflow" / "mlflow.db"}[name]
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'old'")
    connection.close()
    assert "has tables of version old" in by_name(workspace)[name].seen
    assert getattr(stores, name.upper()).upgrade in by_name(workspace)[name].mend


def test_a_file_that_is_no_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "optuna.db").write_text("rubbish" * 100)
    monkeypatch.setenv("LIDSTUDY_OPTUNA_STORAGE", f"sqlite:///{tmp_path}/optuna.db")
    assert "file is not a database" in by_name(tmp_path)["optuna"].mend
