"""The workspace: leases, atomic files, and folders that cannot be written."""

import json
import os
from pathlib import Path

import pytest

from lightning_modules.errors import ConfigError, StorageError
from study.workspace import StudyFolder, Workspace, coordinator_lease, coordinator_pid, open_workspace, write_json


def test_a_second_coordinator_is_refused_and_told_of_the_first(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "s")
    with (
        coordinator_lease(folder),
        pytest.raises(StorageError, match=rf"study 's' already has a coordinator: process {os.getpid()} on "),
        coordinator_lease(folder, patience_s=0.0),
    ):
        pass


def test_the_coordinator_is_known_while_it_lives(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / "s")
    assert coordinator_pid(folder) is None
    with coordinator_lease(folder):
        assert coordinator_pid(folder) == os.getpid()
    assert coordinator_pid(folder) is None


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_synced_file_is_on_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file.json"
    seen: list[tuple[int, bool]] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: seen.append((os.fstat(descriptor).st_size, path.exists())))
    write_json(path, {"a": 1}, sync=True)
    assert seen == [(path.stat().st_size, False)]
    write_json(path, {"a": 2})
    assert len(seen) == 1


def test_a_workspace_that_is_no_folder_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        open_workspace(tmp_path / "file" / "workspace", writable=True)


def test_opening_to_read_makes_nothing(tmp_path: Path) -> None:
    open_workspace(tmp_path / "absent")
    assert not (tmp_path / "absent").exists()


def test_an_unknown_study_lists_the_known_ones(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    write_json(workspace.study("here").manifest, {})
    with pytest.raises(ConfigError, match=r"unknown study 'gone' .*studies there: here"):
        workspace.existing_study("gone")


def test_an_ablation_that_is_still_tuned_is_told_from_an_unknown_study(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    write_json(workspace.study("cells-tuning").manifest, {})
    with pytest.raises(ConfigError, match="'cells' has not begun to compare: its arms are tuned in study 'cells-tunin"):
        workspace.existing_study("cells")
