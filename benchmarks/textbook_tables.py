"""Tables of docs/gradient-flow.md, from what benchmarks/textbook_effects.py has measured."""

from collections.abc import Sequence
from statistics import fmean, median

from benchmarks.long_memory import BASELINE, Task
from benchmarks.textbook_arms import CELLS, TASKS, Arm, Initialisation, Result
from benchmarks.textbook_figures import CELL_NAMES, INITIALISATIONS, STATE, UNDERFLOW, geometric_mean, of


def all_tables(results: Sequence[Result]) -> list[str]:
    """In Markdown."""
    return ["\n".join(table) for table in (start_table(results), trained_table(results), exploding_table(results))]


def start_table(results: Sequence[Result]) -> list[str]:
    """The first state's gradient over the last one's, before training."""
    begun = [result for result in results if result.arm.optimizer == "none"]
    memories = sorted({result.arm.memory for result in begun})
    lines = [
        _row(["problem", "cell", "weights begin", *(f"T = {memory}" for memory in memories)]),
        _rule(3 + len(memories)),
    ]
    for task, cell, initialisation in _ways():
        here = [each for each in of(begun, cell=cell, initialisation=initialisation) if each.arm.task == task]
        kept = [_share([each for each in here if each.arm.memory == memory]) for memory in memories]
        lines.append(_row([task, CELL_NAMES[cell], initialisation, *kept]))
    return lines


def trained_table(results: Sequence[Result]) -> list[str]:
    """What Adam reached, a number a seed, and the first state's gradient over the last one's, before and after."""
    lines = [
        _row(
            [
                "problem",
                "T",
                "cell",
                "weights begin",
                "clipping",
                "loss / guess",
                "steps clipped",
                "kept before",
                "kept after",
            ]
        ),
        _rule(9),
    ]
    trained = [result for result in results if result.arm.optimizer == "adam"]
    for key in sorted({_key(result.arm) for result in trained}):
        here = [result for result in trained if _key(result.arm) == key]
        before = [result for result in results if result.arm.optimizer == "none" and _key(result.arm)[:4] == key[:4]]
        memory, task, cell, initialisation, clipping = key
        lines.append(
            _row(
                [
                    task,
                    str(memory),
                    CELL_NAMES[CELLS[cell]],
                    initialisation,
                    clipping,
                    ", ".join(_against_guess(each) for each in here),
                    f"{fmean(each.share_clipped for each in here):.0%}",
                    _share(before),
                    _share(here),
                ]
            )
        )
    return lines


def exploding_table(results: Sequence[Result]) -> list[str]:
    """SGD: how many arms diverged, the largest gradient norm, and how often clipping acted; over all T and seeds."""
    lines = [
        _row(["problem", "cell", "weights begin", "clipping", "diverged", "largest norm", "steps clipped"]),
        _rule(7),
    ]
    descended = [result for result in results if result.arm.optimizer == "sgd"]
    for task, cell, initialisation in _ways():
        for clipping in ("none", "norm"):
            here = [
                each
                for each in of(descended, cell=cell, initialisation=initialisation)
                if (each.arm.task, each.arm.clipping) == (task, clipping)
            ]
            diverged = sum(each.diverged_at is not None for each in here)
            norms = [each.largest_norm for each in here]
            lines.append(
                _row(
                    [
                        task,
                        CELL_NAMES[cell],
                        initialisation,
                        clipping,
                        f"{diverged} of {len(here)}",
                        f"{median(norms):.2g} (at most {max(norms):.2g})",
                        f"{fmean(each.share_clipped for each in here):.0%}",
                    ]
                )
            )
    return lines


def _share(results: Sequence[Result]) -> str:
    """The first state's gradient over the last one's; the geometric mean over seeds."""
    curves = [result.gradient[STATE] for result in results if result.gradient is not None]
    if not curves:
        return "-"
    share = geometric_mean(curve[max(curve)] / curve[0] for curve in curves)
    return "below 1e-300" if share < UNDERFLOW * 1.1 else f"{share:.0e}"


def _against_guess(result: Result) -> str:
    return "diverged" if result.loss is None else f"{result.loss / BASELINE[result.arm.task]:.2g}"


def _ways() -> list[tuple[Task, str, Initialisation]]:
    return [(task, cell, initialisation) for task in TASKS for cell in CELLS for initialisation in INITIALISATIONS]


def _key(arm: Arm) -> tuple[int, Task, int, Initialisation, str]:
    """What arms have in common that differ in seed and optimiser alone, in the order of the tables."""
    return (arm.memory, arm.task, CELLS.index(arm.cell), arm.initialisation, arm.clipping)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _rule(columns: int) -> str:
    return "|" + " --- |" * columns
