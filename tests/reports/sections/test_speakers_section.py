"""Errors by speaker: who is recognised how often, the least recognised first."""

import dataclasses

from reports.records import ScoreTable, StudyRecord
from reports.sections._blocks import Table, Text
from reports.sections.speakers import SECTION, present, summarise


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


def test_without_test_data_they_are_those_of_development(demo: StudyRecord) -> None:
    found = summarise(dataclasses.replace(demo, scores_test=None))
    assert found is not None
    assert found.split == "development"
    assert SECTION.blocks(dataclasses.replace(demo, scores_test=None, scores_dev=None)) == ()
    assert SECTION.blocks(dataclasses.replace(demo, scores_test=table_of(ROWS[0]))) == ()
