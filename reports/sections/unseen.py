"""The chosen trial on test data: every score with chance beside it, and recall a language and source."""

from collections import Counter
from dataclasses import dataclass
from typing import Final

from reports import selection as select
from reports.records import (
    BEST_PREFIX,
    TEST_P_VALUE,
    TEST_PREFIX,
    ScoreTable,
    StudyRecord,
    TrialRecord,
)
from reports.sections._blocks import Block, Cell, Column, Section, Table, Text, numeric
from reports.sections._scores import SCORES, SEGMENTS, Score, chance, is_calibrated, key_of
from reports.sections.answer import SIGNIFICANT, TestScore, tested_p
from reports.sections.answer import summarise as answer_of
from reports.wording import count, number, p_value, share

CALIBRATED: Final = "_calibrated"
CALIBRATION: Final = (
    "Scores after one scale, and an offset for each language, fitted on development data so that they can be read as "
    "odds. Raw scores are as the network gave them. Development data also chose trial and epoch, so its values are "
    "optimistic."
)


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One score of one set of data, of raw and of calibrated scores."""

    raw: float | None
    calibrated: float | None

    @property
    def known(self) -> bool:
        """Whether there is either."""
        return self.raw is not None or self.calibrated is not None


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One score on test data, of scores that say nothing, and of the chosen trial on development data.

    Attributes:
        objective: "raw" or "calibrated", where that development value is what the study minimised; else "".
    """

    score: Score
    test: Pair
    chance: float | None
    development: Pair
    objective: str = ""


@dataclass(frozen=True, kw_only=True)
class Recall:
    """How many of a source's utterances or segments were recognised."""

    language: str
    source: str
    num_speakers: int
    num_scored: int
    recognised: int
    most_taken_for: str


@dataclass(frozen=True, kw_only=True)
class Unseen:
    """Everything on test data.

    Attributes:
        metrics: every score that test or development data have; the latter alone before test data was looked at.
        gone: whether the chosen trial's run has been deleted, so that its development scores are not known.
        smallest_p: the least p-value that the sources allow.
        scored: what each score is of, `utterance` or `segment`.
        segment: what a segment is, or "" where utterances are scored.
        untested: why there are no scores on test data; "" where there are.
    """

    chosen: int | None
    gone: bool
    objective_name: str
    test: TestScore | None
    metrics: tuple[Metric, ...]
    recalls: tuple[Recall, ...]
    smallest_p: float | None
    scored: str
    segment: str
    untested: str


def summarise(study: StudyRecord) -> Unseen:
    """Scores of the champion; all empty where no trial was evaluated."""
    table, answer, gone = study.scores_test, answer_of(study), select.gone(study)
    trial = select.chosen(study) if gone is None else None  # development scores of another are not its own
    return Unseen(
        chosen=trial.number if trial else study.champion,
        gone=gone is not None,
        objective_name=study.manifest.objective,
        test=answer.test,
        untested=answer.untested,
        metrics=_metrics(study, trial),
        recalls=_recalls(table) if table else (),
        smallest_p=_smallest_p(table) if table and TEST_P_VALUE in study.test_metrics else None,
        scored=study.manifest.scored,
        segment=SEGMENTS.get(study.manifest.task, ""),
    )


def _metrics(study: StudyRecord, trial: TrialRecord | None) -> tuple[Metric, ...]:
    objective = study.manifest.objective
    metrics = (
        Metric(
            score=score,
            test=_pair(study.test_metrics, TEST_PREFIX + key),
            chance=chance(key, len(study.manifest.languages)),
            development=_pair(trial.metrics if trial else {}, BEST_PREFIX + key),
            objective=("calibrated" if is_calibrated(objective) else "raw") if key == key_of(objective) else "",
        )
        for key, score in SCORES.items()
        if key != "error_rate" or key == key_of(objective)  # else the accuracy says it
    )
    return tuple(metric for metric in metrics if metric.test.known or metric.development.known)


def _pair(metrics: dict[str, float], name: str) -> Pair:
    return Pair(raw=metrics.get(name), calibrated=metrics.get(name + CALIBRATED))


def _recalls(table: ScoreTable) -> tuple[Recall, ...]:
    guesses = select.recognised(table)
    recalls = []
    for language, source in sorted(set(zip(table.language, table.source, strict=True))):
        rows = [
            i for i, pair in enumerate(zip(table.language, table.source, strict=True)) if pair == (language, source)
        ]
        taken = Counter(guesses[i] for i in rows if guesses[i] != language)
        recalls.append(
            Recall(
                language=language,
                source=source,
                num_speakers=len({table.speaker[i] for i in rows}),
                num_scored=len(rows),
                recognised=len(rows) - taken.total(),
                most_taken_for=min(taken, key=lambda guess: (-taken[guess], guess), default=""),
            )
        )
    return tuple(recalls)


def _smallest_p(table: ScoreTable) -> float | None:
    from reports.statistics import permutation_p_value

    try:
        return permutation_p_value(table.language, select.recognised(table), table.source).smallest_p
    except ValueError:  # a source of two languages cannot be permuted, so nothing is known
        return None


