"""Attention in a report: what may be said of weights, and when."""

import dataclasses
from pathlib import Path

import pytest

from reports.evaluation_records import AttentionResult, Evaluation, RelevanceExample
from reports.figures import to_svg
from reports.records import StudyRecord
from reports.render import write_report
from reports.sections import attention
from reports.sections._blocks import Drawing, Table, Text
from reports.statistics import sign_test
from tests.reports.helpers import MakeStudy, MakeTrial, evaluation, result

EXAMPLE = RelevanceExample(
    utterance="u",
    language="en",
    recognised="es",
    duration_s=0.4,
    weights=(0.25, 0.75),
    column_s=0.1,
    bands=((0.0, 1.0),) * 4,
)


def attended(worse: int, better: int, *, clean_share: float | None = None) -> AttentionResult:
    return AttentionResult(
        num_utterances=80,
        dropped=0.3,
        window_s=0.5,
        clean_share=clean_share,
        accuracy=0.6,
        without_relevant=0.3,
        without_random=0.5,
        num_sources=worse + better + 1,
        num_sources_worse=worse,
        num_sources_better=better,
        examples=(EXAMPLE,) * 5,
    )


def scored(**conditions: AttentionResult) -> Evaluation:
    results = [
        dataclasses.replace(result(name.replace("_", "-"), 0.6), attention=found) for name, found in conditions.items()
    ]
    return evaluation(1, *results)


def blocks(make: MakeStudy, trial: MakeTrial, *evaluations: Evaluation) -> tuple[str, list[Table], list[Drawing]]:
    study: StudyRecord = make(trial(1), evaluations=evaluations)
    found = attention.SECTION.blocks(study)
    return (
        " ".join(block.text for block in found if isinstance(block, Text)),
        [block for block in found if isinstance(block, Table)],
        [block for block in found if isinstance(block, Drawing)],
    )


def test_a_study_whose_networks_do_not_attend_has_no_section(trial: MakeTrial, make_study: MakeStudy) -> None:
    assert blocks(make_study, trial, evaluation(1, result("10s", 0.5))) == ("", [], [])


@pytest.mark.parametrize(
    ("worse", "better", "said"),
    [
        (9, 0, "the weights do show what the scores rest on"),
        (0, 9, "the weights mislead"),
        (4, 2, "is not shown"),
        (0, 0, "is not shown"),
    ],
)
def test_what_weights_are_worth_is_said_only_where_sources_agree(
    trial: MakeTrial, make_study: MakeStudy, worse: int, better: int, said: str
) -> None:
    text, (table,), _ = blocks(make_study, trial, scored(**{"10s": attended(worse, better)}))
    assert said in text
    assert f"cost more in {worse} of" in text
    assert "half without it" not in text
    assert "clean half" not in " ".join(column.title for column in table.columns)


def test_the_clean_half_is_told_by_noise_and_the_noisiest_is_drawn(trial: MakeTrial, make_study: MakeStudy) -> None:
    found = scored(
        **{
            "10s": attended(3, 3),
            "10s_noise_20db_first_half": attended(3, 3, clean_share=0.5312),
            "10s_noise_5db_first_half": attended(3, 3, clean_share=0.62),
        }
    )
    text, (table,), (drawing,) = blocks(make_study, trial, found)
    assert "53.1\N{NO-BREAK SPACE}% (10s-noise-20db), 62.0\N{NO-BREAK SPACE}% (10s-noise-5db)" in text
    assert [row[2].text for row in table.rows] == ["–", "53.1\N{NO-BREAK SPACE}%", "62.0\N{NO-BREAK SPACE}%"]
    assert "10s-noise-5db-first-half" in drawing.caption
    svg = to_svg(drawing.draw())
    assert svg.count("en, taken for es") == attention.MAX_SHOWN
    assert "<image" in svg, "what was heard"
    assert svg == to_svg(drawing.draw()), "the same bytes again"


def test_a_sign_test_is_that_of_scipy() -> None:
    from scipy.stats import binomtest

    for above in range(12):
        for below in range(12):
            expected = binomtest(above, above + below).pvalue if above + below else 1.0
            assert sign_test(above, below) == pytest.approx(expected)


def test_several_trials_share_one_error_rate(trial: MakeTrial, make_study: MakeStudy) -> None:
    alone = scored(**{"10s": attended(7, 0)})
    text, _, _ = blocks(make_study, trial, alone)
    assert "the weights do show what the scores rest on" in text
    text, _, _ = blocks(make_study, trial, *(dataclasses.replace(alone, corpus=f"c{place}") for place in range(4)))
    assert "the weights do show" not in text
    assert "0.062, sign test over sources, corrected" in text


def test_two_versions_of_a_corpus_have_figures_and_names_of_their_own(
    trial: MakeTrial, make_study: MakeStudy, tmp_path: Path
) -> None:
    first = scored(**{"10s": attended(7, 0)})
    other = dataclasses.replace(first, data_hash="e")
    _, tables, drawings = blocks(make_study, trial, first, other)
    assert {drawing.key for drawing in drawings} == {"attention-1-prompts-d-test", "attention-1-prompts-e-test"}
    assert [table.caption for table in tables] == [
        f"Attention of trial 1 on prompts {version}, test: deletions, raw scores" for version in ("d", "e")
    ]
    page = write_report(make_study(trial(1), evaluations=(first, other)), tmp_path).html.read_text()
    assert "on prompts d, test" in page
    assert "on prompts e, test" in page
