"""Training that begins with another trial's encoder: copied, checked, and counted as heard."""

import shutil
from pathlib import Path

import pytest
import torch

from lightning_modules.build import begin_with, build_module
from lightning_modules.config import MultiHeadPoolingConfig, RecurrentEncoderConfig, TrialConfig
from lightning_modules.data.prepared import open_corpus_of
from lightning_modules.errors import ConfigError, CorpusError, TrialError
from reports.records import StudyState
from study.commands.reproduce import differences
from study.evaluate_on import trained_on
from study.plan import make_plan
from study.pretrained import keep_pretrained
from study.workspace import Workspace
from tests.conftest import write_tiny_study
from tests.study.helpers import config_of, record_of, run_study, trials_of

ENCODER = '[trial.encoder]\ncell = "gru"\nhidden_size = 8\n'
SPACE = """[space]
"optimizer.learning_rate" = { float = [0.001, 0.01], log = true }
"""


def write(folder: Path, name: str, *, pretrained: str = "none", languages: str = '["fr"]', space: str = SPACE) -> Path:
    """A study of one trial; a pretraining has other languages."""
    folder.mkdir()
    path = write_tiny_study(folder, trials=1, epochs=2, changes=f'\npretrained = "{pretrained}"\n{ENCODER}')
    (folder / "tiny_space.toml").write_text(space)
    text = path.read_text().replace('name = "tiny"', f'name = "{name}"')
    path.write_text(text.replace('["en", "es", "fr"]', languages))
    return path


@pytest.fixture
def pretraining(tmp_path: Path, workspace: Path) -> Path:
    """A workspace with study `before`, of languages that no later one has."""
    path = write(tmp_path / "before", "before", languages='["fr", "it"]')
    assert run_study(path, workspace) is StudyState.COMPLETE
    return workspace


def later(tmp_path: Path, *, pretrained: str = "before/0", space: str = SPACE) -> Path:
    return write(tmp_path / "later", "later", pretrained=pretrained, languages='["en", "es"]', space=space)


def weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(checkpoint, weights_only=True)["state_dict"]
    return state


def test_a_module_begins_with_the_encoder_and_the_same_pooling_alone(pretraining: Path) -> None:
    checkpoint = Workspace(pretraining).study("before").trial(0).best_checkpoint
    config = TrialConfig(encoder=RecurrentEncoderConfig(cell="gru", hidden_size=8), seed=5)
    module, fresh, theirs = build_module(config), build_module(config), weights(checkpoint)
    begin_with(module, checkpoint)
    for name, tensor in module.state_dict().items():
        expected = theirs[name] if name.startswith("encoder.") else fresh.state_dict()[name]
        torch.testing.assert_close(tensor, expected, rtol=0, atol=0, msg=name)


def test_another_pooling_is_drawn(pretraining: Path) -> None:
    checkpoint = Workspace(pretraining).study("before").trial(0).best_checkpoint
    config = TrialConfig(
        encoder=RecurrentEncoderConfig(cell="gru", hidden_size=8), pooling=MultiHeadPoolingConfig(num_heads=2), seed=5
    )
    module, fresh = build_module(config), build_module(config)
    begin_with(module, checkpoint)
    for name, tensor in module.pooling.state_dict().items():  # type: ignore[union-attr]
        torch.testing.assert_close(tensor, fresh.pooling.state_dict()[name], rtol=0, atol=0)  # type: ignore[union-attr]


def test_another_encoder_is_no_beginning(pretraining: Path) -> None:
    checkpoint = Workspace(pretraining).study("before").trial(0).best_checkpoint
    module = build_module(TrialConfig(encoder=RecurrentEncoderConfig(cell="gru", hidden_size=12)))
    with pytest.raises(TrialError, match=r"another encoder: encoder\..* has shape \(24,"):
        begin_with(module, checkpoint)


def test_a_study_trains_on_from_its_own_copy(pretraining: Path, tmp_path: Path) -> None:
    study, folder = later(tmp_path), Workspace(pretraining).study("later")
    assert run_study(study, pretraining) is StudyState.COMPLETE
    source = Workspace(pretraining).study("before").trial(0)
    assert folder.pretrained("before/0").best_checkpoint.read_bytes() == source.best_checkpoint.read_bytes()
    with_it = record_of(pretraining, "later").trials[0]
    assert with_it.params["training.pretrained"] == "before/0"
    study.write_text(study.read_text().replace('"before/0"', '"none"').replace('"later"', '"fresh"'))
    assert run_study(study, pretraining) is StudyState.COMPLETE
    assert differences(with_it, record_of(pretraining, "fresh").trials[0])


