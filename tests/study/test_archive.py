"""`lidstudy archive`: one file that holds a study, is what it says, and brings the study back."""

import hashlib
import json
import shutil
import tarfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lightning_modules.errors import ConfigError, StorageError
from reports.records import StudyState, TrialState
from study.archive import archive_study
from study.cli import app
from study.commands.report import write
from study.evaluation import read_ledger
from study.launchers.inline import InlineLauncher
from study.mlflow_records import open_records
from study.mlflow_store import connect
from study.spec import AttemptSpec, read_spec
from study.tarball import Packer, check_archive, check_name, new_archive
from study.workspace import StudyFolder, Workspace, coordinator_lease
from tests.conftest import new_workspace, write_tiny_study
from tests.study.helpers import record_of, run_study, trials_of

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def finished(workspace: Path, tmp_path: Path) -> StudyFolder:
    """A study of two trials that is complete, with its report."""
    assert run_study(write_tiny_study(tmp_path, trials=2), workspace) is StudyState.COMPLETE
    write(["tiny"], workspace, out=None)
    return Workspace(workspace).study("tiny")


def pack(folder: StudyFolder, out: Path, *, checkpoints: bool = False, remove: bool = False) -> dict[str, bytes]:
    """Archives a study; returns the archive's files."""
    workspace = Workspace(folder.root.parents[1])
    archive_study(workspace, folder, out=out, checkpoints=checkpoints, remove=remove)
    with tarfile.open(out) as tar:
        files = {member.name: tar.extractfile(member) for member in tar}
        return {name: file.read() for name, file in files.items() if file is not None}


def unpack(out: Path, workspace: Path) -> None:
    with tarfile.open(out) as tar:
        tar.extractall(workspace, filter="data")


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_it_holds_the_folder_the_report_and_mlflows_records(
    workspace: Path, finished: StudyFolder, tmp_path: Path
) -> None:
    files = pack(finished, tmp_path / "tiny.tar.gz")
    assert files["studies/tiny/study.json"] == finished.manifest.read_bytes()
    assert files["reports/tiny/index.html"] == (workspace / "reports" / "tiny" / "index.html").read_bytes()
    for trial in record_of(workspace).trials:
        run = json.loads(files[f"records/tiny/runs/{trial.run_id}.json"])
        assert run["params"]["seed"] == str(trial.seed)
        assert run["tags"]["lidstudy.state"] == "complete"
        losses = [(point["step"], point["value"]) for point in run["metrics"]["val/loss"]]
        assert losses == [(point.step, point.value) for point in trial.history["val/loss"]]
        assert f"records/tiny/artifacts/{trial.run_id}/events.jsonl" in files


