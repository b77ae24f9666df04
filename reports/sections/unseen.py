"""The chosen trial on test data: every score with chance beside it, and recall a language and source."""

import math
from collections import Counter
from dataclasses import dataclass
from typing import Final

from reports.records import BEST_PREFIX, TEST_P_VALUE, ScoreTable, StudyRecord
from reports.sections import _selection as select
from reports.sections._blocks import Block, Cell, Column, Section, Table, Text
from reports.sections._text import count, number, numeric, share
from reports.sections.answer import SIGNIFICANT, TestScore, tested_p
from reports.sections.answer import summarise as answer_of

METRICS: Final = {
    "accuracy": "accuracy",
    "c_primary": "C_primary",
    "c_avg": "C_avg (LRE07)",
    "eer": "EER",
    "cllr": "Cllr, bits",
}


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One score: on test data raw and calibrated, of scores that say nothing, and on development data."""

    name: str
    raw: float | None
    calibrated: float | None
    chance: float
    development: float | None


@dataclass(frozen=True, kw_only=True)
class Recall:
    """How many of a source's utterances were recognised."""

    language: str
    source: str
    num_speakers: int
    num_utterances: int
    recognised: int
    most_taken_for: str


@dataclass(frozen=True, kw_only=True)
class Unseen:
    """Everything on test data; `smallest_p` is the least p-value that the sources allow."""

    chosen: int | None
    test: TestScore | None
    metrics: tuple[Metric, ...]
    recalls: tuple[Recall, ...]
    smallest_p: float | None


def summarise(study: StudyRecord) -> Unseen:
    """Scores of the champion; all empty where no trial was evaluated."""
    table = study.scores_test
    return Unseen(
        chosen=study.champion,
        test=answer_of(study).test,
        metrics=_metrics(study) if study.test_metrics else (),
        recalls=_recalls(table) if table else (),
        smallest_p=_smallest_p(table) if table and TEST_P_VALUE in study.test_metrics else None,
    )


def _metrics(study: StudyRecord) -> tuple[Metric, ...]:
    num_languages = len(study.manifest.languages)
    chance = {
        "accuracy": 1 / num_languages,
        "c_primary": 1.0,
        "c_avg": 0.5,
        "eer": 0.5,
        "cllr": math.log2(num_languages),
    }
    trial = select.chosen(study)
    return tuple(
        Metric(
            name=name,
            raw=study.test_metrics.get(f"test/{key}"),
            calibrated=study.test_metrics.get(f"test/{key}_calibrated"),
            chance=chance[key],
            development=trial.metrics.get(BEST_PREFIX + key) if trial else None,
        )
        for key, name in METRICS.items()
        if f"test/{key}" in study.test_metrics or f"test/{key}_calibrated" in study.test_metrics
    )


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
                num_utterances=len(rows),
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
    test = unseen.test
    if test is None:
        return (Text("No trial was evaluated on test data yet.", tone="quiet"),)
    amounts = (test.num_utterances, "utterance"), (test.num_sources, "source"), (test.num_speakers, "speaker")
    on = ", ".join(count(amount, noun) for amount, noun in amounts)
    blocks: list[Block] = [Text(f"Trial {unseen.chosen} on {on}. {_significance(unseen)}")]
    if unseen.metrics:
        blocks.append(_metric_table(unseen))
    if unseen.recalls:
        blocks.append(_recall_table(unseen))
    return tuple(blocks)


def _significance(unseen: Unseen) -> str:
    test = unseen.test
    if test is None or test.p_value is None:
        return "No test of whether this is above chance is recorded."
    shown = "shown" if test.above_chance else "not shown"
    text = f"Languages permuted over sources: {tested_p(test)}, so above chance is {shown}."
    if unseen.smallest_p is None:
        return text
    text += f" The least p that these sources allow is {unseen.smallest_p:.2g}"
    hopeless = unseen.smallest_p * test.num_evaluations >= SIGNIFICANT
    return text + (": no result could have shown it." if hopeless else ".")


def _caption(unseen: Unseen) -> str:
    calibrated = any(metric.calibrated is not None for metric in unseen.metrics)
    return "Scores on test data" + ("; calibrated means: calibrated on development data" if calibrated else "")


def _metric_table(unseen: Unseen) -> Table:
    columns = (
        Column("score", numeric=False),
        Column("test, raw"),
        Column("test, calibrated", hint="calibration fitted on development data only"),
        Column("chance", hint="what scores that say nothing would get"),
        Column("development", hint="the chosen trial at its best epoch, raw scores"),
    )
    rows = tuple(
        (
            Cell(metric.name),
            *(numeric(v, number(v)) for v in (metric.raw, metric.calibrated, metric.chance, metric.development)),
        )
        for metric in unseen.metrics
    )
    return Table(caption=_caption(unseen), columns=columns, rows=rows)


def _recall_table(unseen: Unseen) -> Table:
    columns = (
        Column("language", numeric=False),
        Column("source", numeric=False),
        Column("speakers"),
        Column("utterances"),
        Column("recognised"),
        Column("recall"),
        Column("most taken for", numeric=False),
    )
    rows = tuple(
        (
            Cell(recall.language),
            Cell(recall.source),
            numeric(recall.num_speakers, str(recall.num_speakers)),
            numeric(recall.num_utterances, str(recall.num_utterances)),
            numeric(recall.recognised, str(recall.recognised)),
            numeric(recall.recognised / recall.num_utterances, share(recall.recognised / recall.num_utterances)),
            Cell(recall.most_taken_for or "–"),
        )
        for recall in unseen.recalls
    )
    return Table(caption="Recall by language and test source", columns=columns, rows=rows)


SECTION = Section(key="test", title="Scores on test data", summarise=summarise, present=present)