def present(unseen: Unseen) -> tuple[Block, ...]:
    """What it rests on, the scores, and where they come from."""
    blocks: list[Block] = [_rests_on(unseen)]
    if unseen.metrics:
        blocks += [_metric_table(unseen), _reading_table(unseen)]
    if unseen.recalls:
        blocks.append(_recall_table(unseen))
    return tuple(blocks)


def _rests_on(unseen: Unseen) -> Text:
    test = unseen.test
    if test is None:
        return Text(unseen.untested, tone="quiet")
    amounts = (test.num_scored, test.scored), (test.num_sources, "source"), (test.num_speakers, "speaker")
    on = ", ".join(count(amount, noun) for amount, noun in amounts)
    run = ", whose run is gone," if unseen.gone else ""
    return Text(f"Trial {unseen.chosen}{run} on {on}. {_significance(unseen)}")


def _significance(unseen: Unseen) -> str:
    test = unseen.test
    if test is None or test.p_value is None:
        return "No test of whether this is above chance is recorded."
    shown = "shown" if test.above_chance else "not shown"
    text = f"Languages permuted over sources: {tested_p(test)}, so above chance is {shown}. "
    text += "The p-value speaks of raw decisions, those that the accuracy of raw scores counts."
    if test.p_calibrated is not None:
        text += f" Of decisions after calibration it would be {p_value(test.p_calibrated)}: a second test."
    if unseen.smallest_p is None:
        return text
    text += f" The least p that these sources allow is {unseen.smallest_p:.2g}"
    hopeless = unseen.smallest_p * test.num_evaluations >= SIGNIFICANT
    return text + (": no result could have shown it." if hopeless else ".")


def _caption(unseen: Unseen) -> str:
    if not any(metric.objective for metric in unseen.metrics):
        return "Scores of the chosen trial"
    return f"Scores of the chosen trial; bold is the objective, {unseen.objective_name}"


def _metric_table(unseen: Unseen) -> Table:
    columns = (
        Column("score", numeric=False),
        Column("test, raw"),
        Column("test, calibrated", hint="calibration fitted on development data only"),
        Column("chance", hint="what scores that say nothing would get"),
        Column("development, raw", hint="the chosen trial at its best epoch"),
        Column("development, calibrated", hint="at the best epoch; each fold calibrated by a fit on the others"),
    )
    return Table(caption=_caption(unseen), columns=columns, rows=tuple(map(_metric_cells, unseen.metrics)))


def _metric_cells(metric: Metric) -> tuple[Cell, ...]:
    name = ", ".join(part for part in (metric.score.name, metric.score.unit) if part)
    values = (metric.test.raw, metric.test.calibrated, metric.chance)
    pair, objective = metric.development, metric.objective
    return (
        Cell("accuracy, mean over languages" if name == "accuracy" else name),
        *(numeric(value, number(value)) for value in values),
        numeric(pair.raw, number(pair.raw), strong=objective == "raw"),
        numeric(pair.calibrated, number(pair.calibrated), strong=objective == "calibrated"),
    )


def _reading_table(unseen: Unseen) -> Table:
    """For readers who have not met these scores; calibration is said last, because every score has both columns."""
    rows = [("segment", unseen.segment)] if unseen.segment else []
    rows += [(metric.score.name, _meaning(metric, unseen.scored)) for metric in unseen.metrics]
    rows.append(("calibrated", CALIBRATION))
    columns = (Column("score", numeric=False), Column("what it says", numeric=False, wrap=True))
    return Table(
        caption="How to read the scores", columns=columns, rows=tuple((Cell(name), Cell(text)) for name, text in rows)
    )


def _meaning(metric: Metric, scored: str) -> str:
    return f"{metric.score.meaning.format(scored=scored)} {_guess(metric)}"


def _guess(metric: Metric) -> str:
    direction = metric.score.direction.capitalize()
    return f"{direction}; chance {number(metric.chance)}." if metric.chance is not None else f"{direction}."


def _recall_table(unseen: Unseen) -> Table:
    columns = (
        Column("language", numeric=False),
        Column("source", numeric=False),
        Column("speakers"),
        Column(f"{unseen.scored}s"),
        Column("recognised"),
        Column("recall"),
        Column("most taken for", numeric=False),
    )
    rows = tuple(
        (
            Cell(recall.language),
            Cell(recall.source),
            numeric(recall.num_speakers, str(recall.num_speakers)),
            numeric(recall.num_scored, str(recall.num_scored)),
            numeric(recall.recognised, str(recall.recognised)),
            numeric(recall.recognised / recall.num_scored, share(recall.recognised / recall.num_scored)),
            Cell(recall.most_taken_for or "–"),
        )
        for recall in unseen.recalls
    )
    return Table(caption="Recall by language and test source", columns=columns, rows=rows)


SECTION = Section(key="test", title="Scores", summarise=summarise, present=present)
