"""Studies side by side: what may be said of two that scored the same utterances, and what may not."""

import csv
import dataclasses
import io
from pathlib import Path

import pandas as pd
import pytest

from reports.comparison import Comparison, present, summarise
from reports.figures import to_svg
from reports.records import ScoreTable, StudyRecord
from reports.render import write_comparison
from reports.sections._blocks import Drawing, Items, Table
from tests.reports.helpers import MakeStudy, MakeTrial, replicates

RIGHT, WRONG = (1.0, 0.0), (0.0, 1.0)


def scores(*rows: tuple[str, tuple[float, ...]]) -> ScoreTable:
    """(source, scores) of utterances in the first of two languages."""
    sources, llr = zip(*rows, strict=True)
    count = len(rows)
    return ScoreTable(
        utterance=tuple(f"u{place}" for place in range(count)),
        language=("en",) * count,
        source=sources,
        speaker=("s",) * count,
        duration_s=(3.0,) * count,
        targets=("en", "es"),
        llr=llr,
    )


def scored_on(study: StudyRecord, name: str, table: ScoreTable | None, **corpus: str) -> StudyRecord:
    manifest = dataclasses.replace(study.manifest, name=name, corpus={**study.manifest.corpus, **corpus})
    metrics = {"test/accuracy": 0.4, "test/c_primary": 0.9, "test/p_above_chance": 0.02} if table else {}
    return dataclasses.replace(study, manifest=manifest, scores_test=table, test_metrics=metrics)


def said(comparison: Comparison) -> str:
    return " ".join(line for block in present(comparison) if isinstance(block, Items) for line in block.items)


def test_utterances_that_both_scored_are_counted_by_source(trial: MakeTrial, make_study: MakeStudy) -> None:
    study = make_study(trial(0))
    first = scored_on(study, "first", scores(("a", RIGHT), ("a", RIGHT), ("b", WRONG), ("c", RIGHT)))
    other = scored_on(study, "other", scores(("a", WRONG), ("a", RIGHT), ("b", RIGHT), ("c", RIGHT)))
    (pair,) = summarise([first, other]).pairs
    assert (pair.num_utterances, pair.only_first, pair.only_other) == (4, 1, 1)
    assert (pair.num_sources, pair.sources_first, pair.sources_other) == (3, 1, 1)
    assert pair.p_value == 1.0
    assert "which is better is not shown" in said(summarise([first, other]))


def test_systems_that_tell_other_languages_apart_are_not_compared(trial: MakeTrial, make_study: MakeStudy) -> None:
    first = scored_on(make_study(trial(0)), "first", scores(("a", RIGHT)))
    manifest = dataclasses.replace(first.manifest, name="two", languages=("en", "es"))
    assert summarise([first, dataclasses.replace(first, manifest=manifest)]).pairs == ()


def test_what_the_studies_do_not_share_is_said(trial: MakeTrial, make_study: MakeStudy) -> None:
    first = scored_on(make_study(trial(0)), "first", scores(("a", RIGHT)))
    config = first.manifest.config | {"trial": {"training": {"max_epochs": 3}}}
    longer = dataclasses.replace(first, manifest=dataclasses.replace(first.manifest, name="longer", config=config))
    assert "The studies differ in settings of all trials (max_epochs – / 3): " in said(summarise([first, longer]))
    other = dataclasses.replace(first, manifest=dataclasses.replace(first.manifest, name="other", parameters=()))
    assert "The studies differ in the search space (clipping.kind, max_norm, cell, " in said(summarise([first, other]))


def test_detection_error_of_several_systems_is_drawn_where_they_scored_the_same(
    trial: MakeTrial, make_study: MakeStudy
) -> None:
    both = dataclasses.replace(scores(("a", RIGHT), ("b", WRONG), ("c", RIGHT)), language=("en", "es", "en"))
    confused = dataclasses.replace(both, llr=((0.1, 0.0), (0.2, 0.0), (-0.5, 0.0)))
    study = make_study(trial(0))
    first, other = scored_on(study, "first", both), scored_on(study, "other", confused)
    elsewhere = scored_on(study, "elsewhere", both, data_hash="another")
    (drawing,) = (block for block in present(summarise([first, other, elsewhere])) if isinstance(block, Drawing))
    drawn = to_svg(drawing.draw())
    assert ("first (0.000)" in drawn, "other (" in drawn, "elsewhere" in drawn) == (True, True, False)
    assert drawings_of([first, elsewhere]) == []
    assert drawings_of([first, scored_on(study, "english", scores(("a", RIGHT)))]) == [], "one language was spoken"


