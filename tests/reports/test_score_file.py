"""Files of scores: what is read, what it amounts to, and what is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lightning_modules.errors import ConfigError, LidstudyError, StorageError
from lightning_modules.scoring import score
from reports.score_file import score_table
from reports.score_reading import read_scores

ORACLE: dict[str, Any] = json.loads((Path(__file__).parents[1] / "data" / "detection_cost.json").read_text())
GOOD = "utterance,language,en,es\na,en,1.5,-1.5\nb,es,-2,2\nc,es,0.5,-0.5\n"


def oracle_frame(scores: str) -> pd.DataFrame:
    """The oracle's trials as a file has them; scores names llr or log_posteriors."""
    frame = pd.DataFrame(ORACLE[scores], columns=ORACLE["languages"])
    frame.insert(0, "language", ORACLE["truth"])
    frame.insert(0, "utterance", [f"u{number}" for number in range(len(frame))])
    return frame


def write(folder: Path, text: str) -> Path:
    path = folder / "scores.csv"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(("kind", "scores"), [("llr", "llr"), ("log_posterior", "log_posteriors")])
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_both_kinds_in_both_formats_match_the_oracle(tmp_path: Path, suffix: str, kind: str, scores: str) -> None:
    path = tmp_path / f"scores{suffix}"
    frame = oracle_frame(scores)
    frame.to_csv(path, index=False) if suffix == ".csv" else frame.to_parquet(path)
    result = score_table(read_scores(path), kind)
    assert result.overall.c_primary == pytest.approx(ORACLE["expected"]["c_primary"], abs=1e-6)
    assert result.overall.cllr == pytest.approx(ORACLE["expected"]["cllr_multiclass_bits"], abs=1e-5)
    assert [each.scores.eer for each in result.parts.languages] == pytest.approx(
        ORACLE["expected"]["eer_per_language"], abs=1e-6
    )
    assert result.num_utterances == sum(each.num_utterances for each in result.parts.languages) == 153


def test_a_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "utterance,language,en,fr, fr\na,en,1,2,3\n")
    with pytest.raises(StorageError, match="has two columns 'fr'"):
        read_scores(path)


def test_the_overall_scores_are_those_of_training(tmp_path: Path) -> None:
    frame = oracle_frame("llr")
    frame.to_csv(tmp_path / "scores.csv", index=False)
    truth = [ORACLE["languages"].index(language) for language in ORACLE["truth"]]
    assert score_table(read_scores(tmp_path / "scores.csv")).overall == score(ORACLE["llr"], truth)


def test_languages_come_in_the_order_of_the_columns(tmp_path: Path) -> None:
    result = score_table(read_scores(write(tmp_path, GOOD)))
    assert [(each.language, each.num_utterances, each.scores.recall) for each in result.parts.languages] == [
        ("en", 1, 1.0),
        ("es", 2, 0.5),
    ]
    assert result.confusion == ((1, 0), (1, 1))


def test_columns_of_a_study_are_read_and_counted(tmp_path: Path) -> None:
    text = "utterance,language,source,speaker,duration_s,en,es\na,en,x,p,3.5,1,-1\nb,es,y,,,-1,1\n"
    table = read_scores(write(tmp_path, text))
    assert (table.source, table.speaker, table.targets) == (("x", "y"), ("p", ""), ("en", "es"))
    assert table.duration_s[0] == 3.5
    assert np.isnan(table.duration_s[1])
    result = score_table(table)
    assert (result.num_sources, result.num_speakers) == (2, 1)


def test_absent_columns_are_empty(tmp_path: Path) -> None:
    table = read_scores(write(tmp_path, GOOD))
    assert table.source == table.speaker == ("", "", "")
    assert np.isnan(table.duration_s).all()


