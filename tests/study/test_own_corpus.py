"""From a folder of audio to a trained trial: a study on a corpus of the user's own."""

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from lightning_modules.config import FeaturesConfig
from lightning_modules.data.feature_building import build_feature_store
from lightning_modules.data.feature_store import FeatureStore
from lightning_modules.data.prepared import open_corpus, prepare_corpus
from lightning_modules.errors import CorpusError
from reports.records import TrialState
from reports.sections import conditions
from reports.sections._blocks import Text
from study.commands.corpus import prepare
from study.commands.sweep import SweepOptions, run
from study.corpus_file import load_corpus
from study.features import are_missing, make_features
from study.leaks import known_leaks, look_for_leaks, needs_a_look
from study.plan import make_plan
from study.workspace import Workspace
from tests.conftest import nothing_to_show, write_tiny_study
from tests.study.helpers import config_of, record_of, run_study, trials_of

CORPUS = """
name = "mine"
{top}
[reader]
kind = "folders"
path = "voices"

[splits]
kind = "speakers"
dev = 0.3
test = 0.3
"""


def test_a_study_runs_on_a_corpus_of_the_users_own_and_its_report_says_what_is_shared(
    shared_speech: Path, tmp_path: Path
) -> None:
    spoken = shared_speech / "corpora" / "espeak" / "audio"
    for language in ("en", "es", "fr"):
        for group in "abcde":
            for speaker in sorted((spoken / f"espeak-{language}-{group}").iterdir())[:2]:
                target = tmp_path / "voices" / language / f"{group}-{speaker.name}"
                target.mkdir(parents=True)
                for file in sorted(speaker.iterdir())[:3]:
                    shutil.copy(file, target)
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    file = tmp_path / "mine.toml"
    file.write_text(CORPUS.format(top='allow_shared = ["source"]'))
    corpus = prepare_corpus(load_corpus(str(file)), workspace, progress=nothing_to_show)
    build_feature_store(corpus, FeaturesConfig(), workspace=workspace, progress=nothing_to_show)
    study = write_tiny_study(tmp_path, trials=1)
    study.write_text(study.read_text().replace('"espeak"', '"mine"'))
    run_study(study, workspace)
    assert [trial.state for trial in trials_of(workspace)] == [TrialState.COMPLETE]
    facts = record_of(workspace).manifest.corpus
    assert facts["split_rule"].startswith("Training shares no speaker with")
    assert facts["shared"] == ["training shares 3 of 3 sources with development or test, as its description allows"]


def test_conditions_are_scored_on_a_corpus_whose_file_allows_a_shared_source(
    shared_speech: Path, tmp_path: Path
) -> None:
    spoken = shared_speech / "corpora" / "espeak" / "audio"
    for language in ("en", "es", "fr"):
        for group in "abcde":
            target = tmp_path / "voices" / language / group
            target.mkdir(parents=True)
            for file in sorted((spoken / f"espeak-{language}-{group}").rglob("*.flac"))[:6]:
                shutil.copy(file, target)
    file = tmp_path / "mine.toml"
    file.write_text(CORPUS.format(top='allow_shared = ["source"]'))
    prepare(str(file), tmp_path / "workspace")
    study = write_tiny_study(tmp_path, trials=1, epochs=1)
    text = study.read_text().replace('"espeak"', '"mine"')
    study.write_text(text.replace("seed = 3\n", 'seed = 3\nconditions = ["3s"]\n', 1))
    assert run(str(study), SweepOptions(slots=1), folder=tmp_path / "workspace") == 0
    (evaluation,) = record_of(tmp_path / "workspace").evaluations
    assert evaluation.known == ("sources",)
    said = [
        each.text for each in conditions.SECTION.blocks(record_of(tmp_path / "workspace")) if isinstance(each, Text)
    ]
    assert any("of which sources were heard in training: these scores reward knowing them" in text for text in said)


