"""Whether the chosen trial's test scores can be believed: as it gave them, and calibrated on development data."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from lightning_modules.detection_curves import cost_curve, det_curve
from lightning_modules.errors import ConfigError
from lightning_modules.reliability import Interval, reliability_of_decisions, reliability_of_guesses
from reports.figures import Believed, calibration_figure
from reports.records import ScoreTable, StudyRecord
from reports.sections._blocks import Block, Cell, Column, Drawing, Section, Table, Text, numeric
from reports.sections._scores import calibrated_on
from reports.wording import number, share

LOG_BETA: Final = tuple(float(point) for point in np.linspace(-3.0, 5.0, 33))
EVALUATED: Final = (0.0, math.log(9.0))
"""Where NIST's C_primary looks."""


@dataclass(frozen=True, kw_only=True)
class Stated:
    """One set of scores, and what its curves come to.

    Every language counts the same.

    Attributes:
        gap: mean over utterances of |stated - observed|, of the recognised language.
        gap_of_decisions: the same over all pairs of utterance and target language.
        mean_stated: mean stated probability of the recognised language.
        mean_observed: share of utterances that were recognised.
        interval: of mean_observed, as if utterances were independent.
        actual: cost over the default's at ln β = 0 and ln 9.
        least: the same at the best threshold.
    """

    curves: Believed
    gap: float
    gap_of_decisions: float
    mean_stated: float
    mean_observed: float
    interval: Interval
    actual: tuple[float, float]
    least: tuple[float, float]

    @property
    def verdict(self) -> str:
        """What the mean stated probability is against the interval of the share that was right."""
        if self.mean_stated > self.interval.high:
            return "overconfident"
        return "too timid" if self.mean_stated < self.interval.low else "as stated, within the interval of its counts"


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
    if test is None or not has_all_languages(test):
        return Calibration()
    llr, truth = np.array(test.llr), truth_of(test)
    sets = [_stated("raw", llr, truth)]
    if development is not None and (calibrated := calibrated_on(development, test)) is not None:
        sets.append(_stated("calibrated", calibrated, truth))
    return Calibration(sets=tuple(sets), scored=study.manifest.scored)


def curves_of(scores: dict[str, np.ndarray], table: ScoreTable) -> list[Believed]:
    """Curves of log-likelihood ratios (N, L) by name, of utterances in target languages.

    Raises:
        ConfigError: where fewer than two target languages have utterances.
    """
    rows = [row for row, language in enumerate(table.language) if language in table.targets]
    truth = np.array([table.targets.index(table.language[row]) for row in rows], dtype=np.int64)
    if (num_spoken := len(np.unique(truth))) < 2:  # noqa: PLR2004
        raise ConfigError(
            f"curves need utterances in at least two target languages but there are some in {num_spoken}: leave out "
            "--figures."
        )
    return [_stated(name, llr[rows], truth).curves for name, llr in scores.items()]


def has_all_languages(table: ScoreTable) -> bool:
    """Whether every target language was spoken, and no other."""
    return set(table.language) == set(table.targets)


def truth_of(table: ScoreTable) -> np.ndarray:
    """(N,) index of each utterance's language."""
    return np.array([table.targets.index(language) for language in table.language])


def _stated(name: str, llr: np.ndarray, truth: np.ndarray) -> Stated:
    """Of LLRs (N, L); languages without utterances are guesses like others, but have no detector to judge."""
    guesses, decisions = reliability_of_guesses(llr, truth), reliability_of_decisions(llr, truth)
    present = np.unique(truth)
    detectors = llr[:, present], np.searchsorted(present, truth)
    det = det_curve(*detectors)
    costs, points = cost_curve(*detectors, LOG_BETA), cost_curve(*detectors, EVALUATED)
    return Stated(
        curves=Believed(
            name=name,
            stated=_floats(guesses.stated),
            observed=_floats(guesses.observed),
            low=_floats(guesses.low),
            high=_floats(guesses.high),
            decisions_stated=_floats(decisions.stated),
            decisions_observed=_floats(decisions.observed),
            p_miss=_floats(det.p_miss),
            p_fa=_floats(det.p_fa),
            eer=det.eer,
            log_beta=LOG_BETA,
            actual=_floats(costs.actual),
            least=_floats(costs.least),
        ),
        gap=guesses.gap,
        gap_of_decisions=decisions.gap,
        mean_stated=guesses.mean_stated,
        mean_observed=guesses.mean_observed,
        interval=guesses.mean_interval,
        actual=(float(points.actual[0]), float(points.actual[1])),
        least=(float(points.least[0]), float(points.least[1])),
    )


def _floats(values: np.ndarray) -> tuple[float, ...]:
    return tuple(values.tolist())


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
        "95 % intervals; dashed: all languages' probabilities, not only the largest; dotted: as stated). Middle: all "
        "languages' detectors under one threshold, on normal deviates; the dot is the EER. Right: C_avg at the "
        "threshold for each weight β of false alarms, over what always saying no (or yes) costs. Every language counts "
        f"the same. Intervals are as if {calibration.scored}s were independent: those of one speaker are not.",
        draw=lambda: calibration_figure([each.curves for each in sets]),
    )
    return (Text(" ".join(_sentence(each, calibration.scored) for each in sets)), drawing, _table(calibration))


def _sentence(each: Stated, scored: str) -> str:
    return (
        f"{each.curves.name.capitalize()} scores give the recognised language {share(each.mean_stated)} on average, "
        f"and are right on {share(each.mean_observed)} of the {scored}s (95 % interval {share(each.interval.low)} to "
        f"{share(each.interval.high)}): {each.verdict}."
    )


def _table(calibration: Calibration) -> Table:
    columns = (
        Column("scores", numeric=False),
        Column("stated less observed", hint="of the recognised language: mean difference in the bin of each score"),
        Column("the same, all languages", hint="of every language's probability"),
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
                for value in (
                    each.gap,
                    each.gap_of_decisions,
                    each.curves.eer,
                    each.actual[0],
                    each.least[0],
                    each.actual[1],
                    each.least[1],
                )
            ),
        )
        for each in calibration.sets
    )
    return Table(caption="Calibration on test data", columns=columns, rows=rows)


SECTION = Section(key="calibration", title="Calibration", summarise=summarise, present=present)
