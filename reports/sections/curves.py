"""Learning curves of all trials, and of the chosen one in more detail."""

from dataclasses import dataclass
from typing import Final

from reports import figures
from reports import selection as select
from reports.figures import Curve, curves_figure
from reports.records import MetricPoint, StudyRecord, TrialRecord
from reports.sections._blocks import Block, Drawing, Section
from reports.sections._scores import chance
from reports.wording import count, number

DRAWN: Final = 150  # more lines than this no eye can follow, and the page grows by a kilobyte a line
ABOVE_NOTHING: Final = 1.1  # times the level of scores that say nothing: what is worse need not be told apart
QUANTILE: Final = 0.9
STRETCH: Final = 2.0  # without such a level, points that stretch the axis by more than this are left outside


@dataclass(frozen=True, kw_only=True)
class Curves:
    """The objective of every trial by epoch, and the chosen trial's own histories."""

    objective_name: str
    curves: tuple[Curve, ...]
    nothing_known: float | None
    chosen: int | None
    history: dict[str, tuple[MetricPoint, ...]]

    @property
    def drawn(self) -> tuple[Curve, ...]:
        """The named trials and the first of the others."""
        named = sorted((curve for curve in self.curves if curve.named), key=lambda curve: not curve.best)
        return (*named, *[curve for curve in self.curves if not curve.named][: DRAWN - len(named)])

    @property
    def limit(self) -> float | None:
        """Upper end of the axis, so that one bad trial does not squeeze the others; None where all points fit."""
        values = sorted(value for curve in self.drawn for _, value in curve.points)
        if not values:
            return None
        least, usual, largest = values[0], values[int(QUANTILE * (len(values) - 1))], values[-1]
        limit = least + STRETCH * (usual - least)
        if self.nothing_known is not None and ABOVE_NOTHING * self.nothing_known >= values[len(values) // 2]:
            limit = ABOVE_NOTHING * self.nothing_known
        return limit if least < limit < largest else None

    @property
    def num_outside(self) -> int:
        """Points that lie above the axis."""
        limit = self.limit
        return 0 if limit is None else sum(value > limit for curve in self.drawn for _, value in curve.points)


def summarise(study: StudyRecord) -> Curves:
    """Finite points only: where a curve ends in NaN, it ends."""
    chosen = select.chosen(study)
    name = study.manifest.objective
    places = {t.number: i for i, t in enumerate(sorted(select.scored(study), key=_order), start=1)}
    curves = (
        Curve(
            number=trial.number,
            state=trial.state,
            points=tuple((p.step, p.value) for p in trial.history.get(name, ()) if select.is_finite(p.value)),
            best=chosen is not None and trial.number == chosen.number,
            place=places.get(trial.number),
        )
        for trial in study.trials
    )
    return Curves(
        objective_name=name,
        curves=tuple(curve for curve in curves if curve.points),
        nothing_known=chance(name, len(study.manifest.languages)),
        chosen=chosen.number if chosen else None,
        history=chosen.history if chosen else {},
    )


def _order(trial: TrialRecord) -> tuple[float, int]:
    return (trial.objective or 0.0, trial.number)


def present(curves: Curves) -> tuple[Block, ...]:
    """Two figures, or what of them there is."""
    blocks: list[Block] = []
    if curves.curves:
        left_out = len(curves.curves) - len(curves.drawn)
        blocks.append(
            Drawing(
                key="curves",
                alt=f"{curves.objective_name} by epoch of {count(len(curves.drawn), 'trial')}.",
                caption="The objective on development data by epoch, a line a trial; the chosen and the best are named."
                + _outside(curves)
                + (f" {count(left_out, 'later trial')} not drawn." if left_out else ""),
                draw=lambda: curves_figure(
                    curves.drawn, objective=curves.objective_name, guess=curves.nothing_known, limit=curves.limit
                ),
            )
        )
    if curves.history:
        blocks.append(
            Drawing(
                key="chosen",
                alt=f"Loss, objective and gradient norm of trial {curves.chosen} by epoch.",
                caption=f"Trial {curves.chosen} in more detail: losses and objective, and the gradient's norm.",
                draw=lambda: figures.learning_curves(curves.history, objective=curves.objective_name),
            )
        )
    return tuple(blocks)


def _outside(curves: Curves) -> str:
    if curves.limit is None:
        return ""
    largest = max(value for curve in curves.drawn for _, value in curve.points)
    lie = "lies" if curves.num_outside == 1 else "lie"
    points = f"{count(curves.num_outside, 'point')} (up to {number(largest)})"
    return f" {points} {lie} above the axis, which ends at {number(curves.limit)}."


SECTION = Section(key="curves", title="Learning curves", summarise=summarise, present=present)
