"""Languages that train beside the targets: trained on, told of, and in no score."""

from pathlib import Path

import pytest

from lightning_modules.data.prepared import open_corpus_of
from lightning_modules.errors import CorpusError
from reports.records import StudyState
from study.commands.headline import headline
from study.evaluate_on import trained_on
from study.plan import make_plan
from study.workspace import Workspace
from tests.conftest import write_tiny_study
from tests.study.helpers import config_of, record_of, run_study


@pytest.fixture
def study(tmp_path: Path) -> Path:
    path = write_tiny_study(tmp_path, trials=1, epochs=2)
    targets = 'languages = ["en", "es", "fr"]'
    text = path.read_text()
    assert targets in text
    path.write_text(text.replace(targets, 'languages = ["en", "es"]\nfurther_languages = ["fr"]'))
    return path


def test_a_study_trains_on_them_and_scores_the_targets(workspace: Path, study: Path) -> None:
    line = headline(make_plan(config_of(study), workspace=Workspace(workspace), slots=1))
    assert line.endswith("on espeak (en, es, with fr in training)")
    assert run_study(study, workspace) is StudyState.COMPLETE
    record = record_of(workspace)
    assert record.manifest.languages == ("en", "es")
    assert record.scores_dev is not None
    assert set(record.scores_dev.language) == set(record.scores_dev.targets) == {"en", "es"}
    splits = {(row["language"], row["split"]) for row in record.manifest.corpus["rows"]}
    assert ("fr", "train") in splits
    assert {language for language, split in splits if split != "train"} == {"en", "es"}


def test_what_they_trained_on_counts_as_known(workspace: Path, study: Path) -> None:
    config = config_of(study).trial
    place = Workspace(workspace)
    corpus = open_corpus_of(config.data, workspace)
    known = trained_on(corpus, config, workspace=place, study=place.study("tiny"))
    assert {each.language for each in known} == {"en", "es", "fr"}
    assert {each.split for each in known} == {"train"}


def test_one_without_training_speech_is_refused_before_anything_runs(workspace: Path, study: Path) -> None:
    study.write_text(study.read_text().replace('["fr"]', '["xx"]'))
    with pytest.raises(CorpusError, match=r"language 'xx' has no training recordings .* or data\.further_languages"):
        make_plan(config_of(study), workspace=Workspace(workspace), slots=1)
