"""The command line's promises: fast help, one clear line and exit status 2 for what a user can mend."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lightning_modules.errors import ConfigError
from study.commands.sweep import SweepOptions, dry
from study.workspace import Workspace, write_json
from tests.conftest import write_tiny_study
from tests.faults.chaos import children, command_of
from tests.study.helpers import run_study, until

HEAVY = ("torch", "mlflow", "optuna", "pandas", "matplotlib")
LOOK = f"""
import sys
from study.cli import main
try:
    main()
except SystemExit:
    pass
print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)
"""


def lidstudy(*arguments: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from study.cli import main; main()", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, cwd=cwd)


def error_line(done: subprocess.CompletedProcess[str]) -> str:
    """The one line that a mistake earns."""
    assert done.returncode == 2, done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("lidstudy: error: ")
    return lines[0]


def test_help_imports_nothing_heavy() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOOK, "--help"], capture_output=True, text=True, check=True, timeout=60
    )
    assert "sweep" in done.stdout
    assert done.stderr.strip() == "[]"


def test_the_coordinator_imports_no_torch() -> None:
    code = "import sys, study.commands.sweep, study.recording; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "False"


def test_an_unknown_preset(tmp_path: Path) -> None:
    assert "unknown study 'dmeo'; presets: architecture, " in error_line(
        lidstudy("sweep", "dmeo", "--workspace", tmp_path)
    )


def test_a_wrong_key_of_a_study(tmp_path: Path) -> None:
    study = write_tiny_study(tmp_path, changes="[trial.encoder]\nhiden_size = 3\n")
    line = error_line(lidstudy("sweep", study, "--workspace", tmp_path / "workspace"))
    assert f"{study}: trial.encoder.hiden_size" in line


def test_an_unknown_space(workspace: Path, tmp_path: Path) -> None:
    study = write_tiny_study(tmp_path)
    study.write_text(study.read_text().replace("tiny_space.toml", "dmeo"))
    assert "there is no search space 'dmeo'; those that ship: " in error_line(
        lidstudy("sweep", study, "--workspace", workspace)
    )


def test_a_wrong_parameter_of_a_space(workspace: Path, tmp_path: Path) -> None:
    study = write_tiny_study(tmp_path)
    (tmp_path / "tiny_space.toml").write_text('[space]\n"encoder.hiden_size" = { choices = [8] }\n')
    line = error_line(lidstudy("sweep", study, "--workspace", workspace))
    assert "tiny_space.toml" in line
    assert '"encoder.hiden_size"' in line
    assert "encoder.hidden_size" in line


@pytest.mark.parametrize("command", [["enqueue", "demo", '{"encoder.cell": "gru"}'], ["train", "demo"]])
def test_a_seed_that_no_configuration_can_hold(tmp_path: Path, command: list[str]) -> None:
    done = lidstudy(*command, "--seed", str(2**32), "--workspace", tmp_path)
    assert done.returncode == 2, done.stderr
    assert "Invalid value for '--seed'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", [["sweep", "demo"], ["corpus", "describe", "prompts"]])
def test_a_missing_corpus(tmp_path: Path, command: list[str]) -> None:
    assert "lidstudy corpus prepare prompts" in error_line(lidstudy(*command, "--workspace", tmp_path))


def test_an_unknown_corpus(tmp_path: Path) -> None:
    assert "choose one of espeak, prompts" in error_line(
        lidstudy("corpus", "prepare", "prmpts", "--workspace", tmp_path)
    )


def test_a_language_that_the_corpus_lacks(workspace: Path, tmp_path: Path) -> None:
    study = write_tiny_study(tmp_path)
    study.write_text(study.read_text().replace('["en", "es", "fr"]', '["en", "es", "tlh"]'))
    assert "tlh" in error_line(lidstudy("sweep", study, "--workspace", workspace))


def test_one_language_only(workspace: Path, tmp_path: Path) -> None:
    study = write_tiny_study(tmp_path)
    study.write_text(study.read_text().replace('["en", "es", "fr"]', '["en"]'))
    assert "at least two languages" in error_line(lidstudy("sweep", study, "--workspace", workspace))


@pytest.mark.parametrize("command", [["status", "gone"], ["show", "gone", "0"]])
def test_an_unknown_study(tmp_path: Path, command: list[str]) -> None:
    write_json(Workspace(tmp_path).study("here").manifest, {})
    assert "studies there: here" in error_line(lidstudy(*command, "--workspace", tmp_path))


@pytest.mark.parametrize("command", [["report", "demo"], ["ui"]])
def test_a_workspace_without_records(tmp_path: Path, command: list[str]) -> None:
    error_line(lidstudy(*command, "--workspace", tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_workspace_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "cannot be written" in error_line(lidstudy("sweep", "demo", "--workspace", tmp_path / "file" / "below"))


def test_a_file_of_scores_that_is_none(tmp_path: Path) -> None:
    rubbish = tmp_path / "scores.csv"
    rubbish.write_text("utterance,language\n1,en\n")
    assert str(rubbish) in error_line(lidstudy("score", rubbish))


def test_score_agrees_with_the_worked_values(tmp_path: Path) -> None:
    worked = json.loads((Path(__file__).parents[1] / "data" / "detection_cost.json").read_text())
    lines = [",".join(["utterance", "language", *worked["languages"]])]
    for number, (language, llr) in enumerate(zip(worked["truth"], worked["llr"], strict=True)):
        lines.append(",".join([f"u{number}", language, *map(str, llr)]))
    (tmp_path / "scores.csv").write_text("\n".join(lines) + "\n")
    found = json.loads(lidstudy("score", tmp_path / "scores.csv", "--json").stdout)["overall"]
    assert found["c_primary"] == pytest.approx(worked["expected"]["c_primary"], abs=1e-6)
    assert found["c_avg"] == pytest.approx(worked["expected"]["lre07_cavg"], abs=1e-4)


def test_a_dry_run_counts_what_is_left_and_refuses_what_a_sweep_would(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = write_tiny_study(tmp_path, trials=2)
    run_study(study, workspace)
    dry(str(study), SweepOptions(), folder=workspace)
    assert "2 trials have ended already, 0 are left" in capsys.readouterr().out
    more = lidstudy("sweep", study, "--dry-run", "--trials", "3", "--workspace", workspace)
    assert "2 trials have ended already, 1 are left" in more.stdout
    assert "1 trial takes about" in more.stdout
    write_tiny_study(tmp_path, trials=2, epochs=4)
    with pytest.raises(ConfigError, match="max_epochs = 3, now it is 4"):
        dry(str(study), SweepOptions(), folder=workspace)


def test_a_dry_run_looks_whether_its_launcher_is_there(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = write_tiny_study(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="Run the coordinator where sbatch works"):
        dry(str(study), SweepOptions(launcher="slurm"), folder=workspace)


def test_a_killed_worker_is_one_line(workspace: Path, tmp_path: Path) -> None:
    arguments = ["sweep", str(write_tiny_study(tmp_path)), "--dry-run", "--workspace", str(workspace)]
    command = [sys.executable, "-c", "from study.cli import main; main()", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        until(lambda: any("spawn_main" in command_of(pid) for pid in children(process.pid)))
        for pid in children(process.pid):
            if "spawn_main" in command_of(pid):
                os.kill(pid, signal.SIGKILL)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert said.startswith("lidstudy: error: a process that worked for this one was killed")
    assert len(said.splitlines()) == 1


def test_a_damaged_journal_is_one_line_and_hides_no_other_study(workspace: Path, tmp_path: Path) -> None:
    study = write_tiny_study(tmp_path, trials=1)
    run_study(study, workspace)
    damaged = Workspace(workspace).study("broken")
    write_json(damaged.manifest, json.loads(Workspace(workspace).study("tiny").manifest.read_text()))
    damaged.journal.write_text("rubbish\nand more\n")
    listed = lidstudy("list", "--workspace", workspace)
    assert listed.returncode == 0, listed.stderr
    assert "tiny" in listed.stdout
    assert f"broken: Optuna's journal {damaged.journal} cannot be read" in listed.stdout
    Workspace(workspace).study("tiny").journal.write_text("rubbish\nand more\n")
    assert "cannot be read" in error_line(lidstudy("sweep", study, "--workspace", workspace))


def test_a_report_onto_a_file_is_refused(workspace: Path, tmp_path: Path) -> None:
    study = write_tiny_study(tmp_path, trials=1)
    run_study(study, workspace)
    (tmp_path / "report").write_text("in the way")
    line = error_line(lidstudy("report", "tiny", "--out", tmp_path / "report", "--workspace", workspace))
    assert "choose another --out" in line
    assert (tmp_path / "report").read_text() == "in the way"


def test_an_empty_workspace_has_no_studies(tmp_path: Path) -> None:
    done = lidstudy("list", "--workspace", tmp_path, "--json")
    assert json.loads(done.stdout) == []


def test_the_spaces_schema_is_json_schema() -> None:
    schema = json.loads(lidstudy("space", "schema").stdout)
    assert "encoder.hidden_size" in schema["properties"]["space"]["properties"]


def test_the_doctor_says_what_to_mend_and_only_then_fails(tmp_path: Path) -> None:
    done = lidstudy("doctor", "--workspace", tmp_path)
    assert "mlflow" in done.stdout
    needs_mending = any(line.startswith("mend") for line in done.stdout.splitlines())
    assert done.returncode == (1 if needs_mending else 0), done.stderr


def test_the_doctor_fails_on_a_workspace_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    done = lidstudy("doctor", "--workspace", tmp_path / "file" / "workspace")
    assert done.returncode == 1, done.stderr
    assert "cannot be written" in done.stdout


def test_a_space_is_described_in_words(tmp_path: Path) -> None:
    done = lidstudy("space", "check", "architecture_clipping")
    said = {words[0]: words[1] for line in done.stdout.splitlines()[1:] if (words := line.strip().split(maxsplit=1))}
    assert said["clipping.max_norm"] == "0.05 … 20, logarithmic, when clipping.kind is norm"
    assert said["encoder.bidirectional"] == "false | true"
    assert said["encoder.num_layers"] == "1 … 3, whole numbers"


def test_scores_of_a_few_utterances_come_with_a_warning(tmp_path: Path) -> None:
    rows = [f"{number},{'en,1,-1' if number % 2 else 'es,-1,1'}" for number in range(80)]
    said = {}
    for count in (80, 41):
        file = tmp_path / f"{count}.csv"
        file.write_text("\n".join(["utterance,language,en,es", *rows[:count]]))
        said[count] = lidstudy("score", file).stdout
    assert "80 utterances" in said[80]
    assert "fewer than" not in said[80]
    assert "fewer than 30 utterances in en, es" in said[41]


def test_a_mistyped_storage_takes_no_name(workspace: Path, tmp_path: Path) -> None:
    study = write_tiny_study(tmp_path, trials=1, epochs=1)
    text = study.read_text()
    study.write_text(text + '[storage]\noptuna = "postgresql://ann:secret@127.0.0.1:1/trials"\n')
    assert "secret" not in error_line(lidstudy("sweep", study, "--workspace", workspace))
    study.write_text(text)
    run_study(study, workspace)
    assert "1/1" in lidstudy("list", "--workspace", workspace).stdout
