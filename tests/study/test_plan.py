"""A study whose parts do not fit together is refused before anything is trained."""

from dataclasses import replace
from pathlib import Path

import pytest

from lightning_modules.config import DataConfig
from lightning_modules.data.prepared import open_corpus_of
from lightning_modules.errors import ConfigError, CorpusError
from study import plan as plan_module
from study.launchers.config import RayConfig, SlurmConfig
from study.plan import make_plan
from study.workspace import Workspace
from tests.conftest import write_tiny_study
from tests.study.helpers import config_of


def test_trials_of_a_study_are_scored_on_the_same_data(workspace: Path, tmp_path: Path) -> None:
    study = write_tiny_study(tmp_path)
    space = tmp_path / "tiny_space.toml"
    space.write_text(space.read_text() + '"data.max_utterances" = { int = [10, 20] }\n')
    with pytest.raises(ConfigError, match=r"tiny_space, key data\.max_utterances: a study cannot search it"):
        make_plan(config_of(study), workspace=Workspace(workspace), slots=1)


@pytest.mark.parametrize(
    "line",
    [
        '"task.kind" = { choices = ["labelling", "sequence"] }',
        '"task.switching.max_parts" = { int = [3, 6] }',
        '"task.switching.min_part_s" = { float = [0.5, 1.0] }',
    ],
)
def test_what_a_task_is_scored_on_cannot_be_searched(line: str, workspace: Path, tmp_path: Path) -> None:
    study = write_tiny_study(tmp_path, changes='[trial.task]\nkind = "labelling"\n')
    (tmp_path / "tiny_space.toml").write_text(f"[space]\n{line}\n")
    with pytest.raises(ConfigError, match=r"key task\.[a-z_.]+: a study cannot search it, .* Make a study for each"):
        make_plan(config_of(study), workspace=Workspace(workspace), slots=1)


def test_what_is_made_of_the_features_can_be_searched_and_what_is_stored_cannot(
    workspace: Path, tmp_path: Path
) -> None:
    study, space = write_tiny_study(tmp_path), tmp_path / "tiny_space.toml"
    space.write_text('[space]\n"data.features.cepstra" = { choices = [0, 7] }\n')
    assert make_plan(config_of(study), workspace=Workspace(workspace), slots=1).space.name == "tiny_space"
    space.write_text('[space]\n"data.features.num_bands" = { choices = [20, 40] }\n')
    with pytest.raises(ConfigError, match=r"key data\.features\.num_bands: a study cannot search it"):
        make_plan(config_of(study), workspace=Workspace(workspace), slots=1)


def test_how_a_task_is_learnt_can_be_searched(workspace: Path, tmp_path: Path) -> None:
    study = write_tiny_study(tmp_path, changes='[trial.task]\nkind = "sequence"\n')
    (tmp_path / "tiny_space.toml").write_text('[space]\n"task.teacher_share" = { float = [0.0, 1.0] }\n')
    assert make_plan(config_of(study), workspace=Workspace(workspace), slots=1).space.name == "tiny_space"


def test_too_little_speech_for_code_switched_recordings_is_told_with_study_and_key(
    workspace: Path, tmp_path: Path
) -> None:
    study = write_tiny_study(
        tmp_path,
        changes='[trial.task]\nkind = "labelling"\nswitching = { min_part_s = 100.0, max_part_s = 200.0 }\n',
    )
    with pytest.raises(CorpusError, match=r"^study tiny, key trial\.data: there is no part .* in en, es, fr"):
        make_plan(config_of(study), workspace=Workspace(workspace), slots=1)


def test_a_space_that_does_not_suit_the_studys_own_configuration_is_refused(workspace: Path, tmp_path: Path) -> None:
    study = write_tiny_study(tmp_path, changes='[trial.clipping]\nkind = "none"\n')
    (tmp_path / "tiny_space.toml").write_text('[space]\n"clipping.max_norm" = { float = [0.1, 1.0] }\n')
    with pytest.raises(ConfigError, match=r'^study tiny, .* space tiny_space, key "clipping\.max_norm" cannot be 0\.1'):
        make_plan(config_of(study), workspace=Workspace(workspace))


def test_a_corpus_that_does_not_fit_is_told_with_study_and_key(workspace: Path, tmp_path: Path) -> None:
    config = config_of(write_tiny_study(tmp_path))
    for change, key in ({"corpus": "prmpts"}, "data.corpus"), ({"languages": ("en", "tlh")}, "data"):
        data = config.trial.data.model_copy(update=change)
        changed = config.model_copy(update={"trial": config.trial.model_copy(update={"data": data})})
        with pytest.raises(CorpusError, match=rf"^study tiny, key trial\.{key}: there is no "):
            make_plan(changed, workspace=Workspace(workspace), slots=1)


