"""`lidstudy clean`: what goes, what stays, and that a study goes on as if nothing had been removed."""

import json
import shutil
from pathlib import Path

import pytest

from lightning_modules.config import FeaturesConfig
from lightning_modules.data.feature_store import feature_store_path
from lightning_modules.data.prepared import open_corpus
from lightning_modules.errors import StorageError
from reports.records import StudyState, TrialState
from study.commands.housekeeping import clean
from study.commands.report import write
from study.evaluation import read_ledger
from study.housekeeping import Cleaned, clean_study, clean_workspace
from study.launchers.inline import InlineLauncher
from study.mlflow_store import connect
from study.spec import EVENTS_FILE, SPEC_FILE, AttemptSpec
from study.trials import best_trial
from study.workspace import StudyFolder, Workspace, coordinator_lease, try_lock, write_json
from tests.conftest import write_tiny_study
from tests.study.helpers import record_of, run_study, trials_of

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def finished(workspace: Path, tmp_path: Path) -> StudyFolder:
    """A study of three trials that is complete."""
    assert run_study(write_tiny_study(tmp_path, trials=3), workspace) is StudyState.COMPLETE
    return Workspace(workspace).study("tiny")


def best_number(workspace: Path) -> int:
    best = best_trial(trials_of(workspace))
    assert best is not None
    return best.number


def names(cleaned: Cleaned, root: Path) -> set[str]:
    return {str(leftover.path.relative_to(root)) for leftover in cleaned.leftovers}


def checkpoints(folder: StudyFolder) -> set[int]:
    return {int(path.parent.name) for path in folder.root.glob("trials/*/best.ckpt")}


def test_copies_of_checkpoints_go_but_for_the_best_trials(workspace: Path, finished: StudyFolder) -> None:
    before = sum(path.stat().st_size for path in finished.root.rglob("*") if path.is_file())
    cleaned = clean_study(finished, dry_run=False)
    after = sum(path.stat().st_size for path in finished.root.rglob("*") if path.is_file())
    assert checkpoints(finished) == {best_number(workspace)}
    assert cleaned.num_bytes == before - after > 0
    assert clean_study(finished, dry_run=False).leftovers == []


def test_a_dry_run_removes_nothing(finished: StudyFolder, capsys: pytest.CaptureFixture[str]) -> None:
    clean("tiny", finished.root.parents[1], dry_run=True)
    assert checkpoints(finished) == {0, 1, 2}
    assert "would remove checkpoints that MLflow has too, of study tiny: 2" in capsys.readouterr().out


def test_a_checkpoint_that_mlflow_lacks_stays(workspace: Path, finished: StudyFolder) -> None:
    best = best_number(workspace)
    other, damaged = (number for number in (0, 1, 2) if number != best)
    runs = {trial.number: trial.run_id for trial in record_of(workspace).trials}
    artifacts = Workspace(workspace).mlflow / "artifacts" / "tiny"
    (artifacts / runs[other] / "artifacts" / "checkpoint" / "best.ckpt").unlink()
    (artifacts / runs[damaged] / "artifacts" / "checkpoint" / "best.ckpt").write_bytes(b"half")
    clean_study(finished, dry_run=False)
    assert checkpoints(finished) == {0, 1, 2}


def test_checkpoints_stay_while_their_runs_are_in_mlflows_bin(workspace: Path, finished: StudyFolder) -> None:
    client = connect(Workspace(workspace).tracking_uri)
    client.delete_experiment(record_of(workspace).experiment_id)
    clean_study(finished, dry_run=False)
    assert checkpoints(finished) == {0, 1, 2}


def test_a_study_goes_on_after_it(workspace: Path, finished: StudyFolder, tmp_path: Path) -> None:
    clean_study(finished, dry_run=False)
    first = read_ledger(finished)
    assert run_study(write_tiny_study(tmp_path, trials=5), workspace) is StudyState.COMPLETE
    assert [trial.state for trial in trials_of(workspace)] == [TrialState.COMPLETE] * 5
    assert read_ledger(finished)[: len(first)] == first
    assert read_ledger(finished)[-1].trial == best_number(workspace)
    write(["tiny"], workspace, out=tmp_path / "report")
    assert (tmp_path / "report" / "index.html").is_file()