def test_languages_that_spell_null_or_false_are_languages(tmp_path: Path) -> None:
    """Min Nan is `nan`, Norwegian is `no`."""
    table = read_scores(write(tmp_path, "utterance,language,nan,no\na,nan,1,-1\nb,no,-1,1\n"))
    assert table.language == table.targets == ("nan", "no")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty; a header"),
        ("utterance,language,en,es\n", "holds no utterance"),
        ("utterance,en,es\na,1,2\n", "lacks the column language; it has utterance, en, es"),
        ("en,es\n1,2\n", "lacks the column utterance and language"),
        ("utterance,language,en\na,en,1\n", "at least two target languages but has en"),
        (GOOD + "d,fr,1,2\n", "row 4 has the language 'fr', which has no column; there is en, es"),
        (GOOD + "d,en,high,2\n", "row 4, column en must be a finite number but is 'high'"),
        (GOOD + "d,en,1,\n", "row 4, column es must be a finite number but is ''"),
        (GOOD + "d,en,1,-inf\n", "row 4, column es must be a finite number but is '-inf'"),
        (GOOD + "d,en,nan,1\n", "row 4, column en must be a finite number"),
        (GOOD + "d,en,1\n", "row 4, column es must be a finite number"),
        (GOOD + "d,,1,2\n", "row 4, column language is empty"),
        (GOOD + "a,en,1,2\n", "utterance 'a' stands in row 1 and again in row 4"),
        ("utterance,language,en,es\na,en,1,2\nb,en,1,2\n", "every utterance is in en"),
        ("utterance,language,en,es,fr\na,en,1,2,3\nb,es,1,2,3\n", "no utterance is in fr"),
        (GOOD + "d,en,1,2,3\n", "cannot be read as CSV"),
        ("utterance,language,en,es\na,en,1,2,3\nb,es,1,2,3\n", "more fields than the header"),
        ("utterance,language,duration_s,en,es\na,en,long,1,2\nb,es,1,1,2\n", "row 1, column duration_s"),
    ],
)
def test_what_is_wrong_is_named_with_its_file(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(LidstudyError) as raised:
        read_scores(path)
    assert message in str(raised.value)
    assert str(path) in str(raised.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LidstudyError, match="no such file"):
        read_scores(tmp_path / "scores.csv")


@pytest.mark.parametrize("name", ["scores.parquet", "scores.csv"])
def test_a_file_of_another_format_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"\x89PNG\xff\xfe\x00,\n\x00\xff")
    with pytest.raises(LidstudyError, match=r"scores\.(parquet|csv)"):
        read_scores(path)


def test_null_scores_in_parquet_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "scores.parquet"
    pd.DataFrame({"utterance": ["a", "b"], "language": ["en", "es"], "en": [1.0, None], "es": [0.0, 1.0]}).to_parquet(
        path
    )
    with pytest.raises(LidstudyError, match="row 2, column en"):
        read_scores(path)


def test_llrs_are_not_taken_for_log_posteriors(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"row 1, column en holds 1\.5: use --kind llr"):
        score_table(read_scores(write(tmp_path, GOOD)), "log_posterior")


def test_posteriors_are_not_taken_for_llrs(tmp_path: Path) -> None:
    (tmp_path / "scores.csv").write_text("utterance,language,en,es\na,en,0.9,0.1\nb,es,0.25,0.75\n")
    with pytest.raises(ConfigError, match="sum to 1, as posteriors do: take their logarithms"):
        score_table(read_scores(tmp_path / "scores.csv"))


@pytest.mark.parametrize("rows", ["a,en,0.91,0.1\nb,es,0.25,0.74\n", "a,en,90,10\nb,es,25,75\n"])
def test_rounded_posteriors_and_percentages_are_none_either(tmp_path: Path, rows: str) -> None:
    (tmp_path / "scores.csv").write_text("utterance,language,en,es\n" + rows)
    with pytest.raises(ConfigError, match="as posteriors do: take their logarithms"):
        score_table(read_scores(tmp_path / "scores.csv"))


def test_tables_with_tabs_are_read_and_semicolons_are_told(tmp_path: Path) -> None:
    text = "utterance,language,en,es\na,en,1,-1\nb,es,-1,1\n"
    (tmp_path / "scores.tsv").write_text(text.replace(",", "\t"))
    assert read_scores(tmp_path / "scores.tsv").targets == ("en", "es")
    (tmp_path / "scores.csv").write_text(text.replace(",", ";"))
    with pytest.raises(StorageError, match="separated by semicolons, not by commas"):
        read_scores(tmp_path / "scores.csv")


def test_log_posteriors_are_not_taken_for_llrs(tmp_path: Path) -> None:
    oracle_frame("log_posteriors").to_csv(tmp_path / "scores.csv", index=False)
    with pytest.raises(ConfigError, match="use --kind log_posterior"):
        score_table(read_scores(tmp_path / "scores.csv"), "llr")


def test_an_unknown_kind_is_refused_with_those_allowed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'probability'; allowed: llr, log_posterior"):
        score_table(read_scores(write(tmp_path, GOOD)), "probability")