def test_records_that_would_leave_the_workspace_are_refused_before_anything_runs(
    workspace: Path, tmp_path: Path
) -> None:
    study = write_tiny_study(tmp_path, changes='\n[storage]\nmlflow = "sqlite:///../../records.db"\n')
    with pytest.raises(ConfigError, match=r"storage\.mlflow: a relative path is inside the workspace"):
        make_plan(config_of(study), workspace=Workspace(workspace), slots=1)


def test_the_length_of_training_segments_can_be_searched(workspace: Path, tmp_path: Path) -> None:
    study = write_tiny_study(tmp_path)
    space = tmp_path / "tiny_space.toml"
    space.write_text(space.read_text() + '"data.segment_s" = { float = [1.0, 2.0] }\n')
    assert make_plan(config_of(study), workspace=Workspace(workspace), slots=1).space.name == "tiny_space"


def test_a_test_source_of_two_languages_is_refused(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def with_one_test_source(data: DataConfig, root: Path) -> object:
        corpus = open_corpus_of(data, root)
        recordings = tuple(
            replace(recording, source="everyone") if recording.split == "test" else recording
            for recording in corpus.recordings
        )
        return replace(corpus, recordings=recordings)

    monkeypatch.setattr(plan_module, "open_corpus_of", with_one_test_source)
    with pytest.raises(CorpusError, match="source everyone holds"):
        make_plan(config_of(write_tiny_study(tmp_path)), workspace=Workspace(workspace), slots=1)


def test_float16_is_refused_where_no_slot_has_a_gpu(workspace: Path, tmp_path: Path) -> None:
    config = config_of(write_tiny_study(tmp_path))
    training = config.trial.training.model_copy(update={"precision": "float16"})
    half = config.model_copy(update={"trial": config.trial.model_copy(update={"training": training})})
    with pytest.raises(ConfigError, match=r"^study tiny, key trial\.training\.precision: float16 needs a GPU, and no"):
        make_plan(half, workspace=Workspace(workspace), slots=1, devices="cpu")
    gpu = RayConfig(devices="auto")
    assert make_plan(half.model_copy(update={"launcher": gpu}), workspace=Workspace(workspace), devices="cpu")


def test_a_space_with_float16_is_refused_where_no_slot_has_a_gpu(workspace: Path, tmp_path: Path) -> None:
    study = write_tiny_study(tmp_path)
    space = tmp_path / "tiny_space.toml"
    before = space.read_text()
    space.write_text(before + '"training.precision" = { choices = ["float32", "float16"] }\n')
    with pytest.raises(ConfigError, match=r"^space tiny_space, key training\.precision: float16 needs a GPU, and no"):
        make_plan(config_of(study), workspace=Workspace(workspace), slots=1, devices="cpu")
    space.write_text(before + '"training.precision" = { choices = ["float32", "bfloat16"] }\n')
    assert make_plan(config_of(study), workspace=Workspace(workspace), slots=1, devices="cpu")


@pytest.mark.parametrize(
    ("base", "line"),
    [
        (
            "[trial.encoder]\nbidirectional = false\n[trial.training.bptt]\nkind = 'truncated'\nframes = 50\n",
            '"training.bptt.kind" = { choices = ["full", "truncated"] }',
        ),
        (
            "[trial.encoder]\nkind = 'hierarchical'\nmiddle = { window = 4, hop = 4 }\n",
            '"encoder.low.cell" = { choices = ["gru", "lstm"] }',
        ),
    ],
)
def test_a_space_is_tried_around_the_studys_own_configuration(
    base: str, line: str, workspace: Path, tmp_path: Path
) -> None:
    space = tmp_path / "tiny_space.toml"
    study = write_tiny_study(tmp_path, changes=base)
    space.write_text(f"[space]\n{line}\n")
    assert make_plan(config_of(study), workspace=Workspace(workspace), slots=1).space.name == "tiny_space"
    study = write_tiny_study(tmp_path)
    space.write_text(f"[space]\n{line}\n")
    with pytest.raises(ConfigError, match=r"with the configuration in its \[trial\]") as caught:
        make_plan(config_of(study), workspace=Workspace(workspace), slots=1)
    needed = "encoder.kind = hierarchical; choose that kind" if "low" in line else "encoder.bidirectional false"
    assert needed in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("base", "line", "complaint"),
    [
        (
            "[trial.task]\nkind = 'labelling'\n[trial.pooling]\nkind = 'mean'\n",
            '"encoder.cell" = { choices = ["gru", "lstm"] }',
            r"^study tiny, key trial\.pooling is set, but nothing reads it: task\.kind labelling .*; leave it out\.$",
        ),
        (
            "[trial.encoder]\nforget_bias = 2.0\n",
            '"encoder.hidden_size" = { choices = [8, 16] }',
            r"^study tiny, key trial\.encoder\.forget_bias is set, but nothing reads it: only an lstm has",
        ),
        (
            "",
            '"encoder.cell" = { choices = ["lstm", "gru"] }\n"encoder.forget_bias" = { choices = [0.0, 1.0] }',
            r'key "encoder\.forget_bias" changes nothing where only an lstm .*: give it a when, or leave it out\.$',
        ),
        (
            "[trial.task]\nkind = 'sequence'\n",
            '"task.attention" = { choices = ["none", "dot"] }\n"pooling.kind" = { choices = ["last", "mean"] }',
            r'key "pooling\.kind" changes nothing where with task\.attention dot the decoder',
        ),
    ],
)
def test_what_no_training_would_read_is_refused(
    base: str, line: str, complaint: str, workspace: Path, tmp_path: Path
) -> None:
    study = write_tiny_study(tmp_path, changes=base)
    (tmp_path / "tiny_space.toml").write_text(f"[space]\n{line}\n")
    with pytest.raises(ConfigError, match=complaint):
        make_plan(config_of(study), workspace=Workspace(workspace), slots=1)