def drawings_of(studies: list[StudyRecord]) -> list[Drawing]:
    return [block for block in present(summarise(studies)) if isinstance(block, Drawing)]


def test_a_study_is_called_better_only_by_sources_and_after_correction(trial: MakeTrial, make_study: MakeStudy) -> None:
    study, sources = make_study(trial(0)), "abcdefg"
    good = scored_on(study, "good", scores(*((source, RIGHT) for source in sources)))
    bad, worse = (scored_on(study, name, scores(*((each, WRONG) for each in sources))) for name in ("bad", "worse"))
    alone, both = summarise([good, bad]), summarise([good, bad, worse])
    assert alone.pairs[0].p_value == pytest.approx(2 / 2**7)
    assert [pair.p_value for pair in both.pairs] == [pytest.approx(2 * 2 / 2**7)] * 2
    assert "good is better on these sources" in said(alone)
    assert "good is better on these sources" in said(summarise([bad, good])), "whichever is named first"
    many = [*(("a", RIGHT) for _ in range(50)), ("b", RIGHT)]
    one_source = summarise(
        [
            scored_on(study, "one", scores(*many)),
            scored_on(study, "two", scores(*((source, WRONG) for source, _ in many))),
        ]
    )
    assert "not shown" in said(one_source), "fifty utterances of one source are no fifty sources"


def test_other_data_is_not_paired_and_what_differs_is_said(trial: MakeTrial, make_study: MakeStudy) -> None:
    study = make_study(trial(0))
    table = scores(("a", RIGHT), ("b", RIGHT))
    found = summarise([scored_on(study, "one", table), scored_on(study, "two", table, data_hash="another")])
    assert found.pairs == ()
    assert found.differing == ("the data",)
    assert "differ in the data" in said(found)
    alike = summarise([scored_on(study, "one", table), scored_on(study, "two", table)])
    assert alike.differing == ()
    assert "has chosen on test data" in said(alike)


def test_a_study_without_a_look_at_test_data_is_named(trial: MakeTrial, make_study: MakeStudy) -> None:
    study = make_study(trial(0))
    found = summarise([scored_on(study, "one", scores(("a", RIGHT))), scored_on(study, "two", None)])
    assert found.pairs == ()
    assert "Not scored on test data: two." in said(found)


def test_seeds_of_the_chosen_configuration_give_its_spread(trial: MakeTrial, make_study: MakeStudy) -> None:
    three = make_study(*replicates(trial, 0, (0.5, 0.6, 0.7), **{"encoder.cell": "gru"}))
    one = make_study(trial(0))
    found = summarise([scored_on(three, "three", None), scored_on(one, "one", None)])
    (table,) = (block for block in present(found) if isinstance(block, Table))
    objective, seeds = ([row[place].text for row in table.rows] for place in (3, 4))
    assert objective[0] == "0.600 ± 0.100"
    assert seeds == ["3", "1"]
    assert "one seed in one:" in said(found)


def test_its_files_are_those_of_a_report_with_the_trials_of_all(demo: StudyRecord, tmp_path: Path) -> None:
    other = scored_on(demo, "other", demo.scores_test)
    files = write_comparison([demo, other], tmp_path)
    assert "demo beside other" in files.html.read_text()
    assert "\\toprule" in files.latex.read_text()
    rows = list(csv.DictReader(io.StringIO(files.csv.read_text())))
    assert [row["study"] for row in rows] == ["demo"] * len(demo.trials) + ["other"] * len(demo.trials)
    assert list(pd.read_parquet(files.parquet)["study"]) == [row["study"] for row in rows]
