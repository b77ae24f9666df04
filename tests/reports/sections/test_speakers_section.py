"""Errors by speaker: who is recognised how often, the least recognised first."""

import dataclasses
from base64 import b64encode
from pathlib import Path

from reports.records import ScoreTable, StudyRecord
from reports.render import write_report
from reports.sections._blocks import Table, Text
from reports.sections.speakers import SECTION, present, summarise, worth_hearing


def table_of(*rows: tuple[str, str, str]) -> ScoreTable:
    """(speaker, language, recognised as) of each utterance, of two target languages."""
    speaker, language, guess = zip(*rows, strict=True)
    return ScoreTable(
        utterance=tuple(f"u{number}" for number in range(len(rows))),
        language=language,
        source=tuple(f"source-{each}" for each in language),
        speaker=speaker,
        duration_s=(6.0,) * len(rows),
        targets=("en", "fr"),
        llr=tuple((1.0, -1.0) if each == "en" else (-1.0, 1.0) for each in guess),
    )


ROWS = (
    ("anna", "en", "en"),
    ("anna", "en", "en"),
    ("bob", "en", "fr"),
    ("bob", "en", "en"),
    ("chloe", "fr", "en"),
    ("chloe", "fr", "en"),
    ("chloe", "fr", "en"),
    ("dora", "de", "en"),
)


def test_speakers_are_told_by_their_recall_and_what_they_are_taken_for(demo: StudyRecord) -> None:
    found = summarise(dataclasses.replace(demo, scores_test=table_of(*ROWS)))
    assert found is not None
    assert [(each.speaker, each.num_right, each.num, each.taken_for) for each in found.found] == [
        ("chloe", 0, 3, "en"),
        ("bob", 1, 2, "fr"),
        ("anna", 2, 2, ""),
    ], "dora speaks no target language"
    text, table = present(found)
    assert isinstance(text, Text)
    assert text.text == (
        "Of 3 test speakers the least recognised is at 0.0\N{NO-BREAK SPACE}% and the best at "
        "100.0\N{NO-BREAK SPACE}%; 1 is recognised less often than by guessing (50.0\N{NO-BREAK SPACE}%): 1 of fr."
    )
    assert isinstance(table, Table)
    assert table.rows[0][-1].text == "en"


def test_the_surest_mistake_with_each_speaker_can_be_heard(demo: StudyRecord, tmp_path: Path) -> None:
    table = table_of(*ROWS)
    surer = tuple((9.0, -9.0) if each == "u5" else llr for each, llr in zip(table.utterance, table.llr, strict=True))
    study = dataclasses.replace(demo, scores_test=dataclasses.replace(table, llr=surer))
    assert worth_hearing(summarise(study)) == ("u5", "u2")
    assert not (tmp_path / "clips").exists()
    files = write_report(dataclasses.replace(study, clips={"u5": b"of chloe"}), tmp_path)
    assert "chloe (fr), taken for en: u5" in files.html.read_text()
    assert f'src="data:audio/mpeg;base64,{b64encode(b"of chloe").decode()}"' in files.html.read_text()
    assert "- [chloe (fr), taken for en: u5](clips/mistake-00.mp3)" in files.markdown.read_text()
    assert (files.clips / "mistake-00.mp3").read_bytes() == b"of chloe"
    assert "u2" not in files.html.read_text(), "only what there is"


def test_without_test_data_they_are_those_of_development(demo: StudyRecord) -> None:
    found = summarise(dataclasses.replace(demo, scores_test=None))
    assert found is not None
    assert found.split == "development"
    assert SECTION.blocks(dataclasses.replace(demo, scores_test=None, scores_dev=None)) == ()
    assert SECTION.blocks(dataclasses.replace(demo, scores_test=table_of(ROWS[0]))) == ()
