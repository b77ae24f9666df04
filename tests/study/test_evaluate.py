"""`lidstudy evaluate`: a trial on any corpus, condition by condition."""

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from lightning_modules import scoring
from lightning_modules.data.conditions import parse_condition
from lightning_modules.data.manifest import Split, manifest_text, read_manifest
from lightning_modules.data.prepared import data_hash, open_corpus, prepare_corpus
from lightning_modules.errors import ConfigError, CorpusError, StorageError
from reports.records import looks
from reports.sections import conditions
from reports.sections._blocks import Text
from study.commands.evaluate import evaluate
from study.commands.sweep import SweepOptions, run
from study.config import load_study_config
from study.corpus_file import load_corpus
from study.evaluate_on import Asked
from study.evaluation import read_ledger
from study.workspace import Workspace, coordinator_lease
from tests.conftest import nothing_to_show, write_tiny_study
from tests.study.helpers import record_of, run_study

pytestmark = pytest.mark.timeout(240)

FOREIGN = """
name = "foreign"
allow_shared = ["source"]
[reader]
kind = "folders"
path = "voices"

[splits]
kind = "speakers"
dev = 0.3
test = 0.4
"""


@pytest.fixture(scope="module")
def done(shared_speech: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workspace of a study that has ended; tests copy it."""
    folder = tmp_path_factory.mktemp("done")
    workspace = folder / "workspace"
    workspace.mkdir()
    for name in ("corpora", "features"):
        (workspace / name).mkdir()
        for each in (shared_speech / name).iterdir():
            (workspace / name / each.name).symlink_to(each)
    shutil.copytree(shared_speech / "mlflow", workspace / "mlflow")
    run_study(write_tiny_study(folder, trials=2), workspace)
    _prepare_foreign(folder, workspace)
    _prepare_renamed(workspace)
    return workspace


def _prepare_foreign(folder: Path, workspace: Path) -> None:
    """Noisy copies of one recording: in two of the study's three languages, and in one that is no target."""
    sample, rate = soundfile.read(next((workspace / "corpora" / "espeak" / "audio" / "espeak-en-a").rglob("*.flac")))
    for language in ("en", "fr", "de"):
        for speaker in "pqrs":
            target = folder / "voices" / language / speaker
            target.mkdir(parents=True)
            for number in range(3):
                noise = np.random.default_rng([ord(speaker), number, ord(language[0])]).normal(0, 0.02, 4 * rate)
                soundfile.write(target / f"{number}.wav", np.resize(sample, 4 * rate) + noise, rate)
    german = FOREIGN.replace('"foreign"', '"german"\nlanguages = ["de"]')
    for name, text in (("foreign", FOREIGN), ("german", german)):
        (folder / f"{name}.toml").write_text(text)
        prepare_corpus(load_corpus(str(folder / f"{name}.toml")), workspace, progress=nothing_to_show)


def _prepare_renamed(workspace: Path) -> None:
    """The speech of `espeak` under other names, its test speech as development speech and the other way round."""
    own, renamed = workspace / "corpora" / "espeak", workspace / "corpora" / "renamed"
    renamed.mkdir()
    (renamed / "audio").symlink_to(own / "audio")
    splits: dict[Split, Split] = {"train": "train", "dev": "test", "test": "dev"}
    manifest = manifest_text(
        replace(
            each,
            id=f"r-{each.id}",
            source=f"r-{each.source}",
            speaker=f"r-{each.speaker}",
            split=splits[each.split],
        )
        for each in read_manifest((own / "manifest.csv").read_text(encoding="utf-8"))
    )
    facts = json.loads((own / "corpus.json").read_text(encoding="utf-8"))
    (renamed / "manifest.csv").write_text(manifest, encoding="utf-8")
    (renamed / "corpus.json").write_text(json.dumps({**facts, "data_hash": data_hash(manifest)}), encoding="utf-8")


KEY = (0, "espeak", "test")


def asked(corpus: str = "espeak", *conditions: str, split: str = "test", **others: object) -> Asked:
    return Asked(corpus, split, conditions or ("3s",), **others)  # type: ignore[arg-type]


def test_scores_are_recorded_printed_and_read_back(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = len(looks(read_ledger(Workspace(done).study("tiny")), open_corpus("espeak", done).data_hash))
    evaluate("tiny/1", asked("espeak", "3s", "whole", "3s-noise-10db"), folder=done, as_json=False)
    said = capsys.readouterr().out
    assert "trial 1 on espeak (test); chance: accuracy 0.333" in said
    study = record_of(done)
    (evaluation,) = (each for each in study.evaluations if each.trial == 1)
    assert [each.condition for each in evaluation.conditions] == ["3s", "3s-noise-10db", "whole"]
    assert evaluation.same_corpus
    for result in evaluation.conditions:
        assert study.trials[1].metrics[f"on/espeak/test/{result.condition}/accuracy"] == result.scores["accuracy"]
        assert f"{result.scores['accuracy']:.3f}" in said
        recalls = [each.recall for each in result.languages if each.recall is not None]
        assert result.scores["accuracy"] == pytest.approx(np.mean(recalls))
    assert len(study.looks) == before + 1, "the test data of the study's own corpus was looked at once more"
    assert study.ledger[-1].conditions == ("3s", "whole", "3s-noise-10db")


def test_the_scores_of_each_utterance_are_an_artifact_that_gives_the_same_scores(done: Path) -> None:
    evaluate("tiny/0", asked("espeak", "3s", "10s"), folder=done, as_json=True)
    study = record_of(done)
    (evaluation,) = (each for each in study.evaluations if (each.trial, each.corpus, each.split) == KEY)
    place = done / "mlflow" / "artifacts" / "tiny" / study.trials[0].run_id / "artifacts"
    (path,) = place.glob("evaluations/espeak-*-test.parquet")
    table = pd.read_parquet(io.BytesIO(path.read_bytes()))
    for result in evaluation.conditions:
        rows = table[(table.condition == result.condition) & table.language.isin(["en", "es", "fr"])]
        llr, truth = rows[["en", "es", "fr"]].to_numpy(), rows.language.map(["en", "es", "fr"].index).to_numpy()
        assert scoring.c_primary(llr, truth) == pytest.approx(result.scores["c_primary"])
        assert len(rows) == result.num_utterances
        seconds = parse_condition(result.condition).duration_s
        assert set(rows.duration_s) == {seconds}


def test_attention_is_tested_under_each_condition_recorded_and_read_back(
    done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = write_tiny_study(tmp_path, trials=1, changes='[trial.pooling]\nkind = "attention"\n')
    study.write_text(study.read_text().replace('name = "tiny"', 'name = "attending"'))
    run_study(study, done)
    names = ("3s", "3s-noise-0db-first-half")
    evaluate("attending/0", asked("espeak", *names, split="dev"), folder=done, as_json=True)
    printed = json.loads(capsys.readouterr().out)["conditions"]
    (evaluation,) = record_of(done, "attending").evaluations
    for told, result in zip(printed, evaluation.conditions, strict=True):
        found = result.attention
        assert found is not None
        assert found.num_utterances == result.num_utterances
        assert found.accuracy == pytest.approx(result.scores["accuracy"])
        assert [each.language for each in found.examples] == ["en", "es", "fr"]
        for example in found.examples:
            assert sum(example.weights) == pytest.approx(1.0, abs=1e-3)
            assert len(example.bands) == 31, "a column a tenth of a second: 301 frames"
        assert told["attention"]["without_relevant"] == found.without_relevant
        assert "examples" not in told["attention"], "they are for drawings"
    clean, noisy = (result.attention for result in evaluation.conditions)
    assert clean is not None
    assert noisy is not None
    assert clean.clean_share is None
    assert noisy.clean_share is not None
    assert 0.0 < noisy.clean_share < 1.0
    evaluate("tiny/0", asked("espeak", split="dev"), folder=done, as_json=True)
    assert record_of(done).evaluations[0].conditions[0].attention is None, "mean pooling attends to nothing"


def test_conditions_that_were_scored_before_stay(done: Path) -> None:
    for condition in ("3s", "3s-noise-5db-first-half"):
        evaluate("tiny/0", asked("espeak", condition, split="dev"), folder=done, as_json=True)
    (evaluation,) = (each for each in record_of(done).evaluations if (each.corpus, each.split) == ("espeak", "dev"))
    assert [each.condition for each in evaluation.conditions] == ["3s", "3s-noise-5db-first-half"]


def test_calibration_is_fitted_on_development_scores_and_never_scored_on_them(done: Path) -> None:
    for split in ("test", "dev"):
        evaluate("tiny/0", asked("espeak", "3s", split=split), folder=done, as_json=True)
    study = record_of(done)
    test, dev = (
        next(each for each in study.evaluations if (each.trial, each.corpus, each.split) == (0, "espeak", split))
        for split in ("test", "dev")
    )
    of_three = {each.condition: each for each in test.conditions}["3s"]
    content = json.loads(Workspace(done).study("tiny").trial(0).scores.read_text())
    place = done / "mlflow" / "artifacts" / "tiny" / study.trials[0].run_id / "artifacts"
    (path,) = place.glob("evaluations/espeak-*-test.parquet")
    table = pd.read_parquet(io.BytesIO(path.read_bytes()))
    rows = table[(table.condition == "3s") & table.language.isin(content["targets"])]
    fitted = scoring.calibrated_llr(
        rows[content["targets"]].to_numpy(),
        development=content["llr"],
        truth=[content["targets"].index(language) for language in content["language"]],
    )
    truth = [content["targets"].index(language) for language in rows.language]
    assert of_three.scores["c_primary_calibrated"] == pytest.approx(scoring.c_primary(fitted, truth))
    assert not any(name.endswith("_calibrated") for each in dev.conditions for name in each.scores)


def test_a_smaller_evaluation_replaces_nothing_and_conditions_have_an_order(done: Path) -> None:
    sizes = []
    for most, names in ((2, ("whole", "3s-noise-20db", "3s")), (1, ("3s", "3s-noise-5db")), (3, ("3s",))):
        wanted = asked("foreign", *names, split="dev", max_utterances=most)
        evaluate("tiny/0", wanted, folder=done, as_json=True)
        key = ("foreign", "dev")
        (found,) = (each for each in record_of(done).evaluations if (each.corpus, each.split) == key)
        sizes.append({each.condition: each.num_utterances + each.num_out_of_set for each in found.conditions})
    assert sizes[1] == sizes[0] | {"3s-noise-5db": sizes[1]["3s-noise-5db"]}, "that of two a language stays"
    assert sizes[2]["3s"] > sizes[1]["3s"]
    assert list(sizes[2]) == ["3s", "3s-noise-20db", "3s-noise-5db", "whole"]


def test_development_data_and_other_corpora_are_no_looks_at_test_data(done: Path) -> None:
    before = len(record_of(done).looks)
    evaluate("tiny/0", asked(split="dev"), folder=done, as_json=True)
    evaluate("tiny/0", asked("foreign"), folder=done, as_json=True)
    assert len(record_of(done).looks) == before


def test_the_study_s_test_speech_is_a_look_in_whatever_corpus_and_split_it_stands(done: Path) -> None:
    before = len(record_of(done).looks)
    evaluate("tiny/0", asked("renamed", split="test"), folder=done, as_json=True)
    assert len(record_of(done).looks) == before, "that is the study's development speech"
    evaluate("tiny/0", asked("renamed", split="dev"), folder=done, as_json=True)
    assert len(record_of(done).looks) == before + 1


def test_what_the_trial_was_trained_on_is_known_under_other_names(done: Path) -> None:
    with pytest.raises(CorpusError, match=r"the trial was trained on recording r-.*, which corpus renamed would score"):
        evaluate("tiny/0", asked("renamed", split="all"), folder=done, as_json=True)
    evaluate("tiny/0", asked("renamed", split="all", max_utterances=2, allow_shared=True), folder=done, as_json=True)
    assert read_ledger(Workspace(done).study("tiny"))[-1].known == ("recordings",)


def test_another_corpus_with_a_language_too_many_and_one_missing(
    done: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate("tiny/0", asked("foreign", split="all"), folder=done, as_json=False)
    said = capsys.readouterr().out
    assert "no target" in said, "German is none"
    assert "3s: 12 utterances in languages that are no target; of their pairs with targets 0." in said
    assert "; C_avg with them 0." in said
    assert "3s: no speech in the language es, so its scores are means over the others" in said
    (evaluation,) = (each for each in record_of(done).evaluations if (each.corpus, each.split) == ("foreign", "all"))
    (result,) = evaluation.conditions
    assert result.num_out_of_set == 12, "four speakers, three times three seconds of ten"
    assert {each.language: each.recall is None for each in result.languages} == {"de": True, "en": False, "fr": False}
    assert {each.language: each.eer is None for each in result.languages} == {"de": True, "en": False, "fr": False}
    texts = [each.text for each in conditions.SECTION.blocks(record_of(done)) if isinstance(each, Text)]
    assert any("3s has no speech in the language es: its scores are means over the others." in text for text in texts)
    assert not evaluation.same_corpus


def test_speech_in_none_of_the_trial_s_languages_is_told_as_that(
    done: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluate("tiny/0", asked("german", split="all"), folder=done, as_json=False)
    said = capsys.readouterr().out
    assert "none of the trial's languages (en, es, fr) is among those of this speech (de)" in said
    assert "`rename` in the corpus's file" in said
    assert "not calibrated" not in said
    assert "no interval" not in said
    assert "means over the others" not in said
    texts = [each.text for each in conditions.SECTION.blocks(record_of(done)) if isinstance(each, Text)]
    assert any("None of it is in one of the trials' languages" in text for text in texts)


def test_what_no_speech_fits_is_told_with_the_reason_and_counts_as_tried(
    done: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = ("3s", "30s", "30s-two-speakers")
    evaluate("tiny/0", asked("foreign", *wanted, split="all"), folder=done, as_json=False)
    said = capsys.readouterr().out
    assert "no speech fits 30s: it takes 30 s of a speaker\n" in said
    assert "no speech fits 30s-two-speakers: it takes two speakers of one source and language, 30 s each" in said
    assert "3s: 12 utterances in languages that are no target; of their pairs" in said
    assert read_ledger(Workspace(done).study("tiny"))[-1].conditions == wanted
    texts = [each.text for each in conditions.SECTION.blocks(record_of(done)) if isinstance(each, Text)]
    assert any("No speech fits 30s and 30s-two-speakers, which were asked for." in text for text in texts)


def test_what_the_trial_was_trained_on_is_refused(done: Path) -> None:
    with pytest.raises(CorpusError, match=r"the trial was trained on source espeak-.*insist with --allow-shared"):
        evaluate("tiny/0", asked(split="all"), folder=done, as_json=True)
    evaluate("tiny/0", asked(split="all", max_utterances=2, allow_shared=True), folder=done, as_json=True)


@pytest.mark.parametrize(
    ("run", "corpus", "condition", "message"),
    [
        ("tiny", "espeak", "3s", "'tiny' is no run; name it STUDY/TRIAL"),
        ("tiny/7", "espeak", "3s", "study 'tiny' has no trial 7"),
        ("nobody/0", "espeak", "3s", "unknown study 'nobody'"),
        ("tiny/0", "espeak", "4s", "'4s' is no condition"),
        ("tiny/0", "nowhere", "3s", "there is no corpus 'nowhere' in .*: espeak, foreign, german, renamed"),
        ("tiny/0", "foreign", "30s", "corpus foreign has no test speech for 30s"),
    ],
)
def test_what_cannot_be_scored_is_told_in_one_line(
    done: Path, run: str, corpus: str, condition: str, message: str
) -> None:
    before = read_ledger(Workspace(done).study("tiny"))
    with pytest.raises((ConfigError, CorpusError), match=message):
        evaluate(run, asked(corpus, condition), folder=done, as_json=True)
    assert read_ledger(Workspace(done).study("tiny")) == before


def test_a_study_that_is_at_work_is_left_alone(done: Path) -> None:
    with coordinator_lease(Workspace(done).study("tiny")), pytest.raises(StorageError, match="already has a coord"):
        evaluate("tiny/0", asked(), folder=done, as_json=True)


def test_json_is_what_the_record_holds(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate("tiny/0", asked(split="dev"), folder=done, as_json=True)
    printed = json.loads(capsys.readouterr().out)
    assert printed["corpus"] == "espeak"
    assert printed["conditions"][0]["condition"] == "3s"


def test_a_study_scores_the_best_trial_of_each_value_under_its_conditions_once(workspace: Path, tmp_path: Path) -> None:
    study = write_tiny_study(tmp_path, trials=3)
    study.write_text(
        study.read_text().replace(
            "seed = 3\n", 'seed = 3\nconditions = ["3s", "whole"]\nconditions_of = "encoder.cell"\n', 1
        )
    )
    options = SweepOptions(slots=2)
    assert run(str(study), options, folder=workspace) == 0
    record = record_of(workspace)
    best: dict[str, float] = {}
    for trial in record.trials:
        assert trial.objective is not None
        cell = trial.params["encoder.cell"]
        best[cell] = min(trial.objective, best.get(cell, trial.objective))
    scored = {record.trials[each.trial].params["encoder.cell"]: each.trial for each in record.evaluations}
    assert {cell: record.trials[number].objective for cell, number in scored.items()} == best
    assert [[result.condition for result in each.conditions] for each in record.evaluations] == [["3s", "whole"]] * len(
        best
    )
    assert len(record.looks) == 1, "conditions that the file named belong to the look that ends the study"
    assert len(record.ledger) == 1 + len(best)
    assert run(str(study), options, folder=workspace) == 0
    assert record_of(workspace).ledger == record.ledger, "nothing is looked at twice"


def test_conditions_that_came_after_the_result_are_another_look(workspace: Path, tmp_path: Path) -> None:
    study = write_tiny_study(tmp_path, trials=1, epochs=1)
    assert run(str(study), SweepOptions(slots=1), folder=workspace) == 0
    study.write_text(study.read_text().replace("seed = 3\n", 'seed = 3\nconditions = ["3s"]\n', 1))
    assert run(str(study), SweepOptions(slots=1), folder=workspace) == 0
    record = record_of(workspace)
    assert len(record.looks) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ('conditions = ["4s"]', "'4s' is no condition"),
        ('conditions = ["3s"]\nevaluate = false', "they need evaluate = true"),
        ('conditions_of = "encoder.cell"', "conditions_of needs conditions"),
    ],
)
def test_conditions_that_cannot_be_scored_are_refused_when_a_study_is_read(
    tmp_path: Path, change: str, message: str
) -> None:
    study = write_tiny_study(tmp_path)
    study.write_text(study.read_text().replace("seed = 3", f"seed = 3\n{change}", 1))
    with pytest.raises(ConfigError, match=message):
        load_study_config(str(study))


def test_a_condition_has_one_spelling(tmp_path: Path) -> None:
    study = write_tiny_study(tmp_path)
    study.write_text('conditions = ["3s-noise-05db", "3s-noise-5db", "whole"]\n' + study.read_text())
    assert load_study_config(str(study)).conditions == ("3s-noise-5db", "whole")


def test_conditions_of_what_is_not_searched_are_refused(workspace: Path, tmp_path: Path) -> None:
    study = write_tiny_study(tmp_path)
    changes = 'conditions = ["3s"]\nconditions_of = "pooling.kind"'
    study.write_text(study.read_text().replace("seed = 3", f"seed = 3\n{changes}", 1))
    with pytest.raises(ConfigError, match=r"key conditions_of: 'pooling.kind' has no choices in space"):
        run(str(study), SweepOptions(), folder=workspace)
