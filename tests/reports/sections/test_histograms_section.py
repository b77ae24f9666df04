"""Score histograms: spoken languages against others, each language counting the same."""

import dataclasses

import pytest

from reports.figures import to_svg
from reports.records import ScoreTable, StudyRecord
from reports.sections._blocks import Drawing, Text
from reports.sections.histograms import EDGES, SECTION, present, summarise

TABLE = ScoreTable(
    utterance=("a", "b", "c"),
    language=("en", "en", "fr"),
    source=("s", "s", "t"),
    speaker=("s", "s", "t"),
    duration_s=(6.0, 6.0, 6.0),
    targets=("en", "fr"),
    llr=((2.1, -2.1), (-100.0, 100.0), (-1.1, 1.1)),
)


def test_each_language_counts_the_same_and_what_lies_beyond_is_in_the_outermost_bins(demo: StudyRecord) -> None:
    (raw,) = summarise(dataclasses.replace(demo, scores_test=TABLE, scores_dev=None))
    assert raw.spoken.above == pytest.approx(0.75), "a half of English, all of French"
    assert raw.others.above == pytest.approx(0.25)
    assert raw.spoken.quantiles == (-100.0, 1.1, 2.1)
    assert sum(raw.histogram.spoken) == pytest.approx(1.0)
    assert raw.histogram.spoken[0] == pytest.approx(0.25)
    assert raw.histogram.others[-1] == pytest.approx(0.25)
    bin_of_two = next(i for i, edge in enumerate(EDGES) if edge > 2.1) - 1
    assert raw.histogram.spoken[bin_of_two] == pytest.approx(0.25)


def test_calibrated_scores_stand_beside_raw_ones(demo: StudyRecord) -> None:
    text, drawing, _ = present(summarise(demo))
    assert isinstance(text, Text)
    assert text.text.startswith("Raw scores favour the spoken language in ")
    assert "Calibrated scores favour the spoken language in " in text.text
    assert isinstance(drawing, Drawing)
    svg = to_svg(drawing.draw())
    assert "calibrated" in svg
    assert "other languages" in svg


def test_without_scores_of_several_languages_there_is_none(demo: StudyRecord) -> None:
    assert SECTION.blocks(dataclasses.replace(demo, scores_test=None)) == ()
    one = dataclasses.replace(TABLE, language=("en", "en", "de"))
    assert SECTION.blocks(dataclasses.replace(demo, scores_test=one)) == ()