@pytest.mark.parametrize(
    ("base", "line"),
    [
        (
            "[trial.encoder]\nforget_bias = 2.0\n",
            '"encoder.cell" = { choices = ["gru", "lstm"] }',
        ),
        (
            "[trial.task]\nkind = 'sequence'\n",
            "\n".join(
                (
                    '"task.attention" = { choices = ["none", "dot"] }',
                    '"pooling.kind" = { choices = ["last", "mean"], when = { "task.attention" = ["none"] } }',
                )
            ),
        ),
    ],
)
def test_what_some_trainings_read_is_accepted(base: str, line: str, workspace: Path, tmp_path: Path) -> None:
    study = write_tiny_study(tmp_path, changes=base)
    (tmp_path / "tiny_space.toml").write_text(f"[space]\n{line}\n")
    assert make_plan(config_of(study), workspace=Workspace(workspace), slots=1)


def test_networks_that_normalise_over_the_batch_have_one_device(workspace: Path, tmp_path: Path) -> None:
    study = write_tiny_study(tmp_path)
    (tmp_path / "tiny_space.toml").write_text('[space]\n"encoder.kind" = { choices = ["recurrent", "tdnn"] }\n')
    config, place = config_of(study), Workspace(workspace)
    assert make_plan(config, workspace=place, slots=1)
    with pytest.raises(ConfigError, match=r"key trial\.encoder\.kind: tdnn normalise over the batch, which 2 devices"):
        make_plan(config, workspace=place, slots=1, devices="cpu", devices_per_trial=2)
    for launcher in (SlurmConfig(gres="gpu:2"), RayConfig(gpus_per_slot=2)):
        with pytest.raises(ConfigError, match=r"which 2 devices a trial would cut in parts"):
            make_plan(config.model_copy(update={"launcher": launcher}), workspace=place, devices="cpu")


def test_a_space_whose_sections_do_not_go_together_is_refused(workspace: Path, tmp_path: Path) -> None:
    study = write_tiny_study(tmp_path)
    (tmp_path / "tiny_space.toml").write_text(
        '[space]\n"clipping.kind" = { choices = ["none", "recurrent", "norm"] }\n'
        '"encoder.kind" = { choices = ["recurrent", "tdnn", "output_recurrent"] }\n'
    )
    with pytest.raises(ConfigError, match=r"clipping\.kind recurrent needs a recurrence, which encoder\.kind tdnn"):
        make_plan(config_of(study), workspace=Workspace(workspace), slots=1)


def test_a_border_between_heads_that_no_development_utterance_can_tell_is_not_searched(
    workspace: Path, tmp_path: Path
) -> None:
    base = "[trial.head]\nkind = 'by_duration'\nborder_s = 3.0\n"
    study = write_tiny_study(tmp_path, changes=base)
    study.write_text(study.read_text().replace("segment_s = 1.0", "segment_s = 1.0\nlong_segment_s = 30.0"))
    space = tmp_path / "tiny_space.toml"
    space.write_text('[space]\n"head.border_s" = { choices = [20.0, 25.0] }\n')
    with pytest.raises(ConfigError, match=r"no development utterance is as long as 20 s and shorter than 25 s"):
        make_plan(config_of(study), workspace=Workspace(workspace), slots=1)
    space.write_text('[space]\n"head.border_s" = { choices = [1.5, 25.0] }\n')
    assert make_plan(config_of(study), workspace=Workspace(workspace), slots=1)
