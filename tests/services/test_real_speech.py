"""The commands of the README as a user types them, on real speech from Debian packages."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from reports.records import TAG_DATA, TrialState
from tests.study.helpers import record_of

pytestmark = [pytest.mark.services, pytest.mark.timeout(1200)]

STUDY = """
name = "first_light"
question = "Does the whole chain run on real speech?"
space = "demo"
trials = 3
seed = 5

[pruner]
kind = "none"

[trial.data]
max_utterances = 15

[trial.training]
max_epochs = 2
steps_per_epoch = 10
"""


def lidstudy(*arguments: str | Path) -> str:
    command = [sys.executable, "-c", "from study.cli import main; main()", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1100)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def real_workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with corpus `prompts` and a finished study; LIDSTUDY_TEST_DOWNLOADS keeps packages between runs."""
    root = tmp_path_factory.mktemp("real") / "workspace"
    root.mkdir()
    if kept := os.environ.get("LIDSTUDY_TEST_DOWNLOADS"):
        (root / "downloads").symlink_to(Path(kept).absolute())
    lidstudy("corpus", "prepare", "prompts", "--workspace", root)
    study = root.parent / "first_light.toml"
    study.write_text(STUDY)
    lidstudy("sweep", study, "--workspace", root)
    return root


def test_the_corpus_holds_seven_languages_and_says_what_it_left_out(real_workspace: Path) -> None:
    described = lidstudy("corpus", "describe", "prompts", "--workspace", real_workspace)
    for source in ("asterisk-core-sounds-en-wav", "drascula-spanish", "festvox-ru", "fillets-ng-data-cs"):
        assert source in described
    assert "files were skipped" in described
    assert "drascula-italian" not in described


def test_the_sweep_is_complete_and_its_champion_scored_on_unseen_sources(real_workspace: Path) -> None:
    status = json.loads(lidstudy("status", "first_light", "--json", "--workspace", real_workspace))
    assert status["trials"] == {"complete": 3, "pruned": 0, "failed": 0, "diverged": 0, "running": 0, "interrupted": 0}
    assert status["coordinator"] == {"alive": False, "pid": None}
    record = record_of(real_workspace, "first_light")
    assert record.champion == status["best"]["number"]
    assert record.scores_test is not None
    trained_on = {row["source"] for row in record.manifest.corpus["rows"] if row["split"] == "train"}
    assert not trained_on & set(record.scores_test.source)
    assert {run.state for run in record.trials} == {TrialState.COMPLETE}
    data_hash = json.loads((real_workspace / "corpora" / "prompts" / "corpus.json").read_text())["data_hash"]
    assert {run.tags[TAG_DATA] for run in record.trials} == {record.tags[TAG_DATA]} == {data_hash}


def test_score_of_a_runs_own_scores_gives_its_metrics(real_workspace: Path) -> None:
    record = record_of(real_workspace, "first_light")
    (best,) = (run for run in record.trials if run.number == record.champion)
    (scores,) = (real_workspace / "mlflow" / "artifacts").rglob(f"{best.run_id}/artifacts/scores/dev.parquet")
    found = json.loads(lidstudy("score", scores, "--json"))["overall"]
    assert found["c_primary"] == pytest.approx(best.metrics["best/c_primary"], abs=1e-9)
    assert found["cllr_calibrated"] == pytest.approx(best.metrics["best/objective"], abs=1e-6)


def test_the_report_names_sources_and_chance(real_workspace: Path) -> None:
    lidstudy("report", "first_light", "--workspace", real_workspace)
    text = (real_workspace / "reports" / "first_light" / "report.md").read_text()
    assert "chance" in text
    assert "sources" in text


def test_a_trial_is_scored_under_conditions_with_music_of_a_package(real_workspace: Path) -> None:
    conditions = "3s,10s-music-10db,10s-two-speakers"
    common = ("--conditions", conditions, "--max-utterances", "10", "--workspace", real_workspace, "--json")
    found = json.loads(lidstudy("evaluate", "first_light/0", "--on", "prompts", *common))
    assert [each["condition"] for each in found["conditions"]] == conditions.split(",")
    three_s, music, two = found["conditions"]
    assert three_s["mean_s"] == 3.0
    assert {each["language"] for each in music["languages"]} == {"en", "es", "fr", "it", "ru"}
    assert {each["language"] for each in two["languages"]} == {"en", "es"}, "other languages have one speaker"
    assert (real_workspace / "noises").is_dir()
    assert "Conditions" in Path(lidstudy_report(real_workspace)).read_text(encoding="utf-8")


def lidstudy_report(workspace: Path) -> str:
    """Path of the study's page."""
    return lidstudy("report", "first_light", "--workspace", workspace).split("report:")[1].split("\n")[0].strip()
