"""Gradient clipping against the result: how often each rule acted, on what norms, and what came of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from reports.figures import Dot, Panel, scatter_figure
from reports.records import (
    GRAD_NON_FINITE,
    GRAD_NORM_AFTER,
    GRAD_NORM_BEFORE,
    GRAD_NORM_MAX,
    GRAD_NORM_QUANTILES,
    GRAD_SHARE_CLIPPED,
    StudyRecord,
    TrialRecord,
    TrialState,
)
from reports.sections import _selection as select
from reports.sections._blocks import Block, Cell, Column, Drawing, Section, Table, Text
from reports.sections._text import NOTHING, listing, numeric, share, short_names, significant, spread
from reports.statistics import mean_sd

KIND: Final = "clipping.kind"
SECTION_PREFIX: Final = "clipping."
MAX_NAMED: Final = 3
NONE: Final = "none"
RECURRENT: Final = "recurrent"
"""Clips states within the backward pass: norms before it are not known."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One clipping rule; gradient measures are means over epochs, then over trials.

    Attributes:
        n: complete trials, which `objective` is over.
        diverged: trials that ended in a number that is not finite.
        trials: all trials under this rule, whatever became of them; the gradient measures are over these.
        share_clipped: of steps; under `recurrent`, of states.
        norms: 10 %, median and 90 % of the steps' norms before clipping; None where they are not known.
        norm_before: mean over the steps before clipping, likewise; `norm_after` after it.
        dropped: steps whose gradient was not finite.
    """

    kind: str
    trials: int
    n: int
    objective: float | None
    sd: float | None
    share_clipped: float | None
    norms: tuple[float, float, float] | None
    norm_before: float | None
    norm_after: float | None
    norm_max: float | None
    dropped: int
    diverged: int


@dataclass(frozen=True, kw_only=True)
class Clipping:
    """All rules in the study, and two scatters against the objective.

    Attributes:
        never_reached: trials with a threshold that no step's gradient exceeded.
        also_varied: what else was searched, in short.
    """

    objective_name: str
    rules: tuple[Rule, ...]
    share: Panel
    norm: Panel
    never_reached: tuple[int, ...] = ()
    also_varied: tuple[str, ...] = ()


def summarise(study: StudyRecord) -> Clipping:
    """One row a rule that occurs."""
    kinds = sorted({str(trial.params[KIND]) for trial in study.trials if KIND in trial.params})
    rules = tuple(_rule(kind, [t for t in study.trials if t.params.get(KIND) == kind]) for kind in kinds)
    share_dots = tuple(dot for dot in _dots(study, GRAD_SHARE_CLIPPED) if dot.group != RECURRENT)
    norm_dots = tuple(dot for dot in _dots(study, GRAD_NORM_MAX) if dot.x > 0 and dot.group != RECURRENT)
    return Clipping(
        objective_name=study.manifest.objective,
        rules=rules,
        share=Panel(title="share of steps clipped", dots=share_dots),
        norm=Panel(title="largest gradient norm before clipping", dots=norm_dots, log=True),
        never_reached=tuple(trial.number for trial in study.trials if _never_reached(trial)),
        also_varied=_also_varied([each.path for each in study.manifest.parameters]),
    )


def _also_varied(paths: Sequence[str]) -> tuple[str, ...]:
    names = short_names(paths)
    others = [f"{names[path]}" for path in paths if not path.startswith(SECTION_PREFIX)]
    return (*others[:MAX_NAMED], "the rest") if len(others) > MAX_NAMED + 1 else tuple(others)


def _never_reached(trial: TrialRecord) -> bool:
    shares = select.values(trial.history.get(GRAD_SHARE_CLIPPED))
    return trial.params.get(KIND, NONE) != NONE and bool(shares) and not any(shares)


def _rule(kind: str, trials: Sequence[TrialRecord]) -> Rule:
    objectives = select.objectives(trial for trial in trials if trial.state is TrialState.COMPLETE)
    middle = mean_sd(objectives) if objectives else None
    low, median, high = (select.mean(_mean(trial, metric) for trial in trials) for metric in GRAD_NORM_QUANTILES)
    is_before = kind != RECURRENT
    return Rule(
        kind=kind,
        trials=len(trials),
        n=len(objectives),
        objective=middle.mean if middle else None,
        sd=middle.sd if middle else None,
        share_clipped=select.mean(_mean(trial, GRAD_SHARE_CLIPPED) for trial in trials),
        norms=None if low is None or median is None or high is None or not is_before else (low, median, high),
        norm_before=select.mean(_mean(trial, GRAD_NORM_BEFORE) for trial in trials) if is_before else None,
        norm_after=select.mean(_mean(trial, GRAD_NORM_AFTER) for trial in trials),
        norm_max=max((v for t in trials for v in select.values(t.history.get(GRAD_NORM_MAX))), default=None)
        if is_before
        else None,
        dropped=sum(int(v) for t in trials for v in select.values(t.history.get(GRAD_NON_FINITE))),
        diverged=sum(trial.state is TrialState.DIVERGED for trial in trials),
    )


def _mean(trial: TrialRecord, metric: str) -> float | None:
    return select.mean(select.values(trial.history.get(metric)))


def _dots(study: StudyRecord, metric: str) -> list[Dot]:
    dots = []
    for trial in study.trials:
        measured = select.values(trial.history.get(metric))
        diverged = trial.state is TrialState.DIVERGED
        objective = study.manifest.objective_bound if diverged else trial.objective
        counts = diverged or trial.state is TrialState.COMPLETE
        if measured and counts and objective is not None and select.is_finite(objective):
            x = max(measured) if metric == GRAD_NORM_MAX else sum(measured) / len(measured)
            dots.append(Dot(x=x, y=objective, group=str(trial.params.get(KIND, "?")), diverged=diverged))
    return dots


def present(clipping: Clipping) -> tuple[Block, ...]:
    """A table and the scatters that have points."""
    if not any(rule.norm_after is not None or rule.n or rule.diverged for rule in clipping.rules):
        return ()
    columns = (
        Column("rule", numeric=False),
        Column("trials"),
        Column("n", hint="complete trials in the mean objective"),
        Column("objective", hint="mean ± standard deviation over complete trials"),
        Column("clipped", hint="share of steps; under recurrent, of the hidden states"),
        Column("median norm", hint="before clipping: of an epoch's steps; mean over epochs and trials"),
        Column("10 to 90 %", numeric=False, hint="these quantiles of an epoch's steps; means over epochs and trials"),
        Column("largest", hint="norm before clipping, over all trials"),
        Column("mean before", hint="norm before clipping, over steps, epochs and trials"),
        Column("mean after", hint="the same after clipping"),
        Column("dropped", hint="steps whose gradient was not finite"),
        Column("diverged"),
    )
    rows = tuple(_cells(rule) for rule in clipping.rules)
    note = "Gradient norms are global L2 norms. They are shown beside the objective, not as its cause"
    verb = "varies" if len(clipping.also_varied) == 1 else "vary"
    note += f": {listing(clipping.also_varied)} {verb} over these trials too." if clipping.also_varied else "."
    if any(rule.kind == RECURRENT for rule in clipping.rules):
        note += (
            " The rule recurrent clips within the backward pass, so that norms before it are not known, and what it "
            "clipped is a share of states."
        )
    if clipping.never_reached:
        trials = (
            f"{'trial' if len(clipping.never_reached) == 1 else 'trials'} {listing(map(str, clipping.never_reached))}"
        )
        note += f" The threshold of {trials} was never reached, which is as if nothing had been clipped."
    panels = [panel for panel in (clipping.share, clipping.norm) if panel.dots]
    drawing = Drawing(
        key="clipping",
        alt=f"{clipping.objective_name} against the share of steps clipped and the largest gradient norm.",
        caption="A dot a complete trial, coloured by clipping rule; a cross at the upper border is a diverged one.",
        draw=lambda: scatter_figure(panels, objective=clipping.objective_name, columns=2),
    )
    table = Table(caption=f"Clipping rules; the objective is {clipping.objective_name}", columns=columns, rows=rows)
    return (Text(note, tone="quiet"), table, *((drawing,) if panels else ()))


def _cells(rule: Rule) -> tuple[Cell, ...]:
    median = rule.norms[1] if rule.norms else None
    return (
        Cell(rule.kind),
        numeric(rule.trials, str(rule.trials)),
        numeric(rule.n, str(rule.n)),
        numeric(rule.objective, spread(rule.objective, rule.sd)),
        numeric(rule.share_clipped, share(rule.share_clipped) + (" of states" if rule.kind == RECURRENT else "")),
        numeric(median, significant(median)),
        Cell(f"{significant(rule.norms[0])} to {significant(rule.norms[2])}" if rule.norms else NOTHING),
        numeric(rule.norm_max, significant(rule.norm_max)),
        numeric(rule.norm_before, significant(rule.norm_before)),
        numeric(rule.norm_after, significant(rule.norm_after)),
        numeric(rule.dropped, str(rule.dropped)),
        numeric(rule.diverged, str(rule.diverged)),
    )


SECTION = Section(key="clipping", title="Gradient clipping against the result", summarise=summarise, present=present)
