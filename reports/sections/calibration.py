"""Whether the chosen trial's test scores can be believed: as it gave them, and calibrated on development data."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from lightning_modules import scoring
from lightning_modules.detection_curves import cost_curve, det_curve, reliability
from reports.figures import Believed, calibration_figure
from reports.records import ScoreTable, StudyRecord
from reports.sections._blocks import Block, Cell, Column, Drawing, Section, Table, Text
from reports.sections._text import number, numeric, share

LOG_BETA: Final = tuple(float(point) for point in np.linspace(-3.0, 5.0, 33))
EVALUATED: Final = (0.0, math.log(9.0))
"""Where NIST's C_primary looks."""


@dataclass(frozen=True, kw_only=True)
class Stated:
    """One set of scores, and what its curves come to.

    Attributes:
        gap: mean over utterances of |stated - observed|.
        mean_stated: mean stated probability of the recognised language.
        mean_observed: share of utterances that were recognised.
        eer: of all languages' detectors under one threshold.
        actual: cost over the default's at ln β = 0 and ln 9.
        least: the same at the best threshold.
    """

    curves: Believed
    gap: float
    mean_stated: float
    mean_observed: float
    eer: float
    actual: tuple[float, float]
    least: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Raw and calibrated scores; none where no test data was scored.

    Attributes:
        scored: what each score is of, `utterance` or `segment`.
    """

    sets: tuple[Stated, ...] = ()
    scored: str = "utterance"


def summarise(study: StudyRecord) -> Calibration:
    """Raw test scores, and the same calibrated on development scores where these are on record."""
    test, development = study.scores_test, study.scores_dev
    if test is None or not _has_all_languages(test):
        return Calibration()
    llr, truth = np.array(test.llr), _truth(test)
    sets = [_stated("raw", llr, truth)]
    if development is not None and development.targets == test.targets and _has_all_languages(development):
        fitted = scoring.fit_calibration(scoring.log_posteriors_from_llr(development.llr), _truth(development))
        calibrated = fitted.apply(scoring.log_posteriors_from_llr(llr))
        sets.append(_stated("calibrated", scoring.llr_from_log_likelihoods(calibrated), truth))
    return Calibration(sets=tuple(sets), scored=study.manifest.scored)


def curves_of(scores: dict[str, np.ndarray], table: ScoreTable) -> list[Believed]:
    """Curves of log-likelihood ratios (N, L) by name, of utterances in target languages."""
    rows = [row for row, language in enumerate(table.language) if language in table.targets]
    truth = np.array([table.targets.index(table.language[row]) for row in rows])
    present = np.unique(truth)
    return [
        _stated(name, llr[rows][:, present], np.searchsorted(present, truth)).curves for name, llr in scores.items()
    ]


def _has_all_languages(table: ScoreTable) -> bool:
    return set(table.language) == set(table.targets)


def _truth(table: ScoreTable) -> np.ndarray:
    return np.array([table.targets.index(language) for language in table.language])


def _stated(name: str, llr: np.ndarray, truth: np.ndarray) -> Stated:
    believed, det = reliability(llr, truth), det_curve(llr, truth)
    costs, points = cost_curve(llr, truth, LOG_BETA), cost_curve(llr, truth, EVALUATED)
    total = believed.amount.sum()
    return Stated(
        curves=Believed(
            name=name,
            **{
                key: tuple(float(value) for value in values)
                for key, values in {
                    "stated": believed.stated,
                    "observed": believed.observed,
                    "low": believed.low,
                    "high": believed.high,
                    "p_miss": det.p_miss,
                    "p_fa": det.p_fa,
                    "log_beta": costs.log_beta,
                    "actual": costs.actual,
                    "least": costs.least,
                }.items()
            },
        ),
        gap=believed.gap,
        mean_stated=float((believed.stated * believed.amount).sum() / total),
        mean_observed=float((believed.observed * believed.amount).sum() / total),
        eer=det.eer,
        actual=(float(points.actual[0]), float(points.actual[1])),
        least=(float(points.least[0]), float(points.least[1])),
    )


def present(calibration: Calibration) -> tuple[Block, ...]:
    """What it comes to in a sentence, the curves, and their numbers; nothing without test scores."""
    if not calibration.sets:
        return ()
    sets = calibration.sets
    drawing = Drawing(
        key="calibration",
        alt="Three panels: stated probability against the share that was right, misses against false alarms, and cost "
        "against the weight of false alarms, of raw and of calibrated test scores.",
        caption=f"Left: of the {calibration.scored}s given a language at some probability, how many are right (bars: "
        "95 % intervals; dotted: as stated). Middle: all languages' detectors under one threshold, on normal deviates. "
        "Right: C_avg at the threshold for each weight β of false alarms, over what always saying no (or yes) costs.",
        draw=lambda: calibration_figure([each.curves for each in sets]),
    )
    return (Text(" ".join(_sentence(each, calibration.scored) for each in sets)), drawing, _table(calibration))


def _sentence(each: Stated, scored: str) -> str:
    text = f"{each.curves.name.capitalize()} scores give the recognised language {share(each.mean_stated)} on average, "
    text += f"and are right on {share(each.mean_observed)} of the {scored}s"
    inside = all(
        low <= stated <= high
        for low, stated, high in zip(each.curves.low, each.curves.stated, each.curves.high, strict=True)
    )
    if inside:
        return f"{text}: as stated, within the intervals of every bin."
    return f"{text}: {'overconfident' if each.mean_stated > each.mean_observed else 'too timid'}."


def _table(calibration: Calibration) -> Table:
    columns = (
        Column("scores", numeric=False),
        Column("stated less observed", hint="mean of the difference in the bin of each score"),
        Column("EER, one threshold"),
        Column("cost, β = 1", hint="over what always saying no costs"),
        Column("least"),
        Column("cost, β = 9", hint="over what always saying no costs"),
        Column("least"),
    )
    rows = tuple(
        (
            Cell(each.curves.name),
            *(
                numeric(value, number(value))
                for value in (each.gap, each.eer, each.actual[0], each.least[0], each.actual[1], each.least[1])
            ),
        )
        for each in calibration.sets
    )
    return Table(caption="Calibration on test data", columns=columns, rows=rows)


SECTION = Section(key="calibration", title="Calibration", summarise=summarise, present=present)
