"""What can be heard of a study: the audio that was scored, and no other."""

import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from lightning_modules.config import DataConfig
from lightning_modules.data.prepared import open_corpus
from lightning_modules.data.utterances import join_utterances
from lightning_modules.errors import ConfigError, CorpusError
from reports.records import ScoreTable, StudyRecord
from reports.sections.speakers import summarise, worth_hearing
from study.clips import LONGEST_S, clips_of
from study.commands.report import write
from tests.conftest import new_workspace, write_tiny_study
from tests.study.helpers import record_of, run_study

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def finished(shared_speech: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("heard")
    workspace = new_workspace(shared_speech, folder / "workspace")
    run_study(write_tiny_study(folder, trials=1), workspace)
    return workspace


@pytest.fixture
def study(finished: Path) -> StudyRecord:
    """Whose every utterance was taken for another language, whatever its networks learnt."""
    record = record_of(finished)
    assert record.scores_test is not None
    return dataclasses.replace(record, scores_test=all_wrong(record.scores_test))


def all_wrong(table: ScoreTable) -> ScoreTable:
    targets = list(table.targets)
    places = [(targets.index(language) + 1) % len(targets) for language in table.language]
    return dataclasses.replace(table, llr=tuple(map(tuple, np.eye(len(targets))[places].tolist())))


def test_clips_are_the_beginning_of_what_was_scored(study: StudyRecord, finished: Path) -> None:
    clips = clips_of(study, finished)
    assert tuple(clips) == worth_hearing(summarise(study)) != ()
    corpus = open_corpus("espeak", finished)
    data = DataConfig.model_validate(study.manifest.config["trial"]["data"])
    paths = {each.id: corpus.audio_path(each) for each in corpus.recordings}
    scored = {each.id: each for each in join_utterances(corpus.recordings, split="test", data=data)}
    for utterance in (scored[name] for name in clips):
        heard, rate_hz = soundfile.read(io.BytesIO(clips[utterance.id]))
        said = np.concatenate([soundfile.read(paths[name])[0] for name in utterance.recordings])
        said = said[: round(LONGEST_S * rate_hz)]
        assert len(heard) == len(said)
        assert np.corrcoef(heard, said)[0, 1] > 0.9
    assert clips_of(study, finished) == clips, "the same bytes each time"


def test_without_the_very_speech_that_was_scored_there_is_one_error(
    study: StudyRecord, finished: Path, tmp_path: Path
) -> None:
    with pytest.raises(CorpusError, match="corpus 'espeak' is not prepared"):
        clips_of(study, tmp_path)
    corpus = study.manifest.corpus | {"data_hash": "0123456789ab"}
    other = dataclasses.replace(study, manifest=dataclasses.replace(study.manifest, corpus=corpus))
    with pytest.raises(ConfigError, match="but study 'tiny' scored version 0123456789ab; leave --clips out"):
        clips_of(other, finished)


def test_where_nothing_is_mistaken_nothing_is_heard(study: StudyRecord, finished: Path) -> None:
    assert study.scores_test is not None
    right = tuple(
        tuple(1.0 if target == language else 0.0 for target in study.scores_test.targets)
        for language in study.scores_test.language
    )
    study = dataclasses.replace(study, scores_test=dataclasses.replace(study.scores_test, llr=right))
    assert clips_of(study, finished) == {}


def test_clips_are_asked_for(finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(["tiny"], finished, out=tmp_path / "silent")
    assert "<audio" not in (tmp_path / "silent" / "index.html").read_text()
    assert "clips:" not in capsys.readouterr().out
    write(["tiny"], finished, out=tmp_path / "heard", clips=True)
    num = (tmp_path / "heard" / "index.html").read_text().count("<audio")
    assert f"clips:    {num}" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="--clips is for the report of one study"):
        write(["tiny", "other"], finished, out=tmp_path / "both", clips=True)
