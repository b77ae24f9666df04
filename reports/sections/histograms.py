"""Histograms of the chosen trial's test scores: how far those of spoken languages lie from those of all others."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from reports.figures import ScoreHistogram, score_histograms
from reports.records import ScoreTable, StudyRecord
from reports.sections._blocks import Block, Cell, Column, Drawing, Section, Table, Text, numeric
from reports.sections._scores import calibrated_on
from reports.wording import number, share

EDGES: Final = tuple(float(edge) for edge in np.linspace(-8.0, 8.0, 33))
QUANTILES: Final = (0.1, 0.5, 0.9)


@dataclass(frozen=True, kw_only=True)
class Sided:
    """The scores of spoken languages, or of all others, of one set.

    Attributes:
        quantiles: at 10, 50 and 90 %, in nats.
        above: share above 0, where a score favours the language.
    """

    quantiles: tuple[float, float, float]
    above: float


@dataclass(frozen=True, kw_only=True)
class Scores:
    """One set of scores, raw or calibrated."""

    name: str
    histogram: ScoreHistogram
    spoken: Sided
    others: Sided


def summarise(study: StudyRecord) -> tuple[Scores, ...]:
    """Raw, and calibrated on development scores where these are on record; nothing without test scores."""
    test, development = study.scores_test, study.scores_dev
    if test is None or len({language for language in test.language if language in test.targets}) < 2:  # noqa: PLR2004
        return ()
    sets = [_scores("raw", np.array(test.llr), test)]
    if development is not None and (llr := calibrated_on(development, test)) is not None:
        sets.append(_scores("calibrated", llr, test))
    return tuple(sets)


def _scores(name: str, llr_NL: np.ndarray, table: ScoreTable) -> Scores:
    """Each language counts the same among the spoken; among the others, each pair of spoken and asked language."""
    is_spoken_NL = np.array([[target == language for target in table.targets] for language in table.language])
    weight_N = np.array([1.0 / table.language.count(language) for language in table.language])
    weights_NL = np.broadcast_to(weight_N[:, None], llr_NL.shape)
    spoken, others = (
        (llr_NL[mask], weights_NL[mask] / weights_NL[mask].sum()) for mask in (is_spoken_NL, ~is_spoken_NL)
    )
    return Scores(
        name=name,
        histogram=ScoreHistogram(title=name, edges=EDGES, spoken=_shares(*spoken), others=_shares(*others)),
        spoken=_sided(*spoken),
        others=_sided(*others),
    )


def _shares(values: np.ndarray, weights: np.ndarray) -> tuple[float, ...]:
    counts, _ = np.histogram(np.clip(values, EDGES[0], EDGES[-1]), bins=EDGES, weights=weights)
    return tuple(counts.tolist())


def _sided(values: np.ndarray, weights: np.ndarray) -> Sided:
    low, middle, high = np.quantile(values, QUANTILES, weights=weights, method="inverted_cdf").tolist()
    return Sided(quantiles=(low, middle, high), above=float(weights[values > 0.0].sum()))


def present(sets: tuple[Scores, ...]) -> tuple[Block, ...]:
    """A sentence, the histograms, and what they come to."""
    if not sets:
        return ()
    drawing = Drawing(
        key="score-histograms",
        alt="Histograms of test scores of the spoken language and of all others, raw and calibrated.",
        caption="Log-likelihood ratios on test data; the outermost bins hold all that lies beyond. Every language "
        "counts the same.",
        draw=lambda: score_histograms([each.histogram for each in sets]),
    )
    table = Table(
        caption="Scores on test data, nats",
        columns=(
            Column("scores", numeric=False),
            Column("of", numeric=False),
            Column("10 %"),
            Column("median"),
            Column("90 %"),
            Column("above 0", hint="where a score favours the language"),
        ),
        rows=tuple(row for each in sets for row in _rows(each)),
    )
    return (Text(" ".join(map(_sentence, sets))), drawing, table)


def _sentence(each: Scores) -> str:
    return (
        f"{each.name.capitalize()} scores favour the spoken language in {share(each.spoken.above)} of the cases, and a "
        f"language that is not spoken in {share(each.others.above)}."
    )


def _rows(each: Scores) -> tuple[tuple[Cell, ...], ...]:
    return tuple(
        (
            Cell(each.name),
            Cell(name),
            *(numeric(value, number(value, 2)) for value in side.quantiles),
            Cell(share(side.above), sort=side.above),
        )
        for name, side in (("the spoken language", each.spoken), ("other languages", each.others))
    )


SECTION: Section[tuple[Scores, ...]] = Section(
    key="histograms", title="Score histograms", summarise=summarise, present=present
)