def test_a_study_goes_on_once_the_pretraining_is_gone(pretraining: Path, tmp_path: Path) -> None:
    study = later(tmp_path)
    assert run_study(study, pretraining) is StudyState.COMPLETE
    shutil.rmtree(Workspace(pretraining).study("before").root)
    study.write_text(study.read_text().replace("trials = 1", "trials = 2"))
    assert run_study(study, pretraining) is StudyState.COMPLETE
    assert [each.state.value for each in trials_of(pretraining, "later")] == ["complete", "complete"]
    study.write_text(study.read_text().replace('"later"', '"after"'))  # another study begins with the copy
    assert run_study(study, pretraining) is StudyState.COMPLETE


def test_a_pretraining_that_was_trained_anew_is_refused(pretraining: Path, tmp_path: Path) -> None:
    config, place = config_of(later(tmp_path)), Workspace(pretraining)
    plan = make_plan(config, workspace=place, slots=1)
    keep_pretrained(config.trial, plan.space, workspace=place, study="later")
    checkpoint = place.study("before").trial(0).best_checkpoint
    checkpoint.write_bytes(checkpoint.read_bytes() + b"\0")
    with pytest.raises(ConfigError, match="trained anew"):
        keep_pretrained(config.trial, plan.space, workspace=place, study="later")


@pytest.mark.parametrize(
    ("pretrained", "complaint"),
    [
        ("nothing/0", "there is no study 'nothing' .* studies there: before"),
        ("before/7", "there is no such trial"),
    ],
)
def test_what_is_not_there_is_refused(pretraining: Path, tmp_path: Path, pretrained: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        make_plan(config_of(later(tmp_path, pretrained=pretrained)), workspace=Workspace(pretraining), slots=1)


def test_another_encoder_is_refused_before_anything_runs(pretraining: Path, tmp_path: Path) -> None:
    study = later(tmp_path)
    study.write_text(study.read_text().replace("hidden_size = 8", "hidden_size = 16"))
    with pytest.raises(ConfigError, match=r"before/0 has another encoder: encoder\.hidden_size is 8 there and 16 here"):
        make_plan(config_of(study), workspace=Workspace(pretraining), slots=1)


def test_encoders_are_searched_only_where_none_is_given(pretraining: Path, tmp_path: Path) -> None:
    sizes = '"encoder.hidden_size" = { choices = [8, 16] }\n'
    study, place = later(tmp_path, space=f"[space]\n{sizes}"), Workspace(pretraining)
    with pytest.raises(ConfigError, match=r"encoder\.hidden_size is searched"):
        make_plan(config_of(study), workspace=place, slots=1)
    both = '"training.pretrained" = { choices = ["none", "before/0"] }\n'
    when = sizes.replace(" }", ', when = { "training.pretrained" = ["none"] } }')
    study.with_name("tiny_space.toml").write_text(f"[space]\n{both}{when}")
    assert make_plan(config_of(study), workspace=place, slots=1).space.parameters


def test_what_has_heard_the_test_speech_is_refused(pretraining: Path, tmp_path: Path) -> None:
    """Under the corpus's own splits `before` heard nothing of test; when fold 1 leaves its sources out, it has."""
    study = later(tmp_path)
    text = study.read_text().replace('["en", "es"]', '["fr", "it"]')
    study.write_text(
        text.replace(
            "\n[trial.training]", '\n[trial.data.splits]\nkind = "leave_source_out"\nfold = 1\n[trial.training]'
        )
    )
    with pytest.raises(CorpusError, match=r"before/0 was trained on source .*, which is in (dev|test) here"):
        make_plan(config_of(study), workspace=Workspace(pretraining), slots=1)


def test_what_it_began_with_counts_as_heard(pretraining: Path, tmp_path: Path) -> None:
    config, place = config_of(later(tmp_path)).trial, Workspace(pretraining)
    corpus = open_corpus_of(config.data, pretraining)
    known = trained_on(corpus, config, workspace=place, study=place.study("later"))
    assert {each.language for each in known} == {"en", "es", "fr", "it"}
    assert {each.split for each in known} == {"train"}