def test_every_file_is_listed_with_its_hash(finished: StudyFolder, tmp_path: Path) -> None:
    files = pack(finished, tmp_path / "tiny.tar.gz")
    listed = json.loads(files.pop("records/tiny/contents.json"))
    assert listed["files"] == {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


def test_checkpoints_that_mlflow_has_are_packed_only_if_asked_for(
    workspace: Path, finished: StudyFolder, tmp_path: Path
) -> None:
    champion = read_ledger(finished)[-1].trial
    other = finished.trial(1 - champion).best_checkpoint
    without = pack(finished, tmp_path / "without.tar.gz")
    assert {name for name in without if name.endswith(".ckpt")} == {f"studies/tiny/trials/{champion:05d}/best.ckpt"}
    with_them = pack(finished, tmp_path / "with.tar.gz", checkpoints=True)
    assert with_them[f"studies/tiny/trials/{1 - champion:05d}/best.ckpt"] == other.read_bytes()
    assert sum(name.endswith("artifacts/checkpoint/best.ckpt") or "/checkpoint/" in name for name in with_them) == 2


def test_without_remove_nothing_changes(workspace: Path, finished: StudyFolder, tmp_path: Path) -> None:
    before, record = contents(finished.root), record_of(workspace)
    pack(finished, tmp_path / "tiny.tar.gz")
    assert contents(finished.root) == before
    assert record_of(workspace) == record


def test_a_removed_study_comes_back_and_goes_on(workspace: Path, finished: StudyFolder, tmp_path: Path) -> None:
    before, trials, ledger = record_of(workspace), trials_of(workspace), read_ledger(finished)
    out = tmp_path / "tiny.tar.gz"
    pack(finished, out, remove=True)
    assert not finished.root.exists()
    assert list(workspace.glob(".removed-*")) == []
    records = open_records(Workspace(workspace), "tiny")
    assert records is not None
    assert records.is_in_bin
    unpack(out, workspace)
    assert trials_of(workspace) == trials
    assert run_study(write_tiny_study(tmp_path, trials=4), workspace) is StudyState.COMPLETE
    after = record_of(workspace)
    assert [trial.metrics for trial in after.trials[:2]] == [trial.metrics for trial in before.trials]
    assert [trial.state for trial in after.trials] == [TrialState.COMPLETE] * 4
    assert read_ledger(finished)[: len(ledger)] == ledger


def test_an_interrupted_study_goes_on_in_another_workspace_from_its_checkpoint(
    workspace: Path, tmp_path: Path, shared_speech: Path
) -> None:
    """One MLflow for both workspaces, which lies in neither."""

    class Interrupted(InlineLauncher):
        def submit(self, spec: AttemptSpec) -> bool:
            super().submit(spec)
            log = spec.folder / "events.jsonl"
            log.write_text("".join(line + "\n" for line in log.read_text().splitlines()[:2]))
            raise KeyboardInterrupt

    database = f'\n[storage]\nmlflow = "sqlite:///{tmp_path}/shared.db"\n'
    study = write_tiny_study(tmp_path, trials=1, changes=database)
    with pytest.raises(KeyboardInterrupt):
        run_study(study, workspace, launcher=Interrupted())
    out = tmp_path / "tiny.tar.gz"
    pack(Workspace(workspace).study("tiny"), out, remove=True)
    other = new_workspace(shared_speech, tmp_path / "other")
    unpack(out, other)
    assert run_study(study, other) is StudyState.COMPLETE
    attempts = Workspace(other).study("tiny").trial(0).attempts()
    assert [spec.folder for attempt in attempts if (spec := read_spec(attempt))] == attempts
    assert json.loads((attempts[1] / "events.jsonl").read_text().splitlines()[0])["resumed_epoch"] == 3
    assert not (workspace / "studies" / "tiny").exists()


def test_the_commands_say_what_they_did(workspace: Path, finished: StudyFolder, tmp_path: Path) -> None:
    out = tmp_path / "packed" / "tiny.tar.gz"
    cleaned = CliRunner().invoke(app, ["clean", "tiny", "--workspace", str(workspace)])
    assert "removed checkpoints that MLflow has too, of study tiny: 1, 0." in cleaned.output
    packed = CliRunner().invoke(app, ["archive", "tiny", "--out", str(out), "--remove", "--workspace", str(workspace)])
    assert f"`tar -xzf {out} -C {workspace}`, then `lidstudy resume tiny`" in packed.output
    assert out.is_file()
    assert not finished.root.exists()


def test_a_new_study_under_an_archived_name_is_refused(workspace: Path, finished: StudyFolder, tmp_path: Path) -> None:
    pack(finished, tmp_path / "tiny.tar.gz", remove=True)
    with pytest.raises(StorageError, match="give the study another name, or put the files back"):
        run_study(write_tiny_study(tmp_path, trials=2), workspace)


def test_a_study_that_is_at_work_is_refused(finished: StudyFolder, tmp_path: Path) -> None:
    with coordinator_lease(finished), pytest.raises(StorageError, match="already has a coordinator"):
        pack(finished, tmp_path / "tiny.tar.gz", remove=True)
    assert finished.manifest.exists()
    assert not (tmp_path / "tiny.tar.gz").exists()


def test_nothing_is_removed_where_the_archive_cannot_be_written(finished: StudyFolder, tmp_path: Path) -> None:
    (tmp_path / "taken.tar.gz").write_text("mine")
    with pytest.raises(StorageError, match="exists; choose another --out"):
        pack(finished, tmp_path / "taken.tar.gz", remove=True)
    with pytest.raises(ConfigError, match="choose a place outside"):
        pack(finished, finished.root / "tiny.tar.gz", remove=True)
    assert (tmp_path / "taken.tar.gz").read_text() == "mine"
    assert finished.manifest.exists()


def test_records_that_lie_in_mlflows_bin_are_not_passed_over(
    workspace: Path, finished: StudyFolder, tmp_path: Path
) -> None:
    connect(Workspace(workspace).tracking_uri).delete_experiment(record_of(workspace).experiment_id)
    with pytest.raises(StorageError, match="is in MLflow's bin; `lidstudy resume tiny` takes it out"):
        pack(finished, tmp_path / "tiny.tar.gz")


def test_a_study_without_records_is_packed_without(workspace: Path, finished: StudyFolder, tmp_path: Path) -> None:
    shutil.rmtree(workspace / "mlflow")
    files = pack(finished, tmp_path / "tiny.tar.gz")
    assert [name for name in files if name.startswith("records/")] == ["records/tiny/contents.json"]
    assert not (workspace / "mlflow").exists()


# --- the file itself --------------------------------------------------------------------------------------------------


def archived(out: Path, tree: Path) -> Packer:
    with new_archive(out, contents="contents.json", facts={}) as packer:
        packer.add_tree("tree", tree, skip=lambda _: False)
    return packer


def test_links_to_files_are_packed_as_files_and_empty_folders_stay(tmp_path: Path) -> None:
    (tmp_path / "tree" / "empty").mkdir(parents=True)
    (tmp_path / "outside").write_text("secret of nobody")
    (tmp_path / "tree" / "link").symlink_to(tmp_path / "outside")
    archived(tmp_path / "a.tar.gz", tmp_path / "tree")
    unpack(tmp_path / "a.tar.gz", tmp_path / "unpacked")
    assert (tmp_path / "unpacked" / "tree" / "empty").is_dir()
    link = tmp_path / "unpacked" / "tree" / "link"
    assert not link.is_symlink()
    assert link.read_text() == "secret of nobody"


def test_a_link_to_a_folder_is_refused_and_leaves_no_archive(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "loop").symlink_to(tmp_path / "tree")
    with pytest.raises(StorageError, match="is a link to a folder"):
        archived(tmp_path / "a.tar.gz", tmp_path / "tree")
    assert [path.name for path in tmp_path.iterdir()] == ["tree"]


@pytest.mark.parametrize("name", ["/etc/passwd", "../up", "a/../../up", ""])
def test_names_that_lead_out_are_refused(name: str) -> None:
    with pytest.raises(StorageError, match="leads out of the archive"):
        check_name(name)


@pytest.mark.parametrize("damage", [lambda data: data[:-30], lambda data: data[:60] + b"\0\0\0\0" + data[64:]])
def test_a_damaged_archive_does_not_read_back(tmp_path: Path, damage: object) -> None:
    assert callable(damage)
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_bytes(bytes(range(256)) * 400)
    packer = archived(tmp_path / "a.tar.gz", tmp_path / "tree")
    check_archive(tmp_path / "a.tar.gz", packer.hashes)
    broken = tmp_path / "broken.tar.gz"
    broken.write_bytes(damage((tmp_path / "a.tar.gz").read_bytes()))
    with pytest.raises(StorageError, match="does not read back"):
        check_archive(broken, packer.hashes)


def test_an_archive_with_another_content_does_not_pass(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_text("one")
    packer = archived(tmp_path / "a.tar.gz", tmp_path / "tree")
    with pytest.raises(StorageError, match="tree/file differs"):
        check_archive(tmp_path / "a.tar.gz", packer.hashes | {"tree/file": "0" * 64})
