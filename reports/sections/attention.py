"""Attention: where its weight lies, and what scores lose without that, as `lidstudy evaluate` found."""

from dataclasses import dataclass, replace
from typing import Final

from reports import selection as select
from reports.evaluation_records import AttentionResult, RelevanceExample
from reports.figures.relevance import RelevancePanel, relevance_figure
from reports.multiple_comparisons import holm
from reports.records import StudyRecord
from reports.sections._blocks import Block, Cell, Column, Drawing, Section, Table, Text, numeric
from reports.statistics import sign_test
from reports.wording import NOTHING, count, number, p_value, share

MAX_SHOWN: Final = 3
HALF: Final = "-first-half"
SIGNIFICANT: Final = 0.05


@dataclass(frozen=True, kw_only=True)
class Condition:
    """Attention under one condition.

    Attributes:
        p_value: of a sign test over sources, of whether dropping what is relevant costs as much as chance does.
    """

    name: str
    found: AttentionResult
    p_value: float

    @property
    def has_clean_half(self) -> bool:
        """Whether noise lies over the first half alone."""
        return self.name.endswith(HALF)


@dataclass(frozen=True, kw_only=True)
class Attending:
    """One trial on one part of one corpus.

    Attributes:
        adjusted_p: of its first condition, corrected (Holm) over all that are shown.
    """

    trial: int
    corpus: str
    split: str
    conditions: tuple[Condition, ...]
    adjusted_p: float


@dataclass(frozen=True, kw_only=True)
class Attention:
    """Every trial that attends and was evaluated."""

    trials: tuple[Attending, ...] = ()


def summarise(study: StudyRecord) -> Attention:
    """In the order of the evaluations."""
    trials = []
    for evaluation in study.evaluations:
        conditions = tuple(
            Condition(
                name=result.condition,
                found=result.attention,
                p_value=sign_test(result.attention.num_sources_worse, result.attention.num_sources_better),
            )
            for result in evaluation.conditions
            if result.attention is not None
        )
        if conditions:
            trials.append(
                Attending(
                    trial=evaluation.trial,
                    corpus=select.corpus_name(evaluation, study),
                    split=evaluation.split,
                    conditions=conditions,
                    adjusted_p=1.0,
                )
            )
    adjusted = holm([trial.conditions[0].p_value for trial in trials])
    return Attention(trials=tuple(replace(each, adjusted_p=p or 0.0) for each, p in zip(trials, adjusted, strict=True)))


def present(attention: Attention) -> tuple[Block, ...]:
    """What the numbers say, a table, and some utterances."""
    blocks: list[Block] = []
    for trial in attention.trials:
        blocks += [Text(sentence) for sentence in _sentences(trial)]
        blocks += [_table(trial), _drawing(trial)]
    return tuple(blocks)


def _sentences(trial: Attending) -> list[str]:
    first = trial.conditions[0]
    found = first.found
    windows = f"the {found.dropped:.0%} of its windows of {found.window_s:g} s that have most weight"
    place = f"Trial {trial.trial} on {trial.corpus}, {trial.split}, {first.name}"
    told = (
        f"{place}: its accuracy is {number(found.accuracy)}; {number(found.without_relevant)} where each utterance is "
        f"heard without {windows}, and {number(found.without_random)} without as many that chance chose. Dropping what "
        f"is relevant cost more in {found.num_sources_worse} of {count(found.num_sources, 'source')} and less in "
        f"{found.num_sources_better}"
    )
    tested = f"{p_value(trial.adjusted_p)}, sign test over sources, corrected"
    if trial.adjusted_p >= SIGNIFICANT:
        verdict = f": that the weights show what the scores rest on is not shown ({tested})."
    elif found.num_sources_worse > found.num_sources_better:
        verdict = f": the weights do show what the scores rest on ({tested})."
    else:
        verdict = f": the scores rest on what has little weight ({tested}), so the weights mislead."
    sentences = [told + verdict]
    if halves := [each for each in trial.conditions if each.found.clean_share is not None]:
        shares = ", ".join(f"{share(each.found.clean_share)} ({each.name.removesuffix(HALF)})" for each in halves)
        sentences.append(
            f"Where noise lies over the first half, the half without it has this much of the weight: {shares}. An even "
            "share is 50 %."
        )
    return sentences


def _table(trial: Attending) -> Table:
    has_halves = any(each.has_clean_half for each in trial.conditions)
    columns = (
        Column("condition", numeric=False),
        Column("utterances"),
        *((Column("weight on the clean half"),) if has_halves else ()),
        Column("accuracy"),
        Column("without the most relevant"),
        Column("without random ones"),
        Column("sources: relevant cost more / less", numeric=False),
        Column("p, sign test", hint="over sources; not corrected for the number of conditions"),
    )
    rows = []
    for each in trial.conditions:
        found = each.found
        clean = Cell(NOTHING) if found.clean_share is None else numeric(found.clean_share, share(found.clean_share))
        rows.append(
            (
                Cell(each.name),
                numeric(found.num_utterances, str(found.num_utterances)),
                *((clean,) if has_halves else ()),
                *(
                    numeric(value, number(value))
                    for value in (found.accuracy, found.without_relevant, found.without_random)
                ),
                Cell(f"{found.num_sources_worse} / {found.num_sources_better} of {found.num_sources}"),
                numeric(each.p_value, number(each.p_value)),
            )
        )
    caption = f"Attention of trial {trial.trial} on {trial.corpus}, {trial.split}: deletions, raw scores"
    return Table(caption=caption, columns=columns, rows=tuple(rows))


def _drawing(trial: Attending) -> Drawing:
    """Of the condition with the most noise that ends half-way, or else of the first one."""
    halves = [each for each in trial.conditions if each.has_clean_half]
    shown = min(halves, key=lambda each: _snr_db(each.name)) if halves else trial.conditions[0]
    examples = shown.found.examples[:MAX_SHOWN]
    shaded = ", noise where it is shaded" if shown.has_clean_half else ""
    return Drawing(
        key=f"attention-{trial.trial}-{trial.corpus.replace(' ', '-')}-{trial.split}",
        alt=f"Features and attention weights over time of {count(len(examples), 'utterance')} under {shown.name}.",
        caption=f"Trial {trial.trial} under {shown.name}: features above; below, how often its even share of the "
        f"weight each step has{shaded}. The first utterance of each of the first languages; nobody has chosen them.",
        draw=lambda: relevance_figure([_panel(each, has_noise=shown.has_clean_half) for each in examples]),
    )


def _snr_db(name: str) -> int:
    return int(name.removesuffix(HALF).rsplit("-", 1)[-1].removesuffix("db"))


def _panel(example: RelevanceExample, *, has_noise: bool) -> RelevancePanel:
    taken = "recognised" if example.recognised == example.language else f"taken for {example.recognised}"
    return RelevancePanel(
        title=f"{example.language}, {taken}",
        duration_s=example.duration_s,
        bands=example.bands,
        weights=tuple(weight * len(example.weights) for weight in example.weights),
        noise_until_s=example.duration_s / 2 if has_noise else 0.0,
    )


SECTION = Section(key="attention", title="Attention", summarise=summarise, present=present)
