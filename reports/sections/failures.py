"""How trials ended, and why those that did not complete did not."""

from collections import defaultdict
from dataclasses import dataclass

from reports.records import StudyRecord, TrialState
from reports.sections._blocks import Block, Cell, Column, Section, Table, numeric
from reports.wording import NOTHING

UNEXPLAINED = {TrialState.FAILED: "no reason was recorded", TrialState.TIMED_OUT: "over the trial's time budget"}


@dataclass(frozen=True, kw_only=True)
class Ending:
    """Trials with one state and one reason."""

    state: TrialState
    reason: str
    numbers: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Failures:
    """All endings, by state and then by how often they occurred."""

    endings: tuple[Ending, ...]

    def count(self, *states: TrialState) -> int:
        """Trials that ended in these states."""
        return sum(len(ending.numbers) for ending in self.endings if ending.state in states)


def summarise(study: StudyRecord) -> Failures:
    """Trials grouped by state and reason."""
    groups: dict[tuple[TrialState, str], list[int]] = defaultdict(list)
    for trial in study.trials:
        groups[trial.state, trial.failure or UNEXPLAINED.get(trial.state, "")].append(trial.number)
    order = list(TrialState)
    found = sorted(groups.items(), key=lambda item: (order.index(item[0][0]), -len(item[1]), item[0][1]))
    return Failures(endings=tuple(Ending(state=s, reason=why, numbers=tuple(n)) for (s, why), n in found))


def present(failures: Failures) -> tuple[Block, ...]:
    """One table."""
    columns = (
        Column("state", numeric=False),
        Column("trials"),
        Column("reason", numeric=False, wrap=True),
        Column("numbers", numeric=False, wrap=True),
    )
    rows = tuple(
        (
            Cell(ending.state.value.replace("_", " ")),
            numeric(len(ending.numbers), str(len(ending.numbers))),
            Cell(ending.reason or NOTHING),
            Cell(_numbers(ending.numbers), sort=float(ending.numbers[0])),
        )
        for ending in failures.endings
    )
    return (Table(caption="How trials ended", columns=columns, rows=rows),) if rows else ()


def _numbers(numbers: tuple[int, ...], shown: int = 12) -> str:
    text = ", ".join(str(number) for number in numbers[:shown])
    return text if len(numbers) <= shown else f"{text} and {len(numbers) - shown} more"


SECTION = Section(key="failures", title="Endings and failures", summarise=summarise, present=present)
