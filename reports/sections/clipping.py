"""Gradient clipping against the result: how often each rule acted, on what norms, and what came of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from reports import selection as select
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
from reports.sections._blocks import Block, Cell, Column, Drawing, Items, Section, Table, Text, numeric
from reports.statistics import mean_sd
from reports.wording import NOTHING, count, listing, share, short_names, significant, spread

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
        idle: trials with a threshold that no step's gradient exceeded.
        share_clipped: of steps; under `recurrent`, of states.
        norms: 10 %, median and 90 % of the steps' norms before clipping; None where they are not known.
        norm_before: mean over the steps before clipping, likewise; `norm_after` after it.
        dropped: steps whose gradient was not finite.
    """

    kind: str
    trials: int
    idle: int
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
        also_varied: what else was searched, in short.
    """

    objective_name: str
    rules: tuple[Rule, ...]
    share: Panel
    norm: Panel
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
        also_varied=_also_varied([each.path for each in study.manifest.parameters]),
    )


def _also_varied(paths: Sequence[str]) -> tuple[str, ...]:
    names = short_names(paths)
    others = [f"{names[path]}" for path in paths if not path.startswith(SECTION_PREFIX)]
    return (*others[:MAX_NAMED], "the rest") if len(others) > MAX_NAMED + 1 else tuple(others)


def _is_idle(trial: TrialRecord) -> bool:
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
        idle=sum(map(_is_idle, trials)),
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
    panels = [panel for panel in (clipping.share, clipping.norm) if panel.dots]
    drawing = Drawing(
        key="clipping",
        alt=f"{clipping.objective_name} against the share of steps clipped and the largest gradient norm.",
        caption="A dot a complete trial, coloured by clipping rule; a cross at the upper border is a diverged one.",
        draw=lambda: scatter_figure(panels, objective=clipping.objective_name, columns=2),
    )
    table = Table(caption=f"Clipping rules; the objective is {clipping.objective_name}", columns=columns, rows=rows)
    said = tuple(sentence for rule in clipping.rules if (sentence := _in_words(rule)))
    return (*((Items(said),) if said else ()), Text(note, tone="quiet"), table, *((drawing,) if panels else ()))


def _in_words(rule: Rule) -> str:
    """What a rule did, in a sentence; "" where nothing was measured."""
    if rule.share_clipped is None:
        return ""
    diverged = f"{rule.diverged or 'none'} of {count(rule.trials, 'trial')} diverged"
    if rule.kind == NONE:
        largest = "" if rule.norm_max is None else f", with norms of up to {significant(rule.norm_max)}"
        return f"Without clipping {diverged}{largest}."
    if rule.idle == rule.trials:
        return f"{rule.kind} never reached its threshold, which is as if nothing had been clipped: {diverged}."
    what = "hidden states" if rule.kind == RECURRENT else "steps"
    did = f"{rule.kind} acted on {share(rule.share_clipped)} of {what}"
    if rule.norm_before is not None and rule.norm_after is not None:
        did += f" and took the mean norm from {significant(rule.norm_before)} to {significant(rule.norm_after)}"
    if rule.idle:
        did += f", in {rule.idle} of its trials on none"
    return f"{did}; {diverged}."


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
