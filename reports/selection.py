"""Which trials count for what, in one place, so that sections and checks cannot disagree."""

from collections.abc import Iterable, Sequence
from typing import Final

from reports.ablation import middle_of_base
from reports.evaluation_records import Evaluation
from reports.records import ATTEMPTS_S, MetricPoint, ScoreTable, SearchedParameter, StudyRecord, TrialRecord, TrialState

THIRDS: Final = 3


def with_state(study: StudyRecord, *states: TrialState) -> tuple[TrialRecord, ...]:
    """The study's trials in these states."""
    return tuple(trial for trial in study.trials if trial.state in states)


def scored(study: StudyRecord) -> tuple[TrialRecord, ...]:
    """Complete trials with an objective: the only ones that means are taken over.

    A pruned trial's last value comes from fewer epochs, and a diverged trial's value is the bound, not a measurement.
    """
    return tuple(trial for trial in with_state(study, TrialState.COMPLETE) if is_finite(trial.objective))


def best(study: StudyRecord) -> TrialRecord | None:
    """The complete trial with the least objective; the first of equals."""
    return min(scored(study), key=lambda trial: (trial.objective, trial.number), default=None)


def chosen(study: StudyRecord) -> TrialRecord | None:
    """The champion, or the best trial while none has been evaluated on test data; of an ablation one of its base's."""
    champion = next((trial for trial in study.trials if trial.number == study.champion), None)
    return champion or middle_of_base(study.manifest.config, study.trials) or best(study)


def gone(study: StudyRecord) -> int | None:
    """Number of the champion where its run has been deleted: test scores are its own, and `chosen` is another trial."""
    numbers = {trial.number for trial in study.trials}
    return study.champion if study.champion is not None and study.champion not in numbers else None


def corpus_name(evaluation: Evaluation, study: StudyRecord) -> str:
    """The corpus, with its version where the study was evaluated on the same part of several."""
    versions = {
        each.data_hash
        for each in study.evaluations
        if (each.corpus, each.split) == (evaluation.corpus, evaluation.split)
    }
    return evaluation.corpus if len(versions) == 1 else f"{evaluation.corpus} {evaluation.data_hash}"


def in_thirds(searched: SearchedParameter, trials: Iterable[TrialRecord]) -> list[list[TrialRecord]]:
    """Trials by the value of a number, equally many a third, as far as equal values allow: they never part.

    Fewer groups where there are fewer values.
    """
    ordered = sorted(trials, key=lambda trial: (trial.params[searched.path], trial.number))
    distinct = sorted({trial.params[searched.path] for trial in ordered})
    borders = distinct[1:]
    if len(distinct) > THIRDS:
        borders = [ordered[len(ordered) * i // THIRDS].params[searched.path] for i in range(1, THIRDS)]
    groups: list[list[TrialRecord]] = [[] for _ in range(len(borders) + 1)]
    for trial in ordered:
        groups[sum(trial.params[searched.path] >= border for border in borders)].append(trial)
    return [group for group in groups if group]


def is_finite(value: float | None) -> bool:
    """Whether there is a number that can be averaged."""
    return value is not None and abs(value) < float("inf")  # false for NaN too


def mean(values: Iterable[float | None]) -> float | None:
    """Mean of the finite values, or None where there are none."""
    found = [value for value in values if value is not None and is_finite(value)]
    return sum(found) / len(found) if found else None


def seconds(trial: TrialRecord) -> float | None:
    """Seconds that its attempts took, else from its start to its end; None while it runs, and where the end is earlier.

    The latter is so of records that were made anew after the trial: their start is when they were made.
    """
    if trial.end_ms is None:
        return None
    took_s = trial.metrics.get(ATTEMPTS_S, (trial.end_ms - trial.start_ms) / 1000.0)
    return took_s if took_s >= 0 else None


def values(points: Sequence[MetricPoint] | None) -> tuple[float, ...]:
    """The finite values of a history."""
    return tuple(point.value for point in points or () if is_finite(point.value))


def objectives(trials: Iterable[TrialRecord]) -> tuple[float, ...]:
    """The objectives that there are."""
    return tuple(trial.objective for trial in trials if trial.objective is not None and is_finite(trial.objective))


def recognised(table: ScoreTable) -> tuple[str, ...]:
    """The language with the largest score, an utterance."""
    return tuple(table.targets[max(range(len(row)), key=row.__getitem__)] for row in table.llr)


def having(parameter: SearchedParameter, trials: Iterable[TrialRecord]) -> tuple[TrialRecord, ...]:
    """The trials in which a conditional parameter exists."""
    return tuple(trial for trial in trials if parameter.exists(trial.params))


def network(trial: TrialRecord) -> str:
    """The cell of a trial's encoder, or the encoder where it has none; a hierarchy's cells where they are no GRUs."""
    kind = str(trial.params.get("encoder.cell") or trial.params.get("encoder.kind", "?"))
    if kind != "hierarchical":
        return kind
    cells = [str(trial.params.get(f"encoder.{level}.cell", "gru")) for level in ("low", "middle", "top")]
    return kind if set(cells) == {"gru"} else f"{kind} {'/'.join(cells)}"