def test_a_champion_without_a_file_is_scored_with_mlflows_copy(
    workspace: Path, finished: StudyFolder, tmp_path: Path
) -> None:
    """A changed space makes an old trial the best whose checkpoint was removed; here the best one's is."""
    best = best_number(workspace)
    reference = read_ledger(finished)
    finished.ledger.unlink()
    shutil.rmtree(finished.evaluation(best).root)
    finished.trial(best).best_checkpoint.unlink()
    assert run_study(write_tiny_study(tmp_path, trials=3), workspace) is StudyState.COMPLETE
    assert [entry.metrics for entry in read_ledger(finished)] == [entry.metrics for entry in reference]


def test_what_a_killed_process_left_goes_of_ended_trials_only(workspace: Path, tmp_path: Path) -> None:
    class Interrupted(InlineLauncher):
        def submit(self, spec: AttemptSpec) -> bool:
            super().submit(spec)
            if spec.number == 1:
                raise KeyboardInterrupt
            return True

    with pytest.raises(KeyboardInterrupt):
        run_study(write_tiny_study(tmp_path, trials=2), workspace, launcher=Interrupted())
    folder = Workspace(workspace).study("tiny")
    for number in (0, 1):
        folder.trial(number).last_checkpoint.write_bytes(b"state")
        (folder.trial(number).root / ".scores.json.7.tmp").write_bytes(b"half")
    assert [trial.state for trial in trials_of(workspace)] == [TrialState.COMPLETE, TrialState.RUNNING]
    cleaned = clean_study(folder, dry_run=False)
    assert names(cleaned, folder.root) == {"trials/00000/last.ckpt", "trials/00000/.scores.json.7.tmp"}
    assert folder.trial(1).best_checkpoint.exists()


