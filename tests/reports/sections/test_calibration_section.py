"""Whether scores can be believed, in a report: numbers of the curves, the sentence, and what is missing."""

import dataclasses
import math

import numpy as np
import pytest

from lightning_modules import scoring
from lightning_modules.detection_curves import det_curve
from lightning_modules.errors import ConfigError
from reports.figures import Believed, calibration_figure, to_svg
from reports.records import ScoreTable, StudyRecord
from reports.sections import calibration
from reports.sections._blocks import Drawing, Table, Text
from tests.reports.helpers import MakeStudy, MakeTrial


def honest(seed: int, *, boast: float = 1.0, num: int = 400) -> ScoreTable:
    """Scores whose posteriors are what is so, times a factor."""
    rng = np.random.default_rng(seed)
    scores = rng.standard_normal((num, 3))
    posteriors = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    truth = (posteriors.cumsum(axis=1) > rng.random((num, 1))).argmax(axis=1)
    targets = ("en", "es", "fr")
    llr = scoring.llr_from_log_likelihoods(boast * scores)
    return ScoreTable(
        utterance=tuple(map(str, range(num))),
        language=tuple(targets[each] for each in truth),
        source=("s",) * num,
        speaker=("s",) * num,
        duration_s=(1.0,) * num,
        targets=targets,
        llr=tuple(map(tuple, llr.tolist())),
    )


@pytest.fixture
def boastful(trial: MakeTrial, make_study: MakeStudy) -> StudyRecord:
    return make_study(trial(0), scores_dev=honest(1, boast=4.0), scores_test=honest(2, boast=4.0))


def test_the_numbers_are_those_of_the_scores(boastful: StudyRecord) -> None:
    raw, calibrated = calibration.summarise(boastful).sets
    table = boastful.scores_test
    assert table is not None
    truth = np.array([table.targets.index(language) for language in table.language])
    assert raw.actual == pytest.approx(
        (scoring.c_avg(table.llr, truth, beta=1.0), scoring.c_avg(table.llr, truth, beta=9.0))
    )
    assert sum(raw.actual) / 2 == pytest.approx(scoring.c_primary(table.llr, truth))
    assert raw.mean_observed == pytest.approx(scoring.macro_accuracy(table.llr, truth))
    assert raw.curves.eer == det_curve(table.llr, truth).eer
    assert calibrated.curves.name == "calibrated"


def test_calibration_by_development_scores_takes_the_boasting_out(boastful: StudyRecord) -> None:
    raw, calibrated = calibration.summarise(boastful).sets
    assert raw.gap > 0.2
    assert calibrated.gap < 0.1
    assert raw.gap_of_decisions > 2 * calibrated.gap_of_decisions
    assert (raw.verdict, calibrated.verdict) == ("overconfident", "as stated, within the interval of its counts")
    said = next(block.text for block in calibration.present(calibration.summarise(boastful)) if isinstance(block, Text))
    assert "Raw scores give the recognised language" in said
    assert "overconfident" in said.split("Calibrated")[0]


def test_timid_scores_are_called_so(trial: MakeTrial, make_study: MakeStudy) -> None:
    summary = calibration.summarise(make_study(trial(0), scores_test=honest(3, boast=0.2)))
    (raw,) = summary.sets
    assert raw.mean_stated < raw.mean_observed
    assert "too timid" in str(calibration.present(summary)[0])


def test_least_costs_never_exceed_actual_ones_or_the_defaults(boastful: StudyRecord) -> None:
    for each in calibration.summarise(boastful).sets:
        pairs = zip(each.curves.least, each.curves.actual, strict=True)
        assert all(least <= min(1.0, actual) + 1e-9 for least, actual in pairs)
    assert (0.0, math.log(9.0)) == calibration.EVALUATED


@pytest.mark.parametrize("without", ["scores", "a language"])
def test_nothing_is_said_where_there_is_nothing_to_say(trial: MakeTrial, make_study: MakeStudy, without: str) -> None:
    table = honest(4)
    alone = dataclasses.replace(table, language=("en",) * len(table.language))
    study = make_study(trial(0), scores_test=None if without == "scores" else alone)
    assert calibration.present(calibration.summarise(study)) == ()


def test_without_development_scores_only_raw_ones_are_shown(trial: MakeTrial, make_study: MakeStudy) -> None:
    summary = calibration.summarise(make_study(trial(0), scores_test=honest(5)))
    assert [each.curves.name for each in summary.sets] == ["raw"]


def test_the_figure_draws_and_the_table_has_a_row_a_set(boastful: StudyRecord) -> None:
    blocks = calibration.present(calibration.summarise(boastful))
    (drawing,) = (block for block in blocks if isinstance(block, Drawing))
    assert "stated probability" in to_svg(drawing.draw(), key=drawing.key, alt=drawing.alt)
    (table,) = (block for block in blocks if isinstance(block, Table))
    assert [row[0].text for row in table.rows] == ["raw", "calibrated"]


def test_honest_scores_are_believed_nine_times_of_ten(trial: MakeTrial, make_study: MakeStudy) -> None:
    sets = [calibration.summarise(make_study(trial(0), scores_test=honest(seed))).sets for seed in range(40)]
    assert sum(each.verdict.startswith("as stated") for (each,) in sets) >= 36


def test_the_equal_error_rate_lies_on_its_curve(boastful: StudyRecord) -> None:
    raw, calibrated = (each.curves for each in calibration.summarise(boastful).sets)
    _, middle, _ = calibration_figure([raw, calibrated]).axes
    dots = [line for line in middle.lines if line.get_marker() == "o"]
    assert [bool(np.all(dot.get_xdata() == dot.get_ydata())) for dot in dots] == [True, True]
    for each in (raw, calibrated):
        above = min(miss for miss, fa in zip(each.p_miss, each.p_fa, strict=True) if miss >= fa)
        below = max(miss for miss, fa in zip(each.p_miss, each.p_fa, strict=True) if miss < fa)
        assert below <= each.eer <= above


def _curves(table: ScoreTable) -> Believed:
    (only,) = calibration.curves_of({"raw": np.array(table.llr)}, table)
    return only


def test_a_language_without_utterances_keeps_its_share_of_the_probability() -> None:
    table = honest(6, num=4000)
    rows = [row for row, language in enumerate(table.language) if language != "fr"]
    spoken = dataclasses.replace(
        table, language=tuple(table.language[row] for row in rows), llr=tuple(table.llr[row] for row in rows)
    )
    posteriors = np.exp(scoring.log_posteriors_from_llr(spoken.llr))
    assert max(_curves(spoken).stated) <= posteriors.max()
    assert min(_curves(spoken).stated) < 0.4, "of three languages the largest can be less than a half"


@pytest.mark.parametrize(("language", "num_spoken"), [("en", 1), ("nl", 0)])
def test_curves_of_fewer_than_two_languages_are_refused(language: str, num_spoken: int) -> None:
    table = honest(7, num=20)
    with pytest.raises(ConfigError, match=f"at least two target languages but there are some in {num_spoken}: leave"):
        _curves(dataclasses.replace(table, language=(language,) * 20))
