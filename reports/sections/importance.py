"""Importance of the searched parameters, by two measures that each say which question they answer."""

from collections.abc import Callable
from dataclasses import dataclass

from reports import selection as select
from reports.importance import MOST_TRIALS, RESAMPLES, Importance, importances
from reports.records import StudyRecord
from reports.sections._blocks import Block, Cell, Column, Section, Table, Text, numeric
from reports.statistics import Interval
from reports.wording import count, listing, number, short_names


@dataclass(frozen=True, kw_only=True)
class Importances:
    """Of a search.

    Attributes:
        found: by parameter; nothing where there are too few trials, and for arms that nobody searched.
        num_trials: complete ones.
        left_out: parameters that only some trials have, in short.
    """

    found: tuple[Importance, ...] = ()
    names: dict[str, str] | None = None
    num_trials: int = 0
    left_out: tuple[str, ...] = ()


def summarise(study: StudyRecord) -> Importances:
    """Of the complete trials of a search."""
    sampler = study.manifest.config.get("sampler", {})
    if isinstance(sampler, dict) and sampler.get("kind") == "design":
        return Importances()
    trials = select.scored(study)
    names = short_names([each.path for each in study.manifest.parameters])
    return Importances(
        found=importances(trials, study.manifest.parameters),
        names=names,
        num_trials=len(trials),
        left_out=tuple(names[each.path] for each in study.manifest.parameters if each.when),
    )


def present(importance: Importances) -> tuple[Block, ...]:
    """A sentence, what it is not, and a table."""
    if not importance.found or importance.names is None:
        return ()
    rows = tuple(_cells(each, importance.names) for each in importance.found)
    table = Table(
        caption="Shares of the searched parameters, from least to largest under resampled trials",
        columns=(
            Column("parameter", numeric=False),
            Column("of the variance over the space", hint="fANOVA, of a random forest (Hutter et al., 2014)"),
            Column("resampled", numeric=False),
            Column("of what the best have in common", hint="PED-ANOVA (Watanabe et al., 2023)"),
            Column("resampled", numeric=False),
        ),
        rows=rows,
    )
    return (Text(_sentence(importance)), Text(_caution(importance), tone="quiet"), table)


def _sentence(importance: Importances) -> str:
    over = _first(importance, lambda each: (each.over_space, each.over_space_range))
    best = _first(importance, lambda each: (each.among_best, each.among_best_range))
    return (
        f"Over the whole space the objective goes most with {over}. The best quarter of the trials differs from all "
        f"most in {best}."
    )


def _first(importance: Importances, of: Callable[[Importance], tuple[float, Interval]]) -> str:
    """The largest share with its range, and what it cannot be told from."""
    assert importance.names is not None
    first, *others = sorted(importance.found, key=lambda each: (-of(each)[0], each.path))
    share, (low, high) = of(first)
    rivals = [importance.names[each.path] for each in others if of(each)[1].high >= low]
    said = f"{importance.names[first.path]} ({number(share, 2)}; {number(low, 2)} to {number(high, 2)} resampled)"
    return f"{said}, without being told from {listing(rivals)}" if rivals else said


def _caution(importance: Importances) -> str:
    said = (
        f"Both are drawn from {_trials(importance.num_trials)} that differ in everything at once, more "
        "of them where the sampler found it good. They say where to look, and are no ablation: “lidstudy ablate” "
        f"changes one thing alone. Ranges are over {RESAMPLES} resamples of the trials."
    )
    if importance.left_out:
        said += f" Left out, since only some trials have them: {listing(importance.left_out)}."
    return said


def _trials(number: int) -> str:
    if number > MOST_TRIALS:
        return f"{MOST_TRIALS} of {count(number, 'complete trial')}, taken by chance,"
    return count(number, "complete trial")


def _cells(each: Importance, names: dict[str, str]) -> tuple[Cell, ...]:
    return (
        Cell(names[each.path]),
        numeric(each.over_space, number(each.over_space, 2)),
        Cell(_range(each.over_space_range)),
        numeric(each.among_best, number(each.among_best, 2)),
        Cell(_range(each.among_best_range)),
    )


def _range(interval: Interval) -> str:
    return f"{number(interval.low, 2)} to {number(interval.high, 2)}"


SECTION = Section(key="importance", title="Importance of what was searched", summarise=summarise, present=present)