def test_a_study_that_is_at_work_is_refused_by_name_and_passed_over_without(
    workspace: Path, finished: StudyFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    with coordinator_lease(finished):
        with pytest.raises(StorageError, match="already has a coordinator"):
            clean("tiny", workspace, dry_run=False)
        clean(None, workspace, dry_run=False)
    assert "note: study tiny is left alone: study 'tiny' already has a coordinator" in capsys.readouterr().out
    assert checkpoints(finished) == {0, 1, 2}


def test_an_attempt_that_a_coordinator_left_behind_keeps_a_study(workspace: Path, finished: StudyFolder) -> None:
    """Its slot is held, and its supervisor has not signed in yet."""
    attempt = finished.trial(1).root / "attempt-1"
    shutil.copytree(finished.trial(1).attempts()[0], attempt)
    (attempt / EVENTS_FILE).unlink()
    spec = json.loads((attempt / SPEC_FILE).read_text())
    lock = Workspace(workspace).slots / f"{spec['slot']['name']}.lock"
    lock.parent.mkdir()
    with lock.open("w") as file:
        assert try_lock(file.fileno())
        with pytest.raises(StorageError, match=r"1 of its attempts still run .*attempt-1"):
            clean_study(finished, dry_run=False)
    assert clean_study(finished, dry_run=True).leftovers != []


# --- beside the studies -----------------------------------------------------------------------------------------------


@pytest.fixture
def speech(shared_speech: Path, tmp_path: Path) -> Path:
    """A workspace with a small corpus and features of its own, not linked."""
    root = tmp_path / "own"
    for name in ("corpora/espeak", "features"):
        (root / name).mkdir(parents=True)
    for name in ("corpus.json", "manifest.csv"):
        shutil.copy(shared_speech / "corpora" / "espeak" / name, root / "corpora" / "espeak" / name)
    store = feature_store_path(open_corpus("espeak", root), FeaturesConfig(), root)
    for place in (store, root / "features" / "espeak-000000000000-0123456789ab"):
        place.mkdir()
        (place / "frames.npy").write_bytes(bytes(1000))
    return root


def test_features_of_no_prepared_corpus_go(speech: Path) -> None:
    cleaned = clean_workspace(Workspace(speech), dry_run=False)
    assert names(cleaned, speech) == {"features/espeak-000000000000-0123456789ab"}
    assert cleaned.num_bytes == 1000
    (left,) = (path for path in (speech / "features").iterdir() if not path.name.endswith(".lock"))
    assert left == feature_store_path(open_corpus("espeak", speech), FeaturesConfig(), speech)


def test_features_stay_while_their_corpus_is_prepared_or_cannot_be_read(speech: Path) -> None:
    with (speech / "corpora" / ".espeak.lock").open("w") as file:
        assert try_lock(file.fileno())
        cleaned = clean_workspace(Workspace(speech), dry_run=False)
    assert cleaned.leftovers == []
    assert cleaned.notes == ["corpora/espeak is left alone: a process is at work on it"]
    (speech / "corpora" / "espeak" / "corpus.json").write_text("{")
    assert clean_workspace(Workspace(speech), dry_run=False).leftovers == []


def test_features_of_a_study_that_is_at_work_stay(speech: Path) -> None:
    folder = Workspace(speech).study("tiny")
    write_json(folder.manifest, {"data_hash": "000000000000"})
    with coordinator_lease(folder):
        assert clean_workspace(Workspace(speech), dry_run=False).leftovers == []


def test_what_is_linked_in_is_left_alone(workspace: Path, shared_speech: Path) -> None:
    old = shared_speech / "features" / "espeak-000000000000-0123456789ab"
    old.mkdir(exist_ok=True)
    cleaned = clean_workspace(Workspace(workspace), dry_run=False)
    assert old.exists()
    old.rmdir()
    assert cleaned.leftovers == []
    assert len(cleaned.notes) == 2
    assert all("it is a link" in note for note in cleaned.notes)


@pytest.mark.parametrize("place", ["corpora", "features"])
def test_a_partial_folder_goes_unless_somebody_makes_it(tmp_path: Path, place: str) -> None:
    partial = tmp_path / place / ".thing.partial"
    partial.mkdir(parents=True)
    (partial / "audio").write_bytes(bytes(10))
    with (tmp_path / place / ".thing.lock").open("w") as file:
        assert try_lock(file.fileno())
        held = clean_workspace(Workspace(tmp_path), dry_run=False)
    assert (held.leftovers, held.notes) == ([], [f"{place}/thing is left alone: a process is at work on it"])
    assert names(clean_workspace(Workspace(tmp_path), dry_run=False), tmp_path) == {f"{place}/.thing.partial"}
    assert not partial.exists()


def test_packages_go_once_their_corpus_is_prepared(tmp_path: Path) -> None:
    downloads, corpus = tmp_path / "downloads", tmp_path / "corpora" / "prompts" / "corpus.json"
    (downloads / "partial").mkdir(parents=True)
    (downloads / "apt" / "state").mkdir(parents=True)
    for name in ("drascula_1.0_all.deb", "partial/drascula_1.0_all.deb", "drascula-spanish_1.0_all.deb"):
        (downloads / name).write_bytes(bytes(5))
    corpus.parent.mkdir(parents=True)
    assert clean_workspace(Workspace(tmp_path), dry_run=False).leftovers == []
    corpus.write_text(json.dumps({"data_hash": "0" * 12, "versions": {"drascula": "1.0"}}))
    under_way = tmp_path / "corpora" / ".prompts_further.partial"
    under_way.mkdir()
    assert downloads / "apt" not in {each.path for each in clean_workspace(Workspace(tmp_path), dry_run=True).leftovers}
    under_way.rmdir()
    cleaned = clean_workspace(Workspace(tmp_path), dry_run=False)
    assert names(cleaned, downloads) == {"drascula_1.0_all.deb", "partial/drascula_1.0_all.deb", "apt"}
    assert [path.name for path in downloads.glob("*.deb")] == ["drascula-spanish_1.0_all.deb"]


def test_an_archived_study_whose_removal_was_cut_off_goes(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path / ".removed-tiny-7")
    with coordinator_lease(folder):
        assert clean_workspace(Workspace(tmp_path), dry_run=False).leftovers == []
    assert names(clean_workspace(Workspace(tmp_path), dry_run=False), tmp_path) == {".removed-tiny-7"}
    assert not folder.root.exists()