def test_a_split_that_is_missing_is_told_and_a_prepared_corpus_is_known_by_its_name(
    shared_speech: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoken = shared_speech / "corpora" / "espeak" / "audio"
    for split, language in (("train", "en"), ("train", "fr"), ("dev", "fr")):
        target = tmp_path / "voices" / split / language / f"{split}-{language}"
        target.mkdir(parents=True)
        for file in sorted((spoken / f"espeak-{language}-{'b' if split == 'dev' else 'a'}").rglob("*.flac"))[:4]:
            shutil.copy(file, target)
    shouted = soundfile.read(file)[0]
    soundfile.write(target / "shouted.wav", 30 * np.clip(shouted, -0.02, 0.02), 8000)
    file = tmp_path / "mine.toml"
    file.write_text(CORPUS.format(top='allow_shared = ["source"]').split("[splits]")[0])
    prepare(str(file), tmp_path / "workspace")
    said = capsys.readouterr().out
    assert "1 file is used though damaged" in said
    assert "clipped (1)" in said
    assert "note: no dev speech in en: no study can choose by it" in said
    assert "note: no test speech in this corpus: no study can be scored on it" in said
    prepare("mine", tmp_path / "workspace")
    assert capsys.readouterr().out.endswith(said[said.index("split") :])


def test_a_study_leaves_a_source_of_each_language_out(workspace: Path, tmp_path: Path) -> None:
    for fold in range(2):
        folder = tmp_path / f"fold{fold}"
        folder.mkdir()
        study = write_tiny_study(
            folder, trials=1, changes=f'[trial.data.splits]\nkind = "leave_source_out"\nfold = {fold}\n'
        )
        study.write_text(study.read_text().replace('"tiny"', f'"fold{fold}"'))
        run_study(study, workspace)
        (run,) = record_of(workspace, f"fold{fold}").trials
        assert run.state is TrialState.COMPLETE
        rows = record_of(workspace, f"fold{fold}").manifest.corpus["rows"]
        assert {row["source"][-1] for row in rows if row["split"] in ("dev", "test")} == {"ab"[fold]}
        assert {row["source"][-1] for row in rows if row["split"] == "train"} == set("abcde") - {"ab"[fold]}


def test_the_same_audio_in_training_and_test_is_told_when_a_corpus_is_prepared_and_in_reports(
    shared_speech: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoken = shared_speech / "corpora" / "espeak" / "audio"
    for language in ("en", "es", "fr"):
        for split, group in (("train", "a"), ("dev", "b"), ("test", "c")):
            for file in sorted((spoken / f"espeak-{language}-{group}").rglob("*.flac"))[:24]:
                target = tmp_path / "voices" / split / language / f"{group}-{file.parent.name}" / file.name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, target)
    original = next((tmp_path / "voices" / "train" / "en").rglob("*.flac"))
    samples, rate_hz = soundfile.read(original)
    copied = tmp_path / "voices" / "test" / "en" / "copied" / "copy.mp3"
    copied.parent.mkdir()
    soundfile.write(copied, 0.4 * samples[3000:], rate_hz, format="MP3")
    file = tmp_path / "mine.toml"
    file.write_text(CORPUS.format(top='allow_shared = ["source"]').split("[splits]")[0])
    prepare(str(file), tmp_path / "workspace")
    said = capsys.readouterr().out
    assert "1 pair of recordings holds the same audio on both sides of a split, such as train/en/" in said
    assert "near_duplicates.json" in said
    study = write_tiny_study(tmp_path, trials=1, epochs=1)
    study.write_text(study.read_text().replace('"espeak"', '"mine"'))
    run_study(study, tmp_path / "workspace")
    shared = record_of(tmp_path / "workspace").manifest.corpus["shared"]
    assert any("the same audio" in each and "test/en/copied/copy" in each for each in shared)


def test_the_same_audio_in_two_sources_is_told_by_a_study_that_parts_them(shared_speech: Path, tmp_path: Path) -> None:
    """As it is prepared both sources train; the fold that leaves one of them out would be scored on what trained."""
    lines = ["path,language,source,speaker,split"]
    splits = {"a": "train", "b": "train", "c": "dev", "d": "test"}
    for each in open_corpus("espeak", shared_speech).recordings:
        if each.language in ("en", "es", "fr") and each.source[-1] in splits:
            path = open_corpus("espeak", shared_speech).audio_path(each)
            lines.append(f"{path},{each.language},{each.source},{each.speaker},{splits[each.source[-1]]}")
    original = next((shared_speech / "corpora" / "espeak" / "audio" / "espeak-en-a").rglob("*.flac"))
    samples, rate_hz = soundfile.read(original)
    soundfile.write(tmp_path / "copy.mp3", 0.4 * samples[3000:], rate_hz, format="MP3")
    lines.append(f"{tmp_path / 'copy.mp3'},en,espeak-en-b,somebody,train")
    (tmp_path / "speech.csv").write_text("\n".join(lines) + "\n")
    file = tmp_path / "mine.toml"
    file.write_text('name = "mine"\n[reader]\nkind = "table"\npath = "speech.csv"\n')
    root = tmp_path / "workspace"
    prepare(str(file), root)
    assert known_leaks(open_corpus("mine", root)) == ()
    study = write_tiny_study(tmp_path, trials=1, epochs=1, changes='[trial.data.splits]\nkind = "leave_source_out"\n')
    study.write_text(study.read_text().replace('"espeak"', '"mine"'))
    plan = make_plan(config_of(study), workspace=Workspace(root), slots=1)
    assert are_missing(plan)
    make_features(plan, nothing_to_show)
    assert not are_missing(plan)
    (shared,) = (each for each in plan.manifest().corpus["shared"] if "the same audio" in each)
    assert "1 pair of recordings" in shared


FEATURES = """
[space]
"data.features.cepstra" = { choices = [0, 7] }
"data.features.dynamics.kind" = { choices = ["none", "shifted"] }
"data.features.normalisation" = { choices = ["utterance", "sliding"] }
"""


def test_a_study_searches_cepstra_shifted_deltas_and_normalisation_on_one_feature_store(
    workspace: Path, tmp_path: Path
) -> None:
    study = write_tiny_study(tmp_path, trials=8, epochs=1, steps=2)
    study.write_text(study.read_text().replace('kind = "random"', 'kind = "grid"'))
    (tmp_path / "tiny_space.toml").write_text(FEATURES)
    run_study(study, workspace)
    assert [trial.state for trial in trials_of(workspace)] == [TrialState.COMPLETE] * 8
    losses = {run.history["train/loss"][-1].value for run in record_of(workspace).trials}
    assert len(losses) == 8, "each sees something else"
    assert len(list((workspace / "features").glob("espeak-*"))) == 1


def test_a_corpus_that_was_never_prepared_is_refused(workspace: Path, tmp_path: Path) -> None:
    study = write_tiny_study(tmp_path, trials=1)
    study.write_text(study.read_text().replace('"espeak"', '"mine"'))
    with pytest.raises(CorpusError, match=r"key trial\.data\.corpus: there is no corpus 'mine'"):
        run_study(study, workspace)


@pytest.mark.parametrize("content", ["[]", '{"method": 1, "found": []}', '{"met'])
def test_who_looked_for_leaks_otherwise_or_was_cut_off_looks_again(
    content: str, shared_speech: Path, tmp_path: Path
) -> None:
    corpus = dataclasses.replace(open_corpus("espeak", shared_speech), root=tmp_path)
    (store,) = (shared_speech / "features").glob("espeak-*")
    assert needs_a_look(corpus), "where `corpus prepare` was cut off before it"
    (tmp_path / "near_duplicates.json").write_text(content)
    assert known_leaks(corpus) is None
    assert needs_a_look(corpus)
    assert look_for_leaks(corpus, FeatureStore.open(store), progress=nothing_to_show) == ()
    assert known_leaks(corpus) == ()
    assert not needs_a_look(corpus)
