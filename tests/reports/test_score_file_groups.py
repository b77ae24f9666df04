"""Files of scores with conditions, calibration of their own, and languages missing or too many."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from lightning_modules import scoring
from lightning_modules.errors import ConfigError, StorageError
from lightning_modules.open_set import open_set_scores
from reports.records import ScoreTable
from reports.score_file import Backend, Calibrator, score_open_table, score_table
from reports.score_reading import read_scores
from study.cli import app

TARGETS = ("en", "es", "fr")


def table_of(seed: int, languages: tuple[str, ...] = TARGETS, *, boast: float = 1.0, num_each: int = 30) -> ScoreTable:
    rng = np.random.default_rng(seed)
    spoken = np.repeat(languages, num_each)
    scores = rng.standard_normal((len(spoken), 3))
    for row, language in enumerate(spoken):
        if language in TARGETS:
            scores[row, TARGETS.index(language)] += 1.5
    llr = scoring.llr_from_log_likelihoods(boast * scores)
    names = tuple(map(str, range(len(spoken))))
    return ScoreTable(
        utterance=names,
        language=tuple(map(str, spoken)),
        source=tuple(f"{language}-{row % 2}" for row, language in enumerate(spoken)),
        speaker=names,
        duration_s=(3.0,) * len(spoken),
        targets=TARGETS,
        llr=tuple(map(tuple, llr.tolist())),
        condition=tuple(("3s", "10s")[row % 2] for row in range(len(spoken))),
    )


def write(table: ScoreTable, path: Path) -> Path:
    lines = [",".join(("utterance", "language", "source", "condition", *table.targets))]
    rows = zip(table.utterance, table.language, table.source, table.condition, table.llr, strict=True)
    lines += [",".join((*leading, *map(str, llr))) for *leading, llr in rows]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_each_condition_and_source_has_its_scores(tmp_path: Path) -> None:
    table = table_of(1)
    result = score_table(read_scores(write(table, tmp_path / "scores.csv")))
    assert [group.name for group in result.parts.conditions] == ["3s", "10s"]
    rows = [row for row, condition in enumerate(table.condition) if condition == "10s"]
    truth = [TARGETS.index(table.language[row]) for row in rows]
    assert result.parts.conditions[1].scores == open_set_scores([table.llr[row] for row in rows], truth)
    assert {group.name: group.scores.num_languages for group in result.parts.sources} == {
        f"{language}-{half}": 1 for language in TARGETS for half in (0, 1)
    }


def test_an_utterance_may_stand_under_several_conditions_but_once_under_each(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    head = "utterance,language,condition,en,es\n"
    path.write_text(head + "a,en,3s,1,-1\na,en,10s,1,-1\nb,es,3s,-1,1\n")
    assert len(read_scores(path).utterance) == 3
    path.write_text(head + "a,en,3s,1,-1\na,en,3s,1,-1\nb,es,3s,-1,1\n")
    with pytest.raises(StorageError, match=r"utterance 'a \(3s\)' stands in row 1 and again in row 2"):
        read_scores(path)


@pytest.mark.parametrize("backend", ["logistic", "gaussian"])
def test_calibration_on_another_file_mends_boastful_scores(backend: Backend) -> None:
    test, development = table_of(2, boast=5.0), table_of(3, boast=5.0)
    result = score_table(test, calibrator=Calibrator(name="dev.csv", table=development, backend=backend))
    assert result.calibrated_on == f"dev.csv, {backend}"
    assert result.overall.cllr_calibrated < 0.7 * result.overall.cllr
    assert result.overall.c_primary == score_table(test).overall.c_primary, "raw scores stay as they are"
    assert result.calibrated is not None
    assert result.calibrated.cllr == pytest.approx(result.overall.cllr_calibrated)
    assert result.calibrated.c_primary == pytest.approx(result.overall.c_primary_calibrated)
    assert score_table(test).calibrated is None


def test_gaussians_are_fitted_with_speakers_kept_whole() -> None:
    test, development = table_of(2), table_of(3)
    speakers = tuple(f"{language}-{row // 10 % 3}" for row, language in enumerate(development.language))
    found = [
        score_table(test, calibrator=Calibrator(name="dev", table=table, backend="gaussian")).overall.cllr_calibrated
        for table in (development, dataclasses.replace(development, speaker=speakers))
    ]
    assert found[0] != found[1]


def test_calibration_is_seen_in_each_language_condition_and_source() -> None:
    test, development = table_of(2, boast=5.0), table_of(3, boast=5.0)
    result = score_table(test, calibrator=Calibrator(name="dev", table=development))
    assert result.calibrated_parts is not None
    before, after = result.parts, result.calibrated_parts
    for raw, calibrated in zip(before.languages, after.languages, strict=True):
        assert calibrated.scores.cllr < raw.scores.cllr
    groups = zip((*before.conditions, *before.sources), (*after.conditions, *after.sources), strict=True)
    for group, mended in groups:
        assert group.scores.cllr is not None
        assert mended.scores.cllr is not None
        assert mended.scores.cllr < group.scores.cllr
    assert (len(after.languages), len(after.conditions), len(after.sources)) == (3, 2, 6)
    assert score_table(test).calibrated_parts is None


@pytest.mark.parametrize("backend", ["logistic", "gaussian"])
def test_gaussians_mend_what_points_the_wrong_way_and_a_regression_alone_cannot(backend: Backend) -> None:
    test, development = (
        dataclasses.replace(table, llr=tuple((row[1], row[0], row[2]) for row in table.llr))
        for table in (table_of(2), table_of(3))
    )
    result = score_table(test, calibrator=Calibrator(name="dev", table=development, backend=backend))
    assert result.calibrated is not None
    assert result.calibrated.accuracy is not None
    assert (result.calibrated.accuracy > result.overall.macro_accuracy + 0.2) == (backend == "gaussian")


def test_utterances_that_show_no_spread_are_refused_for_gaussians() -> None:
    few = table_of(3, num_each=1)
    assert score_table(table_of(2), calibrator=Calibrator(name="dev", table=few)).calibrated is not None
    with pytest.raises(ConfigError, match=r"dev: Gaussians cannot be fitted: .*or use --backend logistic\."):
        score_table(table_of(2), calibrator=Calibrator(name="dev", table=few, backend="gaussian"))


def test_calibration_does_not_depend_on_the_order_of_its_columns() -> None:
    test, development = table_of(2), table_of(3)
    turned = dataclasses.replace(
        development, targets=("fr", "en", "es"), llr=tuple((row[2], row[0], row[1]) for row in development.llr)
    )
    first, second = (
        score_table(test, calibrator=Calibrator(name="dev", table=table)).overall for table in (development, turned)
    )
    assert first.cllr_calibrated == pytest.approx(second.cllr_calibrated, abs=1e-9)


def test_calibration_on_other_languages_is_refused() -> None:
    other = dataclasses.replace(table_of(3), targets=("en", "es", "it"), language=("en", "es", "it") * 30)
    with pytest.raises(ConfigError, match="dev has the target languages en, es, it, but the file to be scored en, es"):
        score_table(table_of(2), calibrator=Calibrator(name="dev", table=other))


def test_languages_missing_or_too_many_need_an_open_set(tmp_path: Path) -> None:
    path = write(table_of(4, ("en", "fr", "nl")), tmp_path / "scores.csv")
    with pytest.raises(StorageError, match=r"has the language 'nl', which has no column.*--open-set"):
        read_scores(path)
    result = score_open_table(read_scores(path, open_set=True))
    assert (result.overall.num_languages, result.overall.num_out_of_set) == (2, 30)
    assert result.overall.c_avg_open_set is not None


def test_the_command_prints_draws_and_takes_an_open_set(tmp_path: Path) -> None:
    scores, dev = write(table_of(5), tmp_path / "scores.csv"), write(table_of(6), tmp_path / "dev.csv")
    figures = tmp_path / "figures"
    done = CliRunner().invoke(app, ["score", str(scores), "--calibrate-on", str(dev), "--figures", str(figures)])
    assert done.exit_code == 0, done.output
    assert "calibration is fitted on dev.csv, logistic" in done.output
    assert done.output.count("EER, mean over languages") == 2, "raw, and after calibration"
    assert "10s" in done.output
    assert "en-0" in done.output
    assert (figures / "calibration.png").read_bytes().startswith(b"\x89PNG")
    assert '<svg xmlns="http://www.w3.org/2000/svg"' in (figures / "calibration.svg").read_text()
    opened = write(table_of(7, ("en", "fr", "nl")), tmp_path / "open.csv")
    done = CliRunner().invoke(app, ["score", str(opened), "--open-set", "--calibrate-on", str(dev)])
    assert done.exit_code == 0, done.output
    assert "60 utterances in 2 target languages, 30 in others" in done.output
    assert "C_avg (LRE07), open set" in done.output
    rows = [line.split() for line in done.output.splitlines()]
    assert [row[0] for row in rows if row and row[0] in TARGETS] == ["en", "fr"] * 2, "raw, and after calibration"
    assert "after calibration:" in done.output


def test_a_backend_needs_a_file_to_be_fitted_on_which_is_another_one(tmp_path: Path) -> None:
    scores = write(table_of(5), tmp_path / "scores.csv")
    done = CliRunner().invoke(app, ["score", str(scores), "--backend", "gaussian"])
    assert isinstance(done.exception, ConfigError)
    assert "name it with --calibrate-on" in str(done.exception)
    done = CliRunner().invoke(app, ["score", str(scores), "--calibrate-on", str(scores)])
    assert "90 of 90 utterances have a name that is in scores.csv too" in done.output


def test_drawings_of_an_open_set_need_two_languages(tmp_path: Path) -> None:
    figures = tmp_path / "figures"
    two = write(table_of(8, ("en", "fr", "nl")), tmp_path / "two.csv")
    done = CliRunner().invoke(app, ["score", str(two), "--open-set", "--figures", str(figures)])
    assert done.exit_code == 0, done.output
    one = write(table_of(9, ("en", "nl")), tmp_path / "one.csv")
    done = CliRunner().invoke(app, ["score", str(one), "--open-set", "--figures", str(figures)])
    assert isinstance(done.exception, ConfigError)
    assert "leave out --figures" in str(done.exception)


def test_figures_onto_a_file_are_refused(tmp_path: Path) -> None:
    scores = write(table_of(5), tmp_path / "scores.csv")
    for place in (scores, scores / "below"):
        done = CliRunner().invoke(app, ["score", str(scores), "--figures", str(place)])
        assert isinstance(done.exception, StorageError)
        assert "choose another --figures" in str(done.exception)
